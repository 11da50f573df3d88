"""What a broker's source remembers beside the journal: client id, subscriptions, notes of presets, who is there."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import orjson

from iotd.model.errors import StateError, StateUnwritable
from iotd.ops.database import Database, reading_only
from iotd.ops.loggers import get_logger
from iotd.sources.mqtt.presets.base import Heard

log = get_logger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS note (preset TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (preset, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS presence (preset TEXT NOT NULL, topic TEXT NOT NULL, who TEXT NOT NULL,
    online INTEGER NOT NULL, gateway INTEGER NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (preset, topic, who)) WITHOUT ROWID;
"""
_MOST_BYTES = 32 * 1024**2
"""Of notes, and of who is there: a broker with millions of topics must not fill our memory."""
_ROW = 150
"""Bytes that one takes beside its texts, about."""


class _Damaged(StateError):
    pass


class Since(NamedTuple):
    """Whether somebody is there, and since when we know (ms)."""

    online: bool
    gateway: bool
    since: int


class Said(NamedTuple):
    """Who is there or gone, by which topic of which preset."""

    preset: str
    topic: str
    who: str


class Memory:
    """A SQLite file, all of it in memory as well. One that is damaged is moved aside, and begun anew.

    Attributes:
        client_id: who we are at the broker.
        subscribed: the topic filters that the broker's session for us may have; None: it has none that we know of.
        notes: by preset.
        presence: who is there, and who is gone.
        full: something was not remembered, since too much is.
    """

    def __init__(self, path: Path) -> None:
        self.client_id = ""
        self.subscribed: frozenset[str] | None = None
        self.notes: dict[str, dict[str, str]] = {}
        self.presence: dict[Said, Since] = {}
        self.full = False
        self._bytes = 0
        self._where = ""
        self._new_notes: dict[tuple[str, str], str | None] = {}
        self._new_presence: dict[Said, Since | None] = {}
        self._db = Database(path, unavailable=StateUnwritable, damaged=_Damaged, prepare=_prepare)

    async def open(self, url: str, client_id: str | None) -> None:
        """Reads the file; at another broker than before, or with another client id, there is no session.

        Args:
            client_id: the one that is configured; None: the one that was made when there was none.

        Raises:
            StateUnwritable: the file can't be used now.
        """
        try:
            meta = await self._db.run(self._read)
        except _Damaged as e:
            aside = await self._db.run(self._db.set_aside)
            log.warning("mqtt_memory_set_aside", file=str(aside), reason=str(e))
            meta = await self._db.run(self._read)
        made = meta.get("made_id") or f"iotd-{secrets.token_hex(8)}"
        self.client_id = client_id or made
        self._where = f"{url} {self.client_id}"
        same = meta.get("where") == self._where
        self.subscribed = _filters(meta.get("subscribed")) if same else None
        if "where" in meta and not same:  # what another broker said means nothing here
            await self._db.writing(_forget)
            await self._db.run(self._read)
        if meta.get("made_id") != made:
            await self._db.writing(lambda db: _set(db, {"made_id": made}))

    def _read(self) -> dict[str, str]:
        def read(db: sqlite3.Connection) -> dict[str, str]:
            self.notes, self.presence, self._bytes = {}, {}, 0
            for preset, key, value in db.execute("SELECT preset, key, value FROM note").fetchall():
                self.notes.setdefault(preset, {})[key] = value
                self._bytes += _ROW + len(key) + len(value)
            for row in db.execute("SELECT preset, topic, who, online, gateway, since FROM presence").fetchall():
                self.presence[Said(*row[:3])] = Since(bool(row[3]), bool(row[4]), row[5])
                self._bytes += _ROW + len(row[1]) + len(row[2])
            return dict(db.execute("SELECT key, value FROM meta").fetchall())

        return self._db.write(read)  # as one who writes, so that there is a file

    async def subscribes(self, filters: Iterable[str]) -> None:
        """Notes what the broker's session for us may be subscribed to.

        Raises:
            StateUnwritable: it can't be noted.
        """
        self.subscribed = frozenset(filters)
        told = {"subscribed": orjson.dumps(sorted(self.subscribed)).decode(), "where": self._where}
        await self._db.writing(lambda db: _set(db, told))

    def hear(self, preset: str, topic: str, heard: Heard, now: int) -> bool:
        """Remembers what a message tells, durably once :meth:`keep` returns; whether notes of its preset have changed.

        Args:
            now: ms.
        """
        changed = False
        for key, value in heard.notes.items():
            known = self.notes.setdefault(preset, {})
            before = known.get(key)
            size = 0 if value is None else _ROW + len(key) + len(value)
            size -= 0 if before is None else _ROW + len(key) + len(before)
            if before == value or not self._room(size):
                continue
            if value is None:
                del known[key]
            else:
                known[key] = value
            self._new_notes[preset, key] = value
            changed = True
        for one in heard.presence:
            at = Said(preset, topic, one.who)
            before_ = self.presence.get(at)
            if before_ is not None and (before_.online, before_.gateway) == (one.online, one.gateway):
                continue
            if before_ is not None or self._room(_ROW + len(topic) + len(one.who)):
                self.presence[at] = self._new_presence[at] = Since(one.online, one.gateway, now)
        return changed

    def forget(self, preset: str, topic: str) -> None:
        """Nobody says any more by this topic who is there: its retained message was removed."""
        for at in [at for at in self.presence if at[:2] == (preset, topic)]:
            del self.presence[at]
            self._new_presence[at] = None
            self._bytes -= _ROW + len(topic) + len(at.who)

    async def keep(self) -> None:
        """Returns when all that was heard is on disk.

        Raises:
            StateUnwritable: it can't be written now; it is tried again with the next call.
        """
        while self._new_notes or self._new_presence:
            notes, presence = self._new_notes, self._new_presence
            self._new_notes, self._new_presence = {}, {}
            try:
                await self._db.writing(partial(_write, notes=notes, presence=presence))
            except BaseException:
                self._new_notes, self._new_presence = notes | self._new_notes, presence | self._new_presence
                raise

    def _room(self, size: int) -> bool:
        if size > 0 and self._bytes + size > _MOST_BYTES:
            self.full = True
            return False
        self._bytes += size
        return True

    def close(self) -> None:
        """Closes the file; blocking."""
        self._db.close()


