"""Reading the embedded archive, from any process, while the daemon may write it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotd.model.aggregate import Aggregation
from iotd.model.arrays import concatenated
from iotd.model.batch import Times, Values
from iotd.model.buckets import HOUR
from iotd.model.errors import ArchiveRefused
from iotd.model.series import Series
from iotd.ops.database import Database
from iotd.stores.embedded.block import (
    BlockDamaged,
    Headers,
    Place,
    Unsound,
    decode,
    header_of,
    headers_of,
    place_of,
    squares,
)
from iotd.stores.embedded.buckets import boundaries, combined, of_headers, of_readings
from iotd.stores.embedded.summaries import Summaries, by_series, of_blocks
from iotd.stores.embedded.tables import SeriesDamaged, all_series, generation, incarnation, number_of, opened

Skipped = list[ArchiveRefused]
"""Where a method is given one, it adds the errors of damaged blocks and goes on without them."""

_DAY = 24 * HOUR

_AT_ONCE = 64
"""Blocks whose columns are in memory at a time."""


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Some blocks of a series, in the order of time, their headers checked."""

    series: Series
    places: Sequence[Place]
    headers: Headers

    def only(self, which: slice | NDArray[np.intp]) -> _Blocks:
        indices = np.arange(len(self.places))[which]
        return _Blocks(self.series, [self.places[at] for at in indices], self.headers[which])

    def touching(self, first: int, last: int) -> _Blocks:
        """Those whose readings may be in the range."""
        return self.only(np.flatnonzero((self.headers["last"] >= first) & (self.headers["first"] <= last)))


