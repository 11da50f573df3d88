"""What can't be taken as it came is held here with its reason, until that is gone: durable, and bounded per source."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import monotonic
from typing import TypeVar

from iotd.model.errors import StateUnwritable
from iotd.model.held import ROW, Held, Holdings
from iotd.ops.database import Database, Work
from iotd.ops.loggers import get_logger

T = TypeVar("T")

log = get_logger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS held (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- in the order of arrival, never used again
    source TEXT NOT NULL,
    form TEXT NOT NULL,                     -- how it is to be read: iotd.sources.forms
    digest BLOB NOT NULL,                   -- of it and, if it has no time, its arrival: a repeat is held once
    topic TEXT NOT NULL,                    -- or path, or the number of a line
    payload BLOB NOT NULL,
    sensor TEXT NOT NULL,                   -- of a payload with several: the one that can't be taken; '' for all of it
    arrived INTEGER NOT NULL,               -- ms
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    UNIQUE (source, digest)
);
CREATE TABLE IF NOT EXISTS let_go (
    source TEXT PRIMARY KEY,
    count INTEGER NOT NULL,
    last INTEGER NOT NULL                   -- arrival of the youngest of them, ms
);
"""
_COLUMNS = ("source", "form", "topic", "payload", "arrived", "reason", "detail", "sensor")
"""In the order of :class:`Held`."""
_SELECT = f"SELECT {', '.join(_COLUMNS)}, id, digest FROM held WHERE (?1 IS NULL OR source = ?1)"
_INSERT = f"INSERT INTO held (digest, {', '.join(_COLUMNS)}) VALUES (?{', ?' * len(_COLUMNS)}) ON CONFLICT DO NOTHING"
_AGAIN = "UPDATE held SET reason = ?1, detail = ?2 WHERE source = ?3 AND digest = ?4"
_TELL_EVERY_S = 600.0
_TOLD = 1_000
"""Reasons of which it is known when they were logged last."""
_LATEST = 1_000
"""Things that were held last, among which that with the latest arrival is."""
_CUT_TO = 0.9
"""Of the bound: what is let go is let go in larger pieces."""


class HeldStore:
    """A SQLite file; what several hand over at once is one transaction.

    A file that is damaged is moved aside, named, and begun anew.
    """

    def __init__(self, path: Path, limit: Callable[[], int]) -> None:
        """
        Args:
            limit: bytes that may be held of each source; asked each time, since a reload may change it.
        """
        self.path = path
        self._limit = limit
        self._db = Database(path, unavailable=StateUnwritable, damaged=_Damaged, prepare=_prepare)
        self._told: dict[tuple[str, str], tuple[float, int]] = {}
        self._sizes: dict[str, int] | None = None
        self._changes = 0
        self._known: tuple[int, dict[str, Holdings]] = (-1, {})
        self._waiting: list[Held] = []
        self._written: asyncio.Future[None] | None = None

    async def add(self, things: Iterable[Held]) -> None:
        """Holds them; they are on disk when this returns.

        Raises:
            StateUnwritable: the file can't be written; nothing of it is held.
        """
        self._waiting += things
        if not self._waiting:
            return
        if self._written is None:
            self._written = asyncio.ensure_future(self._write())
        await asyncio.shield(self._written)

    async def _write(self) -> None:
        await asyncio.sleep(0)  # for those who hold something in the same moment
        things, self._waiting, self._written = self._waiting, [], None
        let_go = await self._writing(lambda db: self._insert(db, things))
        self._tell(Counter((one.source, one.reason) for one in things))
        for source, count in let_go.items():
            log.error("held_let_go", source=source, count=count, limit=self._limit(), hint="iotd sensors held")

    def _tell(self, held: Counter[tuple[str, str]]) -> None:
        """Logs what is held, of each source and reason at once, and then again after a while."""
        now = monotonic()
        if len(self._told) > _TOLD:
            self._told.clear()
        for key, count in held.items():
            before, untold = self._told.get(key, (float("-inf"), 0))
            if now - before < _TELL_EVERY_S:
                self._told[key] = before, untold + count
                continue
            self._told[key] = now, 0
            source, reason = key
            log.warning("readings_held", source=source, count=untold + count, reason=reason, hint="iotd sensors held")

    def _insert(self, db: sqlite3.Connection, things: Sequence[Held]) -> dict[str, int]:
        sizes = _sizes(db) if self._sizes is None else dict(self._sizes)
        self._sizes = None  # until the transaction is through
        for thing in things:
            digest = thing.identity()
            added = db.execute(_INSERT, (digest, *(getattr(thing, column) for column in _COLUMNS))).rowcount
            if not added:
                db.execute(_AGAIN, (thing.reason, thing.detail, thing.source, digest))
            sizes[thing.source] = sizes.get(thing.source, 0) + added * thing.size
        let_go = {}
        for source in {thing.source for thing in things}:
            if sizes[source] > self._limit():
                let_go[source], sizes[source] = _let_go(db, source, sizes[source], self._limit() * _CUT_TO)
        self._sizes = sizes
        return let_go

    async def page(self, source: str | None = None, *, after: int = 0, count: int = 100) -> list[Held]:
        """What is held, in the order of arrival, behind an id.

        Raises:
            StateUnwritable: the file can't be read.
        """
        query = f"{_SELECT} AND id > ?2 ORDER BY id LIMIT ?3"
        return await self._found(query, (source, after, count))

    async def latest(self, source: str | None = None, *, count: int = 20) -> list[Held]:
        """What was held last, latest first.

        Raises:
            StateUnwritable: the file can't be read.
        """
        return await self._found(f"{_SELECT} ORDER BY id DESC LIMIT ?2", (source, count))

    async def newest_arrival(self, source: str, *, but_for: str) -> int:
        """The latest arrival (ms) among what was held last of a source, but for one reason; 0: nothing is held.

        Raises:
            StateUnwritable: the file can't be read.
        """
        last = f"SELECT arrived FROM held WHERE source = ? AND reason != ? ORDER BY id DESC LIMIT {_LATEST}"
        query = f"SELECT coalesce(max(arrived), 0) FROM ({last})"
        return await self._reading(lambda db: int(db.execute(query, (source, but_for)).fetchone()[0]))

    async def remove(self, ids: Sequence[int]) -> None:
        """Forgets what was taken since, or what a person does not want.

        Raises:
            StateUnwritable: the file can't be written.
        """

        def away(db: sqlite3.Connection) -> None:
            self._sizes = None
            db.executemany("DELETE FROM held WHERE id = ?", [(one,) for one in ids])

        await self._writing(away)

    async def drop(self, source: str | None = None, reason: str | None = None) -> int:
        """Throws away what is held of a source (None: of all), for a reason (None: for any); how much that was.

        Raises:
            StateUnwritable: the file can't be written.
        """

        def away(db: sqlite3.Connection) -> int:
            self._sizes = None
            where = "(?1 IS NULL OR source = ?1) AND (?2 IS NULL OR reason = ?2)"
            return db.execute(f"DELETE FROM held WHERE {where}", (source, reason)).rowcount

        return await self._writing(away)

    async def acknowledge(self) -> None:
        """A person knows of what was let go: it is counted anew from now on.

        Raises:
            StateUnwritable: the file can't be written.
        """
        await self._writing(lambda db: db.execute("DELETE FROM let_go"))

    async def holdings(self) -> dict[str, Holdings]:
        """What is held, by source; those of which something was let go are among them.

        Raises:
            StateUnwritable: the file can't be read.
        """
        changes, known = self._known
        if changes != self._changes:
            changes = self._changes
            known = await self._reading(_holdings)
            self._known = changes, known
        return known

    def close(self) -> None:
        """Closes the file; blocking."""
        self._db.close()

    async def _found(self, query: str, given: tuple[object, ...]) -> list[Held]:
        return [Held(*row) for row in await self._reading(lambda db: db.execute(query, given).fetchall())]

    async def _reading(self, work: Work[T]) -> T:
        return await self._db.run(lambda: self._mended(lambda: self._db.read(work)))

    async def _writing(self, work: Work[T]) -> T:
        try:
            return await self._db.run(lambda: self._mended(lambda: self._db.write(work)))
        finally:
            self._changes += 1

    def _mended(self, call: Callable[[], T]) -> T:
        for _ in range(2):
            try:
                return call()
            except _Damaged as e:
                aside = self._db.set_aside()
                log.error("held_damaged", path=str(self.path), reason=str(e), moved_to=str(aside))
        return call()


