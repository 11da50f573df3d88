"""Requests that carry a key: a repeat gets the times of the first one, and so changes nothing.

A reading without a time gets that of its arrival. A client that repeats a request, because the answer was lost, would
give it another one, and store it twice. The key's first arrival is on disk before anything of the request is logged.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from iotd.model.errors import StateError, StateUnwritable
from iotd.ops.database import Database

_KEEP_MS = 7 * 86_400_000
"""So long a key is known."""
_MOST = 200_000
"""Keys that are known at most; the oldest go first."""
_LONGEST = 200
"""Characters of a key; the rest of a longer one does not count."""
_TIDY_EVERY = 10_000


class Requests:
    """A SQLite file; keys that arrive at once are one transaction."""

    def __init__(self, path: Path) -> None:
        self._db = Database(path, unavailable=StateUnwritable, damaged=StateError, prepare=_prepare)
        self._waiting: list[tuple[str, int]] = []
        self._written: asyncio.Task[dict[str, int]] | None = None
        self._since_tidied = 0

    async def arrival(self, key: str, now: int) -> int:
        """When a request of this key arrived first, ms: now, unless it is a repeat; durable on return.

        Raises:
            StateUnwritable, StateError: it can't be noted.
        """
        key = key[:_LONGEST]
        self._waiting.append((key, now))
        if self._written is None:
            self._written = asyncio.create_task(self._write())
        found = await asyncio.shield(self._written)
        return found[key]

    async def _write(self) -> dict[str, int]:
        await asyncio.sleep(0)  # for those that arrive in the same moment
        keys, self._waiting, self._written = self._waiting, [], None
        return await self._db.writing(lambda db: self._note(db, keys))

    def _note(self, db: sqlite3.Connection, keys: Sequence[tuple[str, int]]) -> dict[str, int]:
        db.executemany("INSERT INTO request VALUES (?, ?) ON CONFLICT DO NOTHING", keys)
        self._since_tidied += len(keys)
        if self._since_tidied >= _TIDY_EVERY:
            self._since_tidied = 0
            newest = max(now for _, now in keys)
            db.execute("DELETE FROM request WHERE arrived < ?", (newest - _KEEP_MS,))
            db.execute(
                "DELETE FROM request WHERE rowid <= (SELECT rowid FROM request ORDER BY rowid DESC LIMIT 1 OFFSET ?)",
                (_MOST,),
            )
        return {
            key: int(db.execute("SELECT arrived FROM request WHERE key = ?", (key,)).fetchone()[0]) for key, _ in keys
        }

    def close(self) -> None:
        """Closes the file; blocking."""
        self._db.close()


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE IF NOT EXISTS request (key TEXT UNIQUE NOT NULL, arrived INTEGER NOT NULL)")