def read_notes(path: Path) -> dict[str, dict[str, str]]:
    """The notes by preset, in a file that a daemon may be using; none where there is none, or it can't be read.
    Blocking."""
    notes: dict[str, dict[str, str]] = {}
    if path.exists():
        try:
            with reading_only(path) as db:
                rows = db.execute("SELECT preset, key, value FROM note").fetchall()
        except sqlite3.Error:
            return {}
        for preset, key, value in rows:
            notes.setdefault(preset, {})[key] = value
    return notes


def _filters(text: str | None) -> frozenset[str] | None:
    try:
        return None if text is None else frozenset(map(str, orjson.loads(text)))
    except (orjson.JSONDecodeError, TypeError):
        return None


def _prepare(db: sqlite3.Connection) -> None:
    for statement in _SCHEMA.split(";"):
        db.execute(statement)


def _set(db: sqlite3.Connection, told: Mapping[str, str]) -> None:
    db.executemany("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", told.items())


def _write(
    db: sqlite3.Connection,
    notes: Mapping[tuple[str, str], str | None],
    presence: Mapping[Said, Since | None],
) -> None:
    gone = [at for at, value in notes.items() if value is None]
    db.executemany("DELETE FROM note WHERE preset = ? AND key = ?", gone)
    db.executemany(
        "INSERT INTO note VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        [(*at, value) for at, value in notes.items() if value is not None],
    )
    db.executemany(
        "DELETE FROM presence WHERE preset = ? AND topic = ? AND who = ?",
        [at for at, since in presence.items() if since is None],
    )
    db.executemany(
        "INSERT INTO presence VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
        "online = excluded.online, gateway = excluded.gateway, since = excluded.since",
        [(*at, *since) for at, since in presence.items() if since is not None],
    )


def _forget(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM note")
    db.execute("DELETE FROM presence")
