"""The checker: what must be in a shard, computed from the simulator's function, against what is in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from iotd.config import Settings
from iotd.log.disk import Disk
from iotd.log.recovery import recover
from iotd.model.series import Series
from iotd.shards.connection import Connection
from iotd.sources.simulator.signal import Signal, sensors
from iotd.sources.simulator.source import Span, source_name
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
        lost: not there, and among those that may be.
    """

    due: int
    missing: int
    altered: int
    strange: int
    first: str | None
    lost: int = 0

    @property
    def good(self) -> bool:
        return self.due > 0 and self.missing == self.altered == self.strange == 0


def handed_over(settings: Settings, location: str) -> Span:
    """What the simulated sensors have handed over, as the log on disk has it; the daemon may run."""
    found = recover(settings.state / "log", Disk())
    numbers = {name: number for number, name in found.sources.items()}
    span = Span.of(found.positions.get(numbers.get(source_name(location), -1)))
    assert span is not None, f"nothing was handed over for {location}"
    return span


class Store(Protocol):
    """Where readings are: a Redis, or an archive (:mod:`tests.servers.archives`)."""

    def samples(self, sensor: Series, span: Span) -> AsyncIterator[tuple[int, float]]:
        """All that it holds of a sensor in a span, in time order; a time that it holds twice comes twice."""


class RedisStore:
    """A Redis, looked at over a connection."""

    def __init__(self, redis: Connection) -> None:
        self._redis = redis

    async def samples(self, sensor: Series, span: Span) -> AsyncIterator[tuple[int, float]]:
        if not await self._redis.call("EXISTS", sensor.key):
            return  # all of it is missing
        start = span.first
        while page := await self._redis.call("TS.RANGE", sensor.key, start, span.last, "COUNT", _PAGE):
            for time, value in page:
                yield time, float(value)
            start = page[-1][0] + 1


class Checklist:
    """Every reading due in a span, each sensor at each whole multiple of the interval, and which of them were seen."""

    def __init__(self, settings: Settings, location: str, span: Span) -> None:
        self._sensors = sensors(location, settings.sensors.types, settings.sensors.per_type, settings.known_types)
        self._span = span
        self._step = round(settings.sensors.interval.total_seconds() * 1000)
        self._times = np.arange(-(-span.first // self._step) * self._step, span.last + 1, self._step, dtype=np.int64)
        self._values = Signal(settings.simulator.seed, self._sensors, settings.known_types).values(self._times)
        self._seen = np.zeros(self._values.shape, bool)
        self._altered = self._strange = self._lost = 0
        self._wrong: list[tuple[int, str]] = []

    async def see(self, store: Store) -> None:
        """Notes all that a store holds; what is in one store of several has been seen."""
        for column, sensor in enumerate(self._sensors):
            samples = [sample async for sample in store.samples(sensor, self._span)]
            times = np.array([time for time, _ in samples], np.int64)
            values = np.array([value for _, value in samples], np.float64)
            row, off = np.divmod(times - self._times[0], self._step)
            twice = np.concatenate(([False], times[1:] <= times[:-1]))[: len(times)]
            due = (off == 0) & (row >= 0) & (row < len(self._times)) & ~twice
            same = np.zeros(len(times), bool)
            same[due] = values[due] == self._values[row[due], column]
            self._note(sensor, times[~due], "was never handed over, or is there twice")
            self._note(sensor, times[due & ~same], "has another value")
            self._strange += int(np.count_nonzero(~due))
            self._altered += int(np.count_nonzero(due & ~same))
            self._seen[row[due], column] = True

    def forgive(self, losable: Mapping[Series, Iterable[int]]) -> None:
        """Readings at these times (ms) may be missing; those that were not seen so far count as lost."""
        for column, sensor in enumerate(self._sensors):
            row, off = np.divmod(np.array(list(losable.get(sensor, ())), np.int64) - self._times[0], self._step)
            row = row[(off == 0) & (row >= 0) & (row < len(self._times))]
            self._lost += int(np.count_nonzero(~self._seen[row, column]))
            self._seen[row, column] = True

    def count(self) -> Count:
        """What was found so far."""
        for column, sensor in enumerate(self._sensors):
            self._note(sensor, self._times[~self._seen[:, column]], "is missing")
        missing = int(np.count_nonzero(~self._seen))
        first = min(self._wrong)[1] if self._wrong else None
        return Count(self._seen.size, missing, self._altered, self._strange, first, self._lost)

    def missing(self) -> list[tuple[Series, int]]:
        """Series and time (ms) of what was not seen so far."""
        rows, columns = np.nonzero(~self._seen)
        return [(self._sensors[column], int(self._times[row])) for row, column in zip(rows, columns, strict=True)]

    def _note(self, sensor: Series, times: NDArray[np.int64], what: str) -> None:
        self._wrong += [(int(time), f"{sensor.key} at {time} {what}") for time in times[:1]]


async def count(
    settings: Settings,
    location: str,
    span: Span,
    *stores: Store,
    losable: Mapping[Series, Iterable[int]] = MappingProxyType({}),
) -> Count:
    """Compares what stores hold together with every reading due in a span.

    Args:
        losable: times (ms) at which readings may be missing.
    """
    checklist = Checklist(settings, location, span)
    for store in stores:
        await checklist.see(store)
    checklist.forgive(losable)
    return checklist.count()


async def all_there(system: System, location: str) -> None:
    """Asserts that what was handed over is in the shard's master, each reading once and with its value."""
    span = handed_over(system.settings, location)
    master = await system.master(location)
    async with system.connection(master.name) as redis:
        found = await count(system.settings, location, span, RedisStore(redis))
    assert found.good, found
