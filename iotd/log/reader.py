"""Reads records from the segments, each checked, with its series numbers as today's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iotd.log.base import Append, Delete, Record
from iotd.log.disk import Disk
from iotd.log.frame import HEADER, FrameError, payload_length, verify
from iotd.log.index import Place
from iotd.log.record import appended, record_of
from iotd.log.segment import segment_path
from iotd.model.batch import Numbers


class Tables:
    """What series numbers of earlier epochs are today."""

    def __init__(self, tag: int, translations: Mapping[int, Mapping[int, int]]) -> None:
        """``tag`` is the present epoch's, whose numbers are today's."""
        self._tag = tag
        self._tables: dict[int, Numbers] = {}
        for old, table in translations.items():
            today = np.full(max(table, default=-1) + 1, -1, np.int32)
            for number, new in table.items():
                today[number] = new
            self._tables[old] = today

    def translate(self, tag: int, series: Numbers) -> tuple[Numbers, NDArray[np.bool_] | None]:
        """Today's numbers, and which of them are known; None where all are."""
        if tag == self._tag:
            return series, None
        table = self._tables.get(tag)
        if table is None or len(table) == 0:
            return np.full_like(series, -1), np.zeros(len(series), np.bool_)
        inside = (series >= 0) & (series < len(table))
        today = table[np.where(inside, series, 0)]
        known = inside & (today >= 0)
        return today, None if known.all() else known


def renumbered(found: Append | Delete, series: Numbers, known: NDArray[np.bool_] | None) -> Append | Delete:
    """The same by today's numbers, as :meth:`Tables.translate` gave them; what is not known is left out."""
    kept = slice(None) if known is None else known
    if isinstance(found, Delete):
        return replace(found, series=series[kept])
    return Append(found.location, series[kept], found.times[kept], found.values[kept])


@dataclass(slots=True)
class Outcome:
    """What was read.

    Attributes:
        records: in the order asked for.
        lost: those that could not be read, with the reason.
        unknown: (place, how many of its readings are left out because nobody knows their series any more).
    """

    records: list[Record] = field(default_factory=list)
    lost: list[tuple[Place, str]] = field(default_factory=list)
    unknown: list[tuple[Place, int]] = field(default_factory=list)


class Reader:
    """One thread's way to the records; keeps the last frame it read."""

    def __init__(self, folder: Path, disk: Disk, tables: Tables) -> None:
        self._folder = folder
        self._disk = disk
        self._tables = tables
        self._last: tuple[int, int] | None = None
        self._payload = memoryview(b"")
        self._tag = 0

    def read(self, places: Iterable[Place]) -> Outcome:
        """Reads records.

        Raises:
            FileNotFoundError: a segment is not there any more; its records may lie elsewhere meanwhile.
            OSError: the system cannot read now.
        """
        outcome = Outcome()
        segment = -1
        run: list[Place] = []
        for place in places:
            if place.segment != segment:
                self._segment(segment, run, outcome)
                segment, run = place.segment, []
            run.append(place)
        self._segment(segment, run, outcome)
        return outcome

    def _segment(self, segment: int, places: list[Place], outcome: Outcome) -> None:
        if not places:
            return
        with self._disk.reading(segment_path(self._folder, segment)) as fd:
            for place in places:
                try:
                    self._record(fd, place, outcome)
                except FrameError as e:
                    outcome.lost.append((place, str(e)))

    def _record(self, fd: int, place: Place, outcome: Outcome) -> None:
        if self._last != (place.segment, place.frame):
            self._frame(fd, place)
        try:
            found = appended(self._payload, place.offset, place.readings)
        except ValueError:
            raise FrameError("a record is not where it was written") from None
        series, known = self._tables.translate(self._tag, found.series)
        if known is not None and place.readings:  # nothing is left of a series that a deletion alone could name
            outcome.unknown.append((place, int(len(known) - known.sum())))
        found = renumbered(found, series, known)
        if len(found.series):
            outcome.records.append(record_of(place.sequence, found))

    def _frame(self, fd: int, place: Place) -> None:
        self._last = None
        header = self._disk.read_at(fd, HEADER, place.frame)
        data = header + self._disk.read_at(fd, payload_length(header), place.frame + HEADER)
        view = memoryview(data)
        head = verify(view, 0)
        if head is None:
            raise FrameError(f"segment {place.segment} at byte {place.frame}: the checksum of a frame is wrong")
        self._payload, self._tag = view[HEADER:], head.tag
        self._last = (place.segment, place.frame)
