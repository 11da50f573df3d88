"""Writing the embedded archive: what comes is merged into the blocks of its hours."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from iotd.model.arrays import concatenated
from iotd.model.batch import Times, Values
from iotd.model.buckets import HOUR
from iotd.model.errors import ArchiveRefused
from iotd.model.series import Series
from iotd.ops.database import Database
from iotd.stores.embedded.block import (
    MAX_READINGS,
    BlockDamaged,
    Place,
    Unsound,
    accepted,
    decode,
    encode,
    header_of,
    headers_of,
    in_order,
    place_of,
)
from iotd.stores.embedded.buckets import boundaries
from iotd.stores.embedded.tables import incarnation, make_number, number_of, opened, set_aside

T = TypeVar("T")

Readings = tuple[Series, Times, Values]
"""Readings of one series: times int64 ms and values float64, both of shape (n,)."""

Damage = tuple[ArchiveRefused, ...]
"""Each one :class:`BlockDamaged` or :class:`SeriesDamaged`: what was found damaged and set aside."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of an hour, decoded."""

    place: Place
    times: Times
    values: Values


class ArchiveWriter:
    """The one that writes the file. Synchronous, callable from any thread, one at a time.

    The newest hour of a series is not yet full, and written again with each call that adds to it: gather before you
    write. A damaged block that a call would add to is set aside in the file's table ``damaged``, and the hour begun
    anew with what the call brings.

    Every method raises:
        ArchiveUnavailable: not now: disk full, locked, no rights.
        ArchiveRefused: the file is damaged as a whole, or of another format.
    """

    def __init__(self, path: Path) -> None:
        self.database: Database = opened(path, read_only=False)
        self._numbers: dict[Series, tuple[int, str]] = {}
        self._numbers_of = 0

    def incarnation(self) -> str:
        """The random name that every new file gets."""
        return self.database.read(incarnation)

    def write(self, runs: Sequence[Readings], *, keep: bool = False) -> Damage:
        """Merges readings into the archive, all of them or, on an error, none; durable on return.

        Doing it again changes nothing, and writes nothing.

        Args:
            runs: in any order; a series may come more than once. Of two values for one time, the later one stands.
            keep: a value that is in the archive already stands.

        Returns:
            what was found damaged and set aside.

        Raises:
            ArchiveRejected: a value is not finite, a time no date, or a name no text.
        """
        gathered: dict[Series, list[Readings]] = {}
        for run in runs:
            gathered.setdefault(run[0], []).append(run)
        ready = [(series, *_joined(series, of)) for series, of in gathered.items()]
        if not any(len(times) for _, times, _ in ready):
            return ()
        return self._changed(lambda db: self._write(db, ready, keep))

    def delete(self, series: Series, first: int, last: int) -> tuple[int, Damage]:
        """Deletes a series' readings from ``first`` to ``last``, ms, both included; how many, and what was damaged."""

        def work(db: sqlite3.Connection) -> tuple[int, Damage]:
            number = number_of(db, series)
            if number is None:
                return 0, ()
            change = _Change(db, series, number)
            hours = db.execute(
                "SELECT DISTINCT hour FROM blocks WHERE series = ? AND hour BETWEEN ? AND ?",
                (number, first // HOUR * HOUR, last),
            ).fetchall()
            count = sum(change.cut(hour, first, last) for (hour,) in hours)
            return count, tuple(change.damage)

        return self._changed(work)

    def close(self) -> None:
        """Lets go of the file; the next call opens it again."""
        self.database.close()

    def _changed(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return self.database.write(work)
        except BaseException:
            self._numbers.clear()  # those made in what was undone
            raise

    def _write(self, db: sqlite3.Connection, ready: Sequence[Readings], keep: bool) -> Damage:
        if self._numbers_of != self.database.openings:
            self._numbers.clear()
            self._numbers_of = self.database.openings
        damage: list[ArchiveRefused] = []
        for series, times, values in ready:
            if not len(times):
                continue
            number, unit = self._numbers.get(series, (0, ""))
            if not number or unit != series.unit:
                number, of_series = make_number(db, series)
                self._numbers[series] = number, series.unit
                if of_series is not None:
                    damage.append(of_series)
            change = _Change(db, series, number)
            hours = times // HOUR
            starts = boundaries(hours)
            for start, stop in zip(starts, [*starts[1:], len(times)], strict=True):
                change.merge(int(hours[start]) * HOUR, times[start:stop], values[start:stop], keep=keep)
            damage += change.damage
        return tuple(damage)


def _joined(series: Series, runs: Sequence[Readings]) -> tuple[Times, Values]:
    if len(runs) == 1:
        return accepted(series, runs[0][1], runs[0][2])
    return in_order(*concatenated([accepted(series, times, values) for _, times, values in runs]))


class _Change:
    """A change of one series, within a transaction."""

    def __init__(self, db: sqlite3.Connection, series: Series, number: int) -> None:
        self.damage: list[ArchiveRefused] = []
        self._db = db
        self._series = series
        self._number = number

    def merge(self, hour: int, times: Times, values: Values, *, keep: bool) -> None:
        """Adds readings, in order, to the hour that they are in."""
        parts = self._parts(hour, int(times[0]))
        if not parts:  # nothing of the hour is there, or nothing any more
            self._replace(hour, 0, parts, times, values)
            return
        old, new = _readings(parts), (times, values)
        runs = (new, old) if keep else (old, new)
        merged = in_order(np.concatenate([run[0] for run in runs]), np.concatenate([run[1] for run in runs]))
        if len(merged[0]) == len(old[0]) and np.array_equal(merged[1].view(np.int64), old[1].view(np.int64)):
            return  # all of it was there
        self._replace(hour, parts[0].place.part, parts, *merged)

    def cut(self, hour: int, first: int, last: int) -> int:
        """Deletes what the hour has in a range; how many readings that were."""
        parts = self._parts(hour, first)
        if not parts:
            return 0
        times, values = _readings(parts)
        stays = (times < first) | (times > last)
        if not stays.all():
            self._replace(hour, parts[0].place.part, parts, times[stays], values[stays])
        return int(np.count_nonzero(~stays))

    def _parts(self, hour: int, first: int) -> list[_Part]:
        """The hour's last part, and those before it that a change from ``first`` on touches.

        Those found damaged are set aside.
        """
        rows = self._db.execute(
            "SELECT part, header FROM blocks WHERE series = ? AND hour = ? ORDER BY part DESC", (self._number, hour)
        ).fetchall()
        parts: list[_Part] = []
        for part, raw in rows:
            try:
                place = place_of(self._number, hour, part)
            except Unsound as e:
                raise BlockDamaged(self._series, hour, part, str(e)) from None
            columns = self._db.execute("SELECT times, vals FROM columns WHERE id = ?", (place.id,)).fetchone()
            try:
                header = headers_of([header_of(place, raw)])[0]
                if parts and header["last"] < first:
                    break  # it and what is before stay as they are
                parts.append(_Part(place, *decode(place, header, *(columns or (None, None)))))
            except Unsound as e:
                self.damage.append(BlockDamaged(self._series, hour, part, str(e)))
                self._move_away(place)
        return parts[::-1]

    def _replace(self, hour: int, at: int, parts: Sequence[_Part], times: Times, values: Values) -> None:
        """Puts readings in the place of some parts, from part ``at`` on."""
        starts = range(0, len(times), MAX_READINGS)
        for part, start in enumerate(starts, at):
            place = Place(self._number, hour, part)
            block = encode(place, times[start : start + MAX_READINGS], values[start : start + MAX_READINGS])
            self._db.execute(
                "INSERT INTO blocks VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET header = excluded.header",
                (place.series, place.hour, place.part, block.header),
            )
            self._db.execute(
                "INSERT INTO columns VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET times = excluded.times, vals = excluded.vals",
                (place.id, block.times, block.values),
            )
        for gone in parts:
            if gone.place.part >= at + len(starts):
                self._drop(gone.place)

    def _move_away(self, place: Place) -> None:
        set_aside(self._db, self._series, place.hour, place.part)
        self._db.execute(
            "UPDATE damaged SET header = (SELECT header FROM blocks WHERE series = ?1 AND hour = ?2 AND part = ?3),"
            " times = (SELECT times FROM columns WHERE id = ?4), vals = (SELECT vals FROM columns WHERE id = ?4)"
            " WHERE id = last_insert_rowid()",
            (place.series, place.hour, place.part, place.id),
        )
        self._drop(place)

    def _drop(self, place: Place) -> None:
        self._db.execute(
            "DELETE FROM blocks WHERE series = ? AND hour = ? AND part = ?", (place.series, place.hour, place.part)
        )
        self._db.execute("DELETE FROM columns WHERE id = ?", (place.id,))


def _readings(parts: Sequence[_Part]) -> tuple[Times, Values]:
    return np.concatenate([part.times for part in parts]), np.concatenate([part.values for part in parts])
