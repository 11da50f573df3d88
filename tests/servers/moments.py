"""A source whose sensors each speak once a second at a moment of their own. ``kind = "tests.servers.moments"``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from iotd.model.batch import Batch
from iotd.model.series import Series
from iotd.sources.base import Context, Intake

_EVERY_MS = 1_000


def source(name: str, options: Mapping[str, Any], context: Context) -> Moments:
    """Options: ``sensors`` (of each location), ``awaited`` (whether somebody upstream waits for each reading)."""
    return Moments(name, context, sensors=int(options.get("sensors", 9)), awaited=bool(options.get("awaited", False)))


class Moments:
    """Hands over one reading at a time; the moments are spread evenly over the second."""

    def __init__(self, name: str, context: Context, *, sensors: int, awaited: bool) -> None:
        self.name = name
        self._context = context
        self._series = [
            Series("temperature", location, f"m{n}") for n in range(sensors) for location in context.locations
        ]
        self._awaited = awaited

    async def run(self, intake: Intake) -> None:
        numbers = await intake.register(self._series)
        count = len(self._series)
        begun = self._context.clock.now()
        n = 0
        while True:
            due = begun + n * _EVERY_MS // count
            await self._context.clock.sleep(max(0, due - self._context.clock.now()))
            location, number = self._series[n % count].location, numbers[n % count]
            value = round(20 + n % 997 / 100, 2)
            if self._awaited:
                await intake.add(location, int(number), due, value)
            else:
                one = Batch(location, np.array([number], np.int32), np.array([due], np.int64), np.array([value]))
                await intake.take(one, waits=False)
            n += 1
