"""What a shard holds against what the archive holds: summaries by series and hour, each reading where they differ."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from iotd.archive.expected import found
from iotd.archive.pages import Pages
from iotd.archive.restore import Restorer
from iotd.archive.state import ArchiveState, Dirty
from iotd.model.arrays import among
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.shards.reader import ShardReader
from iotd.stores.base import Store, Summary, samples_of

HOUR = 3_600_000
ENDLESS = 2**62
_WINDOW = 24 * HOUR
_SUMMARY = ("count", "sum", "min", "max")


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
    """

    compared: int
    gaps: list[Gap]
    repaired: int = 0


class Comparer:
    """Compares one location, a day at a time, so that neither server is held up and nothing large is held here.

    It has a reader of its own: archiving goes on meanwhile.
    """

    def __init__(
        self, reader: ShardReader, pages: Pages, store: Store, state: ArchiveState, restorer: Restorer
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
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """Closes the reader's connection."""
        await self._reader.close()

    async def compare(self, *, deep: bool = False) -> Comparison:
        """Compares the summaries, or with ``deep`` every value, of all that is behind the watermarks.

        The first hour of a series is compared reading by reading, for retention takes some away meanwhile; so is the
        last one up to the watermark. What only the archive has counts as far back as it is written back into the
        shard. What the archive lacks in a range that is known to be dirty is no gap: the next pass archives it again.

        Raises:
            ShardError: the shard can't be asked.
            ArchiveUnverifiable: the archive can never be asked.
            ArchiveError: it can't be asked now.
        """
        async with self._turn:
            return await self._compare(deep)

    async def _compare(self, deep: bool) -> Comparison:
        # a range that is archived again meanwhile is dirty before, and not after
        dirty = await self._dirty()
        ends = await self._reader.ends()
        marks = await asyncio.to_thread(self._state.watermarks, self._store.identity, self._reader.location)
        back = self._restorer.back_ms != 0
        wanted = dict.fromkeys(marks, ENDLESS)
        begins = {series: ends[series][0] if series in ends else ENDLESS for series in marks}
        if back and marks:
            # an hour later: retention goes on meanwhile
            wanted = {s: self._restorer.begin(max(mark, *ends.get(s, (0, 0)))) + HOUR for s, mark in marks.items()}
            what = Selection((self._reader.location,), tuple({series.type for series in marks}))
            for series, first in (await self._store.begins(what, min(wanted.values()), max(marks.values()))).items():
                if series in marks:
                    begins[series] = min(begins[series], max(first, wanted[series]))
        compared, gaps = 0, []
        newest = max(marks.values(), default=0)
        # series that go on together end together; one that stopped earlier is compared to its last whole hour
        last = min((mark for mark in marks.values() if mark > newest - HOUR), default=-1)
        for begin in range(min(begins.values(), default=0) // HOUR * HOUR, last + 1, _WINDOW):
            end = min(begin + _WINDOW - 1, last)
            archived = {} if deep else await self._store.summaries(self._reader.location, begin, end)
            for series, mark in sorted(marks.items()):
                if begins[series] > end or mark < begin:
                    continue
                oldest = ends[series][0] if series in ends else mark + 1
                here = await self._summaries(series, begin, end) if series in ends else {}
                there = {summary.hour: summary for summary in archived.get(series, [])}
                hours = here.keys() | (range(begin, end + 1, HOUR) if deep and back else there.keys())
                for hour in sorted(hours):
                    stop = min(hour + HOUR - 1, end)
                    if stop > mark or stop < begins[series]:
                        continue
                    compared += here[hour].count if hour in here else 0
                    if deep or hour <= oldest or not _alike(here.get(hour), there.get(hour)):
                        first = max(hour, begins[series])
                        gap = await self._differing(series, first, stop, wanted[series])
                        gaps += [gap] if gap else []
        dirty += await self._dirty()
        # what only the archive has does not come back by archiving again
        return Comparison(compared, [gap for gap in gaps if gap.surplus or not _known(gap, dirty)])

    async def _summaries(self, series: Series, first: int, last: int) -> dict[int, Summary]:
        """What the shard holds of a range, by the hour's start."""
        columns = await self._reader.buckets([(series, what, 0, HOUR, first, last) for what in _SUMMARY])
        count, *others = (dict(zip(times.tolist(), values.tolist(), strict=True)) for times, values in columns)
        # an hour may have left by retention between two of the replies
        hours = set(count).intersection(*others)
        return {hour: Summary(hour, round(count[hour]), *(column[hour] for column in others)) for hour in hours}

    async def _differing(self, series: Series, first: int, last: int, wanted: int) -> Gap | None:
        """Compares every reading of a range; what only the archive has counts from ``wanted`` (ms) on."""
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
            return None
        return Gap(series.key, first, last, len(held), both, differing, surplus)

    async def _dirty(self) -> list[Dirty]:
        return await asyncio.to_thread(self._state.dirty, self._store.identity, self._reader.location)


def _alike(one: Summary | None, other: Summary | None) -> bool:
    if one is None or other is None:
        return one is other
    if (one.count, one.min, one.max) != (other.count, other.min, other.max):
        return False
    # sums depend on the order in which they are added
    return abs(one.sum - other.sum) <= 1e-12 * one.count * max(abs(one.min), abs(one.max))


def _known(gap: Gap, dirty: Sequence[Dirty]) -> bool:
    return any(d.series.key == gap.sensor and d.first <= gap.last and d.last >= gap.first for d in dirty)


def restorable(gaps: Sequence[Gap]) -> Mapping[Series, list[tuple[int, int]]]:
    """The ranges (ms, both ends included) of those gaps in which only the archive has readings, by series."""
    ranges: dict[Series, list[tuple[int, int]]] = {}
    for gap in gaps:
        if gap.surplus:
            ranges.setdefault(Series.from_key(gap.sensor), []).append((gap.first, gap.last))
    return ranges
