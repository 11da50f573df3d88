"""One shard's way through the queue: what is in memory, what is in the spool, and how far it has come."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from time import monotonic

from iotd.config.tree import Spool as SpoolSettings
from iotd.model.errors import StateError
from iotd.pipeline.budget import Budget
from iotd.pipeline.journal import Entry
from iotd.pipeline.spool import Spool
from iotd.pipeline.tally import Sizes, Tally
from iotd.sources.source import Span
from iotd.wire.commands import Packed


@dataclass(frozen=True, slots=True)
class LaneDepth:
    """How full a lane is.

    Attributes:
        batches: handed over and not yet confirmed.
        readings: in these.
        bytes: of these, in the spool, to within 64 KiB.
        memory: bytes in memory.
        kept: confirmed bytes kept until the archive has them.
        age: seconds since confirming last got on, while something waits for it (0 when nothing does).
        unarchived: readings handed over since the last whole pass of the archive began.
    """

    batches: int
    readings: int
    bytes: int
    memory: int
    kept: int
    age: float
    unarchived: int


class Lane:
    """Batches of one location, in sequence: handed over, sent, applied, confirmed, archived, forgotten.

    ``handed``     last sequence in the spool
    ``applied``    last one up to which the shard's master has answered well, in this session
    ``confirmed``  last one up to which master and replica hold it for certain; back where a master holds less
    ``archived``   last one up to which the archive holds it
    """

    def __init__(self, location: str, spool: Spool, budget: Budget, settings: SpoolSettings) -> None:
        record = spool.lane(location)
        self.location = location
        self.span = record.span
        self.handed = record.last
        self.applied = record.forgotten
        self.confirmed = record.forgotten
        self.archived = record.forgotten
        self.forgotten = record.forgotten
        self.readings = 0
        """Readings handed over since this object was made."""
        self._given = record.last
        self._id = record.id
        self._spool = spool
        self._budget = budget
        self._settings = settings
        self._cursor = record.forgotten
        self._run: deque[Entry] = deque()
        self._memory = 0
        self._sizes = Sizes()
        self._unconfirmed = Tally()
        self._unarchived = Tally()
        for seq, size, count in record.sizes:
            self._count(seq, size, count)
        self._committed_all = asyncio.Event()
        self._committed_all.set()
        self._waits_since = monotonic()
        self._late: Span | None = None
        self._changed = asyncio.Condition()
        self._wake = asyncio.Event()

    # ── handing over ──

    async def put(self, packed: Packed) -> None:
        """Returns when the batch is in the spool; waits while the lane is at its limit."""
        await (await self.take(packed))

    async def take(self, packed: Packed) -> asyncio.Future[None]:
        """Takes a batch in, in order; the future is done when it is in the spool. Waits while the lane is at its limit.

        Batches come into the spool in the order of the calls, so that one never is there without those before it.
        """
        while self.unconfirmed_bytes >= self._settings.limit:
            await self._until_changed()
        self._given += 1
        self._committed_all.clear()
        entry = Entry(self._given, packed)
        return self._spool.append(self._id, entry, Span(packed.first, packed.last), lambda: self._committed(entry))

    async def committed(self) -> None:
        """Returns when all that was ever given to :meth:`take` is in the spool, also of a caller who was cancelled."""
        await self._committed_all.wait()

    def _count(self, seq: int, size: int, readings: int) -> None:
        self._sizes.add(seq, size)
        self._unconfirmed.add(seq, readings)
        self._unarchived.add(seq, readings)

    def _committed(self, entry: Entry) -> None:
        packed, size = entry.packed, len(entry.packed.payload)
        if self.handed == self.confirmed:
            self._waits_since = monotonic()
        self.handed = entry.seq
        self.readings += packed.count
        span = self.span
        self.span = (
            Span(packed.first, packed.last)
            if span is None
            else Span(min(span.first, packed.first), max(span.last, packed.last))
        )
        self._count(entry.seq, size, packed.count)
        if self.handed == self._given:
            self._committed_all.set()
        # memory holds one unbroken run of sequences; what does not fit is read from the spool when its turn comes
        if (not self._run or self._run[-1].seq == entry.seq - 1) and self._budget.take(size):
            self._run.append(entry)
            self._memory += size
        self._wake.set()

    @property
    def unconfirmed_bytes(self) -> int:
        return self._sizes.total - self._sizes.upto(self.confirmed)

    @property
    def full(self) -> bool:
        return self.unconfirmed_bytes >= self._settings.limit

    # ── writing ──

    async def next(self, max_bytes: int) -> list[Entry]:
        """The entries that follow the last ones returned, in order; waits until there is one."""
        while True:
            if self._run and self._run[0].seq == self._cursor + 1:
                return self._from_memory(max_bytes)
            if self._cursor < self.handed:
                stop = self._run[0].seq if self._run else self.handed + 1
                page = await self._spool.read(self._id, self._cursor, max_bytes)
                if page := [e for e in page if self._cursor < e.seq < stop]:
                    self._cursor = page[-1].seq
                    return page
                raise StateError(
                    f"{self._spool.path}: the spool lacks batch {self._cursor + 1} of {self.location}, which was not "
                    "confirmed; the file was changed by someone else, or the disk has lost a part of it"
                )
            self._wake.clear()
            await self._wake.wait()

    def _from_memory(self, max_bytes: int) -> list[Entry]:
        found, size = [], 0
        while self._run and size < max_bytes:
            entry = self._run.popleft()
            size += len(entry.packed.payload)
            found.append(entry)
        self._memory -= size
        self._budget.give(size)
        self._cursor = found[-1].seq
        return found

    def rewind(self, after: int) -> int:
        """Goes on after a sequence: what follows is sent (again). Returns how many batches that are.

        What has been forgotten can't be sent again; the caller compares ``after`` with ``forgotten``. What was
        confirmed and is to be sent again is confirmed no longer: nothing lets go of it before that.
        """
        after = max(after, self.forgotten)
        self._cursor = after
        self.applied = after
        if after < self.confirmed:
            if self.handed == self.confirmed:
                self._waits_since = monotonic()
            self.confirmed = after
        while self._run and self._run[0].seq <= after:
            size = len(self._run.popleft().packed.payload)
            self._memory -= size
            self._budget.give(size)
        self._wake.set()
        return self.handed - after

    async def apply(self, seq: int) -> None:
        """The master has answered well up to this sequence."""
        self.applied = seq
        await self._notify()

    def note_late(self, first: int, last: int) -> None:
        """Readings from ``first`` to ``last`` (ms) were applied after newer ones: an archive may have passed them."""
        span = self._late
        self._late = Span(first, last) if span is None else Span(min(span.first, first), max(span.last, last))

    def take_late(self) -> Span | None:
        """What was noted as late since the last call."""
        late, self._late = self._late, None
        return late

    async def wait_applied(self, beyond: int) -> int:
        """The sequence applied, once it is beyond the given one."""
        while self.applied <= beyond:
            await self._until_changed()
        return self.applied

    # ── letting go ──

    async def confirm(self, seq: int) -> None:
        """Master and replica hold everything up to this sequence for certain."""
        self.confirmed = max(self.confirmed, seq)
        self._unconfirmed.move(self.confirmed)
        self._waits_since = monotonic()
        self._let_go()
        await self._notify()

    def archive(self, seq: int) -> None:
        """The archive holds everything up to this sequence, which was confirmed."""
        self.archived = max(self.archived, seq)
        self._unarchived.move(self.archived)
        self._let_go()

    def _let_go(self) -> None:
        # what is confirmed is safe against one lost node; what is kept until archived, against both losing their data
        surplus = self._sizes.upto(self.confirmed) - self._settings.keep
        upto = min(self.confirmed, max(self.archived, self._sizes.last_with(surplus) if surplus > 0 else 0))
        if upto > self.forgotten:
            self.forgotten = upto
            self._sizes.cut(upto)
            self._spool.forget(self._id, upto)

    async def drained(self) -> None:
        """Returns when all that was handed over until now is confirmed."""
        handed = self.handed
        while self.confirmed < handed:
            await self._until_changed()

    def depth(self) -> LaneDepth:
        kept = self._sizes.upto(self.confirmed) - self._sizes.upto(self.forgotten)
        age = monotonic() - self._waits_since if self.handed > self.confirmed else 0.0
        return LaneDepth(
            batches=self.handed - self.confirmed,
            readings=self._unconfirmed.ahead,
            bytes=self.unconfirmed_bytes,
            memory=self._memory,
            kept=kept,
            age=age,
            unarchived=self._unarchived.ahead,
        )

    @property
    def confirmed_readings(self) -> int:
        """Readings confirmed since this object was made, those of earlier runs among them."""
        return self._unconfirmed.passed

    async def reconfigure(self, settings: SpoolSettings) -> None:
        """Goes by other limits from now on."""
        self._settings = settings
        self._let_go()
        await self._notify()

    def unload(self) -> None:
        """Gives back the memory; what was in it is read from the spool when its turn comes."""
        self._budget.give(self._memory)
        self._memory = 0
        self._run.clear()

    async def _until_changed(self) -> None:
        async with self._changed:
            await self._changed.wait()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
