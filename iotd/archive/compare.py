"""What a shard holds against what the archive holds: summaries by series and hour, each reading where they differ."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from iotd.archive.alike import alike, squares_of
from iotd.archive.deletions import Deletions, Range
from iotd.archive.expected import found
from iotd.archive.pages import Pages
from iotd.archive.restore import Restorer
from iotd.archive.state import ArchiveState, Dirty
from iotd.archive.vanished import OldHours, Vanished, joined
from iotd.archive.verified import Counts
from iotd.model.arrays import among
from iotd.model.buckets import HOUR
from iotd.model.instants import ENDLESS
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.shards.reader import ShardReader
from iotd.stores.base import Store, Summary, samples_of

_WINDOW = 24 * HOUR
_TURNS = 7
"""So many verifications until the squares of an older day are compared again."""
_SUMMARY = ("count", "sum", "min", "max", "var.p")


@dataclass(frozen=True, slots=True)
class Gap:
    """An hour of a series in which shard and archive differ; ``first`` and ``last`` in ms, both included.

    Attributes:
        held: samples in the shard.
        archived: of those, how many are in the archive, with whichever value.
        differing: of those, how many have another value.
        surplus: readings that only the archive has, and the shard should have too.
    """

    sensor: str
    first: int
    last: int
    held: int
    archived: int
    differing: int = 0
    surplus: int = 0

    def __str__(self) -> str:
        more = f", {self.surplus} only in the archive" if self.surplus else ""
        return f"{self.sensor} from {self.first}: {self.archived} of {self.held}, {self.differing} differ{more}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a verification found.

    Attributes:
        compared: samples of the shard that were compared.
        gaps: where shard and archive differ still.
        repaired: how many gaps were found and are gone.
        vanished: what neither has any more, and the archive had when it was last verified.
    """

    compared: int
    gaps: list[Gap]
    repaired: int = 0
    vanished: list[Vanished] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Bounds:
    """By series, ms: the watermark, where the comparison begins, from where on what only the archive has counts, and
    the shard's first and last reading."""

    marks: Mapping[Series, int]
    begins: Mapping[Series, int]
    wanted: Mapping[Series, int]
    ends: Mapping[Series, tuple[int, int]]


@dataclass(slots=True)
class _Found:
    compared: int = 0
    gaps: list[Gap] = field(default_factory=list)
    gone: list[tuple[Series, int, int]] = field(default_factory=list)


