"""Taking over an archive of the form before, with a row a reading; it can be stopped and goes on."""

from __future__ import annotations

import itertools
import math
import os
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from iotd.model.arrays import among
from iotd.model.batch import Times, Values
from iotd.model.buckets import HOUR
from iotd.model.errors import ArchiveRefused, ArchiveUnavailable
from iotd.model.series import Series
from iotd.ops.database import Database
from iotd.stores.embedded.block import TIME_LIMIT
from iotd.stores.embedded.reader import ArchiveReader
from iotd.stores.embedded.writer import ArchiveWriter

_WINDOW = 24 * HOUR
"""Milliseconds of one series that are taken over in one transaction."""

_END = TIME_LIMIT + 1

_SOURCE = "takeover_of"


@dataclass(frozen=True, slots=True)
class TakenOver:
    """What a take-over did, also in the runs of it that were stopped.

    Attributes:
        readings: that are in the new archive now.
        skipped: rows that are no readings: a time or value that is no finite number.
        incarnation: that of the old archive, by which watermarks know it.
        kept: where the old file is now.
    """

    readings: int
    skipped: int
    incarnation: str
    kept: Path


def incarnation(old: Path) -> str:
    """The name of an old archive, by which watermarks know it; empty when it has none.

    Raises:
        ArchiveUnavailable, ArchiveRefused: it can't be read.
    """
    source = Database(old, unavailable=ArchiveUnavailable, damaged=ArchiveRefused, read_only=True)
    try:
        return source.read(_contents)[0]
    finally:
        source.close()


def take_over(
    old: Path,
    new: ArchiveWriter,
    progress: Callable[[int, int], None],
    *,
    finish: Callable[[sqlite3.Connection], None] = lambda db: None,
) -> TakenOver:
    """Brings all readings of an old archive into a new one, then renames the old file; it is not changed otherwise.

    What is in the new archive already stands: it may be written meanwhile. Whatever stops this, the next call goes on
    where it was.

    Args:
        old: the file; nobody else may write it.
        progress: called with the rows done and the rows there are, after each window.
        finish: what is to be changed in the new archive once all is there, before the old file is renamed.

    Raises:
        ArchiveUnavailable: a file can't be used now; the old one is open elsewhere.
        ArchiveRefused: the old file is damaged, or what was written is not what can be read.
    """
    source = Database(old, unavailable=ArchiveUnavailable, damaged=ArchiveRefused, read_only=True)
    reader = ArchiveReader(new.database.path)
    try:
        incarnation, total, series = source.read(_contents)
        so_far = new.database.write(lambda db: _begin(db, incarnation))
        done = sum(state.rows for state in so_far.values())
        progress(done, total)
        for number, one in series:
            state = so_far.get(number, _State(-TIME_LIMIT, 0, 0))
            while (window := _window(source, number, state.next)) is not None:
                new.write([(one, window.times, window.values)], keep=True)
                _verify(reader, one, window)
                done += window.rows
                state = _State(window.stop, state.rows + window.rows, state.skipped + window.rows - len(window.times))
                _note(new, number, state)
                so_far[number] = state
                progress(done, total)
        unreachable = source.read(_unreachable) if done != total else 0
    finally:
        source.close()
        reader.close()
    if done + unreachable != total:
        raise ArchiveRefused(f"{old}: {done} of {total} rows were found to be taken over; the file stays where it is")
    new.database.write(finish)
    kept = _free(old, ".taken-over")
    put_aside(old, kept)
    new.database.write(lambda db: db.execute("DELETE FROM takeover"))
    skipped = sum(state.skipped for state in so_far.values())
    return TakenOver(done - skipped, skipped + unreachable, incarnation, kept)


@dataclass(frozen=True, slots=True)
class _State:
    """How far a series is taken over: all before ``next``, ms, which were so many rows."""

    next: int
    rows: int
    skipped: int


@dataclass(frozen=True, slots=True)
class _Window:
    """The rows of a series up to ``stop``, and the readings that they are."""

    stop: int
    rows: int
    times: Times
    values: Values


