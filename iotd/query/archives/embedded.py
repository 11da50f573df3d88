"""Reading the embedded archive while the daemon may write it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from iotd.model.errors import ArchiveRefused, ArchiveUnavailable
from iotd.model.series import Series
from iotd.query.aggregate import Aggregation
from iotd.query.archives.base import Found
from iotd.query.buckets import Run
from iotd.query.marks import read_marks
from iotd.query.names import Selection

T = TypeVar("T")

_AGGREGATIONS: dict[Aggregation, str] = {
    "avg": "avg(value)",
    "min": "min(value)",
    "max": "max(value)",
    "sum": "sum(value)",
    "count": "count(*)",
    "range": "max(value) - min(value)",
    # the value of the row that has the extreme time (SQLite documentation, "Bare columns in an aggregate query")
    "first": "value, min(time)",
    "last": "value, max(time)",
    "std.p": "avg((value - mean) * (value - mean))",
}


class EmbeddedArchive:
    """The SQLite file, opened to read only."""

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        self.identity = identity
        self._db: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="archive-reader")

    async def incarnation(self) -> str | None:
        """See :meth:`iotd.query.archives.base.Archive.incarnation`."""

        def ask(db: sqlite3.Connection) -> str | None:
            found = db.execute("SELECT id FROM incarnation").fetchone()
            return None if found is None else str(found[0])

        return await self._with(ask)

    async def begins(self, what: Selection, first: int, last: int) -> dict[Series, int]:
        """See :meth:`iotd.query.archives.base.Archive.begins`."""

        def ask(db: sqlite3.Connection, series: int) -> int | None:
            query = "SELECT min(time) FROM samples WHERE series = ? AND time BETWEEN ? AND ?"
            begins: int | None = db.execute(query, (series, first, last)).fetchone()[0]
            return begins

        found = await self._each(what, ask)
        return {sensor: begins for sensor, begins in found if begins is not None}

    async def samples(self, what: Selection, first: int, last: int) -> Found:
        """See :meth:`iotd.query.archives.base.Archive.samples`."""

        def ask(db: sqlite3.Connection, series: int) -> list[Any]:
            query = "SELECT time, value FROM samples WHERE series = ? AND time BETWEEN ? AND ? ORDER BY time"
            return db.execute(query, (series, first, last)).fetchall()

        return _found(await self._each(what, ask))

    async def buckets(self, what: Selection, aggregation: Aggregation, run: Run, first: int, last: int) -> Found:
        """See :meth:`iotd.query.archives.base.Archive.buckets`."""
        bucket = f"(time - {run.first}) / {run.width}"
        source = "samples WHERE series = ? AND time BETWEEN ? AND ?"
        if aggregation == "std.p":
            source = f"(SELECT time, value, avg(value) OVER (PARTITION BY {bucket}) AS mean FROM {source})"
        query = (
            f"SELECT {run.first} + {bucket} * {run.width}, {_AGGREGATIONS[aggregation]} FROM {source} "
            "GROUP BY 1 ORDER BY 1"
        )

        def ask(db: sqlite3.Connection, series: int) -> list[Any]:
            return db.execute(query, (series, first, last)).fetchall()

        found = _found(await self._each(what, ask))
        if aggregation == "std.p":  # the root is ours to draw: not every SQLite can
            return {sensor: (times, np.sqrt(values)) for sensor, (times, values) in found.items()}
        return found

    async def close(self) -> None:
        """See :meth:`iotd.query.archives.base.Archive.close`."""
        # not through the loop's executor: at the end of a program it takes nothing more
        self._thread.shutdown()
        if self._db is not None:
            db, self._db = self._db, None
            db.close()

    async def _each(self, what: Selection, ask: Callable[[sqlite3.Connection, int], T]) -> list[tuple[Series, T]]:
        found = await self._with(lambda db: [(sensor, ask(db, series)) for sensor, series in _series(db, what)])
        return found or []

    async def _with(self, ask: Callable[[sqlite3.Connection], T]) -> T | None:
        """What ``ask`` finds; None while nothing was ever archived here."""

        def work() -> T | None:
            try:
                if self._db is None:
                    self._db = self._open()
                return None if self._db is None else ask(self._db)
            except sqlite3.OperationalError as e:
                raise ArchiveUnavailable(f"{self.path}: {e}") from None
            except sqlite3.DatabaseError as e:
                raise ArchiveRefused(f"{self.path}: the file is damaged ({e})") from None

        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> sqlite3.Connection | None:
        if not self.path.exists():
            known = read_marks(self.path.parent, self.identity)
            if known is not None and not known.marks:
                return None  # a daemon works here, and has archived nothing yet
            raise ArchiveUnavailable(
                f"no archive at {self.path}: "
                + (
                    "it was moved away or deleted"
                    if known
                    else "it is on another machine: set state_dir, or influxdb.url and influxdb.token_file"
                )
            )
        return sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, check_same_thread=False, timeout=10)


def _series(db: sqlite3.Connection, what: Selection) -> Iterable[tuple[Series, int]]:
    marks = [",".join("?" * len(names)) for names in (what.types, what.locations)]
    query = f"SELECT type, location, sensor_id, id FROM series WHERE type IN ({marks[0]}) AND location IN ({marks[1]})"
    for kind, location, sensor_id, series in db.execute(query, (*what.types, *what.locations)):
        if (sensor := Series(kind, location, str(sensor_id))) in what:
            yield sensor, series


def _found(rows_of: Sequence[tuple[Series, list[Any]]]) -> Found:
    return {
        sensor: (
            np.fromiter((row[0] for row in rows), np.int64, len(rows)),
            np.fromiter((row[1] for row in rows), np.float64, len(rows)),
        )
        for sensor, rows in rows_of
        if rows
    }
