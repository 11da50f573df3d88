"""What retention may take from a shard while the archive takes nothing: seen coming, and named when it is lost.

What the log has is not lost: it goes from there to the archive. But a shard may hold readings that no log has: those
of an older iotd, or of a log that was damaged. While passes fail, what waits in the shard is noted; after the next one
that comes to its end, what was dropped meanwhile and is not in the archive either is lost, and is named.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from iotd.archive.state import ArchiveState
from iotd.model.instants import iso
from iotd.model.series import Series
from iotd.ops.loggers import get_logger
from iotd.shards.reader import ShardReader, Waiting
from iotd.stores.base import Store, samples_of

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Loss:
    """Readings that a shard dropped before the archive had them, and that the log does not have.

    Attributes:
        sensor: the series' key.
        first: time from which on they are missing, ms.
        until: time before which all were lost, ms; the reading at it was still there.
        count: how many.
    """

    sensor: str
    first: int
    until: int
    count: int


class Retention:
    """One location's; what waits is kept on disk, so that a restart knows it.

    Attributes:
        left_ms: time until the shard drops the oldest reading that waits; None when none does, or nothing is dropped.
        lost: what was lost, by series and time.
    """

    def __init__(self, location: str, store: Store, state: ArchiveState, retention_ms: int) -> None:
        """
        Args:
            retention_ms: of the location's series; 0: they keep everything.
        """
        self.location = location
        self.left_ms: int | None = None
        self.lost: list[Loss] = []
        self._store = store
        self._state = state
        self._retention = retention_ms
        self._waiting: dict[Series, Waiting] = {}
        self._loaded = False

    async def load(self) -> None:
        """Reads what an earlier run noted; a second call does nothing.

        Raises:
            ArchiveUnavailable: the state can't be read.
        """
        if not self._loaded:
            self._waiting, self.lost = await asyncio.to_thread(self._read)
            self._loaded = True

    async def note_waiting(self, reader: ShardReader, marks: Mapping[Series, int]) -> None:
        """A pass has failed: notes what waits in the shard beyond the watermarks (ms).

        Raises:
            ShardError: the shard can't be asked.
            ArchiveUnavailable: the state can't be written.
        """
        await self.load()
        series = await reader.series()
        found = await reader.waiting({one: marks.get(one, -1) for one in series})
        waiting = {}
        for one, now in found.items():
            before = self._waiting.get(one)
            if before is not None and marks.get(one, -1) < before.first and now.last >= before.last:
                more = await reader.count(one, before.last + 1, now.last) if now.last > before.last else 0
                waiting[one] = Waiting(before.first, now.last, before.count + more)
            else:
                waiting[one] = now
        if waiting != self._waiting:
            await asyncio.to_thread(self._write, waiting, [])
        self._waiting = waiting
        ends = [now.first + self._retention - now.last for now in found.values()]
        self.left_ms = max(0, min(ends)) if ends and self._retention else None

    async def deleted(self, series: Series, first: int, last: int) -> None:
        """A range (ms, both ends included) of a series is deleted on purpose: what waited of it is no loss.

        How much of what waited that was is not known, so nothing that waited is held against the archive.

        Raises:
            ArchiveUnavailable: the state can't be written.
        """
        await self.load()
        waited = self._waiting.get(series)
        if waited is not None and waited.first <= last and waited.last >= first:
            left = {one: its for one, its in self._waiting.items() if one != series}
            await asyncio.to_thread(self._write, left, [])
            self._waiting = left

    async def settle(self, reader: ShardReader) -> None:
        """A pass has come to its end: what waited is in the archive, or is lost.

        Raises:
            ShardError, ArchiveError: it can't be found out now; it is kept for the next time.
        """
        await self.load()
        self.left_ms = None
        if not self._waiting:
            return
        losses = []
        present = set(await reader.series())
        for series, waited in self._waiting.items():
            if series in present and await reader.count(series, waited.first, waited.last) >= waited.count:
                continue
            times, _ = await samples_of(self._store, series, waited.first, waited.last)
            refused = await asyncio.to_thread(
                self._state.rejected, self._store.identity, series, waited.first, waited.last
            )
            gone = waited.count - len(times) - len(refused - set(times.tolist()))
            if gone > 0:
                first = int(times[0]) if len(times) else waited.last + 1
                losses.append(Loss(series.key, waited.first, first, gone))
        await asyncio.to_thread(self._write, {}, losses)
        self._waiting = {}
        for loss in losses:
            log.error(
                "readings_lost",
                shard=self.location,
                sensor=loss.sensor,
                count=loss.count,
                first=iso(loss.first),
                until=iso(loss.until),
                reason="the shard's retention dropped them before the archive had them, and the log does not have them",
            )
        self.lost = sorted([*self.lost, *losses], key=lambda loss: (loss.sensor, loss.first))

    def _read(self) -> tuple[dict[Series, Waiting], list[Loss]]:
        def read(db: sqlite3.Connection) -> tuple[dict[Series, Waiting], list[Loss]]:
            store = (self._store.identity,)
            rows = db.execute("SELECT key, first, last, count FROM pending WHERE sink = ?", store)
            waiting = {Series.from_key(key): Waiting(*rest) for key, *rest in rows}
            rows = db.execute("SELECT key, first, until, count FROM lost WHERE sink = ? ORDER BY 1, 2", store)
            losses = [Loss(*row) for row in rows if Series.from_key(row[0]).location == self.location]
            return {one: w for one, w in waiting.items() if one.location == self.location}, losses

        return self._state.do(read)

    def _write(self, waiting: Mapping[Series, Waiting], losses: Sequence[Loss]) -> None:
        identity = self._store.identity

        def write(db: sqlite3.Connection) -> None:
            gone = [(identity, series.key) for series in self._waiting if series not in waiting]
            db.executemany("DELETE FROM pending WHERE sink = ? AND key = ?", gone)
            db.executemany(
                "INSERT OR REPLACE INTO pending VALUES (?, ?, ?, ?, ?)",
                [(identity, series.key, w.first, w.last, w.count) for series, w in waiting.items()],
            )
            db.executemany(
                "INSERT OR REPLACE INTO lost VALUES (?, ?, ?, ?, ?)",
                [(identity, loss.sensor, loss.first, loss.until, loss.count) for loss in losses],
            )

        self._state.do(write)
