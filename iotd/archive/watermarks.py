"""How far the archive is: per sink and series the last time that was acknowledged, and the ranges to archive again."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog

from iotd.errors import ArchiveUnavailable, StateError
from iotd.sensors import Sensor

T = TypeVar("T")

log = structlog.get_logger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sinks (sink TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS watermarks (
    sink TEXT NOT NULL,
    key TEXT NOT NULL,
    ms INTEGER NOT NULL,
    PRIMARY KEY (sink, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dirty (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: a range that is marked anew is another range
    sink TEXT NOT NULL,
    location TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS rejected (      -- points that are in the dead-letter file: the archive will not have them
    sink TEXT NOT NULL,
    key TEXT NOT NULL,
    ms INTEGER NOT NULL,
    PRIMARY KEY (sink, key, ms)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Dirty:
    """A range (ms, both ends included) of a location that is to be archived again."""

    id: int
    first: int
    last: int


class Watermarks:
    """A SQLite file; blocking, callable from any thread.

    A file that is damaged is moved aside and begun anew: then everything the shards hold is archived again, which
    changes nothing in the archive. While it can't be written (disk full), every method raises ArchiveUnavailable.
    """

    def __init__(self, path: Path) -> None:
        """Opens or makes the file.

        Raises:
            StateError: it can't be opened or made.
        """
        self.path = path
        self._lock = threading.Lock()
        self._sinks: set[str] = set()
        try:
            try:
                self._db = self._open()
            except sqlite3.DatabaseError as e:
                if isinstance(e, sqlite3.OperationalError):
                    raise
                self._db = self._begin_anew(str(e))
        except (sqlite3.Error, OSError) as e:
            raise StateError(f"{path}: the watermarks can't be opened ({e}); mend the disk or its rights") from None

    def use(self, sink: str) -> None:
        """Makes a sink known: ranges that become dirty from now on are noted for it too."""
        self._sinks.add(sink)
        self._do(lambda db: db.execute("INSERT OR IGNORE INTO sinks VALUES (?)", (sink,)))

    def marks(self, sink: str, sensors: Iterable[Sensor]) -> dict[Sensor, int]:
        """The watermark (ms) of each sensor that has one: everything up to it is in the sink."""
        rows = self._do(lambda db: db.execute("SELECT key, ms FROM watermarks WHERE sink = ?", (sink,)).fetchall())
        known = dict(rows)
        return {sensor: known[sensor.key] for sensor in sensors if sensor.key in known}

    def move(self, sink: str, marks: Mapping[Sensor, int]) -> None:
        """Moves watermarks forward, never back; durable on return."""
        rows = [(sink, sensor.key, ms) for sensor, ms in marks.items()]
        self._do(
            lambda db: db.executemany(
                "INSERT INTO watermarks VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET ms = max(ms, excluded.ms)", rows
            )
        )

    def mark_dirty(self, location: str, first: int, last: int) -> None:
        """Notes for every known sink that a range (ms, both ends included) has changed; durable on return."""

        def mark(db: sqlite3.Connection) -> None:
            for (sink,) in db.execute("SELECT sink FROM sinks").fetchall():
                # what overlaps becomes one range, under a new id: one that is being archived is archived once more
                low, high = db.execute(
                    "SELECT min(first), max(last) FROM dirty "
                    "WHERE sink = ? AND location = ? AND first <= ? AND last >= ?",
                    (sink, location, last, first),
                ).fetchone()
                db.execute(
                    "DELETE FROM dirty WHERE sink = ? AND location = ? AND first <= ? AND last >= ?",
                    (sink, location, last, first),
                )
                whole = (min(first, first if low is None else low), max(last, last if high is None else high))
                db.execute(
                    "INSERT INTO dirty (sink, location, first, last) VALUES (?, ?, ?, ?)", (sink, location, *whole)
                )

        self._do(mark)

    def dirty(self, sink: str, location: str) -> list[Dirty]:
        """The ranges to archive again, oldest first."""
        rows = self._do(
            lambda db: db.execute(
                "SELECT id, first, last FROM dirty WHERE sink = ? AND location = ? ORDER BY first", (sink, location)
            ).fetchall()
        )
        return [Dirty(*row) for row in rows]

    def cleaned(self, ranges: Iterable[Dirty]) -> None:
        """These ranges were archived again; one that changed since has another id, and stays."""
        ids = [(r.id,) for r in ranges]
        self._do(lambda db: db.executemany("DELETE FROM dirty WHERE id = ?", ids))

    def reject(self, sink: str, points: Iterable[tuple[Sensor, int]]) -> None:
        """Notes (sensor, ms) that the sink refused for good and the dead-letter file holds."""
        rows = [(sink, sensor.key, ms) for sensor, ms in points]
        self._do(lambda db: db.executemany("INSERT OR IGNORE INTO rejected VALUES (?, ?, ?)", rows))

    def rejected(self, sink: str, sensor: Sensor, first: int, last: int) -> set[int]:
        """The times (ms) from ``first`` to ``last``, both included, at which the sink refused a sensor's point."""
        rows = self._do(
            lambda db: db.execute(
                "SELECT ms FROM rejected WHERE sink = ? AND key = ? AND ms BETWEEN ? AND ?",
                (sink, sensor.key, first, last),
            ).fetchall()
        )
        return {ms for (ms,) in rows}

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            try:
                return self._in_transaction(work)
            except sqlite3.OperationalError as e:
                raise ArchiveUnavailable(f"{self.path}: {e}") from None  # disk full, locked
            except sqlite3.DatabaseError as e:
                self._db.close()
                self._db = self._begin_anew(str(e))
                return self._in_transaction(work)

    def _in_transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            result = work(self._db)
            self._db.execute("COMMIT")
            return result
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            db.executescript(_SCHEMA)
            db.executemany("INSERT OR IGNORE INTO sinks VALUES (?)", [(sink,) for sink in self._sinks])
        except BaseException:
            db.close()
            raise
        return db

    def _begin_anew(self, reason: str) -> sqlite3.Connection:
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns() // 1_000_000}")
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self.path.replace(aside)
        log.error(
            "watermarks_damaged",
            path=str(self.path),
            reason=reason,
            moved_to=str(aside),
            effect="all that the shards hold is archived again",
        )
        return self._open()
