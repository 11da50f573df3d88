"""The embedded archive: SQLite in the state directory, for a machine without InfluxDB."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from iotd.archive.points import Points
from iotd.errors import ArchiveRefused, ArchiveRejected, ArchiveUnavailable
from iotd.sensors import Sensor

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY,
    type TEXT NOT NULL,
    location TEXT NOT NULL,
    sensor_id INTEGER NOT NULL,
    unit TEXT NOT NULL,
    UNIQUE (type, location, sensor_id)
);
CREATE TABLE IF NOT EXISTS samples (
    series INTEGER NOT NULL REFERENCES series,
    time INTEGER NOT NULL,  -- ms since the epoch
    value REAL NOT NULL,
    PRIMARY KEY (series, time)
) WITHOUT ROWID;
"""


class EmbeddedSink:
    """One file, written by one thread; others may read it at any time (write-ahead log)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.identity = f"embedded {path}"
        self._db: sqlite3.Connection | None = None
        self._ids: dict[Sensor, int] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="archive")

    async def write(self, batch: Sequence[Points]) -> None:
        """See :meth:`iotd.archive.sinks.base.Sink.write`."""
        await self._run(lambda db: self._write(db, batch))

    async def counts(self, location: str, first: int, last: int, bucket: int) -> dict[Sensor, dict[int, int]]:
        """See :meth:`iotd.archive.sinks.base.Sink.counts`."""
        rows = await self._run(
            lambda db: db.execute(
                "SELECT type, sensor_id, time / ?4 * ?4, count(*) FROM series JOIN samples ON series = id "
                "WHERE location = ?1 AND time BETWEEN ?2 AND ?3 GROUP BY 1, 2, 3",
                (location, first, last, bucket),
            ).fetchall()
        )
        found: dict[Sensor, dict[int, int]] = {}
        for kind, sensor_id, start, count in rows:
            found.setdefault(Sensor(kind, location, sensor_id), {})[start] = count
        return found

    async def read(self, sensor: Sensor, first: int, last: int) -> list[tuple[int, float]]:
        """See :meth:`iotd.archive.sinks.base.Sink.read`."""
        return await self._run(
            lambda db: db.execute(
                "SELECT time, value FROM samples WHERE time BETWEEN ? AND ? AND series = "
                "(SELECT id FROM series WHERE type = ? AND location = ? AND sensor_id = ?) ORDER BY time",
                (first, last, sensor.type, sensor.location, sensor.sensor_id),
            ).fetchall()
        )

    async def close(self) -> None:
        """See :meth:`iotd.archive.sinks.base.Sink.close`."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, work)

    def _guarded(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._db is None:
                self._db = self._open()
            return work(self._db)
        except (sqlite3.OperationalError, OSError) as e:  # disk full, locked, no rights
            raise ArchiveUnavailable(f"{self.path}: {e}") from None
        except sqlite3.DatabaseError as e:
            self._close()
            raise ArchiveRefused(
                f"{self.path}: the file is damaged ({e}): move it away, and what the shards still hold is archived "
                "into a new one; `sqlite3 FILE .recover` may save the rest"
            ) from None

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.executescript(_SCHEMA)
        except BaseException:
            db.close()
            raise
        return db

    def _close(self) -> None:
        self._ids.clear()
        if self._db is not None:
            db, self._db = self._db, None
            db.close()

    def _write(self, db: sqlite3.Connection, batch: Sequence[Points]) -> None:
        db.execute("BEGIN IMMEDIATE")
        try:
            for points in batch:
                series = self._id(db, points.sensor)
                db.executemany(
                    "INSERT INTO samples VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                    ((series, time, _number(points.sensor, time, value)) for time, value in points.samples),
                )
            db.execute("COMMIT")
        except BaseException:
            self._ids.clear()
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _id(self, db: sqlite3.Connection, sensor: Sensor) -> int:
        if sensor not in self._ids:
            key = (sensor.type, sensor.location, sensor.sensor_id)
            db.execute(
                "INSERT OR IGNORE INTO series (type, location, sensor_id, unit) VALUES (?, ?, ?, ?)",
                (*key, sensor.unit),
            )
            (self._ids[sensor],) = db.execute(
                "SELECT id FROM series WHERE type = ? AND location = ? AND sensor_id = ?", key
            ).fetchone()
        return self._ids[sensor]


def _number(sensor: Sensor, time: int, value: bytes) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if number - number != 0:  # not a number, or infinite
        raise ArchiveRejected(f"{sensor.key} at {time}: {value!r} is not a finite number")
    return number
