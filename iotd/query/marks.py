"""How far the archive is, as a query learns it: from the daemon's state directory, where that is on this machine."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from iotd.model.series import Series
from iotd.query.join import Known, Range, joined


@dataclass(frozen=True, slots=True)
class Marks:
    """Watermarks, dirty ranges and the range in which the archive refused points, by key."""

    marks: dict[str, int] = field(default_factory=dict)
    dirty: dict[str, list[Range]] = field(default_factory=dict)
    refused: dict[str, Range] = field(default_factory=dict)
    kept: bool = False
    """Whether a daemon keeps the watermarks of an archive here."""
    incarnation: str | None = None
    """Of the archive, as the archiver knows it: in another one, nothing that the watermarks say is held."""

    def known(self, sensor: Series, first: int | None) -> Known:
        """What is known of a series whose first reading in the shard is at ``first`` (ms)."""
        refused = self.refused.get(sensor.key)
        dirty = self.dirty.get(sensor.key, [])
        # what the archive refused for good, the shard has for as long as it keeps it
        return Known(
            mark=self.marks.get(sensor.key),
            dirty=tuple(joined([*dirty, refused] if refused else dirty)),
            first=first,
        )


def read_marks(state: Path, archive: str) -> Marks | None:
    """The watermarks of an archive (its identity); None where no daemon keeps any here. Blocking."""
    path = state / "watermarks.sqlite"
    if not path.exists():
        return None
    found = Marks()
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as db:
            db.execute("BEGIN")  # marks and dirty ranges of one moment
            found.marks.update(db.execute("SELECT key, ms FROM watermarks WHERE sink = ?", (archive,)))
            query = "SELECT key, first, last FROM dirty_ranges WHERE sink = ?"
            for key, first, last in db.execute(query, (archive,)):
                found.dirty.setdefault(key, []).append(Range(first, last))
            query = "SELECT key, min(ms), max(ms) FROM rejected WHERE sink = ? GROUP BY key"
            for key, first, last in db.execute(query, (archive,)):
                found.refused[key] = Range(first, last)
            query = "SELECT id FROM incarnations WHERE sink = ?"
            incarnation = db.execute(query, (archive,)).fetchone()
    except sqlite3.Error:
        return None  # damaged or not readable; the daemon says it in its log
    return replace(found, kept=True, incarnation=incarnation[0] if incarnation else None)