class ArchiveReader:
    """The file, opened to read only. Synchronous, callable from any thread, one at a time.

    Each call sees the archive as it was at one moment. All ranges are in ms and hold both their ends. A series that the
    archive does not know has no readings.

    Every method raises:
        ArchiveUnavailable: there is no file, or it can't be read now.
        ArchiveRefused: the file is damaged as a whole, or of another format.
        BlockDamaged, SeriesDamaged: (ArchiveRefused, too) one part of it is damaged, and ``skipped`` was not given.
    """

    def __init__(self, path: Path) -> None:
        self.database: Database = opened(path, read_only=True)
        self._checked_of = 0
        self._series_of: tuple[object, ...] = ()
        self._series: list[tuple[Series, int]] = []
        self._damaged: list[SeriesDamaged] = []

    def incarnation(self) -> str:
        """The random name that every new file gets."""
        return self.database.read(incarnation)

    def series(self, *, skipped: Skipped | None = None) -> list[Series]:
        """All series that were ever written, in order."""

        return self.database.read(lambda db: [series for series, _ in self._numbered(db, skipped)])

    def begins(self, series: Series, first: int, last: int, *, skipped: Skipped | None = None) -> int | None:
        """The first time in a range; None: there is no reading in it."""

        def work(db: sqlite3.Connection) -> int | None:
            blocks = self._blocks(db, series, first, last, skipped).touching(first, last)
            for at in range(len(blocks.places)):
                if (begins := int(blocks.headers["first"][at])) >= first:
                    return begins
                for _, times, _ in _readings(db, blocks.only(slice(at, at + 1)), skipped):
                    inside = times[np.searchsorted(times, first) :]
                    if len(inside) and inside[0] <= last:
                        return int(inside[0])
            return None

        return self.database.read(work)

    def samples(self, series: Series, first: int, last: int, *, skipped: Skipped | None = None) -> tuple[Times, Values]:
        """The readings in a range: times int64 ms, strictly rising, and values float64, both of shape (n,)."""

        def work(db: sqlite3.Connection) -> tuple[Times, Values]:
            blocks = self._blocks(db, series, first, last, skipped).touching(first, last)
            return concatenated(
                [_cut(times, values, first, last) for _, times, values in _readings(db, blocks, skipped)]
            )

        return self.database.read(work)

    def summaries(self, series: Series, first: int, last: int, *, skipped: Skipped | None = None) -> Summaries:
        """The summaries of the whole hours that a range touches, from the headers alone."""

        def work(db: sqlite3.Connection) -> Summaries:
            found = self._blocks(db, series, first, last, skipped)
            return of_blocks(found.places, found.headers)

        return self.database.read(work)

    def location_summaries(
        self, location: str, first: int, last: int, *, squared: bool = False, skipped: Skipped | None = None
    ) -> dict[Series, Summaries]:
        """:meth:`summaries` of each series of a location that has any, all at once.

        Args:
            squared: with the squares of the values. For those the columns are read, 10 ns a reading; a block whose
                columns are damaged is not in it then.
        """

        def work(db: sqlite3.Connection) -> dict[Series, Summaries]:
            owners = {number: series for series, number in self._numbered(db, skipped) if series.location == location}
            rows = db.execute(
                "SELECT series, hour, part, header FROM blocks "
                "WHERE series IN (SELECT id FROM series WHERE location = ?) AND hour BETWEEN ? AND ? "
                "ORDER BY series, hour, part",
                (location, first // HOUR * HOUR, last),
            ).fetchall()
            sound = [
                one
                for number, *row in rows
                if (owner := owners.get(number)) is not None  # else its row is damaged, which was told
                for one in _sound(owner, number, row, skipped)
            ]
            places, headers = [place for place, _ in sound], headers_of([header for _, header in sound])
            if not squared:
                return {owners[number]: its for number, its in by_series(places, headers, None)}
            found: list[tuple[int, float]] = []
            for number, its in groupby(range(len(places)), lambda at: places[at].series):
                mine = list(its)
                blocks = _Blocks(owners[number], [places[at] for at in mine], headers[mine])
                found += [(mine[at], squares(values)) for at, _, values in _readings(db, blocks, skipped)]
            whole, sums = [at for at, _ in found], np.array([one for _, one in found], np.float64)
            there = by_series([places[at] for at in whole], headers[whole], sums)
            return {owners[number]: its for number, its in there}

        return self.database.read(work)

    def buckets(
        self,
        series: Series,
        aggregation: Aggregation,
        run_first: int,
        width: int,
        *,
        first: int,
        last: int,
        skipped: Skipped | None = None,
    ) -> tuple[Times, Values]:
        """An aggregation of the readings in a range, in buckets of equal width.

        What lies whole in one bucket is taken from the blocks' headers, except for ``std.p``. Sums and means are those
        of all readings to within rounding; the others are exact.

        Args:
            run_first: where one of the buckets begins, ms.
            width: their length, ms.

        Returns:
            the starts of the buckets that have readings (int64 ms, rising), and a float64 for each.
        """

        def work(db: sqlite3.Connection) -> tuple[Times, Values]:
            blocks = self._blocks(db, series, first, last, skipped).touching(first, last)
            headers = blocks.headers
            begins, ends = (headers["first"] - run_first) // width, (headers["last"] - run_first) // width
            whole = (headers["first"] >= first) & (headers["last"] <= last) & (begins == ends)
            if aggregation == "std.p":
                whole[:] = False
            numbers, pieces, order = [begins[whole]], [of_headers(headers[whole])], [np.flatnonzero(whole)]
            others = np.flatnonzero(~whole)
            for at, times, values in _readings(db, blocks.only(others), skipped):
                inside, its_values = _cut(times, values, first, last)
                of_block, its_pieces = of_readings((inside - run_first) // width, its_values)
                numbers.append(of_block)
                pieces.append(its_pieces)
                order.append(np.full(len(of_block), others[at]))
            in_time = np.argsort(np.concatenate(order), kind="stable")
            number = np.concatenate(numbers)[in_time]
            values = combined(number, np.concatenate(pieces)[in_time])[aggregation]
            return number[boundaries(number)] * width + run_first, values

        return self.database.read(work)

    def counts(
        self, location: str, first: int, last: int, width: int, *, skipped: Skipped | None = None
    ) -> dict[Series, dict[int, int]]:
        """How many readings each series of a location has, by the starts of buckets of ``width`` ms since the epoch."""
        found: dict[Series, dict[int, int]] = {}
        for series in self.series(skipped=skipped):
            if series.location == location:
                starts, counts = self.buckets(series, "count", 0, width, first=first, last=last, skipped=skipped)
                if len(starts):
                    found[series] = dict(zip(starts.tolist(), counts.astype(np.int64).tolist(), strict=True))
        return found

    def check(self) -> Iterator[ArchiveRefused]:
        """Reads the whole archive and yields what is damaged, without what was set aside before."""
        damage: Skipped = []
        for series in self.series(skipped=damage):
            for first, last in self._days(series):
                self._read_through(series, first, last, damage)
            yield from damage
            damage = []
        yield from damage
        orphans = self.database.read(
            lambda db: db.execute(
                "SELECT series, count(*) FROM blocks WHERE series NOT IN (SELECT id FROM series) GROUP BY series"
            ).fetchall()
        )
        for number, count in orphans:
            yield ArchiveRefused(f"{self.database.path}: {count} blocks of the series number {number}, which is lost")

    def close(self) -> None:
        """Lets go of the file; the next call opens it again."""
        self.database.close()

    def _days(self, series: Series) -> list[tuple[int, int]]:
        def work(db: sqlite3.Connection) -> list[tuple[int, int]]:
            days = db.execute(
                "SELECT DISTINCT hour / ?2 FROM blocks WHERE series = ?1", (number_of(db, series), _DAY)
            ).fetchall()
            return [(int(day) * _DAY - _DAY * (day < 0), int(day) * _DAY + _DAY - 1) for (day,) in days]

        return self.database.read(work)

    def _read_through(self, series: Series, first: int, last: int, damage: Skipped) -> None:
        def work(db: sqlite3.Connection) -> None:
            for _ in _readings(db, self._blocks(db, series, first, last, damage), damage):
                pass

        self.database.read(work)

    def _blocks(
        self, db: sqlite3.Connection, series: Series, first: int, last: int, skipped: Skipped | None
    ) -> _Blocks:
        """The blocks of the whole hours that a range touches."""
        self._check_format(db)
        sound: list[tuple[Place, bytes]] = []
        number: int | None = None
        try:
            number = number_of(db, series)
        except SeriesDamaged as e:
            _skip(e, skipped)
        if number is not None:
            rows = db.execute(
                "SELECT hour, part, header FROM blocks WHERE series = ? AND hour BETWEEN ? AND ? ORDER BY hour, part",
                (number, first // HOUR * HOUR, last),
            ).fetchall()
            sound = [found for row in rows for found in _sound(series, number, row, skipped)]
        return _Blocks(series, [place for place, _ in sound], headers_of([header for _, header in sound]))

    def _numbered(self, db: sqlite3.Connection, skipped: Skipped | None) -> list[tuple[Series, int]]:
        """All series, in order, with their numbers; read anew when there are others."""
        self._check_format(db)
        if self._series_of != (now := (self.database.openings, *generation(db))):
            entries = list(all_series(db))
            self._series = sorted(entry for entry in entries if isinstance(entry, tuple))
            self._damaged = [entry for entry in entries if isinstance(entry, SeriesDamaged)]
            self._series_of = now
        for damage in self._damaged:
            _skip(damage, skipped)
        return self._series

    def _check_format(self, db: sqlite3.Connection) -> None:
        if self._checked_of != self.database.openings:
            incarnation(db)
            self._checked_of = self.database.openings


def _readings(db: sqlite3.Connection, blocks: _Blocks, skipped: Skipped | None) -> Iterator[tuple[int, Times, Values]]:
    """Each block's index and its readings."""
    for start in range(0, len(blocks.places), _AT_ONCE):
        places = blocks.places[start : start + _AT_ONCE]
        query = f"SELECT id, times, vals FROM columns WHERE id IN ({','.join('?' * len(places))})"
        columns = {key: texts for key, *texts in db.execute(query, [place.id for place in places])}
        for at, place in enumerate(places, start):
            try:
                times, values = decode(place, blocks.headers[at], *columns.get(place.id, (None, None)))
            except Unsound as e:
                _skip(BlockDamaged(blocks.series, place.hour, place.part, str(e)), skipped)
                continue
            yield at, times, values


def _sound(series: Series, number: int, row: Sequence[Any], skipped: Skipped | None) -> list[tuple[Place, bytes]]:
    """A block's place and header, once they are checked; nothing where it is damaged."""
    hour, part, raw = row
    try:
        place = place_of(number, hour, part)
        return [(place, header_of(place, raw))]
    except Unsound as e:
        _skip(BlockDamaged(series, hour if type(hour) is int else None, part, str(e)), skipped)
        return []


def _cut(times: Times, values: Values, first: int, last: int) -> tuple[Times, Values]:
    inside = slice(*np.searchsorted(times, (first, last + 1)))
    return times[inside], values[inside]


def _skip(damage: ArchiveRefused, skipped: Skipped | None) -> None:
    if skipped is None:
        raise damage
    skipped.append(damage)