class Comparer:
    """Compares one location, a day at a time, so that neither server is held up and nothing large is held here.

    It has a reader of its own: archiving goes on meanwhile.
    """

    def __init__(
        self,
        reader: ShardReader,
        pages: Pages,
        store: Store,
        state: ArchiveState,
        restorer: Restorer,
        *,
        deletions: Deletions,
    ) -> None:
        """
        Args:
            pages: of the same reader.
        """
        self._reader = reader
        self._pages = pages
        self._store = store
        self._state = state
        self._restorer = restorer
        self._old = OldHours(store, state, reader.location)
        self._deletions = deletions
        self._turn = asyncio.Lock()
        self._turns = 0

    async def close(self) -> None:
        """Closes the reader's connection."""
        await self._reader.close()

    async def compare(self, *, deep: bool = False, thorough: bool = True) -> Comparison:
        """Compares the summaries, or with ``deep`` every value, of all that is behind the watermarks.

        The squares, which cost InfluxDB three times as much as all else, are in it with ``thorough``; else only those
        of the newest day, and of each :data:`_TURNS` th one before, another one each time.

        The first hour of a series is compared reading by reading, for retention takes some away meanwhile; so is the
        last one up to the watermark. What only the archive has counts as far back as it is written back into the
        shard. What the archive lacks in a range that is known to be dirty is no gap: the next pass archives it again.
        An hour of which something is being deleted has none either. How much the archive has of each whole hour without
        a difference is noted, for queries.

        Raises:
            ShardError: the shard can't be asked.
            ArchiveUnverifiable: the archive can never be asked.
            ArchiveError: it can't be asked now.
        """
        async with self._turn:
            self._turns += 1
            return await self._compare(deep, thorough)

    async def _compare(self, deep: bool, thorough: bool) -> Comparison:
        # a range that is archived again meanwhile is dirty before, and not after
        store, location = self._store.identity, self._reader.location
        dirty = await self._dirty()
        begun = len(self._deletions.done)
        deleted = await self._deletions.pending()
        ends = await self._reader.ends()
        marks = await asyncio.to_thread(self._state.watermarks, store, location)
        back = self._restorer.back_ms != 0
        wanted = dict.fromkeys(marks, ENDLESS)
        begins = {series: ends[series][0] if series in ends else ENDLESS for series in marks}
        if back and marks:
            # an hour later: retention goes on meanwhile
            wanted = {s: self._restorer.begin(max(mark, *ends.get(s, (0, 0)))) + HOUR for s, mark in marks.items()}
            what = Selection((location,), tuple({series.type for series in marks}))
            for series, first in (await self._store.begins(what, min(wanted.values()), max(marks.values()))).items():
                if series in marks:
                    begins[series] = min(begins[series], max(first, wanted[series]))
        bounds = _Bounds(marks, begins, wanted, ends)
        last = max(marks.values(), default=-1)
        found = _Found()
        for begin in range(min(begins.values(), default=0) // HOUR * HOUR, last + 1, _WINDOW):
            squares = thorough or begin + _WINDOW > last or (begin // _WINDOW + self._turns) % _TURNS == 0
            await self._window(begin, min(begin + _WINDOW - 1, last), bounds, found, deep=deep, squares=squares)
        gone = await self._old.look({series: its[0] for series, its in ends.items()}, whole=thorough)
        dirty += await self._dirty()
        gaps = await self._still([gap for gap in found.gaps if gap.surplus or not _known(gap, dirty)], wanted)
        # what only the archive has does not come back by archiving again
        deleted += [*await self._deletions.pending(), *self._deletions.done[begun:]]
        left = [gap for gap in gaps if not _deleted(gap, deleted)]
        gone = [one for one in found.gone + gone if not any(d.concerns(*_hour(one)) for d in deleted)]
        return Comparison(found.compared, left, vanished=joined(gone))

    async def _still(self, gaps: Sequence[Gap], wanted: Mapping[Series, int]) -> list[Gap]:
        """Those that are there when they are looked at again: a late reading may have come between the archive's answer
        and the shard's, and have been archived before the comparison came to its end."""
        again = []
        for gap in gaps:
            series = Series.from_key(gap.sensor)
            _, found = await self._each(series, gap.first, gap.last, wanted[series])
            if found is not None:
                again.append(found)
        dirty = await self._dirty() if again else []
        return [gap for gap in again if gap.surplus or not _known(gap, dirty)]

    async def _window(self, begin: int, end: int, bounds: _Bounds, found: _Found, *, deep: bool, squares: bool) -> None:
        """Compares a day or less of all series, and notes what is alike."""
        store, location = self._store.identity, self._reader.location
        since = self._state.forgotten
        verified = await asyncio.to_thread(self._state.verified, store, location, begin, end)
        archived = {} if deep else await self._store.summaries(location, begin, end, squares=squares)
        same: Counts = {}
        for series, mark in sorted(bounds.marks.items()):
            first = bounds.begins[series]
            if first > end or mark < begin:
                continue
            oldest = bounds.ends[series][0] if series in bounds.ends else mark + 1
            upto = min(end, mark)
            here = await self._summaries(series, begin, upto, squares) if series in bounds.ends else {}
            there = {summary.hour: summary for summary in archived.get(series, [])}
            hours = here.keys() | (range(begin, upto + 1, HOUR) if deep and self._restorer.back_ms else there.keys())
            # whole hours alone are noted
            known = {hour: 0 for hour in verified.get(series, ()) if first <= hour <= upto - HOUR + 1}
            for hour in sorted(hours):
                stop = min(hour + HOUR - 1, upto)
                if not max(hour, first) <= stop:  # what was archived meanwhile is the next comparison's
                    continue
                found.compared += here[hour].count if hour in here else 0
                gap = None
                if deep or hour <= oldest or not alike(here.get(hour), there.get(hour)):
                    count, gap = await self._each(series, max(hour, first), stop, bounds.wanted[series])
                else:
                    count = there[hour].count
                if gap is not None:
                    found.gaps.append(gap)
                    known.pop(hour, None)
                elif first <= hour and stop == hour + HOUR - 1:
                    known[hour] = count
            fewer = {h: n - known[h] for h, n in verified.get(series, {}).items() if n > known.get(h, n)}
            found.gone += [(series, hour, count) for hour, count in fewer.items()]
            same[series] = {hour: count for hour, count in known.items() if count and hour not in fewer}
        await asyncio.to_thread(self._state.note_verified, store, same, since=since)

    async def _summaries(self, series: Series, first: int, last: int, squares: bool) -> dict[int, Summary]:
        """What the shard holds of a range, by the hour's start."""
        wanted = _SUMMARY if squares else _SUMMARY[:-1]
        columns = await self._reader.buckets([(series, what, 0, HOUR, first, last) for what in wanted])
        by_hour = [dict(zip(times.tolist(), values.tolist(), strict=True)) for times, values in columns]
        found = {}
        # an hour may have left by retention between two of the replies
        for hour in set(by_hour[0]).intersection(*by_hour[1:]):
            count, total, least, most, *variance = (column[hour] for column in by_hour)
            sum_of_squares = squares_of(count, total, *variance) if variance else math.nan
            found[hour] = Summary(hour, round(count), total, least, most, sum_of_squares)
        return found

    async def _each(self, series: Series, first: int, last: int, wanted: int) -> tuple[int, Gap | None]:
        """Compares every reading of a range; what only the archive has counts from ``wanted`` (ms) on.

        Returns:
            how many the archive has, and what differs.
        """
        times, values = await samples_of(self._store, series, first, last)
        held, held_values = await self._pages.held(series, first, last)
        refused = await asyncio.to_thread(self._state.rejected, self._store.identity, series, first, last)
        if refused:
            taken = ~among(held, np.array(list(refused), np.int64))
            held, held_values = held[taken], held_values[taken]
        both = int(among(held, times).sum())
        differing = both - int(found(held, held_values, times, values).sum())
        surplus = int((~among(times, held) & (times >= wanted)).sum())
        if both == len(held) and not differing and not surplus:
            return len(times), None
        return len(times), Gap(series.key, first, last, len(held), both, differing, surplus)

    async def _dirty(self) -> list[Dirty]:
        return await asyncio.to_thread(self._state.dirty, self._store.identity, self._reader.location)


def _hour(gone: tuple[Series, int, int]) -> tuple[str, int, int]:
    series, hour, _ = gone
    return series.key, hour, hour + HOUR - 1


def _known(gap: Gap, dirty: Sequence[Dirty]) -> bool:
    return any(d.series.key == gap.sensor and d.first <= gap.last and d.last >= gap.first for d in dirty)


def _deleted(gap: Gap, deleted: Sequence[Range]) -> bool:
    return any(its.concerns(gap.sensor, gap.first, gap.last) for its in deleted)


def restorable(gaps: Sequence[Gap]) -> Mapping[Series, list[tuple[int, int]]]:
    """The ranges (ms, both ends included) of those gaps in which only the archive has readings, by series."""
    ranges: dict[Series, list[tuple[int, int]]] = {}
    for gap in gaps:
        if gap.surplus:
            ranges.setdefault(Series.from_key(gap.sensor), []).append((gap.first, gap.last))
    return ranges
