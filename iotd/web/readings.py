"""What the page shows of a location's readings: read from its shard, so that what is seen is what is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from iotd.config import Settings
from iotd.model.errors import IotdError
from iotd.model.series import Series
from iotd.model.types import Types
from iotd.shards.reader import ShardReader

_WINDOW_MS = 600_000
_POINTS = 120
_CHART_EVERY_S = 5.0
_LIMIT_S = 0.8
"""How long a shard may take to answer; meanwhile the page shows what it showed before."""
_LISTED = 12
"""Sensors of one type that are shown one by one; of more, only their mean and spread."""

Points = list[tuple[int, float, float, float]]
"""Start of the bucket (ms), mean, smallest and largest of all sensors."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One type's newest readings at a location.

    Attributes:
        at: time (ms) of the newest.
        value: their mean, with ``low`` and ``high`` the smallest and the largest.
        sensors: by id, the value of each, where they are few.
    """

    type: str
    unit: str
    at: int
    value: float
    low: float
    high: float
    count: int
    sensors: dict[str, float]


@dataclass(slots=True)
class View:
    """A location's readings as they were last read; ``charts`` by type."""

    readings: list[Reading] = field(default_factory=list)
    charts: dict[str, Points] = field(default_factory=dict)


class LocationReadings:
    """Reads one location's newest readings, for the page."""

    def __init__(self, reader: ShardReader, settings: Settings, now_ms: Callable[[], int]) -> None:
        self.view = View()
        self._reader = reader
        self._now_ms = now_ms
        self._types = settings.known_types
        interval = round(settings.sensors.interval.total_seconds() * 1000)
        # whole multiples of the interval, so that each bucket has as many readings
        self._bucket = max(interval, -(-_WINDOW_MS // _POINTS // interval) * interval)
        self._charted = float("-inf")

    async def refresh(self) -> None:
        """Brings :attr:`view` up to date, as far as the shard answers in time."""
        try:
            async with asyncio.timeout(_LIMIT_S):
                self.view.readings = _readings(await self._reader.latest(), self._types)
                if monotonic() - self._charted >= _CHART_EVERY_S:
                    first = (self._now_ms() - self._bucket * _POINTS) // self._bucket * self._bucket
                    self.view.charts = await self._reader.by_type(first, self._bucket)
                    self._charted = monotonic()
        except (IotdError, TimeoutError):
            return

    async def close(self) -> None:
        """Closes the reader's connection."""
        await self._reader.close()


def _readings(latest: dict[Series, tuple[int, float]], types: Types) -> list[Reading]:
    found = []
    place = {name: i for i, name in enumerate(types)}
    kinds = {sensor.type for sensor in latest}
    for kind in sorted(kinds, key=lambda kind: (place.get(kind, len(place)), kind)):
        of_kind = {sensor: sample for sensor, sample in latest.items() if sensor.type == kind}
        if not of_kind:
            continue
        newest = max(at for at, _ in of_kind.values())
        # a sensor that was taken away has a last sample too, and a long time ago
        current = {s: value for s, (at, value) in of_kind.items() if newest - at <= _WINDOW_MS}
        values = list(current.values())
        few = len(current) <= _LISTED
        found.append(
            Reading(
                type=kind,
                unit=next(iter(of_kind)).unit,
                at=newest,
                value=sum(values) / len(values),
                low=min(values),
                high=max(values),
                count=len(values),
                sensors={s.sensor_id: current[s] for s in sorted(current)} if few else {},
            )
        )
    return found
