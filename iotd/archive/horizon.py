"""The horizon: how near retention in a shard has come to what the archive does not have yet, and what it took.

A series drops what is older than its retention, counted from its newest reading. So a reading that waits for the
archive has only so long, and an outage of the archive that lasts longer loses it. This is seen coming: each pass looks
at the oldest reading that waits in each series; and when that is gone before it was archived, what is lost is named.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from iotd.archive.watermarks import Watermarks
from iotd.config.values import format_duration
from iotd.model.series import Series
from iotd.shards.reader import ShardReader, Waiting

log = structlog.get_logger(__name__)

_WARNED_AT = (0.5, 0.25, 0.1, 0.05)
"""Parts of the retention that are left when it is said (again)."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Readings that a shard dropped before the archive had them.

    Attributes:
        sensor: the series' key.
        first: time of the first one, ms.
        until: time before which all were lost, ms; the reading at it was still there.
        count: how many.
    """

    sensor: str
    first: int
    until: int
    count: int


class Horizon:
    """One location's; what waited at the last look is kept on disk, so that a restart knows it.

    Attributes:
        waiting: readings beyond the watermarks at the last look.
        left_ms: time until the oldest of them is dropped; None when none waits, or nothing is ever dropped.
        lost: what was lost, by series and time.
    """

    def __init__(self, location: str, sink: str, watermarks: Watermarks, retention_ms: int) -> None:
        """
        Args:
            retention_ms: of the location's series; 0: they keep everything.
        """
        self.location = location
        self.waiting = 0
        self.left_ms: int | None = None
        self.lost: list[Loss] = []
        self._sink = sink
        self._watermarks = watermarks
        self._retention = retention_ms
        self._before: dict[str, Waiting] = {}
        self._read = False
        self._said = 0

    async def look(self, reader: ShardReader, marks: Mapping[Series, int], sensors: Sequence[Series]) -> None:
        """Looks at what waits in the shard, and notes what was dropped of what had waited at the last look.

        Raises:
            ShardError: the shard can't be asked.
            ArchiveUnavailable: the book can't be written.
        """
        if not self._read:
            self._before, self.lost = await asyncio.to_thread(self._load)
            self._read = True
        now = await reader.waiting({sensor: marks.get(sensor, -1) for sensor in sensors})
        losses = []
        for sensor in sensors:
            before = self._before.get(sensor.key)
            if before is not None and marks.get(sensor, -1) < before.first:  # nothing of it was archived since
                losses += await self._dropped(reader, sensor, before, now.get(sensor))
        await self._note({sensor.key: waiting for sensor, waiting in now.items()}, losses)

    async def begins(self, reader: ShardReader, sensor: Series, first: int) -> None:
        """The archiver finds a reading at ``first`` (ms) as the oldest beyond a series' watermark: as at the last look?

        Raises:
            ShardError: the shard can't be asked.
            ArchiveUnavailable: the book can't be written.
        """
        before = self._before.get(sensor.key)
        if before is None or first <= before.first:
            return
        now = (await reader.waiting({sensor: first - 1})).get(sensor)
        rest = {key: waiting for key, waiting in self._before.items() if key != sensor.key}
        if now is not None:
            rest[sensor.key] = now
        await self._note(rest, await self._dropped(reader, sensor, before, now))

    def warn(self) -> None:
        """The archive does not get on: says how long that may last, when it has become a matter of time."""
        if self.left_ms is None or not self._retention:
            return
        left = max(0.0, self.left_ms / self._retention)
        level = sum(left <= part for part in _WARNED_AT)
        if level > self._said:
            self._said = level
            log.warning(
                "retention_near",
                shard=self.location,
                left=format_duration(timedelta(milliseconds=max(0, self.left_ms))),
                waiting=self.waiting,
                effect="then the shard drops readings that the archive does not have",
                hint="mend the archive, or set redis.retention to a longer time",
            )

    def well(self) -> None:
        """The archive has all of it: nothing waits that was there at the last look."""
        self.waiting, self.left_ms, self._said = 0, None, 0

    async def _dropped(self, reader: ShardReader, sensor: Series, before: Waiting, now: Waiting | None) -> list[Loss]:
        if now is None or not self._retention or before.first >= now.last - self._retention:
            return []  # what is missing was not dropped by retention: a shard that lost its data is written again
        gone = before.count - await reader.count(sensor, before.first, before.last)
        return [Loss(sensor.key, before.first, now.first, gone)] if gone > 0 else []

    async def _note(self, waiting: dict[str, Waiting], losses: list[Loss]) -> None:
        if losses or waiting != self._before:
            await asyncio.to_thread(self._store, waiting, losses)
        self._before = waiting
        self.waiting = sum(w.count for w in waiting.values())
        if self._retention and waiting:
            self.left_ms = min(w.first + self._retention - w.last for w in waiting.values())
        else:
            self.left_ms = None
        for loss in losses:
            log.error(
                "readings_lost",
                shard=self.location,
                sensor=loss.sensor,
                count=loss.count,
                first=_said(loss.first),
                until=_said(loss.until),
                reason="the shard's retention dropped them before the archive had them",
            )
        self.lost = _joined([*self.lost, *losses])

    def _load(self) -> tuple[dict[str, Waiting], list[Loss]]:
        def read(db: sqlite3.Connection) -> tuple[dict[str, Waiting], list[Loss]]:
            rows = db.execute("SELECT key, first, last, count FROM pending WHERE sink = ?", (self._sink,))
            pending = {key: Waiting(*rest) for key, *rest in rows if Series.from_key(key).location == self.location}
            rows = db.execute("SELECT key, first, until, count FROM lost WHERE sink = ? ORDER BY 1, 2", (self._sink,))
            return pending, [Loss(*row) for row in rows if Series.from_key(row[0]).location == self.location]

        return self._watermarks.do(read)

    def _store(self, waiting: dict[str, Waiting], losses: list[Loss]) -> None:
        def write(db: sqlite3.Connection) -> None:
            gone = [(self._sink, key) for key in self._before if key not in waiting]
            db.executemany("DELETE FROM pending WHERE sink = ? AND key = ?", gone)
            db.executemany(
                "INSERT OR REPLACE INTO pending VALUES (?, ?, ?, ?, ?)",
                [(self._sink, key, w.first, w.last, w.count) for key, w in waiting.items()],
            )
            for loss in losses:
                # one that follows on another is one with it
                row = (loss.until, loss.count, self._sink, loss.sensor, loss.first)
                grown = db.execute(
                    "UPDATE lost SET until = ?, count = count + ? WHERE sink = ? AND key = ? AND until = ?", row
                )
                if not grown.rowcount:
                    db.execute(
                        "INSERT OR REPLACE INTO lost VALUES (?, ?, ?, ?, ?)",
                        (self._sink, loss.sensor, loss.first, loss.until, loss.count),
                    )

        self._watermarks.do(write)


def _joined(losses: Sequence[Loss]) -> list[Loss]:
    found: list[Loss] = []
    for loss in sorted(losses, key=lambda loss: (loss.sensor, loss.first)):
        if found and (found[-1].sensor, found[-1].until) == (loss.sensor, loss.first):
            before = found.pop()
            loss = Loss(loss.sensor, before.first, loss.until, before.count + loss.count)  # noqa: PLW2901
        found.append(loss)
    return found


def _said(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
