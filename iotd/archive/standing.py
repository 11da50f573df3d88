"""How far a location's log is proven to be in the store, and whether the store still has what it acknowledged.

What was acknowledged counts for one making of the store and one run of its server. In another making nothing of it is
there; in another run some of it may be missing (see :mod:`iotd.log.keep`). Then what the log has is proven anew.
"""

from __future__ import annotations

import asyncio

from iotd.archive.base import Log
from iotd.archive.delivery import Delivery
from iotd.archive.presence import lacking, oldest_kept
from iotd.archive.state import ArchiveState, Proven
from iotd.model.buckets import HOUR
from iotd.model.errors import ArchiveError
from iotd.model.instants import iso
from iotd.model.series import Series
from iotd.ops.loggers import get_logger

log = get_logger(__name__)

_DAY = 24 * HOUR
"""What was verified is looked for so far back."""


class Standing:
    """One location's."""

    def __init__(self, location: str, log: Log, delivery: Delivery, state: ArchiveState) -> None:
        self.location = location
        self._log = log
        self._partition = log.partition(location)
        self._delivery = delivery
        self._store = delivery.store
        self._state = state
        self._started: str | None = None
        self._restarted = False
        self._told: dict[Series, int] = {}

    async def begin(self) -> None:
        """Takes up where an earlier run of the daemon left off.

        Raises:
            ArchiveUnavailable: the state can't be read.
        """
        proven = await self._proven()
        if proven is not None:
            known = self._log.position_of(self.location, proven.epoch, proven.sequence)
            if known is not None:
                self._partition.positions.advance("archived", known)

    async def check(self) -> str:
        """Asks the store who it is; *archived* goes back where it may have lost what it acknowledged.

        Returns:
            the present run of the store's server, for what is proven from now on.

        Raises:
            ArchiveError: it can't be asked, or the state not be written.
        """
        incarnation = await self._store.incarnation()
        if incarnation is not None and await asyncio.to_thread(
            self._state.incarnate, self._store.identity, incarnation
        ):
            log.warning(
                "archive_made_anew",
                store=self._store.identity,
                effect="all that the shards hold is archived again; what only the former one held is gone",
            )
        started = await self._delivery.started()
        proven = await self._proven()
        if proven is None or proven.started != started:
            self._recall(proven, started)
        if await self._set_back():
            self._recall(None, started)
        return started

    def restarted(self) -> bool:
        """Whether the store's server was started again, or the store set back, since this was asked the last time."""
        restarted, self._restarted = self._restarted, False
        return restarted

    async def lacking(self) -> dict[Series, int]:
        """The watermarks (ms) at which the store must hold a reading, and holds none.

        Raises:
            ArchiveError: it can't be asked, or the state not be read.
        """
        marks = await asyncio.to_thread(self._state.present, self._store.identity, self.location)
        gone = await lacking(self._store, marks)
        oldest = await oldest_kept(self._store) if gone else 0
        return {series: marks[series] for series in gone if marks[series] >= oldest}

    async def _set_back(self) -> bool:
        """Whether the store lacks readings at watermarks; then what was not verified before them is archived again.

        Once the pass that follows has moved the watermarks, nobody could tell any more.
        """
        identity = self._store.identity
        try:
            gone = {series: ms for series, ms in (await self.lacking()).items() if self._told.get(series) != ms}
        except ArchiveError:
            return False  # it may take readings all the same; a verification finds out then
        if not gone:
            return False
        first, last = min(gone.values()) - _DAY, max(gone.values())
        verified = await asyncio.to_thread(self._state.verified, identity, self.location, first, last)
        begins = {series: max(verified.get(series, {ms - 2 * HOUR: 0})) + HOUR for series, ms in gone.items()}
        ranges = [(series, begins[series], ms) for series, ms in gone.items() if begins[series] <= ms]
        await asyncio.to_thread(self._state.note_dirty, ranges)
        await asyncio.to_thread(self._state.doubt, identity, self.location)
        self._told.update(gone)
        self._restarted = True
        log.error(
            "archive_set_back",
            shard=self.location,
            store=identity,
            series=len(gone),
            newest=iso(last),
            effect="it lacks the newest readings that it had acknowledged; what shard and log hold is archived again",
        )
        return True

    async def _proven(self) -> Proven | None:
        return await asyncio.to_thread(self._state.proven, self._store.identity, self._log.id, self.location)

    def _recall(self, proven: Proven | None, started: str) -> None:
        before = self._partition.depth("archived").readings
        self._partition.positions.rewind_archived()
        if proven is not None and started != self._started:
            self._restarted = True
            log.info(
                "archive_started_again",
                shard=self.location,
                store=self._store.identity,
                again=self._partition.depth("archived").readings - before,
                effect="what it had acknowledged is archived again as far as the log keeps it, and verified",
            )
        self._started = started
