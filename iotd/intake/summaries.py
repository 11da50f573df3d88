"""Summaries of hours that were imported: kept beside the readings, never among them.

The daemon alone writes the file; queries read it (:mod:`iotd.query.imported`).
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from iotd.intake.resolve import Resolver
from iotd.intake.translate import LATEST
from iotd.model.buckets import HOUR
from iotd.model.errors import Refused, StateError, StateUnwritable
from iotd.model.observation import Subject
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.model.summaries import Hour
from iotd.model.types import SensorType, Types
from iotd.model.units import conversion
from iotd.ops.database import Database, Work, reading_only
from iotd.ops.loggers import get_logger

T = TypeVar("T")

log = get_logger(__name__)

FILE = "summaries.sqlite"
"""In the state directory."""

_LATEST = LATEST // HOUR
"""Of the hours since the epoch."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS hours (
    series INTEGER NOT NULL,
    hour INTEGER NOT NULL,                  -- since the epoch
    mean REAL, low REAL, high REAL,         -- of a measurement, in the unit of its type
    state REAL, sum REAL,                   -- of a counter, at the end of the hour
    PRIMARY KEY (series, hour)
) WITHOUT ROWID;
"""
_PUT = """
INSERT INTO hours VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
SET mean = excluded.mean, low = excluded.low, high = excluded.high, state = excluded.state, sum = excluded.sum
"""


@dataclass(frozen=True, slots=True)
class Span:
    """From which hour to which (since the epoch, both included) a series has summaries; ``counts``: of a counter."""

    series: Series
    first: int
    last: int
    counts: bool


class SummaryStore:
    """A SQLite file; what is handed over at once is one transaction. A damaged one is moved aside and begun anew."""

    def __init__(self, state: Path) -> None:
        self._db = Database(state / FILE, unavailable=StateUnwritable, damaged=_Damaged, prepare=_prepare)

    async def take(self, said: Sequence[Mapping[str, Any]], resolver: Resolver, types: Types) -> list[tuple[int, str]]:
        """Keeps what :class:`iotd.model.summaries.HourlySummaries` says; on disk when this returns. The same again
        changes nothing; other values for an hour replace those that are there.

        Returns:
            of what can't be taken: how many hours, and why.

        Raises:
            StateUnwritable: the file can't be written; nothing was kept.
            KeyError, TypeError: it is no such thing.
        """
        taken: list[tuple[Series, list[Hour]]] = []
        refused: list[tuple[int, str]] = []
        for one in said:
            about = Subject(one["type"], one["sensor"], one["location"], one["unit"], tuple(one.get("hints", ())))
            try:
                series, unit = resolver.resolve(about)
                row = types[series.type]
                good = _converted(one["hours"], row, unit)
            except Refused as e:
                refused.append((len(one["hours"]), f"{about.sensor}: {e}"))
                continue
            if bad := len(one["hours"]) - len(good):
                refused.append((bad, f"{about.sensor}: not plausible: no {row.name} has such values"))
            taken.append((series, good))

        def put(db: sqlite3.Connection) -> None:
            for series, hours in taken:
                db.execute("INSERT INTO series (key) VALUES (?) ON CONFLICT DO NOTHING", (series.key,))
                ((number,),) = db.execute("SELECT id FROM series WHERE key = ?", (series.key,)).fetchall()
                db.executemany(_PUT, [(number, *hour) for hour in hours])

        await self._writing(put)
        return refused

    async def delete(self, series: Iterable[Series], first: int, last: int) -> int:
        """Lets go of every hour that a range (ms, both included) touches; of how many.

        Raises:
            StateUnwritable: the file can't be written.
        """
        keys = [one.key for one in series]
        if not self._db.path.exists():
            return 0

        def gone(db: sqlite3.Connection) -> int:
            return sum(
                db.execute(
                    "DELETE FROM hours WHERE series = (SELECT id FROM series WHERE key = ?) AND hour BETWEEN ? AND ?",
                    (key, first // HOUR, last // HOUR),
                ).rowcount
                for key in keys
            )

        return await self._writing(gone)

    async def rename(self, old: str, new: str) -> None:
        """The series of a location are those of another one from now on.

        Raises:
            StateUnwritable: the file can't be written.
        """

        def renamed(db: sqlite3.Connection) -> None:
            for (key,) in db.execute("SELECT key FROM series").fetchall():
                one = Series.from_key(key)
                if one.location == old:
                    its = Series(one.type, new, one.sensor_id).key
                    db.execute("UPDATE OR REPLACE series SET key = ? WHERE key = ?", (its, key))

        if self._db.path.exists():
            await self._writing(renamed)

    def close(self) -> None:
        """Lets go of the file."""
        self._db.close()

    async def _writing(self, work: Work[T]) -> T:
        try:
            return await self._db.writing(work)
        except _Damaged as e:
            aside = await self._db.run(self._db.set_aside)
            log.error("summaries_damaged", reason=str(e), moved_to=str(aside), effect="import them again")
            return await self._db.writing(work)


class Summaries:
    """The file as queries read it, in one look; blocking."""

    def __init__(self, state: Path, types: Types) -> None:
        self._path = state / FILE
        self._types = types

    def spans(self) -> list[Span]:
        """What there is of each series.

        Raises:
            StateError: the file can't be read.
        """
        found = self._read(
            "SELECT key, (SELECT min(hour) FROM hours WHERE series = id),"
            " (SELECT max(hour) FROM hours WHERE series = id),"
            " (SELECT sum IS NOT NULL FROM hours WHERE series = id ORDER BY hour DESC LIMIT 1) FROM series",
            (),
        )
        return [Span(Series.from_key(key, self._types), a, b, bool(s)) for key, a, b, s in found if a is not None]

    def count(self, what: Selection, first: int, last: int) -> int:
        """How many hours of the selected series a range (ms, both included) touches.

        Raises:
            StateError: the file can't be read.
        """
        query = (
            "SELECT count(*) FROM hours WHERE series = (SELECT id FROM series WHERE key = ?) AND hour BETWEEN ? AND ?"
        )
        keys = [span.series.key for span in self.spans() if span.series in what]
        return sum(self._read(query, (key, first // HOUR, last // HOUR))[0][0] for key in keys)

    def hours(self, series: Series, first: int, last: int) -> list[tuple[int, float, float, float]]:
        """(hour, mean, min, max) of a measurement, in their order.

        Args:
            first, last: hours since the epoch, both included.

        Raises:
            StateError: the file can't be read.
        """
        return self._read(
            "SELECT hour, mean, low, high FROM hours WHERE series = (SELECT id FROM series WHERE key = ?)"
            " AND hour BETWEEN ? AND ? AND mean IS NOT NULL ORDER BY hour",
            (series.key, first, last),
        )

    def growth(self, series: Series, first: int, last: int) -> list[tuple[int, float]]:
        """(hour, what a counter grew by since the hour before it that there is), in their order; see :meth:`hours`."""
        found = self._read(
            "WITH its AS (SELECT id FROM series WHERE key = ?1) SELECT hour, sum FROM hours"
            " WHERE series = (SELECT id FROM its) AND sum IS NOT NULL AND hour <= ?3 AND hour >= coalesce((SELECT"
            " max(hour) FROM hours WHERE series = (SELECT id FROM its) AND hour < ?2 AND sum IS NOT NULL), ?2)"
            " ORDER BY hour",
            (series.key, first, last),
        )
        return [(hour, now - before) for (_, before), (hour, now) in pairwise(found)]

    def _read(self, query: str, given: Sequence[Any]) -> list[Any]:
        if not self._path.exists():
            return []
        try:
            with reading_only(self._path) as db:
                return db.execute(query, given).fetchall()
        except sqlite3.Error as e:
            raise StateError(f"{self._path}: can't be read ({e})") from None


def _converted(hours: Iterable[Sequence[Any]], row: SensorType, unit: str | None) -> list[Hour]:
    """Those hours that a type can have, in its unit."""
    convert = conversion(unit, row.unit) if unit else None
    if unit and convert is None:
        raise Refused(f"unit {unit!r}", f"can't be converted into {row.unit}, the unit of {row.name}")
    found: list[Hour] = []
    for hour, *its in hours:
        values = [None if one is None else float(one) for one in its]
        if convert is not None:
            values = [None if one is None else convert(one) for one in values]
        mean, low, high, _, total = values
        inside = all(one is None or row.range[0] <= one <= row.range[1] for one in (mean, low, high))
        finite = all(one is None or math.isfinite(one) for one in values)
        possible = inside and finite and 0 <= hour <= _LATEST
        if possible and (None not in (mean, low, high) or total is not None):
            found.append((int(hour), *values))  # type: ignore[arg-type]  # five of them
    return found


class _Damaged(StateError):
    """The file is damaged."""


def _prepare(db: sqlite3.Connection) -> None:
    for statement in _SCHEMA.split(";"):
        db.execute(statement)