class _Damaged(StateUnwritable):
    """The file's content is not what SQLite wrote."""


def _prepare(db: sqlite3.Connection) -> None:
    for statement in _SCHEMA.split(";\n"):
        db.execute(statement)


_SIZE = f"{ROW} + length(payload) + length(topic) + length(sensor) + length(reason) + length(detail)"


def _sizes(db: sqlite3.Connection) -> dict[str, int]:
    return dict(db.execute(f"SELECT source, sum({_SIZE}) FROM held GROUP BY source").fetchall())


def _let_go(db: sqlite3.Connection, source: str, size: int, upto: float) -> tuple[int, int]:
    """Lets the oldest of a source go until it takes no more than ``upto`` bytes; how many, and the size then."""
    ids: list[int] = []
    last = 0
    for one, arrived, its in db.execute(
        f"SELECT id, arrived, {_SIZE} FROM held WHERE source = ? ORDER BY id", (source,)
    ):
        if size <= upto:
            break
        ids.append(one)
        size -= its
        last = max(last, arrived)
    db.executemany("DELETE FROM held WHERE id = ?", [(one,) for one in ids])
    db.execute(
        "INSERT INTO let_go VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET count = count + excluded.count, last = max(last, excluded.last)",
        (source, len(ids), last),
    )
    return len(ids), size


def _holdings(db: sqlite3.Connection) -> dict[str, Holdings]:
    found: dict[str, Holdings] = {}
    rows = db.execute(
        f"SELECT source, reason, count(*), sum({_SIZE}), min(arrived), max(arrived) FROM held GROUP BY source, reason"
    ).fetchall()
    for source, reason, count, size, oldest, newest in rows:
        its = found.setdefault(source, Holdings(0, 0, None, None, {}, 0, None))
        its.count += count
        its.bytes += size
        its.oldest = oldest if its.oldest is None else min(its.oldest, oldest)
        its.newest = newest if its.newest is None else max(its.newest, newest)
        its.reasons[reason] = count
    for source, count, last in db.execute("SELECT source, count, last FROM let_go").fetchall():
        its = found.setdefault(source, Holdings(0, 0, None, None, {}, 0, None))
        its.let_go, its.let_go_upto = count, last
    return found
