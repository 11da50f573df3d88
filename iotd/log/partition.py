"""A partition of the embedded log: its index, its positions, and the recent records that are in memory."""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

from iotd.log.base import Append, Delete, Deletion, Depth, Record
from iotd.log.budget import Budget
from iotd.log.core import Core
from iotd.log.index import Place
from iotd.log.keep import Keep
from iotd.log.positions import Positions
from iotd.log.reader import Outcome
from iotd.log.record import record_of
from iotd.ops.loggers import get_logger
from iotd.ops.outage import Outage
from iotd.ops.systemerrors import said

log = get_logger(__name__)

_ATTEMPTS = 5
_RETRY_S = 0.2
"""A disk that does not answer is asked again so often, at this distance, before a record counts as lost."""


class EmbeddedPartition:
    """Implements :class:`iotd.log.base.Partition`; belongs to the event loop."""

    def __init__(
        self,
        name: str,
        core: Core,
        budget: Budget,
        positions: Positions,
        *,
        read: Callable[[Sequence[Place]], Awaitable[Outcome]],
        truncate: Callable[[str, int, int], None],
    ) -> None:
        """``read`` reads places in another thread; ``truncate`` passes on what is truncated."""
        self.name = name
        self.positions = positions
        self._core = core
        self._index = core.index(name)
        self._index.truncate(positions.truncated)
        self._keep = Keep(self._index)
        self._budget = budget
        self._read = read
        self._truncate = truncate
        self._unreadable = Outage()
        self._run: deque[Record] = deque()
        self._released = 0
        self._pending = 0
        positions.on_truncate = self._truncated
        positions.keep = self._keep.until

    def reconfigure(self, *, limit: int, keep_s: float) -> None:
        """Goes by another limit (bytes), and keeps for so long what nobody needs any more, from now on."""
        self._keep.limit = limit
        self._keep.seconds = keep_s
        self.positions.settle()
        self.positions.notify()

    @property
    def begin(self) -> int:
        return self.positions.truncated + 1

    @property
    def end(self) -> int:
        return self.positions.end

    @property
    def held(self) -> int:
        """Bytes that are not truncated, and those under way."""
        return self._index.size + self._pending

    @property
    def empty(self) -> bool:
        """Whether there is no record."""
        return len(self._index) == 0

    @property
    def unreadable(self) -> str | None:
        """Why its readers wait for the files, None while they do not."""
        return self._unreadable.reason

    @property
    def full(self) -> bool:
        return self.held >= self._keep.limit

    def depth(self, position: str) -> Depth:
        return self._index.beyond(self.positions.of(position))

    async def room(self, share: float) -> None:
        """See :meth:`iotd.log.base.Log.room`."""
        while self.held >= self._keep.limit * share:
            await self.positions.changed()

    # ── reading ──

    async def appended_beyond(self, sequence: int) -> int:
        return await self.positions.wait("end", sequence)

    async def read(self, after: int, max_bytes: int) -> list[Record]:
        attempts = 0
        while True:
            after = max(after, self.positions.truncated)
            if records := self._from_memory(after, max_bytes):
                return records
            start = self._run[0].sequence if self._run and self._run[0].sequence > after else None
            places = self._index.places(after, max_bytes, before=start)
            if not places:
                if start is None:
                    return []
                after = start - 1  # what lay between is lost
                continue
            outcome, places = await self._outcome(places, attempts)
            if outcome is None:
                attempts += 1
                continue
            if outcome.records:
                return outcome.records
            after, attempts = places[-1].sequence, 0

    async def _outcome(self, places: list[Place], attempts: int) -> tuple[Outcome | None, list[Place]]:
        """What lies at these places, and those it is about; None where they are to be looked up and tried again."""
        try:
            outcome = await self._read(places)
        except OSError as e:
            damaged = isinstance(e, FileNotFoundError) or e.errno == errno.EIO
            if not damaged and self._unreadable.begins(said(e)):
                log.error("log_unreadable", shard=self.name, reason=said(e), effect="readings wait in the log")
            if not damaged or attempts + 1 < _ATTEMPTS:
                # a segment that was rewritten or removed is found elsewhere at once
                await asyncio.sleep(0 if isinstance(e, FileNotFoundError) else _RETRY_S)
                return None, places
            bad = [p for p in places if p.segment == places[0].segment]
            outcome = Outcome(lost=[(place, f"segment {place.segment} can't be read: {e}") for place in bad])
            places = bad
        if (over := self._unreadable.ends()) is not None:
            log.info("log_readable", shard=self.name, was=over[0], after_s=over[1])
        if outcome.lost or outcome.unknown:
            self._core.lost(self.name, outcome)
        return outcome, places

    def next_deletion(self, after: int) -> int | None:
        return self._index.next_deletion(after)

    async def deletions(self, after: int) -> list[Deletion]:
        found: list[Deletion] = []
        attempts = 0
        while places := self._index.deletions(max(after, self.positions.truncated)):
            outcome, places = await self._outcome(places, attempts)
            if outcome is None:
                attempts += 1
                continue
            found += [record.deletion for record in outcome.records if record.deletion is not None]
            after, attempts = places[-1].sequence, 0
        return found

    def _from_memory(self, after: int, max_bytes: int) -> list[Record]:
        run = self._run
        if not run or not run[0].sequence <= after + 1 <= run[-1].sequence:
            return []
        found: list[Record] = []
        size = 0
        for record in islice(run, after + 1 - run[0].sequence, None):
            size += record.size
            if found and size > max_bytes:
                break
            found.append(record)
        return found

    def release(self, upto: int) -> None:
        # what was released the time before: who looks for late readings reads just behind, and so from memory too
        self._drop(self._released)
        self._released = upto

    def _drop(self, upto: int) -> None:
        size = 0
        while self._run and self._run[0].sequence <= upto:
            size += self._run.popleft().size
        if size:
            self._budget.give(size)

    # ── appending ──

    def given(self, append: Append | Delete) -> None:
        """Readings, or a deletion, are under way."""
        self._pending += append.size

    def refused(self, append: Append | Delete) -> None:
        """They were not committed, and will not be."""
        self._pending -= append.size
        self.positions.notify()

    def committed(self, append: Append | Delete, place: Place | None) -> int:
        """They are durable; returns their sequence."""
        size = append.size
        self._pending -= size
        if place is None:
            return self.end
        self._core.appended(self.name, place)
        # memory holds one unbroken run; what does not fit is read from the files when its turn comes
        if (not self._run or self._run[-1].sequence == place.sequence - 1) and self._budget.take(size):
            self._run.append(record_of(place.sequence, append))
        self.positions.appended(place.sequence)
        return place.sequence

    def vanished(self, segments: Sequence[int]) -> None:
        """Segments were removed by somebody else: names what was in them, unless it is archived."""
        for number in segments:
            places = self._index.within(number, self.positions.of("archived"))
            if places:
                reason = f"segment {number} was removed"
                self._core.lost(self.name, Outcome(lost=[(place, reason) for place in places]))

    def discard(self) -> None:
        self.positions.discard()

    def _truncated(self) -> None:
        upto = self.positions.truncated
        readings = self._index.counted(upto)
        self._index.truncate(upto)
        self._drop(upto)
        self._truncate(self.name, upto, readings)
