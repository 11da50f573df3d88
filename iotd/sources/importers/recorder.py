"""What is read of the database of Home Assistant's recorder, of each schema from 2021 on."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from iotd.model.errors import UsageError
from iotd.ops.systemerrors import said
from iotd.sources.importers.base import PACKED, opened

_WAIT_S = 30
"""For Home Assistant, which may be writing."""


class Recorder:
    """A database that is only read; one that is packed is unpacked into a temporary file first."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            UsageError: it is no such database.
        """
        self._name = path
        self._temporary, self._path = _unpacked(path)
        with self._opened("no database of Home Assistant's recorder") as db:
            self._tables = {
                table: {str(row[1]) for row in db.execute(f"PRAGMA table_info({table})")}
                for table in ("states", "states_meta", "state_attributes", "statistics", "statistics_meta")
            }
        states, meta = self._tables["states"], self._tables["states_meta"]
        shared = "attributes_id" in states and bool(self._tables["state_attributes"])
        entities = [
            *(("m.entity_id",) if "metadata_id" in states and meta else ()),
            *(("s.entity_id",) if "entity_id" in states else ()),
        ]
        times = [f"s.{name}" for name in ("last_updated_ts", "last_updated") if name in states]
        texts = [*(("a.shared_attrs",) if shared else ()), *(("s.attributes",) if "attributes" in states else ())]
        if not entities or not times or "state" not in states:
            raise UsageError(f"{path}: no database of Home Assistant's recorder (it lacks its table of states)")
        # whatever stands in it: SQLite keeps any value in any column
        self._entity, self._attributes = _text(_first_of(entities)), _text(_first_of(texts or ["NULL"]))
        self._time = _first_of(times)
        self._from = "FROM states AS s" + (
            " LEFT JOIN states_meta AS m ON m.metadata_id = s.metadata_id" if "m.entity_id" in entities else ""
        )
        if shared:
            self._from += " LEFT JOIN state_attributes AS a ON a.attributes_id = s.attributes_id"
        self._starts = _first_of([f"{name}" for name in ("start_ts", "start") if name in self._tables["statistics"]])

    def last_ids(self) -> tuple[int, int]:
        """The ids of the last state and of the last statistic; 0: there is none.

        Raises:
            UsageError: it can't be read.
        """
        with self._opened() as db:
            ((state,),) = db.execute("SELECT max(state_id) FROM states").fetchall()
            if not self._starts or not self._tables["statistics_meta"]:
                return state or 0, 0
            ((statistic,),) = db.execute("SELECT max(id) FROM statistics").fetchall()
            return state or 0, statistic or 0

    def states(self, after: int, last: int) -> Iterator[tuple[Any, ...]]:
        """(id, entity, state, time in s or as text, attributes as JSON), by id.

        Raises:
            UsageError: it can't be read to its end.
        """
        query = (
            f"SELECT s.state_id, {self._entity}, {_text('s.state')}, {self._time}, {self._attributes} {self._from}"
            " WHERE s.state_id > ? AND s.state_id <= ? ORDER BY s.state_id"
        )
        with self._opened() as db:
            yield from db.execute(query, (after, last))

    def statistics_of(self) -> list[tuple[Any, ...]]:
        """(id, name of the statistic, unit, name for people, attributes of its entity's last state) of each.

        Raises:
            UsageError: it can't be read.
        """
        name = "name" if "name" in self._tables["statistics_meta"] else "NULL"
        what = ", ".join(map(_text, ("statistic_id", "unit_of_measurement", name)))
        with self._opened() as db:
            last = (
                f"SELECT {self._entity}, {self._attributes} {self._from}"
                f" WHERE s.state_id IN (SELECT max(s.state_id) {self._from} GROUP BY {self._entity})"
            )
            attributes = dict(db.execute(last).fetchall())
            found = db.execute(f"SELECT id, {what} FROM statistics_meta").fetchall()
        return [(*one, attributes.get(one[1])) for one in found if one[1]]

    def statistics(self, after: int, last: int, most: int) -> list[tuple[Any, ...]]:
        """(id, id of the statistic, start in s or as text, mean, min, max, state, sum), by id.

        Raises:
            UsageError: it can't be read to its end.
        """
        query = (
            f"SELECT id, metadata_id, {self._starts}, mean, min, max, state, sum FROM statistics"
            " WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"
        )
        with self._opened() as db:
            return db.execute(query, (after, last, most)).fetchall()

    @contextmanager
    def _opened(self, otherwise: str = "can't be read to its end") -> Iterator[sqlite3.Connection]:
        address = f"{self._path.absolute().as_uri()}?mode=ro"
        log = self._path.with_name(f"{self._path.name}-wal")
        if not log.exists() and not os.access(self._path.parent, os.W_OK):
            address += "&immutable=1"  # SQLite would have to make files beside it
        try:
            with closing(sqlite3.connect(address, uri=True, timeout=_WAIT_S)) as db:
                db.text_factory = lambda raw: raw.decode(errors="replace")
                yield db
        except sqlite3.Error as e:
            raise UsageError(f"{self._name}: {otherwise} ({e})") from None


def _first_of(columns: list[str]) -> str:
    return f"coalesce({', '.join(columns)})" if len(columns) > 1 else "".join(columns)


def _text(column: str) -> str:
    return f"CAST({column} AS TEXT)"


def _unpacked(path: Path) -> tuple[Any, Path]:
    with path.open("rb") as head:
        if head.read(2) != PACKED:
            return None, path
    file, _ = opened(path)
    with file:
        try:
            temporary = tempfile.NamedTemporaryFile(prefix="iotd-", suffix=".db")  # noqa: SIM115  # as long as we are
            shutil.copyfileobj(file, temporary)
            temporary.flush()
        except (OSError, EOFError, zlib.error) as e:
            why = said(e) if isinstance(e, OSError) else e
            raise UsageError(f"{path}: can't be unpacked ({why})") from None
    return temporary, Path(temporary.name)
