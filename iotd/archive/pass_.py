"""A pass over one location: what the log has is found in the shard, archived, compared, and only then called proven.

A pass takes the readings that the master has acknowledged, a bounded chunk of the log at a time. Per series it reads
what the shard holds beyond the watermark up to the last of them, and around those that are late; it archives the bytes
that Redis returned, and compares times and values with the log. Then

- a reading that is there with its value is proven once the archive has acknowledged it;
- one that is older than the shard's retention goes from the log straight to the archive;
- one that is missing, or has another value, is what the shard has lost: see :mod:`iotd.archive.repair`;
- one that a deletion behind it in the log concerns is not expected anywhere: see :mod:`iotd.archive.deletions`.

Only when all of a chunk is proven does the position ``archived`` move, and only that lets the log truncate it. Whatever
fails, the next pass begins at the same chunk, and archives again what it archived: the archive keeps one of each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from iotd.archive.base import Catalogue, Log, Partition, Shard
from iotd.archive.deletions import Deletions
from iotd.archive.delivery import Delivery
from iotd.archive.expected import Expected, clusters
from iotd.archive.flow import Flow
from iotd.archive.late import GAP_MS, LateScanner
from iotd.archive.pages import Move, Pages
from iotd.archive.repair import Readings, Repair
from iotd.archive.standing import Standing
from iotd.archive.state import ArchiveState, Dirty, Proven
from iotd.config import Settings
from iotd.log.base import Record
from iotd.log.budget import Budget
from iotd.model.arrays import concatenated
from iotd.model.instants import milliseconds
from iotd.model.series import Series
from iotd.shards.reader import ShardReader

CHUNK = 131_072
"""Readings of the log that are held at once: some 10 MB with what their comparison takes."""
_READ = 4 * 1024 * 1024
_SOME = 5_000
"""So many readings are sorted on the event loop; more in a thread."""
_SLICE_MS = 6 * 3_600_000
"""A dirty range is archived again in parts of this length, each of which is done with when it is acknowledged."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass did.

    Attributes:
        new: points archived beyond the watermarks.
        again: points archived in dirty ranges, or because they were late.
        proven: readings of the log that are in the archive for certain.
        repaired: of those, how many the shard had lost or altered, and has again.
        expired: of those, how many were older than the shard's retention.
        restarted: the store's server was started again since the last pass that came to its end.
    """

    new: int
    again: int
    proven: int = 0
    repaired: int = 0
    expired: int = 0
    restarted: bool = False


@dataclass(slots=True)
class _Work:
    """A pass on its way."""

    epoch: int
    started: str
    """The run of the store's server, when it began."""
    marks: dict[Series, int]
    newest: dict[Series, int]
    """Of each series in the shard, ms."""
    covered: dict[Series, list[tuple[int, int]]] = field(default_factory=dict)
    """What was archived again, around late readings."""
    new: int = 0
    again: int = 0
    proven: int = 0
    repaired: int = 0
    expired: int = 0


