"""What the archiver knows, by store: watermarks, dirty ranges, refused readings, and how far the log is proven.

A **watermark** is the last time (ms) of a series up to which everything is in the store. A **dirty range** is a part of
a series, up to its watermark, in which the shard may hold readings that the store lacks or holds with another value:
late data, gaps that a verification found. What was **verified** is the count of readings of a series and hour, see
:mod:`iotd.archive.verified`. Queries in other processes read all three from the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from iotd.archive import verified
from iotd.archive.statefile import StateFile
from iotd.model.series import Series, location_of


@dataclass(frozen=True, slots=True)
class Dirty:
    """A range (ms, both ends included) of a series that is to be archived again."""

    id: int
    series: Series
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Proven:
    """Up to which sequence of a log, in which of its epochs, all readings of a location were found in the store.

    Attributes:
        started: the run of the store's server that acknowledged the last of them.
    """

    epoch: str
    sequence: int
    started: str


_OF_SERIES = ("watermarks", "dirty_ranges", "rejected", "pending", "lost", "verified_series", "absent", "deletions")


class ArchiveState(StateFile):
    """Blocking, callable from any thread; see :class:`StateFile` for what it raises."""

    def use(self, store: str) -> None:
        """Makes a store known: ranges that become dirty from now on are noted for it too."""
        self._stores.add(store)
        self.do(lambda db: db.execute("INSERT OR IGNORE INTO sinks VALUES (?)", (store,)))

    def incarnate(self, store: str, incarnation: str) -> bool:
        """Says which making of the store it is now; True when it is another one than was known.

        Then it holds nothing of what it had acknowledged: all that is known of it is forgotten, but what was lost, and
        a new epoch begins.
        """

        def change(db: sqlite3.Connection) -> bool:
            known = db.execute("SELECT id FROM incarnations WHERE sink = ?", (store,)).fetchone()
            if known == (incarnation,):
                return False
            db.execute("INSERT OR REPLACE INTO incarnations VALUES (?, ?)", (store, incarnation))
            if known is None:
                return False
            for table in ("watermarks", "dirty_ranges", "rejected", "pending", "proofs", "deletions"):
                db.execute(f"DELETE FROM {table} WHERE sink = ?", (store,))
            verified.forget_store(db, store)
            self.epoch += 1
            return True

        return self.do(change)

    def rename(self, location: str, name: str) -> None:
        """Gives what is known of a location's series to those of another name; done again, it changes nothing."""

        def change(db: sqlite3.Connection) -> None:
            for table in _OF_SERIES:
                for (key,) in db.execute(f"SELECT DISTINCT key FROM {table}").fetchall():
                    if location_of(key) == location:
                        renamed = replace(Series.from_key(key), location=name)
                        db.execute(f"UPDATE OR REPLACE {table} SET key = ? WHERE key = ?", (renamed.key, key))
            verified.sweep(db)
            db.execute("DELETE FROM proofs WHERE location = ?", (location,))
            self.epoch += 1

        self.do(change)

    # ── watermarks ──

    def watermarks(self, store: str, location: str) -> dict[Series, int]:
        """The watermark (ms) of each series of a location that has one."""
        rows = self.do(lambda db: db.execute("SELECT key, ms FROM watermarks WHERE sink = ?", (store,)).fetchall())
        return {Series.from_key(key): ms for key, ms in rows if location_of(key) == location}

    def move(self, store: str, marks: Mapping[Series, int], epoch: int | None = None) -> None:
        """Moves watermarks forward, never back; durable on return.

        Args:
            epoch: in which the readings were read.
        """
        self.do(lambda db: _move(db, store, marks), epoch)

    # ── dirty ranges ──

    def note_dirty(self, ranges: Iterable[tuple[Series, int, int]]) -> None:
        """Notes for every known store that (series, first, last) have changed; ms, both included; durable on return.

        Ranges of a series that overlap or touch become one; others stay apart, however near. What was verified there
        is forgotten.
        """
        ranges = list(ranges)

        def note(db: sqlite3.Connection) -> None:
            for (store,) in db.execute("SELECT sink FROM sinks").fetchall():
                for series, first, last in ranges:
                    _note(db, store, series.key, first, last)
                    verified.forget(db, store, series.key, first, last)
            self._touched(series for series, _, _ in ranges)

        if ranges:
            self.do(note)

    def dirty(self, store: str, location: str) -> list[Dirty]:
        """The ranges of a location to archive again, by series and time."""
        rows = self.do(
            lambda db: db.execute(
                "SELECT id, key, first, last FROM dirty_ranges WHERE sink = ? ORDER BY key, first", (store,)
            ).fetchall()
        )
        return [Dirty(id_, Series.from_key(key), *rest) for id_, key, *rest in rows if location_of(key) == location]

    def cleaned(self, ranges: Iterable[tuple[Dirty, int]], epoch: int) -> None:
        """Ranges were archived again, each up to a time (ms, included); one that changed since stays.

        Args:
            epoch: in which they were read.
        """
        ranges = list(ranges)

        def clean(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM dirty_ranges WHERE id = ? AND last <= ?", [(d.id, upto) for d, upto in ranges])
            db.executemany(
                "UPDATE dirty_ranges SET first = ?2 + 1 WHERE id = ?1 AND first <= ?2",
                [(d.id, upto) for d, upto in ranges],
            )

        if ranges:
            self.do(clean, epoch)

    # ── what was verified ──

    @property
    def forgotten(self) -> int:
        """How often something that was verified was forgotten: what :meth:`note_verified` wants to know."""
        return self._forgotten

    def note_verified(self, store: str, found: Mapping[Series, Mapping[int, int]], *, since: int) -> None:
        """Notes how many readings the store holds, by series and start of the hour (ms), where it is like the shard.

        Args:
            since: :attr:`forgotten` before the store was asked; what was forgotten of a series since then stays so.
        """

        def change(db: sqlite3.Connection) -> None:
            verified.note(db, store, {s: its for s, its in found.items() if self._forgot.get(s.key, 0) <= since})

        if found:
            self.do(change)

    def forget_verified(self, series: Series, first: int, last: int) -> None:
        """Readings of a range (ms, both included) are taken out of every known store on purpose; durable on return.

        To be called before the first of them goes, so that no query wonders, and again after the last one, so that no
        verification notes what it counted meanwhile. In the daemon's process: a verification elsewhere knows nothing.
        """

        def change(db: sqlite3.Connection) -> None:
            for (store,) in db.execute("SELECT sink FROM sinks").fetchall():
                verified.forget(db, store, series.key, first, last)
                db.execute(
                    "INSERT OR REPLACE INTO absent SELECT sink, key, ms FROM watermarks "
                    "WHERE sink = ? AND key = ? AND ms BETWEEN ? AND ?",
                    (store, series.key, first, last),
                )
            self._touched([series])

        self.do(change)

    def verified(self, store: str, location: str, first: int, last: int) -> verified.Counts:
        """How many readings the store held of each hour that a range touches, when it was last verified."""
        return self.do(lambda db: verified.read(db, store, [location], first, last))

    def present(self, store: str, location: str) -> dict[Series, int]:
        """The watermarks (ms) at which the store must hold a reading, whatever happened."""
        rows = self.do(lambda db: db.execute(verified.PRESENT, (store,)).fetchall())
        return {Series.from_key(key): ms for key, ms in rows if location_of(key) == location}

    def _touched(self, some: Iterable[Series]) -> None:
        self._forgotten += 1
        self._forgot.update((series.key, self._forgotten) for series in some)

    # ── refused readings ──

    def reject(self, store: str, points: Iterable[tuple[Series, int]]) -> None:
        """Notes (series, ms) that the store refused for good and the dead-letter file holds."""
        rows = [(store, series.key, ms) for series, ms in points]
        self.do(lambda db: db.executemany("INSERT OR IGNORE INTO rejected VALUES (?, ?, ?)", rows))

    def accept(self, store: str, points: Iterable[tuple[Series, int]]) -> None:
        """The store has taken (series, ms) that it had refused."""
        rows = [(store, series.key, ms) for series, ms in points]
        self.do(lambda db: db.executemany("DELETE FROM rejected WHERE sink = ? AND key = ? AND ms = ?", rows))

    def rejected(self, store: str, series: Series, first: int, last: int) -> set[int]:
        """The times (ms) from ``first`` to ``last``, both included, at which the store refused a series' reading."""
        rows = self.do(
            lambda db: db.execute(
                "SELECT ms FROM rejected WHERE sink = ? AND key = ? AND ms BETWEEN ? AND ?",
                (store, series.key, first, last),
            ).fetchall()
        )
        return {ms for (ms,) in rows}

    def rejected_count(self, store: str) -> int:
        """How many points the store has refused, and not taken since."""
        (count,) = self.do(lambda db: db.execute("SELECT count(*) FROM rejected WHERE sink = ?", (store,)).fetchone())
        return int(count)

    # ── the log ──

    def proven(self, store: str, log: str, location: str) -> Proven | None:
        """How far a log was proven of a location; None when nothing of it is known to be."""
        row = self.do(
            lambda db: db.execute(
                "SELECT epoch, sequence, started FROM proofs WHERE sink = ? AND log = ? AND location = ?",
                (store, log, location),
            ).fetchone()
        )
        return Proven(*row) if row else None

    def prove(
        self, store: str, log: str, location: str, proven: Proven, marks: Mapping[Series, int], *, epoch: int
    ) -> None:
        """Notes how far a log is proven, and moves watermarks (ms) with it; durable on return.

        Args:
            epoch: in which the readings were read.
        """

        def change(db: sqlite3.Connection) -> None:
            _move(db, store, marks)
            row = (store, log, location, proven.epoch, proven.sequence, proven.started)
            db.execute("INSERT OR REPLACE INTO proofs VALUES (?, ?, ?, ?, ?, ?)", row)

        self.do(change, epoch)

    def doubt(self, store: str, location: str) -> None:
        """The store has lost some of what it had acknowledged: what the log still has is proven anew."""
        self.do(lambda db: db.execute("DELETE FROM proofs WHERE sink = ? AND location = ?", (store, location)))


def _move(db: sqlite3.Connection, store: str, marks: Mapping[Series, int]) -> None:
    db.executemany(
        "INSERT INTO watermarks VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET ms = excluded.ms WHERE excluded.ms > ms",
        [(store, series.key, ms) for series, ms in marks.items()],
    )


def _note(db: sqlite3.Connection, store: str, key: str, first: int, last: int) -> None:
    # under a new id: one that is being archived is archived once more
    near = (store, key, last + 1, first - 1)
    low, high = db.execute(
        "SELECT min(first), max(last) FROM dirty_ranges WHERE sink = ? AND key = ? AND first <= ? AND last >= ?", near
    ).fetchone()
    if low is not None:
        db.execute("DELETE FROM dirty_ranges WHERE sink = ? AND key = ? AND first <= ? AND last >= ?", near)
        first, last = min(first, low), max(last, high)
    db.execute("INSERT INTO dirty_ranges (sink, key, first, last) VALUES (?, ?, ?, ?)", (store, key, first, last))
