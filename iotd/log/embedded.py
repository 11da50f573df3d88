"""The log in files of the state directory: the asynchronous face of :class:`Core`, with group commit.

Form on disk
    ``0000000001.seg`` …  segments: frames, one behind the other. A new one begins with each opening, and when the
                          last one has reached its size (8 MiB).
    ``meta``              one frame: the log's id, its epochs and partitions. Replaced atomically, once an opening.
    ``witness``           one frame: how far each partition reached at the last commit. Overwritten in place after
                          every commit and not synced.

    A frame is a header and a payload, little-endian:
        magic 4 · length of the payload u32 · frame number u64 · tag of the epoch u32 · xxh3-64 of all but itself u64
    A payload is a row of items, each with its kind in the first byte:
        1 log        version u16, id 16
        2 epoch      ordinal u64, token 8, n u32, n × (partition u16, first sequence u64, readings before u32)
        3 partition  number u16, length u16, name
        4 series     compressed u8, length u32, plain length u32, n × (number i32, length u16, description)
        5 record     partition u16, sequence u64, n u32, readings before u32, n times i64, n values f64, n series i32
        6 source     number u16, length u16, name
        7 position   source u16, length u16, position
        8 state      partition u16, truncated u64, readings until there u32, end u64, readings until there u32
        9 tick       as a record, of readings of one time: time i64, n values f64, n series i32
        10 deletion  partition u16, sequence u64, n u32, readings before u32, first ms i64, last ms i64, n series i32

Invariants
    1.  One commit is one frame and one fdatasync, for all partitions and source positions in it. Nothing is
        acknowledged before that sync has returned; what is acknowledged, any later reader finds.
    2.  A frame is believed only when its checksum is right. Reading takes up again at the next whole frame.
    3.  Sequences of a partition are 1, 2, 3, …, each given once in an epoch. An epoch begins beyond every sequence
        that segments, meta file and witness speak of. Whatever is missing between what is truncated and the end is
        therefore lost, and named; the readings before each record tell how many readings that were.
    4.  Epochs follow each other without a hole, or those before the hole are forgotten: where an epoch ended, only
        the beginning of the next one can tell. A checkpoint of a forgotten epoch proves nothing.
    5.  Numbers of series mean the same throughout an epoch, and are defined in the segment that uses them, before or
        in the frame of their first use. Numbers of partitions and sources are never given twice.
    6.  Definitions stand in two frames, and once more a page further on: a flipped bit costs the frame it is in, a lost
        page the frames it is in, and not what stands behind them.
    7.  A segment needs no older one. Its head has the epochs, partitions, sources with their positions, and states.
    8.  A truncation is on disk before a segment is removed for it; until then more is read again, and nothing missed.
    9.  The number of a segment is never used again. What is rewritten is synced under its name before the old segments
        go; records found twice are one.
    10. The end of a segment that no whole frame follows, when nothing else speaks of what was in it, is the torn
        end of a write that nobody was told of. It is cut off and is no loss.
    11. A write that failed is cut off again before the next one. After a sync that failed the segment is left.
    12. What a commit has written is in the file of that name in the log's folder, or it is not acknowledged. A file
        that was removed or replaced is written anew from what is still open.
    13. No damage ends the log: it costs the records it hits, and is named in ``damage`` and by ``log_damaged``.
    14. A deletion is a record among the others, with a sequence, and without readings where they are counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from iotd.log.active import Call, Committed
from iotd.log.base import Append, Damage, Delete, Numbering
from iotd.log.budget import Budget
from iotd.log.committer import Committer, Job
from iotd.log.core import SEGMENT_SIZE, Core
from iotd.log.disk import Disk
from iotd.log.frame import MAX_READINGS
from iotd.log.index import Place
from iotd.log.partition import EmbeddedPartition
from iotd.log.positions import Position, Positions
from iotd.log.reader import Outcome
from iotd.model.batch import Numbers, Times, Values
from iotd.model.errors import IotdError, StateError, UsageError


class EmbeddedLog:
    """Implements :class:`iotd.log.base.Log`. One thread commits, another one reads."""

    def __init__(
        self,
        folder: Path,
        numbering: Numbering,
        *,
        budget: Budget,
        limit: int,
        required: Iterable[Position] = ("durable", "archived"),
        keep_s: float = 0,
        segment_size: int = SEGMENT_SIZE,
        disk: Disk | None = None,
        begins_with: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        """Opens or makes the log; call it with the event loop running. Blocking.

        ``limit`` is in bytes and a partition's: at it ``room`` waits. Truncation waits for the positions ``required``,
        and ``keep_s`` seconds more, for as much as takes a small part of the limit. ``begins_with`` are positions by
        source, which a log has from its first commit on where it held nothing before.

        Raises:
            StateError: the folder cannot be used.
        """
        self._core = Core(folder, numbering, disk, segment_size, begins_with)
        self.folder = folder
        self.budget = budget
        self._limit = limit
        self._keep_s = keep_s
        self._required = frozenset(required)
        self._loop = asyncio.get_running_loop()
        self._committer = Committer(self._core, self._committed, self._vanished)
        self._open: set[asyncio.Future[Any]] = set()
        self._partitions: dict[str, EmbeddedPartition] = {}
        for name in self._core.indexes.copy():
            self.partition(name)
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="log-read")
        self._readers.submit(int)  # its thread starts now: while history loads, the loop would wait for that

    @property
    def id(self) -> str:
        return self._core.id

    @property
    def epoch(self) -> str:
        return self._core.epoch.id

    @property
    def fresh(self) -> bool:
        return self._core.fresh

    @property
    def damage(self) -> Sequence[Damage]:
        return tuple(self._core.damage)

    def note(self, damage: Damage) -> None:
        self._core.note(damage)

    @property
    def failing(self) -> str | None:
        """Why nothing can be written at present (``disk full``), None while all is well."""
        return self._committer.failing

    @property
    def replaced(self) -> int:
        """How often a file that somebody removed or replaced was written anew."""
        return self._core.writer.replaced

    @property
    def partitions(self) -> tuple[str, ...]:
        return tuple(name for name, partition in self._partitions.items() if not partition.empty)

    @property
    def disk_bytes(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in list(self._core.writer.segments.values()))

    def partition(self, name: str) -> EmbeddedPartition:
        found = self._partitions.get(name)
        if found is None:
            core = self._core
            core.index(name)
            positions = Positions(core.truncated[name], core.ends[name], self._required)
            found = self._partitions[name] = EmbeddedPartition(
                name, core, self.budget, positions, read=self._read, truncate=self._committer.truncate
            )
            found.reconfigure(limit=self._limit, keep_s=self._keep_s)
        return found

    def source_position(self, source: str) -> bytes | None:
        return self._core.source_positions.get(source)

    def position_of(self, partition: str, epoch: str, sequence: int) -> int | None:
        return self._core.position_of(partition, epoch, sequence, self.partition(partition).end)

    def reconfigure(self, *, limit: int, required: Iterable[Position], keep_s: float) -> None:
        """Goes by another limit, other required positions and another time to keep, from now on."""
        self._limit = limit
        self._keep_s = keep_s
        self._required = frozenset(required)
        for partition in self._partitions.values():
            partition.positions.require(self._required)
            partition.reconfigure(limit=limit, keep_s=keep_s)

    # ── appending ──

    async def room(self, location: str, share: float = 1.0) -> None:
        await self.partition(location).room(share)

    def append(
        self,
        location: str,
        series: Numbers,
        times: Times,
        values: Values,
        positions: Sequence[tuple[str, bytes]] = (),
    ) -> asyncio.Future[int]:
        return self._submit((Append(location, series, times, values),), positions, single=True)

    def append_many(
        self, appends: Sequence[Append], positions: Sequence[tuple[str, bytes]] = ()
    ) -> asyncio.Future[list[int]]:
        return self._submit(appends, positions, single=False)

    def delete(self, location: str, series: Numbers, first: int, last: int) -> asyncio.Future[int]:
        return self._submit((Delete(location, series, first, last),), (), single=True)

    def _submit(
        self, appends: Sequence[Append | Delete], positions: Sequence[tuple[str, bytes]], single: bool
    ) -> asyncio.Future[Any]:
        if self._committer.closed:
            raise StateError(f"{self.folder}: the log is closed")
        checked = [_checked(append) for append in appends]
        for source, position in positions:
            if len(position) > 65_535:
                raise UsageError(f"the position of {source} has {len(position)} bytes; 65,535 at most can be kept")
        size = sum(append.size for append in checked)
        for append in checked:
            self.partition(append.location).given(append)
        done: asyncio.Future[Any] = self._loop.create_future()
        self._open.add(done)
        self._committer.put(Job(Call(checked, tuple(positions)), size, done, single))
        return done

    def _committed(self, jobs: Sequence[Job], outcomes: Sequence[Committed | IotdError]) -> None:
        for job, outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, IotdError):
                self._refuse(job, outcome)
                continue
            sequences = [
                self.partition(append.location).committed(append, place)
                for append, place in zip(job.call.appends, outcome, strict=True)
            ]
            self._core.source_positions.update(job.call.positions)
            self._open.discard(job.done)
            if not job.done.done():
                job.done.set_result(sequences[0] if job.single else sequences)

    def _vanished(self, segments: Sequence[int]) -> None:
        for partition in self._partitions.values():
            partition.vanished(segments)

    def _refuse(self, job: Job, error: IotdError) -> None:
        for append in job.call.appends:
            self.partition(append.location).refused(append)
        self._open.discard(job.done)
        if not job.done.done():
            job.done.set_exception(error)

    # ── reading ──

    async def _read(self, places: Sequence[Place]) -> Outcome:
        if self._committer.closed:
            raise StateError(f"{self.folder}: the log is closed")
        return await self._loop.run_in_executor(self._readers, self._core.read, places)

    async def close(self) -> None:
        if self._committer.closed:
            return
        await self._committer.close()
        await self._loop.run_in_executor(None, self._readers.shutdown)
        self._core.close()
        for done in self._open:
            if not done.done():
                done.set_exception(StateError(f"{self.folder}: the log was closed before it could be written"))
                done.exception()  # nobody needs to ask
        self._open.clear()


def _checked(append: Append | Delete) -> Append | Delete:
    """The columns in the types of the log.

    Raises:
        UsageError: they differ in length, or are too long; a deletion names nothing.
    """
    series = np.ascontiguousarray(append.series, np.int32)
    if isinstance(append, Delete):
        if series.ndim != 1 or not 0 < len(series) <= MAX_READINGS or append.first > append.last:
            raise UsageError(f"{series.shape} series of {append.location} from {append.first} to {append.last}")
        return Delete(append.location, series, append.first, append.last)
    times = np.ascontiguousarray(append.times, np.int64)
    values = np.ascontiguousarray(append.values, np.float64)
    if series.ndim != 1 or not series.shape == times.shape == values.shape:
        raise UsageError(f"columns of {append.location} differ: {series.shape}, {times.shape}, {values.shape}")
    if len(series) > MAX_READINGS:
        raise UsageError(f"{len(series)} readings are too many for one record: {MAX_READINGS} at most")
    return Append(append.location, series, times, values)
