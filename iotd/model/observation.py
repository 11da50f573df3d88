"""What a source says of one sensor at one time, before anybody has checked it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple, Protocol

from iotd.model.errors import Refused

_LONGEST_TIME = 128
"""Bits of a number that may be a time."""
_SECONDS, _MS, _US = 10**11, 10**14, 10**17
"""A number below it is in this unit: seconds until the year 5138, milliseconds from 1973 on, and so forth."""


class Moment(NamedTuple):
    """A time, ms since the epoch; ``ambiguous``: a local time of the hour that a clock change repeats, taken as the
    first of the two."""

    ms: int
    ambiguous: bool = False


class Subject(NamedTuple):
    """Whose value it is, as its source says it; :mod:`iotd.intake.resolve` finds the series.

    Attributes:
        type: a sensor type by any of its names, with or without a unit behind it (``temperature_F``).
        sensor: the source's own id of the sensor: an address, a serial number, a friendly name.
        location: a location by any of its names; empty: it is to be found in ``hints``.
        unit: as the source says it; None: the type's own, unless type or value name one.
        hints: texts that may hold a location's name: a topic, a friendly name, an area.
    """

    type: str
    sensor: str
    location: str = ""
    unit: str | None = None
    hints: tuple[str, ...] = ()


@dataclass(slots=True, unsafe_hash=True)  # a frozen one takes four times as long to make
class Observation:
    """One value as its source says it; it never changes.

    Attributes:
        value: a number, a boolean, or a text of either; ``None`` and texts like ``unavailable`` say that there is none.
        time: a :class:`Moment`, or what :func:`iotd.intake.moments.moment_of` reads; None: the time of arrival.
        type, sensor, location, unit, hints: see :class:`Subject`.
    """

    type: str
    sensor: str
    value: object
    location: str = ""
    unit: str | None = None
    time: object = None
    hints: tuple[str, ...] = ()

    @property
    def subject(self) -> Subject:
        """Whose value it is."""
        return Subject(self.type, self.sensor, self.location, self.unit, self.hints)


@dataclass(slots=True)
class Columns:
    """Observations as columns of one length, in the order in which they were said.

    Attributes:
        subjects: whose they are, each once; it may hold more than these.
        which: of each observation the index of its subject.
        values: as :attr:`Observation.value`.
        times: ms since the epoch as an int; all else as :attr:`Observation.time`, with numbers that are no times of
            today as texts.
    """

    subjects: Sequence[Subject]
    which: list[int]
    values: list[object]
    times: list[object]

    @classmethod
    def of(cls, said: Sequence[Observation]) -> Columns:
        """Observations as columns."""
        places: dict[Subject, int] = {}
        which = [places.setdefault(one.subject, len(places)) for one in said]
        return cls(list(places), which, [one.value for one in said], [_column_time(one.time) for one in said])

    def __len__(self) -> int:
        return len(self.which)


def joined(columns: Sequence[Columns]) -> Columns:
    """One after the other."""
    if len(columns) == 1:
        return columns[0]
    whole = Columns([], [], [], [])
    subjects: list[Subject] = []
    for one in columns:
        begin = len(subjects)
        subjects += one.subjects
        whole.which += [begin + index for index in one.which] if begin else one.which
        whole.values += one.values
        whole.times += one.times
    whole.subjects = subjects
    return whole


class Part(NamedTuple):
    """A part of a message as it is held when it can't be taken; see :class:`iotd.model.held.Held`.

    Attributes:
        first: the place within the message from which on the observations belong to what came as one.
        known_by, digest: see :class:`Piece`.
    """

    form: str
    topic: str
    payload: bytes
    sensor: str
    first: int = 0
    known_by: bytes = b""
    digest: bytes = b""


class Names(Protocol):
    """What is known by name; what one knows never changes, so that it can be remembered."""

    def __hash__(self) -> int:
        """As of any object."""

    def knows(self, name: str) -> bool:
        """Whether a name is that of a sensor type, with or without a unit behind it."""

    def ignores(self, name: str) -> bool:
        """Whether what goes by this name is no sensor's: it is neither taken nor held."""


