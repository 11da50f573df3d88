"""Deletions of the log on their way into the archive: which are due, done, and still to be reckoned with.

A pass carries a deletion out once everything before it is settled and before anything behind it is archived, so that
what was handed over again afterwards stays. Master and replica have carried it out durably by then: no failover brings
back what the archive has let go of. Ranges are noted on disk first, for every store that is known, and forgotten once
the store has deleted them: a store that is not in use now does it before it is used again. Whatever fails in between
is done again, which changes nothing.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from iotd.archive.base import Catalogue, Partition
from iotd.archive.delivery import Delivery
from iotd.archive.retention import Retention
from iotd.archive.state import ArchiveState
from iotd.log.base import Deletion
from iotd.model.errors import ShardUnavailable
from iotd.model.series import Series
from iotd.ops.loggers import get_logger

log = get_logger(__name__)

_PATIENCE_S = 5.0
"""So long a pass waits for a shard that was taken up anew to delete again what the archive has deleted."""


class Range(NamedTuple):
    """A range of a series (ms, both ends included) whose readings are deleted."""

    series: Series
    first: int
    last: int

    def concerns(self, key: str, first: int, last: int) -> bool:
        """Whether it meets another range of the series with this key."""
        return self.series.key == key and self.first <= last and self.last >= first


class Deletions:
    """One location's.

    Attributes:
        done: those that the archive has carried out since the daemon's start, in order.
    """

    def __init__(
        self,
        location: str,
        partition: Partition,
        catalogue: Catalogue,
        *,
        delivery: Delivery,
        state: ArchiveState,
        retention: Retention,
    ) -> None:
        self.location = location
        self.done: list[Range] = []
        self._partition = partition
        self._catalogue = catalogue
        self._delivery = delivery
        self._store = delivery.store.identity
        self._state = state
        self._retention = retention

    @property
    def due(self) -> bool:
        """Whether a pass would carry one out."""
        positions = self._partition.positions
        following = self._partition.next_deletion(positions.archived)
        return following is not None and following <= positions.durable

    async def reach(self) -> int:
        """The sequence up to which a pass may go: what the master has answered for, up to a deletion not yet durable.

        Raises:
            ShardUnavailable: the shard may still hold what the archive has deleted: it is being written to again.
        """
        positions = self._partition.positions
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while (undone := self._partition.next_deletion(positions.acknowledged)) is not None:
                    if undone > positions.archived:
                        break
                    await positions.wait("acknowledged", positions.acknowledged)
        except TimeoutError:
            raise ShardUnavailable(
                f"{self.location}: the shard was taken up anew, and has not yet deleted again what was deleted"
            ) from None
        following = self._partition.next_deletion(positions.durable)
        return positions.acknowledged if following is None else min(positions.acknowledged, following - 1)

    async def pending(self) -> list[Range]:
        """Those that shard or archive may not have carried out yet.

        Raises:
            ArchiveUnavailable: the state can't be read.
        """
        positions = self._partition.positions
        recorded = await self._partition.deletions(min(positions.acknowledged, positions.archived))
        return [*self._ranges(recorded), *(its for _, its in await asyncio.to_thread(self._noted))]

    async def carry_out(self, deletions: Sequence[Deletion], epoch: int) -> None:
        """Deletes from the archive what these say, and what was noted before.

        Args:
            epoch: of the state, when the pass began.

        Raises:
            ArchiveError: not now; what is left is noted.
        """
        if deletions:
            await asyncio.to_thread(self._note, self._ranges(deletions), epoch)
        noted = await asyncio.to_thread(self._noted)
        for number, its in noted:
            await asyncio.to_thread(self._state.forget_verified, *its)
            await self._delivery.delete(*its)
            await self._retention.deleted(*its)
            await asyncio.to_thread(self._state.forget_verified, *its)  # what was counted meanwhile
            self.done.append(its)
            await asyncio.to_thread(self._forget, number, its, epoch)
        if noted:
            log.info("archive_deleted", shard=self.location, ranges=len(noted), example=noted[0][1].series.key)

    def _ranges(self, deletions: Sequence[Deletion]) -> list[Range]:
        return [
            Range(self._catalogue.series(number), deletion.first, deletion.last)
            for deletion in deletions
            for number in deletion.series.tolist()
        ]

    def _note(self, ranges: Sequence[Range], epoch: int) -> None:
        rows = [(its.series.key, its.first, its.last) for its in ranges]
        self._state.do(
            lambda db: db.executemany(
                "INSERT OR IGNORE INTO deletions (sink, key, first, last) SELECT sink, ?, ?, ? FROM sinks", rows
            ),
            epoch,
        )

    def _noted(self) -> list[tuple[int, Range]]:
        rows = self._state.do(
            lambda db: db.execute(
                "SELECT id, key, first, last FROM deletions WHERE sink = ? ORDER BY id", (self._store,)
            ).fetchall()
        )
        found = [(number, Range(Series.from_key(key), first, last)) for number, key, first, last in rows]
        return [(number, its) for number, its in found if its.series.location == self.location]

    def _forget(self, number: int, its: Range, epoch: int) -> None:
        def forget(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM deletions WHERE id = ?", (number,))
            db.execute(
                "DELETE FROM rejected WHERE sink = ? AND key = ? AND ms BETWEEN ? AND ?",
                (self._store, its.series.key, its.first, its.last),
            )

        self._state.do(forget, epoch)
