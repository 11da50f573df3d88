"""The checker: what must be in a shard, computed from the simulator's function, against what is in it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from iotd.sensors import Roster, Sensor
from iotd.settings import Settings
from iotd.shards.connection import Connection
from iotd.sources.signal import Signal
from iotd.sources.source import Span
from tests.servers.system import System

_PAGE = 20_000


@dataclass(frozen=True)
class Count:
    """What was found of what must be there.

    Attributes:
        due: readings that must be there.
        missing: of these, not there.
        altered: of these, there with another value.
        strange: there, and on no time of the grid from the first reading to the last.
        first: the first one that is wrong.
    """

    due: int
    missing: int
    altered: int
    strange: int
    first: str | None

    @property
    def good(self) -> bool:
        return self.due > 0 and self.missing == self.altered == self.strange == 0


def handed_over(settings: Settings, location: str) -> Span:
    """What the sources have handed over, as the spool on disk has it; the daemon may run."""
    db = sqlite3.connect(f"file:{settings.state / 'spool.sqlite'}?mode=ro", uri=True)
    try:
        first, last = db.execute("SELECT first_ms, last_ms FROM lanes WHERE location = ?", (location,)).fetchone()
    finally:
        db.close()
    assert first is not None, f"nothing was handed over for {location}"
    return Span(first, last)


class Store(Protocol):
    """Where readings are: a Redis, or an archive (:mod:`tests.servers.archives`)."""

    def samples(self, sensor: Sensor, span: Span) -> AsyncIterator[tuple[int, float]]:
        """All that it holds of a sensor in a span, in time order; a time that it holds twice comes twice."""


class RedisStore:
    """A Redis, looked at over a connection."""

    def __init__(self, redis: Connection) -> None:
        self._redis = redis

    async def samples(self, sensor: Sensor, span: Span) -> AsyncIterator[tuple[int, float]]:
        start = span.first
        while page := await self._redis.call("TS.RANGE", sensor.key, start, span.last, "COUNT", _PAGE):
            for time, value in page:
                yield time, float(value)
            start = page[-1][0] + 1


async def count(settings: Settings, location: str, store: Store, span: Span) -> Count:
    """Compares a store with every reading due in a span: each sensor at each whole multiple of the interval."""
    roster = Roster.of(location, settings.sensors.types, settings.sensors.per_type)
    step = round(settings.sensors.interval.total_seconds() * 1000)
    times = np.arange(-(-span.first // step) * step, span.last + 1, step, dtype=np.int64)
    values = Signal(settings.simulator.seed, roster).values(times)
    missing = altered = strange = 0
    wrong: list[tuple[int, str]] = []
    for column, sensor in enumerate(roster):
        wanted = dict(zip(times.tolist(), values[:, column].tolist(), strict=True))
        async for time, value in store.samples(sensor, span):
            if time not in wanted:
                strange += 1
                wrong.append((time, f"{sensor.key} at {time} was never handed over, or is there twice"))
            elif wanted.pop(time) != value:
                altered += 1
                wrong.append((time, f"{sensor.key} at {time} is {value!r}"))
        missing += len(wanted)
        wrong += [(time, f"{sensor.key} at {time} is missing") for time in list(wanted)[:1]]
    return Count(int(values.size), missing, altered, strange, min(wrong)[1] if wrong else None)


async def all_there(system: System, location: str) -> None:
    """Asserts that what was handed over is in the shard's master, each reading once and with its value."""
    span = handed_over(system.settings, location)
    master = await system.master(location)
    async with system.connection(master.name) as redis:
        found = await count(system.settings, location, RedisStore(redis), span)
    assert found.good, found