def _contents(db: sqlite3.Connection) -> tuple[str, int, list[tuple[int, Series]]]:
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:  # it was stopped while it was made
        return "", 0, []
    incarnation = db.execute("SELECT id FROM incarnation").fetchone()
    (total,) = db.execute("SELECT count(*) FROM samples").fetchone()
    series = [
        (number, Series(str(kind), str(location), str(sensor_id), str(unit)))
        for number, kind, location, sensor_id, unit in db.execute(
            "SELECT id, type, location, sensor_id, unit FROM series ORDER BY id"
        )
    ]
    return str(incarnation[0]) if incarnation else "", total, series


def _begin(db: sqlite3.Connection, incarnation: str) -> dict[int, _State]:
    known = db.execute("SELECT value FROM meta WHERE name = ?", (_SOURCE,)).fetchone()
    if known != (incarnation,):  # it is of another file, or the first time
        db.execute("DELETE FROM takeover")
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_SOURCE, incarnation))
    return {number: _State(*state) for number, *state in db.execute("SELECT * FROM takeover")}


def _window(source: Database, number: int, begins: int) -> _Window | None:
    """The next rows of a series; None: there are no more."""

    def work(db: sqlite3.Connection) -> tuple[int, Sequence[tuple[object, object]]] | None:
        here = "FROM samples WHERE series = ? AND time >= ?"
        first = db.execute(f"SELECT min(time) {here}", (number, begins)).fetchone()[0]
        if not isinstance(first, int) or first >= _END:
            return None
        stop = min(first // _WINDOW * _WINDOW + _WINDOW, _END)
        return stop, db.execute(
            f"SELECT time, value {here} AND time < ? ORDER BY time", (number, first, stop)
        ).fetchall()

    found = source.read(work)
    if found is None:
        return None
    stop, rows = found
    sound = [row for row in rows if type(row[0]) is int and type(row[1]) is float and math.isfinite(row[1])]
    times = np.fromiter((row[0] for row in sound), np.int64, len(sound))
    return _Window(stop, len(rows), times, np.fromiter((row[1] for row in sound), np.float64, len(sound)))


def _unreachable(db: sqlite3.Connection) -> int:
    """Rows that are of no series, or whose time is none. (Text and blobs are greater than all numbers.)"""
    query = "SELECT count(*) FROM samples WHERE series NOT IN (SELECT id FROM series) OR time < ? OR time > ?"
    return int(db.execute(query, (-TIME_LIMIT, TIME_LIMIT)).fetchone()[0])


def _verify(reader: ArchiveReader, series: Series, window: _Window) -> None:
    if len(window.times):
        found, _ = reader.samples(series, int(window.times[0]), int(window.times[-1]))
        if not among(window.times, found).all():
            raise ArchiveRefused(f"{reader.database.path}: what was taken over of {series.key} can't be read there")


def _note(new: ArchiveWriter, number: int, state: _State) -> None:
    row = number, state.next, state.rows, state.skipped
    new.database.write(lambda db: db.execute("INSERT OR REPLACE INTO takeover VALUES (?, ?, ?, ?)", row))


def put_aside(old: Path, target: Path) -> None:
    """Renames the file, once all of it is in the file itself.

    Raises:
        ArchiveUnavailable: not now; it is open elsewhere.
    """
    try:
        db = sqlite3.connect(old, isolation_level=None, timeout=10)
        try:
            (mode,) = db.execute("PRAGMA journal_mode=DELETE").fetchone()
        finally:
            db.close()
        if mode != "delete":
            raise ArchiveUnavailable(f"{old}: it is open elsewhere")
        old.rename(target)
        folder = os.open(old.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except (sqlite3.Error, OSError) as e:
        raise ArchiveUnavailable(f"{old}: {e}") from None


def _free(path: Path, suffix: str) -> Path:
    names = (f"{path.name}{suffix}{more}" for more in itertools.chain([""], (f"-{n}" for n in itertools.count(2))))
    return next(free for name in names if not (free := path.with_name(name)).exists())
