"""The archiver's book: a SQLite file in the state directory, mended or begun anew when it is damaged."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog

from iotd.model.errors import ArchiveUnavailable, StateError

T = TypeVar("T")

log = structlog.get_logger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sinks (sink TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS incarnations (sink TEXT PRIMARY KEY, id TEXT NOT NULL) WITHOUT ROWID;
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
CREATE TABLE IF NOT EXISTS pending (       -- what a series' shard held beyond the watermark when last looked at
    sink TEXT NOT NULL,
    key TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (sink, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lost (          -- what retention took from a shard before the archive had it
    sink TEXT NOT NULL,
    key TEXT NOT NULL,
    first INTEGER NOT NULL,
    until INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (sink, key, first)
) WITHOUT ROWID;
"""


class Ledger:
    """A SQLite file; blocking, callable from any thread.

    A file that is damaged is moved aside and begun anew: then everything the shards hold is archived again, which
    changes nothing in the archive. While it can't be written (disk full), every method raises ArchiveUnavailable.

    Attributes:
        epoch: grows whenever what was read before is not to be built upon any more.
    """

    def __init__(self, path: Path) -> None:
        """Opens or makes the file.

        Raises:
            StateError: it can't be opened or made.
        """
        self.path = path
        self.epoch = 0
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

    def do(self, work: Callable[[sqlite3.Connection], T], epoch: int | None = None) -> T:
        """Does the work in one transaction, durable on return.

        Args:
            epoch: the one in which the caller began; the work is refused in another one.

        Raises:
            ArchiveUnavailable: disk full or locked, or the epoch has ended.
        """
        with self._lock:
            try:
                self._require(epoch)
                return self._in_transaction(work)
            except sqlite3.OperationalError as e:
                raise ArchiveUnavailable(f"{self.path}: {e}") from None  # disk full, locked
            except sqlite3.DatabaseError as e:
                self._db.close()
                self._db = self._begin_anew(str(e))
                self._require(epoch)
                return self._in_transaction(work)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _require(self, epoch: int | None) -> None:
        if epoch is not None and epoch != self.epoch:
            raise ArchiveUnavailable(f"{self.path}: the archive is begun anew; all that the shards hold goes there")

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
        self.epoch += 1
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
