"""A store in memory: the shortest that keeps the contract, for what tests a store's users."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

import numpy as np

from iotd.config import Settings
from iotd.model.aggregate import Aggregation, piece
from iotd.model.batch import Times, Values
from iotd.model.buckets import HOUR, Run
from iotd.model.errors import ArchiveRejected, ArchiveUnavailable
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.stores.base import Found, Summary
from iotd.stores.embedded.block import squares as squares_of
from iotd.stores.points import Points


def open_memory(settings: Settings, url: str, *, read_only: bool) -> MemoryStore:
    """As an entry point names it."""
    return MemoryStore(url, read_only=read_only)


class MemoryStore:
    """A dictionary for each series; see :class:`iotd.stores.base.Store`."""

    def __init__(self, url: str = "memory:", *, read_only: bool = False) -> None:
        self.identity = url
        self.held: dict[Series, dict[int, float]] = {}
        self._read_only = read_only
        self._incarnation = uuid.uuid4().hex

    async def write(self, batch: Sequence[Points]) -> None:
        if self._read_only:
            raise ArchiveUnavailable(f"{self.identity}: opened to be read only")
        new = [(points.sensor, _numbers(points)) for points in batch]
        for series, numbers in new:
            self.held.setdefault(series, {}).update(numbers)

    async def delete(self, series: Series, first: int, last: int) -> None:
        if self._read_only:
            raise ArchiveUnavailable(f"{self.identity}: opened to be read only")
        if series in self.held:
            kept = {time: value for time, value in self.held[series].items() if not first <= time <= last}
            self.held[series] = kept

    async def counts(self, location: str, first: int, last: int, bucket: int) -> dict[Series, dict[int, int]]:
        found: dict[Series, dict[int, int]] = {}
        for series, (times, _) in self._of(self._at(location), first, last):
            starts, counts = np.unique(times // bucket * bucket, return_counts=True)
            found[series] = dict(zip(starts.tolist(), counts.tolist(), strict=True))
        return found

    async def summaries(
        self, location: str, first: int, last: int, *, squares: bool = True
    ) -> dict[Series, list[Summary]]:
        return {
            series: [
                Summary(hour, len(its), float(its.sum()), float(its.min()), float(its.max()), squares_of(its))
                for hour, its in _shares(times // HOUR * HOUR, values)
            ]
            for series, (times, values) in self._of(self._at(location), first, last)
        }

    async def begins(self, what: Selection, first: int, last: int) -> dict[Series, int]:
        return {series: int(times[0]) for series, (times, _) in self._of(self._in(what), first, last)}

    async def samples(self, what: Selection, first: int, last: int) -> Found:
        return dict(self._of(self._in(what), first, last))

    async def buckets(self, what: Selection, aggregation: Aggregation, run: Run, first: int, last: int) -> Found:
        found: Found = {}
        for series, (times, values) in self._of(self._in(what), first, last):
            shares = list(_shares(run.start_of(times), values))
            starts = np.array([start for start, _ in shares], np.int64)
            found[series] = starts, np.array([aggregate(aggregation, its) for _, its in shares], np.float64)
        return found

    async def incarnation(self) -> str | None:
        return self._incarnation

    async def keeps(self) -> int | None:
        return None

    async def started(self) -> str | None:
        return ""

    def mended(self) -> bool:
        return False

    async def close(self) -> None:
        pass

    def _at(self, location: str) -> list[Series]:
        return [series for series in self.held if series.location == location]

    def _in(self, what: Selection) -> list[Series]:
        return [series for series in self.held if series in what]

    def _of(self, wanted: Iterable[Series], first: int, last: int) -> Iterable[tuple[Series, tuple[Times, Values]]]:
        for series in wanted:
            held = self.held[series]
            if inside := sorted(time for time in held if first <= time <= last):
                yield series, (np.array(inside, np.int64), np.array([held[t] for t in inside], np.float64))


def aggregate(what: Aggregation, values: Values) -> float:
    """The aggregation of some readings in time order, at least one."""
    return float(values.max() - values.min()) if what == "range" else piece(values)[what]


def _shares(starts: Times, values: Values) -> Iterable[tuple[int, Values]]:
    for start in np.unique(starts).tolist():
        yield start, values[starts == start]


def _numbers(points: Points) -> dict[int, float]:
    try:
        times, values = points.arrays()
    except ValueError as e:
        raise ArchiveRejected(f"{points.sensor.key}: {e}") from None
    if not np.isfinite(values).all():
        raise ArchiveRejected(f"{points.sensor.key}: a value is not a finite number")
    return dict(zip(times.tolist(), values.tolist(), strict=True))
