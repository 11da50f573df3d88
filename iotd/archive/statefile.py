"""The file of the archiver's state: SQLite, begun anew when it is damaged, taken over when it is older."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from iotd.archive import verified
from iotd.model.errors import ArchiveUnavailable, StateError
from iotd.ops.database import Database
from iotd.ops.loggers import get_logger

T = TypeVar("T")

log = get_logger(__name__)

# a store is called sink here, as in version 0.1, whose files are used as they are
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sinks (sink TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS incarnations (sink TEXT PRIMARY KEY, id TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS watermarks (
    sink TEXT NOT NULL,
    key TEXT NOT NULL,
    ms INTEGER NOT NULL,
    PRIMARY KEY (sink, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dirty_ranges (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: a range that is noted anew is another range
    sink TEXT NOT NULL,
    key TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS dirty_by_series ON dirty_ranges (sink, key, first);
CREATE TABLE IF NOT EXISTS proofs (        -- up to where a log's readings of a location were found in the store
    sink TEXT NOT NULL,
    log TEXT NOT NULL,
    location TEXT NOT NULL,
    epoch TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    started TEXT NOT NULL,                 -- the run of the store's server that acknowledged them
    PRIMARY KEY (sink, log, location)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rejected (      -- points that are in the dead-letter file: the archive will not have them
    sink TEXT NOT NULL,
    key TEXT NOT NULL,
    ms INTEGER NOT NULL,
    PRIMARY KEY (sink, key, ms)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pending (       -- what a series' shard held beyond the watermark when last asked
    sink TEXT NOT NULL,
    key TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (sink, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deletions (     -- ranges that were deleted, and may be in the store still
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sink TEXT NOT NULL,
    key TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    UNIQUE (sink, key, first, last)
);
CREATE TABLE IF NOT EXISTS lost (          -- what retention took from a shard before the archive had it
    sink TEXT NOT NULL,
    key TEXT NOT NULL,
    first INTEGER NOT NULL,
    until INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (sink, key, first)
) WITHOUT ROWID;
"""


class StateFile:
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
        self._lock = threading.RLock()
        self._stores: set[str] = set()
        self._forgotten = 0
        self._forgot: dict[str, int] = {}
        self._db = Database(path, unavailable=ArchiveUnavailable, damaged=_Damaged, prepare=self._prepare)
        try:
            self.do(lambda db: None)
        except (ArchiveUnavailable, OSError) as e:
            raise StateError(f"{e}: the watermarks can't be opened; mend the disk or its rights") from None

    def do(self, work: Callable[[sqlite3.Connection], T], epoch: int | None = None) -> T:
        """Does the work in one transaction, durable on return.

        Args:
            epoch: the one in which the caller began; the work is refused in another one.

        Raises:
            ArchiveUnavailable: disk full or locked, or the epoch has ended.
        """
        with self._lock:
            self._require(epoch)
            try:
                return self._db.write(work)
            except _Damaged as e:
                self._begin_anew(str(e))
            self._require(epoch)
            try:
                return self._db.write(work)
            except _Damaged as e:
                raise ArchiveUnavailable(str(e)) from None

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def _require(self, epoch: int | None) -> None:
        if epoch is not None and epoch != self.epoch:
            raise ArchiveUnavailable(f"{self.path}: the archive is begun anew; all that the shards hold goes there")

    def _prepare(self, db: sqlite3.Connection) -> None:
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        for statement in (_SCHEMA + verified.SCHEMA).split(";\n"):
            db.execute(statement)
        db.executemany("INSERT OR IGNORE INTO sinks VALUES (?)", [(store,) for store in self._stores])
        _take_over(db)

    def _begin_anew(self, reason: str) -> None:
        self.epoch += 1
        aside = self._db.set_aside()
        log.error(
            "watermarks_damaged",
            path=str(self.path),
            reason=reason,
            moved_to=str(aside),
            effect="all that the shards hold is archived again",
        )


class _Damaged(Exception):
    """Raised and caught within this module."""


def _take_over(db: sqlite3.Connection) -> None:
    """Brings a file of version 0.1 into the present form: there a dirty range was one of the whole location."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'dirty'").fetchone():
        return
    # overlapping ones were joined already, and those that touch may stay two
    db.execute(
        "INSERT INTO dirty_ranges (sink, key, first, last) SELECT d.sink, w.key, d.first, d.last FROM dirty AS d "
        "JOIN watermarks AS w ON w.sink = d.sink AND w.key GLOB 'sensor:*:' || d.location || ':*'"
    )
    db.execute("DROP TABLE dirty")
