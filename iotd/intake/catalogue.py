"""The catalogue: every series that was ever seen, registered durably before its first reading is acknowledged."""

from __future__ import annotations

import asyncio
import json
import math
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from iotd.model.batch import Numbers, Times, Values
from iotd.model.errors import StateError, StateUnwritable
from iotd.model.instants import NEVER
from iotd.model.series import Found, Series
from iotd.ops.database import reading_only
from iotd.ops.files import set_aside
from iotd.ops.loggers import get_logger

log = get_logger(__name__)

_COLUMNS = "type, location, sensor_id, unit, source, since, original_unit, newest, latest, pause"
_Row = tuple[str, str, str, str, str, int, str, int | None, float | None, float | None]

_SINCE_0_3 = {"original_unit": "TEXT NOT NULL DEFAULT ''", "latest": "REAL", "pause": "REAL"}
"""Columns that a file of version 0.2 has not."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS series (
    number INTEGER PRIMARY KEY,
    type TEXT NOT NULL,
    location TEXT NOT NULL,
    sensor_id TEXT NOT NULL,
    unit TEXT NOT NULL,
    source TEXT NOT NULL,               -- which first named it
    since INTEGER NOT NULL,             -- when that was, ms
    original_unit TEXT NOT NULL DEFAULT '',  -- that its values came in there, where it is another
    newest INTEGER,                     -- newest time (ms), as of the last save
    latest REAL,                        -- the value at that time
    pause REAL,                         -- its longest pause as of late, ms; see iotd.health.silence
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


class Made(NamedTuple):
    """Which source first named a series, when that was (ms), and the unit of its values where it is another."""

    source: str
    since: int
    original_unit: str = ""


def _made(labels: Mapping[str, str]) -> Made:
    since = labels.get("since", "")
    return Made(labels.get("source", "shard"), int(since) if since.isdecimal() else 0, labels.get("original_unit", ""))


class Catalogue:
    """Numbers for series, 0, 1, 2 …, which stand for them in batches and in the log.

    A number means the same series for ever in one file. Segments of the log describe the numbers that they use, so a
    lost or older file costs nothing but new numbers: :meth:`number` registers what the log describes.

    Attributes:
        keys: the Redis key of each series, by number.
        pauses: float64, as :mod:`iotd.health.silence` has learned them; likewise.
        newest: int64, the newest time (ms) taken of each series, by number; may be longer than ``keys``.
        values: float64, the value at that time, as far as it is known, else nan; likewise.
    """

    def __init__(self, path: Path, name_of: Callable[[str], str | None] = lambda sensor: None) -> None:
        """Opens or makes the file; blocking.

        Args:
            name_of: what people call a sensor, by its id.

        Raises:
            StateError: it can't be opened.
        """
        self.path = path
        self._name_of = name_of
        self.keys: list[bytes] = []
        self.newest: Times = np.full(64, NEVER, np.int64)
        self.pauses: Values = np.zeros(64)
        self.values: Values = np.full(64, np.nan)
        self._series: list[Series] = []
        self._numbers: dict[Series, int] = {}
        self._locations: dict[str, list[int]] = {}
        self._sensors: dict[str, set[str]] = {}
        self._made: list[Made] = []
        self._made_by: Counter[str] = Counter()
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
        for kind, location, sensor_id, unit, source, since, original, newest, latest, pause in rows:
            number = self._add(Series(kind, location, sensor_id, unit), Made(source, since, original))
            if newest is not None:
                self.newest[number] = newest
            if latest is not None:
                self.values[number] = latest
            self.pauses[number] = pause or 0.0

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

    def sensors(self, location: str) -> int:
        """How many sensors a location has; one may have several series."""
        return len(self._sensors.get(location, ()))

    def made_by(self, source: str) -> int:
        """How many series a source was the first to name."""
        return self._made_by[source]

    def made(self, number: int) -> Made:
        """How a series came to be known."""
        return self._made[number]

    def latest(self, number: int) -> float | None:
        """The value at a series' newest time, as far as it is known."""
        value = float(self.values[number])
        return None if math.isnan(value) else value

    async def register(
        self, series: Sequence[Series], source: str, originals: Mapping[Series, str] = MappingProxyType({})
    ) -> Numbers:
        """The numbers of these series; those that are new are registered, durably when this returns.

        Whoever waits for it may be cancelled: what is being written has its numbers all the same.

        Args:
            source: who names them.
            originals: units that their values come in, where these are others.

        Raises:
            StateUnwritable: the file can't be written.
        """
        if any(one not in self._numbers for one in series):
            now = time.time_ns() // 1_000_000
            await asyncio.shield(self._register({one: Made(source, now, originals.get(one, "")) for one in series}))
        return np.array([self._numbers[one] for one in series], np.int32)

    async def recover(self, found: Sequence[Found]) -> None:
        """Registers series that a shard has and this does not know, by their labels; durable when it returns.

        Raises:
            StateUnwritable: the file can't be written.
        """
        made = {one.series: _made(one.labels) for one in found}
        await asyncio.shield(self._register(made))
        spoke = [(self._numbers[one.series], *one.newest) for one in found if one.newest is not None]
        for number, newest, value in spoke:
            self.note_one(number, newest, value)

    def labels(self, series: Series) -> Mapping[str, str]:
        """The labels that a series has in its shard, so that this file can be made again of them."""
        labels = dict(series.labels)
        if (number := self._numbers.get(series)) is not None:
            made = self._made[number]
            labels |= {"source": made.source, "since": str(made.since), "original_unit": made.original_unit}
        labels["name"] = self._name_of(series.sensor_id) or ""
        return {name: text for name, text in labels.items() if text}

    async def _register(self, made: Mapping[Series, Made]) -> None:
        async with self._turn:
            new = {series: its for series, its in made.items() if series not in self._numbers}
            if new:
                await asyncio.to_thread(self._insert, new, len(self._series))
            for one, its in new.items():
                self._add(one, its)

    def note(self, series: Numbers, times: Times, values: Values) -> None:
        """Readings of these series (numbers), times (ms) and values were taken, in this order."""
        if len(times) > 1 and (times[1:] < times[:-1]).any():
            order = np.argsort(times, kind="stable")
            series, times, values = series[order], times[order], values[order]
        fresh = times >= self.newest[series]
        if not fresh.all():
            series, times, values = series[fresh], times[fresh], values[fresh]
        self.newest[series] = times  # of several of one series the last, which is the newest
        self.values[series] = values

    def note_one(self, number: int, time: int, value: float) -> None:
        """As :meth:`note`, for one reading."""
        if time >= self.newest[number]:
            self.newest[number] = time
            self.values[number] = value

    async def save(self) -> None:
        """Saves the newest times; what was not saved is found again in the shards and the log.

        Raises:
            StateUnwritable: the file can't be written.
        """
        async with self._turn:
            known = self.newest[: len(self._series)]
            spoke = np.flatnonzero(known != NEVER).tolist()
            rows = [(int(known[n]), self.latest(n), float(self.pauses[n]), n) for n in spoke]
            await asyncio.to_thread(self._save, rows)

    def close(self) -> None:
        """Closes the file, once what is being written is; blocking."""
        with self._writing:
            self._db.close()

    # ── for the log, which describes the numbers in its segments ──

    def describe(self, number: int) -> bytes:
        """A series as bytes, for :meth:`number`."""
        one, made = self._series[number], self._made[number]
        return json.dumps([one.type, one.location, one.sensor_id, one.unit, *made], ensure_ascii=False).encode()

    def number(self, description: bytes) -> int:
        """The number of a series that was described; it is registered if it is not known here. Blocking.

        Raises:
            ValueError: it is no description.
            StateUnwritable: the file can't be written.
        """
        said = json.loads(description)
        match said:
            case [str(), str(), str(), str()]:  # of version 0.2
                made = Made("log", time.time_ns() // 1_000_000)
            case [str(), str(), str(), str(), str(source), int(since), str(original)]:
                made = Made(source, since, original)
            case _:
                raise ValueError(f"not a description of a series: {description!r}")
        one = Series(*said[:4])
        if one not in self._numbers:
            self._insert({one: made}, len(self._series))
            self._add(one, made)
        return self._numbers[one]

    # ── the file ──

    def _open(self) -> list[_Row]:
        self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
            there = {row[1] for row in self._db.execute("PRAGMA table_info(series)")}
            for column, kind in _SINCE_0_3.items():
                if column not in there:
                    self._db.execute(f"ALTER TABLE series ADD COLUMN {column} {kind}")
            rows = self._db.execute(f"SELECT number, {_COLUMNS} FROM series ORDER BY number").fetchall()
            if [row[0] for row in rows] != list(range(len(rows))):
                raise sqlite3.DatabaseError("its numbers have holes")
        except BaseException:
            self._db.close()
            raise
        return [row[1:] for row in rows]

    def _begin_anew(self, reason: str) -> list[_Row]:
        aside = set_aside(self.path, StateError)
        log.error(
            "catalogue_damaged",
            path=str(self.path),
            reason=reason,
            moved_to=str(aside),
            effect="series are registered anew, from the log and as they speak",
        )
        return self._open()

    def _add(self, series: Series, made: Made) -> int:
        number = len(self._series)
        self._made.append(made)
        self._made_by[made.source] += 1
        self._series.append(series)
        self._numbers[series] = number
        self.keys.append(series.key.encode())
        self._locations.setdefault(series.location, []).append(number)
        self._sensors.setdefault(series.location, set()).add(series.sensor_id)
        if number >= len(self.newest):
            self.pauses = np.concatenate((self.pauses, np.zeros(len(self.newest))))
            self.values = np.concatenate((self.values, np.full(len(self.newest), np.nan)))
            self.newest = np.concatenate((self.newest, np.full(len(self.newest), NEVER, np.int64)))
        return number

    def _insert(self, new: Mapping[Series, Made], first: int) -> None:
        rows = [
            (number, one.type, one.location, one.sensor_id, one.unit, *made)
            for number, (one, made) in enumerate(new.items(), first)
        ]
        columns = "number, type, location, sensor_id, unit, source, since, original_unit"
        self._write(f"INSERT INTO series ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def _save(self, rows: Sequence[tuple[int, float | None, float, int]]) -> None:
        changed = "number = ?4 AND (newest, latest, pause) IS NOT (?1, ?2, ?3)"
        self._write(f"UPDATE series SET newest = ?1, latest = ?2, pause = ?3 WHERE {changed}", rows)

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
