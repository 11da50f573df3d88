"""The comparer: what a shard holds, against what the archive holds, per series and hour."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from iotd.archive.sinks.base import Sink
from iotd.archive.watermarks import Dirty, Watermarks
from iotd.model.series import Series
from iotd.shards.reader import ShardReader

HOUR = 3_600_000
_WINDOW = 24 * HOUR
_PAGE = 10_000


@dataclass(frozen=True, slots=True)
class Gap:
    """An hour of a series in which shard and archive differ; ``first`` and ``last`` in ms, both included.

    Attributes:
        held: samples in the shard.
        archived: points in the archive.
        differing: of those that both have, how many have another value (deep verification only).
    """

    sensor: str
    first: int
    last: int
    held: int
    archived: int
    differing: int = 0

    def __str__(self) -> str:
        return f"{self.sensor} from {self.first}: {self.archived} of {self.held}, {self.differing} differ"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification found.

    Attributes:
        compared: samples of the shard that were compared.
        gaps: where the archive differs still.
        repaired: how many gaps were found and are gone.
    """

    compared: int
    gaps: list[Gap]
    repaired: int = 0


class Comparer:
    """Compares one location, a day at a time, so that neither server is held up and nothing large is held here.

    It has a reader of its own: archiving goes on meanwhile.
    """

    def __init__(self, reader: ShardReader, sink: Sink, watermarks: Watermarks) -> None:
        self._reader = reader
        self._sink = sink
        self._watermarks = watermarks
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        await self._reader.close()

    async def compare(self, *, deep: bool = False) -> Verdict:
        """Compares counts, or with ``deep`` every value, of all that is behind the watermarks.

        The first hour of a series is compared reading by reading, for it loses some while we look, and the last one up
        to the watermark. A range that is known to be dirty is no gap: it is archived again in the next pass anyway.

        Raises:
            ShardError: the shard can't be asked.
            ArchiveUnverifiable: the archive can never be asked.
            ArchiveError: it can't be asked now.
        """
        async with self._turn:
            return await self._compare(deep)

    async def _compare(self, deep: bool) -> Verdict:
        # a range that is archived again while we look is dirty before, and not after
        dirty = await self._dirty()
        ends = await self._reader.ends()
        marks = await asyncio.to_thread(self._watermarks.marks, self._sink.identity, ends)
        if not marks:
            return Verdict(0, [])
        newest = max(marks.values())
        # series that go on together end together; one that stopped earlier is compared to its last whole hour
        last = min(mark for mark in marks.values() if mark > newest - HOUR)
        compared, gaps = 0, []
        for begin in range(min(ends[sensor][0] for sensor in marks) // HOUR * HOUR, last + 1, _WINDOW):
            end = min(begin + _WINDOW - 1, last)
            archived = {} if deep else await self._sink.counts(self._reader.location, begin, end, HOUR)
            for sensor, mark in sorted(marks.items()):
                held = await self._reader.counts(sensor, begin, end, HOUR)
                hours = {start: count for start, count in held.items() if min(start + HOUR - 1, end) <= mark}
                compared += sum(hours.values())
                oldest = ends[sensor][0]
                for start, count in hours.items():
                    stop = min(start + HOUR - 1, end)
                    if deep or start <= oldest:
                        gap = await self._differing(sensor, max(start, oldest), stop)
                    else:
                        there = archived.get(sensor, {}).get(start, 0)
                        gap = await self._counted(sensor, start, stop, held=count, there=there)
                    if gap is not None:
                        gaps.append(gap)
        dirty += await self._dirty()
        return Verdict(compared, [gap for gap in gaps if not _known(gap, dirty)])

    async def _counted(self, sensor: Series, first: int, last: int, *, held: int, there: int) -> Gap | None:
        if there != held:
            there += len(await self._refused(sensor, first, last))
        return Gap(sensor.key, first, last, held, there) if there != held else None

    async def _differing(self, sensor: Series, first: int, last: int) -> Gap | None:
        archived = dict(await self._sink.read(sensor, first, last))
        refused = await self._refused(sensor, first, last)
        held: dict[int, float] = {}
        after = first - 1
        while page := await self._reader.page(sensor, after, last, _PAGE):
            held.update((time, float(value)) for time, value in page if time not in refused)
            after = page[-1][0]
        both = held.keys() & archived.keys()
        differing = sum(archived[time] != held[time] for time in both)
        if len(both) == len(held) and not differing:
            return None
        return Gap(sensor.key, first, last, len(held), len(both), differing)

    async def _dirty(self) -> list[Dirty]:
        return await asyncio.to_thread(self._watermarks.dirty, self._sink.identity, self._reader.location)

    async def _refused(self, sensor: Series, first: int, last: int) -> set[int]:
        return await asyncio.to_thread(self._watermarks.rejected, self._sink.identity, sensor, first, last)


def _known(gap: Gap, dirty: list[Dirty]) -> bool:
    return any(d.first <= gap.last and d.last >= gap.first for d in dirty)
