"""The catalogue: every series that was ever seen, registered durably before its first reading is acknowledged."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from iotd.model.batch import Numbers, Times
from iotd.model.errors import StateError, StateUnwritable
from iotd.model.series import Series
from iotd.ops.database import reading_only
from iotd.ops.loggers import get_logger

log = get_logger(__name__)

NEVER = -(2**62)
"""The newest time of a series that has no reading, ms."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS series (
    number INTEGER PRIMARY KEY,
    type TEXT NOT NULL,
    location TEXT NOT NULL,
    sensor_id TEXT NOT NULL,
    unit TEXT NOT NULL,
    source TEXT NOT NULL,               -- which first named it
    since INTEGER NOT NULL,             -- when that was, ms
    newest INTEGER,                     -- newest time (ms), as of the last save
    UNIQUE (type, location, sensor_id)
);
"""


def catalogued(path: Path) -> list[Series] | None:
    """The series in a catalogue that a daemon may be using; None where there is none, or it can't be read. Blocking."""
    if not path.exists():
        return None
    try:
        with reading_only(path) as db:
            rows = db.execute("SELECT type, location, sensor_id, unit FROM series ORDER BY number").fetchall()
    except sqlite3.Error:
        return None
    return [Series(*row) for row in rows]


class Catalogue:
    """Numbers for series, 0, 1, 2 …, which stand for them in batches and in the log.

    A number means the same series for ever in one file. Segments of the log describe the numbers that they use, so a
    lost or older file costs nothing but new numbers: :meth:`number` registers what the log describes.

    Attributes:
        keys: the Redis key of each series, by number.
        newest: int64, the newest time (ms) taken of each series, by number; may be longer than ``keys``.
    """

    def __init__(self, path: Path) -> None:
        """Opens or makes the file; blocking.

        Raises:
            StateError: it can't be opened.
        """
        self.path = path
        self.keys: list[bytes] = []
        self.newest: Times = np.full(64, NEVER, np.int64)
        self._series: list[Series] = []
        self._numbers: dict[Series, int] = {}
        self._locations: dict[str, list[int]] = {}
        self._turn = asyncio.Lock()
        self._writing = threading.Lock()  # a thread goes on when the coroutine that waits for it is cancelled
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                rows = self._open()
            except sqlite3.DatabaseError as e:
                if isinstance(e, sqlite3.OperationalError):
                    raise
                rows = self._begin_anew(str(e))
        except (sqlite3.Error, OSError) as e:
            raise StateError(f"{path}: the catalogue can't be opened ({e}); mend the disk or its rights") from None
        for kind, location, sensor_id, unit, newest in rows:
            number = self._add(Series(kind, location, sensor_id, unit))
            if newest is not None:
                self.newest[number] = newest

    def __len__(self) -> int:
        return len(self._series)

    def series(self, number: int) -> Series:
        """The series of a number."""
        return self._series[number]

    def number_of(self, series: Series) -> int | None:
        """The number of a series; None when it was never registered."""
        return self._numbers.get(series)

    def of_location(self, location: str) -> list[int]:
        """The numbers of a location's series, in the order in which they were first seen."""
        return self._locations.get(location, [])

    async def register(self, series: Sequence[Series], source: str) -> Numbers:
        """The numbers of these series; those that are new are registered, durably when this returns.

        Whoever waits for it may be cancelled: what is being written has its numbers all the same.

        Args:
            source: who names them.

        Raises:
            StateUnwritable: the file can't be written.
        """
        if any(one not in self._numbers for one in series):
            await asyncio.shield(self._register(series, source))
        return np.array([self._numbers[one] for one in series], np.int32)

    async def _register(self, series: Sequence[Series], source: str) -> None:
        async with self._turn:
            new = [one for one in dict.fromkeys(series) if one not in self._numbers]
            if new:
                await asyncio.to_thread(self._insert, new, len(self._series), source)
            for one in new:
                self._add(one)

    def note(self, series: Numbers, times: Times) -> None:
        """Readings of these series (numbers) and times (ms) were taken."""
        np.maximum.at(self.newest, series, times)

    async def save(self) -> None:
        """Saves the newest times; what was not saved is found again in the shards and the log.

        Raises:
            StateUnwritable: the file can't be written.
        """
        async with self._turn:
            known = self.newest[: len(self._series)]
            rows = [(int(known[n]), int(n)) for n in np.flatnonzero(known != NEVER)]
            await asyncio.to_thread(self._save, rows)

    def close(self) -> None:
        """Closes the file, once what is being written is; blocking."""
        with self._writing:
            self._db.close()

    # ── for the log, which describes the numbers in its segments ──

    def describe(self, number: int) -> bytes:
        """A series as bytes, for :meth:`number`."""
        one = self._series[number]
        return json.dumps([one.type, one.location, one.sensor_id, one.unit], ensure_ascii=False).encode()

    def number(self, description: bytes) -> int:
        """The number of a series that was described; it is registered if it is not known here. Blocking.

        Raises:
            ValueError: it is no description.
            StateUnwritable: the file can't be written.
        """
        said = json.loads(description)
        if not (isinstance(said, list) and len(said) == 4 and all(isinstance(text, str) for text in said)):
            raise ValueError(f"not a description of a series: {description!r}")
        one = Series(*said)
        if one not in self._numbers:
            self._insert([one], len(self._series), "log")
            self._add(one)
        return self._numbers[one]

    # ── the file ──

    def _open(self) -> list[tuple[str, str, str, str, int | None]]:
        self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
            rows = self._db.execute(
                "SELECT number, type, location, sensor_id, unit, newest FROM series ORDER BY number"
            ).fetchall()
            if [row[0] for row in rows] != list(range(len(rows))):
                raise sqlite3.DatabaseError("its numbers have holes")
        except BaseException:
            self._db.close()
            raise
        return [row[1:] for row in rows]

    def _begin_anew(self, reason: str) -> list[tuple[str, str, str, str, int | None]]:
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns() // 1_000_000}")
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self.path.replace(aside)
        log.error(
            "catalogue_damaged",
            path=str(self.path),
            reason=reason,
            moved_to=str(aside),
            effect="series are registered anew, from the log and as they speak",
        )
        return self._open()

    def _add(self, series: Series) -> int:
        number = len(self._series)
        self._series.append(series)
        self._numbers[series] = number
        self.keys.append(series.key.encode())
        self._locations.setdefault(series.location, []).append(number)
        if number >= len(self.newest):
            self.newest = np.concatenate((self.newest, np.full(len(self.newest), NEVER, np.int64)))
        return number

    def _insert(self, new: Sequence[Series], first: int, source: str) -> None:
        now = time.time_ns() // 1_000_000
        rows = [
            (number, one.type, one.location, one.sensor_id, one.unit, source, now)
            for number, one in enumerate(new, first)
        ]
        self._write("INSERT INTO series VALUES (?, ?, ?, ?, ?, ?, ?, NULL)", rows)

    def _save(self, rows: Sequence[tuple[int, int]]) -> None:
        self._write("UPDATE series SET newest = ?1 WHERE number = ?2 AND newest IS NOT ?1", rows)

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        with self._writing:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    self._db.executemany(statement, rows)
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
            except sqlite3.Error as e:
                raise StateUnwritable(f"{self.path}: the catalogue can't be written ({e})") from None
