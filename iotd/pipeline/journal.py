"""The tables of the spool and the statements on them; blocking, one thread at a time."""

from __future__ import annotations

import sqlite3
import uuid
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from iotd.model.errors import StateError
from iotd.sources.source import Span
from iotd.wire.commands import Packed

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lanes (
    id INTEGER PRIMARY KEY,
    location TEXT NOT NULL UNIQUE,
    forgotten INTEGER NOT NULL DEFAULT 0,  -- the last sequence that was confirmed and removed
    first_ms INTEGER,                      -- what the sources have handed over, from here
    last_ms INTEGER                        -- to here
);
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY,                -- lane << 40 | sequence
    commands INTEGER NOT NULL,
    count INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    payload BLOB NOT NULL
);
"""
_PAGE = 8192
"""Bytes. Half of it takes half as much CPU again for a large batch, twice of it writes a third more at rest."""
_LANE_SHIFT = 40
_FORGET_AT_ONCE = 128
"""Entries removed in one transaction, so that removing never holds up a commit for long."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A packed batch with its sequence in its lane."""

    seq: int
    packed: Packed


@dataclass(frozen=True, slots=True)
class LaneRecord:
    """What the journal knows of a lane when it is opened.

    Attributes:
        forgotten: last sequence that was removed.
        last: last sequence that was given.
        span: what was handed over so far.
        sizes: (sequence, bytes, readings) of each entry still there.
    """

    id: int
    location: str
    forgotten: int
    last: int
    span: Span | None
    sizes: list[tuple[int, int, int]]


class Journal:
    """The spool's SQLite file. Write-ahead log, so that a reader never waits for the writer."""

    def __init__(self, path: Path, sync: Literal["full", "normal"]) -> None:
        """Opens or makes the file.

        Raises:
            StateError: it can't be opened, or is damaged.
        """
        self.path = path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._db = self._connect()
            self._db.execute(f"PRAGMA page_size={_PAGE}")
            self._db.execute("PRAGMA auto_vacuum=INCREMENTAL")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(f"PRAGMA synchronous={sync.upper()}")
            self._db.execute("PRAGMA journal_size_limit=67108864")
            self._db.executescript(_SCHEMA)
            self._db.execute("INSERT OR IGNORE INTO meta VALUES ('producer', ?)", (uuid.uuid4().hex,))
            self._reading = self._connect()
        except (sqlite3.Error, OSError) as e:
            raise StateError(
                f"{path}: the spool can't be opened ({e}); it may hold readings that are nowhere else: "
                "mend the disk or its rights, or move the file away to start with an empty one"
            ) from None

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)

    @property
    def producer(self) -> str:
        """The name under which the fences of this journal's sequences are kept; a new journal has a new one."""
        row = self._db.execute("SELECT value FROM meta WHERE name = 'producer'").fetchone()
        return str(row[0])

    def renew_producer(self) -> str:
        """Gives the journal a new name, so that fences set under the old one no longer count."""
        self._db.execute("UPDATE meta SET value = ? WHERE name = 'producer'", (uuid.uuid4().hex,))
        return self.producer

    def lane(self, location: str) -> LaneRecord:
        """The lane of a location, made if it is new; on a connection of its own, so that any thread may ask."""
        with closing(self._connect()) as db:
            db.execute("INSERT OR IGNORE INTO lanes (location) VALUES (?)", (location,))
            lane, forgotten, first, last = db.execute(
                "SELECT id, forgotten, first_ms, last_ms FROM lanes WHERE location = ?", (location,)
            ).fetchone()
            low, high = lane << _LANE_SHIFT, (lane + 1) << _LANE_SHIFT
            sizes = [
                (key - low, size, count)
                for key, size, count in db.execute(
                    "SELECT id, length(payload), count FROM entries WHERE id > ? AND id < ? ORDER BY id", (low, high)
                )
            ]
        span = Span(first, last) if first is not None else None
        return LaneRecord(lane, location, forgotten, sizes[-1][0] if sizes else forgotten, span, sizes)

    def write(self, entries: list[tuple[int, Entry]], spans: dict[int, Span]) -> None:
        """Entries, each with its lane's id, and the lanes' new spans, in one transaction."""
        rows = [
            (lane << _LANE_SHIFT | e.seq, p.commands, p.count, p.first, p.last, p.payload)
            for lane, e in entries
            for p in (e.packed,)
        ]
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", rows)
            db.executemany(
                "UPDATE lanes SET first_ms = min(ifnull(first_ms, ?1), ?1), last_ms = max(ifnull(last_ms, ?2), ?2) "
                "WHERE id = ?3",
                [(span.first, span.last, lane) for lane, span in spans.items()],
            )
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def read(self, lane: int, after: int, max_bytes: int) -> list[Entry]:
        """Entries of a lane after a sequence, in order: about ``max_bytes``, and one at least if there is one."""
        low = lane << _LANE_SHIFT
        found, size = [], 0
        rows = self._reading.execute(
            "SELECT id, commands, count, first_ms, last_ms, payload FROM entries WHERE id > ? AND id < ? ORDER BY id",
            (low | after, (lane + 1) << _LANE_SHIFT),
        )
        for key, commands, count, first, last, payload in rows:
            found.append(Entry(key - low, Packed(payload, commands, count, first, last)))
            size += len(payload)
            if size >= max_bytes:
                break
        rows.close()
        return found

    def forget(self, lane: int, upto: int) -> bool:
        """Removes a lane's entries up to a sequence, some at a time; True when none is left."""
        low = lane << _LANE_SHIFT
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            gone = db.execute(
                "DELETE FROM entries WHERE id IN "
                "(SELECT id FROM entries WHERE id > ? AND id <= ? ORDER BY id LIMIT ?) RETURNING id",
                (low, low | upto, _FORGET_AT_ONCE),
            ).fetchall()
            done = len(gone) < _FORGET_AT_ONCE
            last = upto if done else max(key for (key,) in gone) - low
            db.execute("UPDATE lanes SET forgotten = max(forgotten, ?) WHERE id = ?", (last, lane))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return done

    def shrink(self) -> None:
        """Gives free pages back to the file system, a few at a time, once there are many."""
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        if free > 16_384:
            self._db.execute("PRAGMA incremental_vacuum(1024)").fetchall()

    def close(self) -> None:
        self._reading.close()
        self._db.close()