class Message(Protocol):
    """What a source hands over."""

    def __len__(self) -> int:
        """How many observations it says."""

    def columns(self) -> Columns:
        """What it says."""

    def part(self, at: int) -> Part:
        """The part that the observation at this place stands in."""

    def refused(self) -> Iterable[tuple[int, Part, Refused]]:
        """Parts that could not be understood: the place of the observation that comes next, the part, and why not."""


@dataclass(slots=True)  # not frozen, as Observation
class Piece:
    """A message, or a part of one, that is taken by itself or held by itself; once handed over it never changes.

    Attributes:
        form, topic, payload: what is held of it, where it can't be taken.
        why_not: why it says nothing that could be understood.
        sensor: of a payload with several sensors, the one that it is about; empty: all of them.
        known_by: tells it from all others of its source, and a repeat has the same; empty: that has to be told by what
            it is and when it arrived.
        digest: that by which it is held already.
    """

    form: str
    topic: str
    payload: bytes
    said: Sequence[Observation]
    why_not: Refused | None = None
    sensor: str = ""
    known_by: bytes = b""
    digest: bytes = b""

    def __len__(self) -> int:
        return len(self.said)

    def columns(self) -> Columns:
        """See :class:`Message`."""
        return Columns.of(self.said)

    def part(self, at: int) -> Part:
        """See :class:`Message`."""
        one = self.said[at]
        sensor = self.sensor or (part_name(one) if len(self.said) > 1 else "")
        digest = self.digest if sensor == self.sensor else b""
        return Part(self.form, self.topic, self.payload, sensor, known_by=self.known_by, digest=digest)

    def refused(self) -> Iterable[tuple[int, Part, Refused]]:
        """See :class:`Message`."""
        if self.why_not is None:
            return ()
        what = self.form, self.topic, self.payload, self.sensor
        return ((0, Part(*what, known_by=self.known_by, digest=self.digest), self.why_not),)


class Together:
    """The parts of messages that came together, by places that count through all of them."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages
        self._ends = list(accumulate(map(len, messages)))

    def part(self, at: int) -> Part:
        """See :class:`Message`."""
        n = bisect_right(self._ends, at)
        begin = self._ends[n - 1] if n else 0
        part = self._messages[n].part(at - begin)
        return part._replace(first=begin + part.first)

    def refused(self) -> Iterable[tuple[int, Part, Refused]]:
        """See :class:`Message`."""
        begin = 0
        for message, end in zip(self._messages, self._ends, strict=True):
            for place, part, why in message.refused():
                yield begin + place, part._replace(first=begin + part.first), why
            begin = end


class Pieces(Together):
    """Pieces that came together, as one message: what is to be found of each subject is found once for all of them."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        super().__init__(pieces)
        self._said = [one for piece in pieces for one in piece.said]

    def __len__(self) -> int:
        return len(self._said)

    def columns(self) -> Columns:
        """See :class:`Message`."""
        return Columns.of(self._said)


def part_name(one: Observation | Subject) -> str:
    """What a sensor is called within a payload that is held, where that says something of several."""
    return f"{one.type} {one.sensor}"


def ms_of(number: float) -> int:
    """A time as a number of seconds, milliseconds, microseconds or nanoseconds since the epoch, told apart by its size:
    in ms, what is finer is cut off."""
    size = abs(number)
    if size < _SECONDS:
        return round(number * 1_000_000) // 1_000
    return int(number // (1 if size < _MS else 1_000 if size < _US else 1_000_000))


def _column_time(said: object) -> object:
    if isinstance(said, Moment):
        return said if said.ambiguous else said.ms
    kind = type(said)
    if kind is int or kind is float:
        assert isinstance(said, int | float)
        if -_US < said < _US:
            return ms_of(said)
        if kind is int:  # as a text it is read as the same, and can't be taken for milliseconds
            return str(said) if said.bit_length() <= _LONGEST_TIME else float("inf")  # type: ignore[union-attr]
    return said
