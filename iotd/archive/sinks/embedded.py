"""The embedded archive: SQLite in the state directory, for a machine without InfluxDB."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from iotd.archive.points import Points
from iotd.model.errors import ArchiveRefused, ArchiveRejected, ArchiveUnavailable
from iotd.model.series import Series

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
CREATE TABLE IF NOT EXISTS incarnation (id TEXT NOT NULL);  -- one row, another one in every file
"""


class EmbeddedSink:
    """One file, written and read over two connections with a thread each: neither waits for the other (WAL)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.identity = f"embedded {path}"
        self._writer = _Database(path)
        self._reader = _Database(path)
        self._ids: dict[Series, int] = {}
        self._ids_of: sqlite3.Connection | None = None

    async def write(self, batch: Sequence[Points]) -> None:
        """See :meth:`iotd.archive.sinks.base.Sink.write`."""
        await self._writer.run(lambda db: self._write(db, batch))

    async def counts(self, location: str, first: int, last: int, bucket: int) -> dict[Series, dict[int, int]]:
        """See :meth:`iotd.archive.sinks.base.Sink.counts`."""
        rows = await self._reader.run(
            lambda db: db.execute(
                "SELECT type, sensor_id, time / ?4 * ?4, count(*) FROM series JOIN samples ON series = id "
                "WHERE location = ?1 AND time BETWEEN ?2 AND ?3 GROUP BY 1, 2, 3",
                (location, first, last, bucket),
            ).fetchall()
        )
        found: dict[Series, dict[int, int]] = {}
        for kind, sensor_id, start, count in rows:
            found.setdefault(Series(kind, location, str(sensor_id)), {})[start] = count
        return found

    async def read(self, sensor: Series, first: int, last: int) -> list[tuple[int, float]]:
        """See :meth:`iotd.archive.sinks.base.Sink.read`."""
        return await self._reader.run(
            lambda db: db.execute(
                "SELECT time, value FROM samples WHERE time BETWEEN ? AND ? AND series = "
                "(SELECT id FROM series WHERE type = ? AND location = ? AND sensor_id = ?) ORDER BY time",
                (first, last, sensor.type, sensor.location, sensor.sensor_id),
            ).fetchall()
        )

    async def incarnation(self) -> str | None:
        """See :meth:`iotd.archive.sinks.base.Sink.incarnation`: a random name that every new file gets."""
        (found,) = await self._writer.run(lambda db: db.execute("SELECT id FROM incarnation").fetchone())
        return str(found)

    def mended(self) -> bool:
        """See :meth:`iotd.archive.sinks.base.Sink.mended`: whether a damaged file was moved away."""
        return not self.path.exists()

    async def close(self) -> None:
        """See :meth:`iotd.archive.sinks.base.Sink.close`."""
        await self._writer.close()
        await self._reader.close()

    def _write(self, db: sqlite3.Connection, batch: Sequence[Points]) -> None:
        db.execute("BEGIN IMMEDIATE")
        try:
            for points in batch:
                series = self._id(db, points.sensor)
                db.executemany(
                    "INSERT INTO samples VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                    ((series, time, value) for time, value in _numbers(points)),
                )
            db.execute("COMMIT")
        except BaseException:
            self._ids.clear()
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _id(self, db: sqlite3.Connection, sensor: Series) -> int:
        if self._ids_of is not db:  # it may be another file
            self._ids.clear()
            self._ids_of = db
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


class _Database:
    """A connection that is opened when it is needed, and anew when the file is another one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="archive")

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Does the work in our thread.

        Raises:
            ArchiveUnavailable: not now: disk full, locked, no rights.
            ArchiveRefused: the file is damaged.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, work)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    def _guarded(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._db is not None and self._file != self._found():
                self._close()  # it was moved away: what we would write now, nobody would find
            if self._db is None:
                self._db = self._open()
                self._file = self._found()
            return work(self._db)
        except (sqlite3.OperationalError, OSError) as e:
            raise ArchiveUnavailable(f"{self._path}: {e}") from None
        except sqlite3.DatabaseError as e:
            self._close()
            raise ArchiveRefused(
                f"{self._path}: the file is damaged ({e}): move it away, with its -wal and -shm, and what the shards "
                "still hold is archived into a new one; `sqlite3 FILE .recover` may save the rest"
            ) from None

    def _found(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            db.execute(
                "INSERT INTO incarnation SELECT ? WHERE NOT EXISTS (SELECT * FROM incarnation)", (uuid.uuid4().hex,)
            )
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        return db

    def _close(self) -> None:
        if self._db is not None:
            db, self._db = self._db, None
            db.close()


def _numbers(points: Points) -> list[tuple[int, float]]:
    try:
        pairs = points.numbers()
    except ValueError as e:
        raise ArchiveRejected(f"{points.sensor.key}: {e}") from None
    for time, number in pairs:
        if number - number != 0:  # not a number, or infinite
            raise ArchiveRejected(f"{points.sensor.key} at {time}: {number} is not a finite number")
    return pairs