class LocationPass:
    """Makes the passes over one location, one at a time.

    Attributes:
        standing: what is known of the store, and found out before each pass.
    """

    def __init__(
        self,
        reader: ShardReader,
        *,
        log: Log,
        catalogue: Catalogue,
        shard: Shard,
        late: LateScanner,
        deletions: Deletions,
        delivery: Delivery,
        state: ArchiveState,
        budget: Budget,
        settings: Settings,
    ) -> None:
        self.location = reader.location
        self._reader = reader
        self._log = log
        self._partition: Partition = log.partition(reader.location)
        self._catalogue = catalogue
        self._late = late
        self._deletions = deletions
        self._delivery = delivery
        self._store = delivery.store
        self._state = state
        self._budget = budget
        self._in_flight = settings.archive.in_flight
        self._retention = milliseconds(settings.redis.retention)
        self.standing = Standing(self.location, log, delivery, state)
        self._pages = Pages(reader, delivery)
        self._repair = Repair(reader, self._partition, catalogue, shard, self._pages, retention_ms=self._retention)

    async def begin(self) -> None:
        """Takes up where an earlier run of the daemon left off.

        Raises:
            ArchiveUnavailable: the state can't be read.
        """
        await self.standing.begin()
        marks = await asyncio.to_thread(self._state.watermarks, self._store.identity, self.location)
        self._late.begin(self._partition.positions.archived, marks)

    async def run(self) -> Pass:
        """One pass.

        Raises:
            ShardError: the shard can't be asked, or was taken up anew meanwhile.
            ArchiveError: the archive does not take it now, or the state can't be written.
        """
        if self._delivery.outage.reason is not None:
            # that it is over must not wait until the shard has answered and all was read that is to be written
            await self._delivery.probe()
        started = await self.standing.check()
        epoch, identity, positions = self._state.epoch, self._store.identity, self._partition.positions
        target = await self._deletions.reach()
        await self._deletions.carry_out((), epoch)
        await self._late.reach(target)
        marks = await asyncio.to_thread(self._state.watermarks, identity, self.location)
        dirty = await asyncio.to_thread(self._state.dirty, identity, self.location)
        newest = {series: time for series, (time, _) in (await self._reader.latest()).items()}
        work = _Work(epoch, started, marks, newest)
        while positions.archived < target:
            records, upto = await self._chunk(positions.archived, target)
            await self._prove(work, records, upto)
        await self._clean(work, dirty)
        await self._others(work)
        restarted = self.standing.restarted()
        return Pass(work.new, work.again, work.proven, work.repaired, work.expired, restarted)

    # ── what the log has ──

    async def _chunk(self, after: int, target: int) -> tuple[list[Record], int]:
        """Records beyond ``after``, and the sequence up to which they are all there are."""
        records: list[Record] = []
        count = 0
        while count < CHUNK and after < target:
            some = [r for r in await self._partition.read(after, _READ) if r.sequence <= target]
            if not some:
                return records, target
            for record in some:
                records.append(record)
                after = record.sequence
                count += len(record.series)
                if count >= CHUNK:
                    break
        return records, after

    async def _prove(self, work: _Work, records: Sequence[Record], upto: int) -> None:
        deletions = await self._partition.deletions(self._partition.positions.archived)
        if due := [deletion for deletion in deletions if deletion.sequence <= upto]:
            await self._deletions.carry_out(due, work.epoch)  # what was handed over again is archived after that
        if sum(len(record.series) for record in records) <= _SOME:
            expected = Expected.of(records, deletions)
        else:
            expected = await asyncio.to_thread(Expected.of, records, deletions)
        doubts: list[Readings] = []
        marks: dict[Series, int] = {}
        async with self._flow(work) as flow:
            moves: list[Move] = []
            for number, times, values in expected.each():
                series = self._catalogue.series(number)
                mark = work.marks.get(series, -1)
                late = int(times.searchsorted(mark, "right"))
                for first, last in clusters(times[:late], GAP_MS):
                    part = slice(*times.searchsorted((first, last + 1)))
                    moves += await self._unexpired(
                        work, flow, Move(series, first - 1, last, False, (times[part], values[part]))
                    )
                    work.covered.setdefault(series, []).append((first, last))
                if late < len(times):
                    marks[series] = int(times[-1])
                    moves += await self._unexpired(
                        work, flow, Move(series, mark, marks[series], True, (times[late:], values[late:]))
                    )
            await self._pages.move(flow, moves)
            for move in moves:
                self._count(work, move.count, move.mark)
                doubts += [Readings(move.series, *concatenated(move.doubtful))] if move.doubtful else []
            if doubts:
                await flow.finish()  # what the log says is to be written after what the shard has said
                mended = await self._repair.mend(doubts, upto)
                for doubt in mended.wanted:
                    await self._pages.straight(flow, doubt.series, doubt.times, doubt.values, mark=False)
                work.repaired += mended.repaired
        store, proven = self._store.identity, Proven(self._log.epoch, upto, work.started)
        await asyncio.to_thread(self._state.prove, store, self._log.id, self.location, proven, marks, epoch=work.epoch)
        work.marks.update(marks)
        self._late.passed(marks)
        work.proven += len(expected)
        self._partition.positions.advance("archived", upto)

    async def _unexpired(self, work: _Work, flow: Flow, move: Move) -> list[Move]:
        """The move, if anything of it is left once what the shard no longer keeps went straight to the archive."""
        times, values = move.expected
        oldest = self._oldest(work, move.series)
        expired = int(times.searchsorted(oldest)) if oldest is not None else 0
        if expired:
            await self._pages.straight(flow, move.series, times[:expired], values[:expired], mark=move.mark)
            self._count(work, expired, move.mark)
            work.expired += expired
            move.expected, move.after = (times[expired:], values[expired:]), int(times[expired - 1])
        return [move] if expired < len(times) else []

    # ── what only the shard has ──

    async def _clean(self, work: _Work, dirty: Sequence[Dirty]) -> None:
        """Archives the dirty ranges again in which no reading of the log lies any more."""
        clean: list[tuple[Dirty, int]] = []
        async with self._flow(work) as flow:
            for one in dirty:
                covered = any(
                    first <= one.first and one.last <= last for first, last in work.covered.get(one.series, ())
                )
                stop = min(one.last, work.marks.get(one.series, -1))  # what lies beyond is archived from there
                for first in () if covered else range(one.first, stop + 1, _SLICE_MS):
                    last = min(first + _SLICE_MS - 1, stop)
                    move = Move(one.series, first - 1, last, mark=False)
                    await self._pages.move(flow, [move])
                    self._count(work, move.count, False)
                    if last < stop:
                        await flow.finish()
                        await asyncio.to_thread(self._state.cleaned, [*clean, (one, last)], work.epoch)
                        clean = []
                clean.append((one, one.last))
        if clean:
            await asyncio.to_thread(self._state.cleaned, clean, work.epoch)

    async def _others(self, work: _Work) -> None:
        """Archives what the shard holds beyond the watermark of a series of which the log has nothing there."""
        async with self._flow(work) as flow:
            for series, newest in sorted(work.newest.items()):
                mark = work.marks.get(series)
                if mark is not None and (newest <= mark or self._appended(series) > mark):
                    continue  # all is archived, or is once its reading in the log has its turn
                move = Move(series, -1 if mark is None else mark, newest, mark=True)
                await self._pages.move(flow, [move])
                self._count(work, move.count, True)
                if move.count:
                    work.marks[series] = newest
        self._late.passed(work.marks)

    def _appended(self, series: Series) -> int:
        number = self._catalogue.number_of(series)
        newest = self._catalogue.newest
        return -1 if number is None or number >= len(newest) else int(newest[number])

    # ── both ──

    def _oldest(self, work: _Work, series: Series) -> int | None:
        """The time (ms) before which the shard keeps nothing of a series; None when it keeps everything."""
        newest = work.newest.get(series)
        return None if newest is None or not self._retention else newest - self._retention

    def _count(self, work: _Work, count: int, new: bool) -> None:
        if new:
            work.new += count
        else:
            work.again += count

    def _flow(self, work: _Work) -> Flow:
        return Flow(self._delivery, self._state, self._budget, epoch=work.epoch, in_flight=self._in_flight)
