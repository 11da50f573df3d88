"""How many readings the store held of each series and hour when shard and store were last found alike.

A query compares these counts with those that the store gives now, so that a store that was set back, or in which rows
were deleted, is noticed before the next verification. What holds of every count that is noted:

1. It is the store's own, of a whole hour (UTC) that lies behind the watermark, noted by a verification that found no
   difference between shard and store in that hour. So refused readings are not in it, and late ones are.
2. Nothing has changed in that hour since, as far as iotd knows. A range that becomes dirty (late data, a gap that is
   repaired, refused readings that are sent again), or in which readings are deleted on purpose, forgets the hours that
   it touches, in the transaction that notes it. A verification that had begun before does not note the series then.
3. It belongs to one identity and one making of a store; another making (incarnation) forgets all.
4. Otherwise the store never holds fewer readings than are noted, only more. So fewer means: they were taken away. What
   a store lets go by itself after a time (``Store.keeps``) is left out.

An hour without a reading has no count, and 0 stands for one that is not known. A row holds a day of a series: 30 to 80
bytes, 1 MB a year for 45 series. Hours that the shard no longer has keep the count of their last verification.

Of the watermark itself the store must have the reading, unless it was refused, or deleted on purpose (``absent``).
All times are ms since the epoch, and ranges hold both their ends.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from iotd.model.buckets import HOUR
from iotd.model.series import Series, location_of

Counts = dict[Series, dict[int, int]]
"""By series and start of the hour (ms): readings, more than none."""

# the ids are never used again: what is left of a series that was renamed belongs to nobody
SCHEMA = """
CREATE TABLE IF NOT EXISTS verified_series (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sink TEXT NOT NULL,
    key TEXT NOT NULL,
    UNIQUE (sink, key)
);
CREATE TABLE IF NOT EXISTS verified (
    series INTEGER NOT NULL,
    day INTEGER NOT NULL,                  -- since the epoch
    counts BLOB NOT NULL,                  -- of its 24 hours: 32 bits each, little-endian, zlib
    PRIMARY KEY (series, day)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS absent (        -- a watermark whose reading was deleted on purpose
    sink TEXT NOT NULL,
    key TEXT NOT NULL,
    ms INTEGER NOT NULL,
    PRIMARY KEY (sink, key)
) WITHOUT ROWID;
"""

PRESENT = """
SELECT key, ms FROM watermarks AS w WHERE sink = ?
AND NOT EXISTS (SELECT 1 FROM rejected AS r WHERE r.sink = w.sink AND r.key = w.key AND r.ms = w.ms)
AND NOT EXISTS (SELECT 1 FROM absent AS a WHERE a.sink = w.sink AND a.key = w.key AND a.ms = w.ms)
"""
"""The watermarks, by key, at which a store must hold a reading."""

_DAY = 24 * HOUR


def note(db: sqlite3.Connection, store: str, found: Mapping[Series, Mapping[int, int]]) -> None:
    """Notes the counts of some hours, by series and start of the hour; other hours of these series stay."""
    dirty: dict[str, list[tuple[int, int]]] = {}
    for key, first, last in db.execute("SELECT key, first, last FROM dirty_ranges WHERE sink = ?", (store,)):
        dirty.setdefault(key, []).append((first, last))
    for series, hours in found.items():
        ranges = dirty.get(series.key, ())
        by_day: dict[int, dict[int, int]] = {}
        for hour, count in hours.items():
            if not any(first < hour + HOUR and last >= hour for first, last in ranges):
                by_day.setdefault(hour // _DAY, {})[hour % _DAY // HOUR] = count
        if not by_day:
            continue
        db.execute("INSERT OR IGNORE INTO verified_series (sink, key) VALUES (?, ?)", (store, series.key))
        (number,) = _numbers(db, store, series.key)
        for day, its in by_day.items():
            before = _day(db, number, day)
            counts = before.copy()
            counts[list(its)] = list(its.values())
            if (counts != before).any():
                row = (number, day, zlib.compress(counts.tobytes(), 1))
                db.execute("INSERT OR REPLACE INTO verified VALUES (?, ?, ?)", row)


def forget(db: sqlite3.Connection, store: str, key: str, first: int, last: int) -> None:
    """Forgets the counts of all hours of a series that a range touches."""
    for number in _numbers(db, store, key):
        query = "SELECT day FROM verified WHERE series = ? AND day BETWEEN ? AND ?"
        for (day,) in db.execute(query, (number, first // _DAY, last // _DAY)).fetchall():
            counts = _day(db, number, day)
            low, high = max(0, (first - day * _DAY) // HOUR), (last - day * _DAY) // HOUR
            counts[low : high + 1] = 0
            if counts.any():
                row = (zlib.compress(counts.tobytes(), 1), number, day)
                db.execute("UPDATE verified SET counts = ? WHERE series = ? AND day = ?", row)
            else:
                db.execute("DELETE FROM verified WHERE series = ? AND day = ?", (number, day))


def forget_store(db: sqlite3.Connection, store: str) -> None:
    """Forgets everything of a store."""
    db.execute("DELETE FROM verified_series WHERE sink = ?", (store,))
    db.execute("DELETE FROM absent WHERE sink = ?", (store,))
    sweep(db)


def sweep(db: sqlite3.Connection) -> None:
    """Removes what belongs to no series any more."""
    db.execute("DELETE FROM verified WHERE series NOT IN (SELECT id FROM verified_series)")


def read(db: sqlite3.Connection, store: str, locations: Iterable[str], first: int, last: int) -> Counts:
    """The counts of the hours that a range touches, of the series of some locations."""
    wanted = set(locations)
    named = {
        number: Series.from_key(key)
        for number, key in db.execute("SELECT id, key FROM verified_series WHERE sink = ?", (store,))
        if location_of(key) in wanted
    }
    found: Counts = {}
    for number, series in named.items():
        query = "SELECT day, counts FROM verified WHERE series = ? AND day BETWEEN ? AND ?"
        hours: dict[int, int] = {}
        for day, packed in db.execute(query, (number, first // _DAY, last // _DAY)):
            begin = day * _DAY
            for place, count in enumerate(_unpacked(packed).tolist()):
                hour = begin + place * HOUR
                if count and hour + HOUR > first and hour <= last:
                    hours[hour] = count
        if hours:
            found[series] = hours
    return found


def _numbers(db: sqlite3.Connection, store: str, key: str) -> list[int]:
    query = "SELECT id FROM verified_series WHERE sink = ? AND key = ?"
    return [number for (number,) in db.execute(query, (store, key))]


def _day(db: sqlite3.Connection, number: int, day: int) -> NDArray[np.uint32]:
    row = db.execute("SELECT counts FROM verified WHERE series = ? AND day = ?", (number, day)).fetchone()
    return _unpacked(row[0]) if row else np.zeros(24, "<u4")


def _unpacked(packed: bytes) -> NDArray[np.uint32]:
    try:
        counts = np.frombuffer(zlib.decompress(packed), "<u4").copy()
    except (zlib.error, ValueError, TypeError):
        counts = np.zeros(0, "<u4")
    return counts if counts.shape == (24,) else np.zeros(24, "<u4")  # damaged: none of them is known
