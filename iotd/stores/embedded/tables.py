"""The tables of the embedded archive's file, its format, and its series with their checksums."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from xxhash import xxh3_64_intdigest

from iotd.model.errors import ArchiveRefused, ArchiveRejected, ArchiveUnavailable
from iotd.model.series import Series
from iotd.ops.database import Database
from iotd.stores.embedded.block import SERIES_LIMIT

FORMAT: Final = 1

FILE: Final = "archive.sqlite"
"""The file's name in the state directory, as it was in the form before (:mod:`iotd.stores.embedded.former`)."""

# Headers and columns are apart, so that summaries of a year are read from neighbouring pages. The columns' key runs in
# the order of series, hour and part: a series is read in one go. In a table WITHOUT ROWID, a row of 1.8 kB would take a
# page of its own.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS series (
    type TEXT NOT NULL,
    location TEXT NOT NULL,
    sensor_id TEXT NOT NULL,
    id INTEGER NOT NULL,
    unit TEXT NOT NULL,
    checksum BLOB NOT NULL,
    PRIMARY KEY (type, location, sensor_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS numbers ON series (id);
CREATE TABLE IF NOT EXISTS blocks (
    series INTEGER NOT NULL,
    hour INTEGER NOT NULL,   -- ms since the epoch
    part INTEGER NOT NULL,
    header BLOB NOT NULL,    -- count, first, last, sum, min, max, their values and checksums: block.py
    PRIMARY KEY (series, hour, part)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS columns (
    id INTEGER PRIMARY KEY,  -- of series, hour and part: block.py
    times BLOB NOT NULL,
    vals BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS damaged (
    id INTEGER PRIMARY KEY,
    found INTEGER NOT NULL,  -- ms since the epoch
    series TEXT NOT NULL,    -- type, location, sensor_id and unit, in JSON
    hour INTEGER,
    part INTEGER,
    header BLOB,
    times BLOB,
    vals BLOB
);
CREATE TABLE IF NOT EXISTS takeover (        -- how far an archive of the form before is taken over
    series INTEGER PRIMARY KEY,
    next INTEGER NOT NULL,   -- ms: all before is here
    count INTEGER NOT NULL,  -- its rows; and those of them that were no readings
    skipped INTEGER NOT NULL
);
"""


_UNITS: Final = ("units", "1")
"""In ``meta``: how often a series has got another unit, when it has."""


class SeriesDamaged(ArchiveRefused):
    """A row of the table of series is not what was written; the other series can be used."""


def opened(path: Path, *, read_only: bool) -> Database:
    """The file; it is made, if need be, at the first use that may write."""
    return Database(
        path,
        unavailable=ArchiveUnavailable,
        damaged=lambda why: ArchiveRefused(
            f"{why}: move it away, with its -wal and -shm, and what the shards still hold is archived into a new one; "
            "`sqlite3 FILE .recover` may save the rest"
        ),
        prepare=_prepare,
        read_only=read_only,
    )


def incarnation(db: sqlite3.Connection) -> str:
    """The random name that every new file gets.

    Raises:
        ArchiveRefused: there is none, or the file is of another format.
    """
    meta = dict(db.execute("SELECT name, value FROM meta"))
    if meta.get("format") != str(FORMAT) or "incarnation" not in meta:
        raise ArchiveRefused(
            f"the embedded archive is of format {meta.get('format')!r}, not {FORMAT}: use the iotd that made it"
        )
    return str(meta["incarnation"])


def all_series(db: sqlite3.Connection) -> Iterator[tuple[Series, int] | SeriesDamaged]:
    """Each series with its number, or the error for what can't be read of it."""
    for row in db.execute("SELECT type, location, sensor_id, unit, id, checksum FROM series").fetchall():
        try:
            yield _checked(row)
        except SeriesDamaged as e:
            yield e


def generation(db: sqlite3.Connection) -> tuple[object, ...]:
    """Another one whenever iotd has changed the table of series; found at once, however many there are."""
    found: tuple[object, ...] = db.execute(
        "SELECT (SELECT count(*) FROM series), (SELECT max(id) FROM series), "
        f"(SELECT value FROM meta WHERE name = '{_UNITS[0]}')"
    ).fetchone()
    return found


def number_of(db: sqlite3.Connection, series: Series) -> int | None:
    """The series' number; None: there is none.

    Raises:
        SeriesDamaged: its row can't be trusted.
    """
    row = _row(db, series)
    return None if row is None else row[1]


def make_number(db: sqlite3.Connection, series: Series) -> tuple[int, SeriesDamaged | None]:
    """The series' number, which is made, if need be; and the damage, if its row had to be set aside.

    A row that can't be trusted is set aside. Its blocks stay in the file, under a number that no series has.

    Raises:
        ArchiveRejected: its names are no text.
    """
    damage: SeriesDamaged | None = None
    try:
        if (row := _row(db, series)) is not None:
            stored, number = row
            if series.unit not in ("", stored.unit):  # the latest word on it
                _put(db, series, number)
                db.execute(f"INSERT INTO meta VALUES {_UNITS} ON CONFLICT DO UPDATE SET value = value + 1")
            return number, None
    except SeriesDamaged as e:
        damage = e
        set_aside(db, series)
    taken = db.execute(
        "SELECT max((SELECT coalesce(max(id), 0) FROM series WHERE id < ?1),"
        " (SELECT coalesce(max(series), 0) FROM blocks WHERE series < ?1))",
        (SERIES_LIMIT - 1,),
    ).fetchone()[0]
    _put(db, series, taken + 1)
    return taken + 1, damage


def set_aside(db: sqlite3.Connection, series: Series, hour: int | None = None, part: int | None = None) -> None:
    """Notes damage, in the order found; whoever sets a block aside adds its bytes."""
    db.execute(
        "INSERT INTO damaged (found, series, hour, part) VALUES (?, ?, ?, ?)",
        (time.time_ns() // 1_000_000, json.dumps([*_key(series), series.unit]), hour, part),
    )


def _prepare(db: sqlite3.Connection) -> None:
    for statement in _SCHEMA.split(";\n"):
        db.execute(statement)
    db.execute("INSERT OR IGNORE INTO meta VALUES ('format', ?)", (str(FORMAT),))
    db.execute("INSERT OR IGNORE INTO meta VALUES ('incarnation', ?)", (uuid.uuid4().hex,))
    incarnation(db)


def _row(db: sqlite3.Connection, series: Series) -> tuple[Series, int] | None:
    row = db.execute(
        "SELECT type, location, sensor_id, unit, id, checksum FROM series "
        "WHERE type = ? AND location = ? AND sensor_id = ?",
        _key(series),
    ).fetchone()
    return None if row is None else _checked(row)


def _put(db: sqlite3.Connection, series: Series, number: int) -> None:
    checksum = _checksum(*_key(series), series.unit, number)
    db.execute(
        "INSERT OR REPLACE INTO series VALUES (?, ?, ?, ?, ?, ?)", (*_key(series), number, series.unit, checksum)
    )


def _key(series: Series) -> tuple[str, str, str]:
    key = series.type, series.location, series.sensor_id
    try:
        "".join((*key, series.unit)).encode()
    except UnicodeEncodeError as e:
        raise ArchiveRejected(f"the series {key!r} can't be stored: {e}") from None
    return key


def _checked(row: tuple[object, ...]) -> tuple[Series, int]:
    *names, number, checksum = row
    if checksum != _checksum(*names, number) or not isinstance(number, int):
        raise SeriesDamaged(
            f"the embedded archive's row of the series {names[:3]} is damaged; other series can be read, and what the "
            "shards still hold of this one can be archived again"
        )
    return Series(*(str(name) for name in names)), number


def _checksum(*row: object) -> bytes:
    return xxh3_64_intdigest(json.dumps([repr(cell) for cell in row]).encode()).to_bytes(8, "little")
