"""Where the records of one partition lie, and how much lies beyond any sequence."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from iotd.log.base import Depth, record_size
from iotd.log.frame import UNKNOWN, counted


class Place(NamedTuple):
    """Where a record lies.

    Attributes:
        sequence: its place in the partition.
        readings: in it; none where it is a deletion.
        before: readings of the partition before it, as :func:`iotd.log.frame.counted` counts them.
        segment: number of the file.
        frame: offset of its frame in the file.
        offset: of its columns in the frame's payload.
    """

    sequence: int
    readings: int
    before: int
    segment: int
    frame: int
    offset: int


class Index:
    """Places by sequence, ascending, and running sums; 40 bytes a record."""

    def __init__(self, places: Iterable[Place] = ()) -> None:
        self._clear()
        self.extend(places)

    def _clear(self) -> None:
        self._start = 0
        self._base = 0
        self._sequence = array("Q")
        self._readings = array("Q")  # up to and with this record, of those in the index
        self._bytes = array("Q")
        self._before = array("I")
        self._segment = array("I")
        self._frame = array("I")
        self._offset = array("I")
        self._deletions: list[int] = []

    def __len__(self) -> int:
        return len(self._sequence) - self._start

    def extend(self, places: Iterable[Place]) -> None:
        """Adds records behind those that are there."""
        readings = self._readings[-1] if self._readings else 0
        size = self._bytes[-1] if self._bytes else 0
        for place in places:
            readings += place.readings
            size += record_size(place.readings)
            self._sequence.append(place.sequence)
            self._readings.append(readings)
            self._bytes.append(size)
            self._before.append(place.before)
            self._segment.append(place.segment)
            self._frame.append(place.frame)
            self._offset.append(place.offset)
            if not place.readings:
                self._deletions.append(place.sequence)

    @property
    def size(self) -> int:
        """Bytes of all records; asked for with every single reading, so nothing is searched for."""
        if len(self._sequence) == self._start:
            return 0
        return self._bytes[-1] - (self._bytes[self._start - 1] if self._start else 0)

    def beyond(self, sequence: int) -> Depth:
        """How much lies beyond a sequence."""
        if not len(self):
            return Depth(0, 0, 0)
        at = self._after(sequence)
        readings, size = (self._readings[at - 1], self._bytes[at - 1]) if at else (0, 0)
        return Depth(len(self._sequence) - at, self._readings[-1] - readings, self._bytes[-1] - size)

    def places(self, after: int, max_bytes: int, before: int | None = None) -> list[Place]:
        """Records beyond a sequence (and before another), about so many bytes, one at least if there is one."""
        found: list[Place] = []
        size = 0
        for at in range(self._after(after), len(self._sequence)):
            place = self._place(at)
            if before is not None and place.sequence >= before:
                break
            size += record_size(place.readings)
            if found and size > max_bytes:
                break
            found.append(place)
        return found

    def next_deletion(self, after: int) -> int | None:
        """The sequence of the first deletion beyond a sequence."""
        if not self._deletions:
            return None
        at = bisect_right(self._deletions, after)
        return self._deletions[at] if at < len(self._deletions) else None

    def deletions(self, after: int) -> list[Place]:
        """The deletions beyond a sequence, in order."""
        sequences = self._deletions[bisect_right(self._deletions, after) :]
        return [self._place(self._after(sequence) - 1) for sequence in sequences]

    def within(self, segment: int, after: int) -> list[Place]:
        """Records beyond a sequence that lie in a segment."""
        places = map(self._place, range(self._after(after), len(self._sequence)))
        return [place for place in places if place.segment == segment]

    def counted(self, upto: int) -> int:
        """Readings of the partition up to a sequence; UNKNOWN within a gap, where nobody can tell."""
        at = bisect_right(self._sequence, upto)
        if at > 0 and self._sequence[at - 1] == upto:
            last = self._place(at - 1)
            return counted(last.before, last.readings)
        return self._before[at] if at < len(self._sequence) and self._sequence[at] == upto + 1 else UNKNOWN

    def truncate(self, upto: int) -> None:
        """Forgets the records up to a sequence."""
        self._start = self._after(upto)
        if self._deletions:
            del self._deletions[: bisect_right(self._deletions, upto)]
        cut = self._start - 1  # the last one stays: the sums of those behind it go on from there
        if cut > 0 and cut * 2 > len(self._sequence):
            self._base = self._readings[cut - 1]
            for column in (self._sequence, self._readings, self._bytes):
                del column[:cut]
            for narrow in (self._before, self._segment, self._frame, self._offset):
                del narrow[:cut]
            self._start = 1

    def move(self, places: Mapping[int, Place], segments: frozenset[int]) -> None:
        """Records of these segments lie elsewhere now."""
        for at in range(self._start, len(self._sequence)):
            if self._segment[at] in segments and (new := places.get(self._sequence[at])) is not None:
                self._segment[at], self._frame[at], self._offset[at] = new.segment, new.frame, new.offset

    def remove(self, gone: Callable[[int], bool]) -> None:
        """Takes out the records of some sequences: they cannot be read."""
        kept = [
            place for at in range(self._start, len(self._sequence)) if not gone((place := self._place(at)).sequence)
        ]
        self._clear()
        self.extend(kept)

    def _after(self, sequence: int) -> int:
        return bisect_right(self._sequence, sequence, self._start) if sequence > 0 else self._start

    def _place(self, at: int) -> Place:
        count = self._readings[at] - (self._readings[at - 1] if at else self._base)
        return Place(self._sequence[at], count, self._before[at], self._segment[at], self._frame[at], self._offset[at])
