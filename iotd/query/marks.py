"""How far the archive is, as a query learns it: from the daemon's state directory, where that is on this machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from iotd.archive import verified
from iotd.model.series import Series
from iotd.ops.database import reading_only
from iotd.query.join import Known, Range, joined

Verified = Callable[[Iterable[str], int, int], verified.Counts]
"""The counts that were last verified: of these locations, of the hours that a range (ms) touches. Blocking."""


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
    present: dict[str, int] = field(default_factory=dict)
    """By key, the watermarks at which the archive must hold a reading."""
    verified: Verified = lambda *_: {}
    gone: dict[str, Range] = field(default_factory=dict)
    """By key, what was archived elsewhere, and this archive does not hold."""
    elsewhere: str | None = None
    """Where that is, for people; None: nothing is."""

    def made_anew(self) -> Marks:
        """The marks of an archive that was made anew since: it holds nothing of what was archived."""
        gone = {key: Range(0, ms) for key, ms in self.marks.items()}
        return Marks(kept=self.kept, gone=gone, elsewhere="one that is no more")

    def known(self, sensor: Series, first: int | None) -> Known:
        """What is known of a series whose first reading in the shard is at ``first`` (ms)."""
        refused = self.refused.get(sensor.key)
        dirty = self.dirty.get(sensor.key, [])
        # what the archive refused for good, the shard has for as long as it keeps it
        return Known(
            mark=self.marks.get(sensor.key),
            dirty=tuple(joined([*dirty, refused] if refused else dirty)),
            first=first,
            doubt=(self.gone[sensor.key],) if sensor.key in self.gone else (),
        )


def read_marks(state: Path, archive: str) -> Marks | None:
    """The watermarks of an archive (its identity); None where no daemon keeps any here. Blocking."""
    path = state / "watermarks.sqlite"
    if not path.exists():
        return None
    found = Marks()
    elsewhere: str | None = None
    try:
        with reading_only(path) as db:
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
            with suppress(sqlite3.OperationalError):  # a file that no daemon of this version has opened yet
                found.present.update(db.execute(verified.PRESENT, (archive,)))
            if not found.marks:
                query = "SELECT key, ms, sink FROM watermarks WHERE sink != ? ORDER BY ms"
                for key, ms, sink in db.execute(query, (archive,)):
                    found.gone[key], elsewhere = Range(0, ms), sink
    except sqlite3.Error:
        return None  # damaged or not readable; the daemon says it in its log

    def counts(locations: Iterable[str], first: int, last: int) -> verified.Counts:
        try:
            with reading_only(path) as db:
                return verified.read(db, archive, locations, first, last)
        except sqlite3.Error:
            return {}  # of another version, or damaged: nothing is known to be verified

    return replace(
        found, kept=True, incarnation=incarnation[0] if incarnation else None, verified=counts, elsewhere=elsewhere
    )
