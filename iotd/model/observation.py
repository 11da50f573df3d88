"""What a source says of one sensor at one time, before anybody has checked it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from iotd.model.errors import Refused

_LONGEST_TIME = 128
"""Bits of a number that may be a time."""


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


@dataclass(frozen=True, slots=True)
class Observation:
    """One value as its source says it.

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
        times: ms since the epoch as an int; all else as :attr:`Observation.time`, with whole numbers as texts.
    """

    subjects: Sequence[Subject]
    which: list[int]
    values: list[object]
    times: list[object]

    @classmethod
    def of(cls, said: Sequence[Observation]) -> Columns:
        """Observations as columns."""
        return cls(
            [one.subject for one in said],
            list(range(len(said))),
            [one.value for one in said],
            [_column_time(one.time) for one in said],
        )

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
    """A part of a message as it is held when it can't be taken; see :class:`iotd.model.held.Held`."""

    form: str
    topic: str
    payload: bytes
    sensor: str


class Names(Protocol):
    """What is known by name."""

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

    def refused(self) -> Iterable[tuple[Part, Refused]]:
        """Parts that could not be understood, and why not."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A message, or a part of one, that is taken by itself or held by itself.

    Attributes:
        form, topic, payload: what is held of it, where it can't be taken.
        why_not: why it says nothing that could be understood.
        sensor: of a payload with several sensors, the one that it is about; empty: all of them.
    """

    form: str
    topic: str
    payload: bytes
    said: Sequence[Observation]
    why_not: Refused | None = None
    sensor: str = ""

    def __len__(self) -> int:
        return len(self.said)

    def columns(self) -> Columns:
        """See :class:`Message`."""
        return Columns.of(self.said)

    def part(self, at: int) -> Part:
        """See :class:`Message`."""
        one = self.said[at]
        sensor = self.sensor or (part_name(one) if len(self.said) > 1 else "")
        return Part(self.form, self.topic, self.payload, sensor)

    def refused(self) -> Iterable[tuple[Part, Refused]]:
        """See :class:`Message`."""
        if self.why_not is not None:
            yield Part(self.form, self.topic, self.payload, self.sensor), self.why_not


def part_name(one: Observation | Subject) -> str:
    """What a sensor is called within a payload that is held, where that says something of several."""
    return f"{one.type} {one.sensor}"


def _column_time(said: object) -> object:
    if isinstance(said, Moment):
        return said if said.ambiguous else said.ms
    if type(said) is int:  # as a text it is read as the same, and can't be taken for milliseconds
        return str(said) if said.bit_length() <= _LONGEST_TIME else float("inf")
    return said
