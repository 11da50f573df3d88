"""What a query finds out about the archive itself: whether it still holds what was verified, and its newest readings.

The whole hours that a query's range touches are counted by the archive, and compared with what it held when they were
last verified (:mod:`iotd.archive.verified`). Fewer make the hour doubtful. Of each series the archive must have the
reading at its watermark. If it has not, the archive was set back, and everything up to there that is not verified is
doubtful too: that is the last hour or two.

What is not noticed: rows deleted in an hour that is not verified yet, or is dirty, while the newest reading is there;
values that were altered; that the shard has lost the same readings; and anything where the watermarks are not on this
machine. The next verification finds them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from iotd.archive.presence import lacking, oldest_kept
from iotd.archive.verified import Counts
from iotd.model.buckets import HOUR, Run
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.query.join import Range, joined
from iotd.query.marks import Marks
from iotd.query.times import show
from iotd.stores.base import Store

Doubtful = dict[Series, list[Range]]

_REMEDY = "it was set back, or rows were deleted there; `iotd archive verify` compares, `iotd archive repair` mends"


class Doubts:
    """One query's. Each hour is asked about once; ranges are to be asked about in the order of time."""

    def __init__(self, what: Selection, archive: Store, marks: Marks) -> None:
        self._what = what
        self._archive = archive
        self._marks = marks
        self._upto = -1
        self._asked: set[Series] = set()
        self._set_back: set[Series] = set()
        self._newest: dict[str, int] = {}
        self._short: dict[str, list[tuple[int, int, int]]] = {}
        self._turn = asyncio.Lock()

    async def doubtful(self, first: int, last: int) -> Doubtful:
        """What of a range (ms, both included) is doubtful, and was not asked about before.

        Raises:
            ArchiveError: the archive can't answer.
        """
        async with self._turn:
            begin, end = max(first // HOUR * HOUR, self._upto + 1), last // HOUR * HOUR + HOUR - 1
            if begin > end:
                return {}
            verified, present = await asyncio.to_thread(self._expected, begin, end)
            # of what is verified throughout, the counts say all
            newest = {
                series: mark
                for series, mark in present.items()
                if min(end, mark) // HOUR - begin // HOUR >= len(verified.get(series, ()))
            }
            found, _ = await asyncio.gather(self._fewer(verified), self._look_for(newest))
            for series in newest.keys() & self._set_back:
                mark = present[series]
                if others := _between(verified.get(series, {}), begin, min(end, mark)):
                    found.setdefault(series, []).extend(others)
                    self._newest[series.location] = max(mark, self._newest.get(series.location, mark))
            self._upto = end
            return found

    def why(self, location: str) -> str | None:
        """What is wrong with the archive of a location; None when nothing is known to be."""
        reasons = []
        if hours := self._short.get(location):
            held, wanted = (sum(hour[n] for hour in hours) for n in (1, 2))
            span = f"{show(min(hours)[0])} to {show(max(hours)[0] + HOUR)}"
            reasons.append(f"fewer readings than when it was last verified, {held:,} of {wanted:,} from {span}")
        if (newest := self._newest.get(location)) is not None:
            reasons.append(f"no longer the newest readings that it had acknowledged, of {show(newest)}")
        return f"the archive holds {' and '.join(reasons)}: {_REMEDY}" if reasons else None

    def _expected(self, first: int, last: int) -> tuple[Counts, dict[Series, int]]:
        """What was verified in a range, and the watermarks (ms) of what was archived up to its begin. Blocking."""
        verified = self._marks.verified(self._what.locations, first, last)
        present = {Series.from_key(key): ms for key, ms in self._marks.present.items() if ms >= first}
        return (
            {series: hours for series, hours in verified.items() if series in self._what},
            {series: ms for series, ms in present.items() if series in self._what},
        )

    async def _look_for(self, newest: Mapping[Series, int]) -> None:
        """Asks for the readings at these watermarks (ms), unless it was done before."""
        new = {series: ms for series, ms in newest.items() if series not in self._asked}
        gone = await lacking(self._archive, new)
        oldest = await oldest_kept(self._archive) if gone else 0
        self._set_back |= {series for series in gone if new[series] >= oldest}
        self._asked |= new.keys()

    async def _fewer(self, verified: Counts) -> Doubtful:
        hours = {hour for its in verified.values() for hour in its}
        if not hours:
            return {}
        first, last = min(hours), max(hours) + HOUR - 1
        what = self._what.at(sorted({series.location for series in verified}))
        answer = await self._archive.buckets(what, "count", Run(first, last, HOUR), first, last)
        found: Doubtful = {}
        oldest: int | None = None
        for series, its in verified.items():
            times, counts = answer.get(series, ([], []))
            held = dict(zip(map(int, times), map(int, counts), strict=True))
            for hour, wanted in its.items():
                if held.get(hour, 0) >= wanted:
                    continue
                oldest = await oldest_kept(self._archive) if oldest is None else oldest
                if hour >= oldest:
                    found.setdefault(series, []).append(Range(hour, hour + HOUR - 1))
                    self._short.setdefault(series.location, []).append((hour, held.get(hour, 0), wanted))
        return found


def _between(hours: Mapping[int, int], first: int, last: int) -> list[Range]:
    """What of a range lies in none of these hours."""
    found, at = [], first
    for hour in sorted(hours):
        if at < min(hour, last + 1):
            found.append(Range(at, min(hour - 1, last)))
        at = max(at, hour + HOUR)
    if at <= last:
        found.append(Range(at, last))
    return joined(found)
