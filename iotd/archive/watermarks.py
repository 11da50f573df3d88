"""How far the archive is: per sink and series the last time that was acknowledged, and the ranges to archive again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from iotd.archive.ledger import Ledger
from iotd.model.series import Series


@dataclass(frozen=True, slots=True)
class Dirty:
    """A range (ms, both ends included) of a location that is to be archived again."""

    id: int
    first: int
    last: int


class Watermarks(Ledger):
    """Watermarks, dirty ranges and refused points, by sink; a :class:`Ledger`, with what it raises."""

    def use(self, sink: str) -> None:
        """Makes a sink known: ranges that become dirty from now on are noted for it too."""
        self._sinks.add(sink)
        self.do(lambda db: db.execute("INSERT OR IGNORE INTO sinks VALUES (?)", (sink,)))

    def incarnate(self, sink: str, incarnation: str) -> bool:
        """Says which making of the store a sink is now; True when it is another one than was known.

        Then it holds nothing of what it had acknowledged: marks, dirty ranges and refused points of it are forgotten,
        and a new epoch begins.
        """

        def change(db: sqlite3.Connection) -> bool:
            known = db.execute("SELECT id FROM incarnations WHERE sink = ?", (sink,)).fetchone()
            if known == (incarnation,):
                return False
            db.execute("INSERT OR REPLACE INTO incarnations VALUES (?, ?)", (sink, incarnation))
            if known is None:
                return False
            for table in ("watermarks", "dirty", "rejected", "pending"):
                db.execute(f"DELETE FROM {table} WHERE sink = ?", (sink,))
            self.epoch += 1
            return True

        return self.do(change)

    def marks(self, sink: str, sensors: Iterable[Series]) -> dict[Series, int]:
        """The watermark (ms) of each sensor that has one: everything up to it is in the sink."""
        rows = self.do(lambda db: db.execute("SELECT key, ms FROM watermarks WHERE sink = ?", (sink,)).fetchall())
        known = dict(rows)
        return {sensor: known[sensor.key] for sensor in sensors if sensor.key in known}

    def move(self, sink: str, marks: Mapping[Series, int], epoch: int | None = None) -> None:
        """Moves watermarks forward, never back; durable on return.

        Args:
            epoch: in which the points were read.
        """
        rows = [(sink, sensor.key, ms) for sensor, ms in marks.items()]
        self.do(
            lambda db: db.executemany(
                "INSERT INTO watermarks VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET ms = max(ms, excluded.ms)", rows
            ),
            epoch,
        )

    def mark_dirty(self, location: str, first: int, last: int) -> None:
        """Notes for every known sink that a range (ms, both ends included) has changed; durable on return."""

        def mark(db: sqlite3.Connection) -> None:
            for (sink,) in db.execute("SELECT sink FROM sinks").fetchall():
                # what overlaps becomes one range, under a new id: one that is being archived is archived once more
                low, high = db.execute(
                    "SELECT min(first), max(last) FROM dirty "
                    "WHERE sink = ? AND location = ? AND first <= ? AND last >= ?",
                    (sink, location, last, first),
                ).fetchone()
                db.execute(
                    "DELETE FROM dirty WHERE sink = ? AND location = ? AND first <= ? AND last >= ?",
                    (sink, location, last, first),
                )
                whole = (min(first, first if low is None else low), max(last, last if high is None else high))
                db.execute(
                    "INSERT INTO dirty (sink, location, first, last) VALUES (?, ?, ?, ?)", (sink, location, *whole)
                )

        self.do(mark)

    def dirty(self, sink: str, location: str) -> list[Dirty]:
        """The ranges to archive again, oldest first."""
        rows = self.do(
            lambda db: db.execute(
                "SELECT id, first, last FROM dirty WHERE sink = ? AND location = ? ORDER BY first", (sink, location)
            ).fetchall()
        )
        return [Dirty(*row) for row in rows]

    def cleaned(self, stain: Dirty, upto: int, epoch: int) -> None:
        """A range was archived again up to ``upto`` (ms, included); one that changed since has another id, and stays.

        Args:
            epoch: in which the range was read.
        """

        def clean(db: sqlite3.Connection) -> None:
            if upto >= stain.last:
                db.execute("DELETE FROM dirty WHERE id = ?", (stain.id,))
            else:
                db.execute("UPDATE dirty SET first = ? WHERE id = ?", (upto + 1, stain.id))

        self.do(clean, epoch)

    def reject(self, sink: str, points: Iterable[tuple[Series, int]]) -> None:
        """Notes (sensor, ms) that the sink refused for good and the dead-letter file holds."""
        rows = [(sink, sensor.key, ms) for sensor, ms in points]
        self.do(lambda db: db.executemany("INSERT OR IGNORE INTO rejected VALUES (?, ?, ?)", rows))

    def accept(self, sink: str, points: Iterable[tuple[Series, int]]) -> None:
        """The sink has taken (sensor, ms) that it had refused."""
        rows = [(sink, sensor.key, ms) for sensor, ms in points]
        self.do(lambda db: db.executemany("DELETE FROM rejected WHERE sink = ? AND key = ? AND ms = ?", rows))

    def rejected(self, sink: str, sensor: Series, first: int, last: int) -> set[int]:
        """The times (ms) from ``first`` to ``last``, both included, at which the sink refused a sensor's point."""
        rows = self.do(
            lambda db: db.execute(
                "SELECT ms FROM rejected WHERE sink = ? AND key = ? AND ms BETWEEN ? AND ?",
                (sink, sensor.key, first, last),
            ).fetchall()
        )
        return {ms for (ms,) in rows}
