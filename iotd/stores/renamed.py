"""A store in which locations were renamed: what was archived under an earlier name is read and mended under that name.

A location that is called ``sejour`` since a certain moment has its readings from before it in the store as ``salon``'s.
Here all are ``sejour``'s. The moment is the end of an hour, so that summaries of hours lie on one side of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from iotd.model.aggregate import Aggregation, combine, needs
from iotd.model.arrays import among, concatenated
from iotd.model.buckets import HOUR, Run
from iotd.model.instants import ENDLESS
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.stores.base import Found, Store, Summary
from iotd.stores.points import Points


@dataclass(frozen=True, slots=True)
class Former:
    """A name that a location had.

    Attributes:
        until: the last ms of it, included; the next one begins an hour.
    """

    name: str
    until: int


class RenamedStore:
    """See :class:`iotd.stores.base.Store`; what is not about readings is the store's own."""

    def __init__(self, store: Store, formers: Mapping[str, Sequence[Former]]) -> None:
        """
        Args:
            formers: by today's name of a location its earlier ones, the oldest first.
        """
        self.identity = store.identity
        self._store = store
        self._formers = formers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    # ── writing ──

    async def write(self, batch: Sequence[Points]) -> None:
        """See :meth:`iotd.stores.base.Store.write`."""
        await self._store.write([part for points in batch for part in self._parts(points)])

    def _parts(self, points: Points) -> Iterator[Points]:
        formers = self._formers.get(points.sensor.location, ())
        if not formers or points.first > formers[-1].until:
            yield points
            return
        samples = points.samples()
        for name, first, last in self._names(points.sensor.location, points.first, points.last):
            part = [sample for sample in samples if first <= sample[0] <= last]
            if part:
                yield Points.of(replace(points.sensor, location=name), part)

    async def delete(self, series: Series, first: int, last: int) -> None:
        """See :meth:`iotd.stores.base.Store.delete`."""
        for name, begin, end in self._names(series.location, first, last):
            await self._store.delete(replace(series, location=name), begin, end)

    # ── reading ──

    async def counts(self, location: str, first: int, last: int, bucket: int) -> dict[Series, dict[int, int]]:
        """See :meth:`iotd.stores.base.Store.counts`."""
        found: dict[Series, dict[int, int]] = {}
        # a part begins with an hour: a bucket that does not is put together from hours
        width = bucket if location not in self._formers or not HOUR % bucket else HOUR
        for name, begin, end in self._names(location, first, last):
            for series, counts in (await self._store.counts(name, begin, end, width)).items():
                whole = found.setdefault(replace(series, location=location), {})
                for start, count in counts.items():
                    start_of = max(start // bucket * bucket, first)
                    whole[start_of] = whole.get(start_of, 0) + count
        return found

    async def summaries(
        self, location: str, first: int, last: int, *, squares: bool = True
    ) -> dict[Series, list[Summary]]:
        """See :meth:`iotd.stores.base.Store.summaries`."""
        found: dict[Series, list[Summary]] = {}
        for name, begin, end in self._names(location, first, last):
            for series, hours in (await self._store.summaries(name, begin, end, squares=squares)).items():
                found.setdefault(replace(series, location=location), []).extend(hours)
        return found

    async def begins(self, what: Selection, first: int, last: int) -> dict[Series, int]:
        """See :meth:`iotd.stores.base.Store.begins`."""
        found: dict[Series, int] = {}
        for location, part, begin, end in self._asked(what, first, last):
            for series, time in (await self._store.begins(part, begin, end)).items():
                found.setdefault(_called(series, location), time)
        return found

    async def samples(self, what: Selection, first: int, last: int) -> Found:
        """See :meth:`iotd.stores.base.Store.samples`."""
        found: Found = {}
        for location, part, begin, end in self._asked(what, first, last):
            _append(found, location, await self._store.samples(part, begin, end))
        return found

    async def buckets(self, what: Selection, aggregation: Aggregation, run: Run, first: int, last: int) -> Found:
        """See :meth:`iotd.stores.base.Store.buckets`."""
        found: Found = {}
        for location, part, begin, end in self._asked(what, first, last):
            straddling = [s for s in self._straddling(location, run) if begin <= s + run.width - 1 and s <= end]
            inner = await self._store.buckets(part, aggregation, run, begin, end)
            _append(found, location, {s: _without(its, straddling) for s, its in inner.items()})
        for location in what.locations:
            for start in self._straddling(location, run):
                begin, end = max(start, first), min(start + run.width - 1, last)
                if begin <= end:
                    whole = self._put_together(what.at([location]), aggregation, run, begin, end)
                    for series, value in (await whole).items():
                        times, values = found.get(series, concatenated([]))
                        at = int(times.searchsorted(start))
                        found[series] = np.insert(times, at, start), np.insert(values, at, value)
        return {series: its for series, its in found.items() if len(its[0])}

    async def _put_together(
        self, what: Selection, aggregation: Aggregation, run: Run, first: int, last: int
    ) -> dict[Series, float]:
        """The one bucket from ``first`` to ``last``, whose readings have several names."""
        pieces: dict[Series, list[dict[str, float]]] = {}
        for location, part, begin, end in self._asked(what, first, last):
            of_part: dict[Series, dict[str, float]] = {}
            for need in needs(aggregation):
                for series, (_, values) in (await self._store.buckets(part, need, run, begin, end)).items():
                    of_part.setdefault(_called(series, location), {})[need] = float(values[0])
            for series, piece in of_part.items():
                pieces.setdefault(series, []).append(piece)
        return {series: combine(aggregation, its) for series, its in pieces.items()}

    # ── names ──

    def _names(self, location: str, first: int, last: int) -> Iterator[tuple[str, int, int]]:
        """The names of a location within a range, each with its part of it, the oldest first."""
        begin = -ENDLESS
        for former in (*self._formers.get(location, ()), Former(location, ENDLESS)):
            low, high = max(first, begin), min(last, former.until)
            if low <= high:
                yield former.name, low, high
            begin = former.until + 1

    def _asked(self, what: Selection, first: int, last: int) -> Iterator[tuple[str | None, Selection, int, int]]:
        """What to ask the store for: (location as it is called now, selection, range), in time order of each."""
        plain = [location for location in what.locations if location not in self._formers]
        if plain:
            yield None, what.at(plain), first, last
        for location in what.locations:
            if location in self._formers:
                for name, begin, end in self._names(location, first, last):
                    yield location, what.at([name]), begin, end

    def _straddling(self, location: str | None, run: Run) -> list[int]:
        """Where the buckets begin in which a location was renamed."""
        moments = [
            former.until for former in self._formers.get(location or "", ()) if run.first <= former.until < run.last
        ]
        starts = {int(run.start_of(np.array([moment], np.int64))[0]) for moment in moments}
        return sorted(start for start in starts if any(start <= m < start + run.width - 1 for m in moments))


def _called(series: Series, location: str | None) -> Series:
    return series if location is None else replace(series, location=location)


def _append(found: Found, location: str | None, part: Found) -> None:
    for series, (times, values) in part.items():
        called = _called(series, location)
        found[called] = concatenated([found[called], (times, values)] if called in found else [(times, values)])


def _without(its: tuple[Any, Any], starts: Sequence[int]) -> tuple[Any, Any]:
    keep = ~among(its[0], np.array(starts, np.int64))
    return its[0][keep], its[1][keep]
