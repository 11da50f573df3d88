"""Many lines of line protocol at once: what a line means is found once for all that begin alike and name its fields.

Lines of numbers and quoted texts, which is what sensors send, are read here; any other is read by
:func:`iotd.sources.http.lines.lines`, and both find the same.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from iotd.model.errors import Refused
from iotd.model.observation import Columns, Moment, Names, Part, Subject, part_name
from iotd.sources.http.lines import DESCRIBING, PRECISIONS, Line, lines, parsed, subjects

_MOST = 100_000
"""Beginnings of lines that are known; when there are more, all are found anew."""
_DIGITS = 18
"""Of a whole number that surely fits into 64 bits."""
_LATEST = 2**63
"""No line has a later time, in whatever unit."""
_FIGURES = b"0123456789.-"
_WHOLE = (b"i", b"u")
_HEAD = re.compile(rb"(?:[^ \\]|\\.)+")
_FIELD = re.compile(rb'([^=,"]+)=("[^"]*"|[^,"]*)(?:,|$)')
_DESCRIBING = frozenset(name.encode() for name in DESCRIBING)
_FORM = "lines"

_Known = list[tuple[int, int]]
"""Of the fields that are readings the place among the fields, and that of its subject."""


@dataclass(slots=True)
class Lines:
    """A body of line protocol: :class:`iotd.model.observation.Message`.

    Attributes:
        topic: of the body; a line's has its number in the whole body behind it.
        before: lines of the body that came before these.
        texts: of the lines, by their numbers less one; all numbers here count from these.
        said: what they say.
        numbers: of each observation its line's number, from 1.
        longer: lines whose quoted text goes on over line breaks, by their first number.
        refusals: of lines that say nothing that could be understood, by their numbers.
    """

    topic: str
    before: int
    texts: list[bytes]
    said: Columns
    numbers: list[int] = field(default_factory=list)
    longer: dict[int, bytes] = field(default_factory=dict)
    refusals: dict[int, Refused] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)

    def columns(self) -> Columns:
        """See :class:`iotd.model.observation.Message`."""
        return self.said

    def part(self, at: int) -> Part:
        """See :class:`iotd.model.observation.Message`."""
        number = self.numbers[at]
        alone = number not in self.numbers[max(0, at - 1) : at] + self.numbers[at + 1 : at + 2]
        return self._part(number, "" if alone else part_name(self.said.subjects[self.said.which[at]]))

    def refused(self) -> Iterable[tuple[int, Part, Refused]]:
        """See :class:`iotd.model.observation.Message`."""
        for number, why in self.refusals.items():
            yield bisect_left(self.numbers, number), self._part(number, ""), why

    def _part(self, number: int, sensor: str) -> Part:
        text = self.longer.get(number) or self.texts[number - 1]
        return Part(_FORM, f"{self.topic} line {self.before + number}", text, sensor)


class LineReader:
    """Reads bodies; what it has learned of lines it forgets when the names change.

    Attributes:
        known: what lines say, by their beginning and the names of their fields.
    """

    def __init__(self) -> None:
        self._names: Names | None = None
        self._subjects: list[Subject] = []
        self._places: dict[Subject, int] = {}
        self.known: dict[bytes, _Known | None] = {}

    def read(self, body: bytes, topic: str, precision: str, names: Names, *, before: int = 0) -> Lines:
        """What a body says.

        Args:
            topic: of what is held of it.
            precision: of the times, one of :data:`iotd.sources.http.lines.PRECISIONS`.
            names: what is known by name now.
            before: lines of the same body that came before these.
        """
        if names is not self._names or len(self._subjects) > _MOST or len(self.known) > _MOST:
            # those on their way keep the lists that they have
            self._names, self._subjects, self._places, self.known = names, [], {}, {}
        found = Lines(topic, before, body.split(b"\n"), Columns(self._subjects, [], [], []))
        quoted = b'"' in body
        if quoted and (b"\\" in body or any(text.count(b'"') % 2 for text in found.texts)):
            self._all_carefully(body, found, precision, names)  # a quoted text may go over lines
            return found
        unit, said, numbers, known = PRECISIONS[precision], found.said, found.numbers, self.known
        for number, text in enumerate(found.texts, start=1):
            head, fields, stamp = _parts(text) if quoted or b"\\" in text else _plain_parts(text)
            time: int | str | None = None
            if not stamp:
                pass
            elif stamp.isdigit() and len(stamp) < 20 and (said_time := int(stamp)) < _LATEST:
                time = said_time * unit // 1_000_000 if unit else str(said_time)
            else:
                self._carefully(found, number, text, precision, names)
                continue
            if b"," not in fields:
                name, _, text_of_value = fields.partition(b"=")
                key = head + b" " + name
                its = known[key] if key in known else self._learn(key, head, [(name, b"0")], names)
                if its is not None and (value := _number(text_of_value)) is not None:
                    if its:  # nothing of what is to be ignored
                        said.which.append(its[0][1])
                        said.values.append(value)
                        said.times.append(time)
                        numbers.append(number)
                    continue
            elif self._several(found, number, head, fields, time):
                continue
            self._carefully(found, number, text, precision, names)
        return found

    def _several(self, found: Lines, number: int, head: bytes, fields: bytes, time: int | str | None) -> bool:
        if b'"' in fields:
            parts = _FIELD.findall(fields)
            if sum(len(name) + len(value) + 2 for name, value in parts) != len(fields) + 1:
                return False
        else:
            parts = [(name, value) for name, _, value in (part.partition(b"=") for part in fields.split(b","))]
        values: list[object] = []
        shape = [head, b" "]
        for name, text in parts:
            if text[:1] == b'"':
                try:
                    values.append(text[1:-1].decode())
                except UnicodeDecodeError:
                    return False
                # what it says of the others is a part of what is known; what else it says is not
                shape += (name, b"=", text if name in _DESCRIBING else b'"', b",")
            elif (value := _number(text)) is not None:
                values.append(value)
                shape += (name, b",")
            else:
                return False
        key = b"".join(shape)
        its = self.known[key] if key in self.known else self._learn(key, head, parts, self._names)
        if its is None:
            return False
        for at, place in its:
            found.said.which.append(place)
            found.said.values.append(values[at])
            found.said.times.append(time)
            found.numbers.append(number)
        return True

    def _learn(
        self, key: bytes, head: bytes, parts: Sequence[tuple[bytes, bytes]], names: Names | None
    ) -> _Known | None:
        """What the lines say that begin like this and have these fields; None: they are to be read one by one."""
        assert names is not None
        its: _Known | None = None
        called = [name for name, _ in parts]
        try:
            sample = b",".join(name + b"=" + (text if text[:1] == b'"' else b"0") for name, text in parts)
            whole = parsed(head + b" " + sample)
            fields = whole["fields"] if whole is not None else {}
            numbers = {name for name, value in fields.items() if not isinstance(value, str)}
            if sorted(name.encode() for name in fields) == sorted(called) and not DESCRIBING & numbers:
                assert whole is not None
                found = subjects(whole["measurement"], whole["tags"], fields, names)
                its = [(called.index(name.encode()), self._place(subject)) for name, subject in found]
        except Refused:
            pass
        self.known[key] = its
        return its

    def _place(self, subject: Subject) -> int:
        place = self._places.setdefault(subject, len(self._subjects))
        if place == len(self._subjects):
            self._subjects.append(subject)
        return place

    def _carefully(self, found: Lines, number: int, text: bytes, precision: str, names: Names) -> None:
        for line in lines(text, precision, names):
            self._add(found, number, line)

    def _all_carefully(self, body: bytes, found: Lines, precision: str, names: Names) -> None:
        for line in lines(body, precision, names):
            if b"\n" in line.text:
                found.longer[line.number] = line.text
            self._add(found, line.number, line)

    def _add(self, found: Lines, number: int, line: Line) -> None:
        if line.refused is not None:
            found.refusals[number] = line.refused
        for one in line.said:
            found.said.which.append(self._place(one.subject))
            found.said.values.append(one.value)
            found.said.times.append(one.time.ms if isinstance(one.time, Moment) else one.time)
            found.numbers.append(number)


def _plain_parts(text: bytes) -> tuple[bytes, bytes, bytes]:
    head, _, rest = text.partition(b" ")
    fields, _, stamp = rest.partition(b" ")
    return head, fields, stamp


def _parts(text: bytes) -> tuple[bytes, bytes, bytes]:
    """Measurement with tags, fields, and time of a line; what can't be told apart is told by a time that is none."""
    match = _HEAD.match(text)
    head = match[0] if match else b""
    rest = text[len(head) + 1 :]
    if b'"' in head or b"\\" in rest:
        return head, rest, b"?"
    end = rest.rfind(b'"') + 1
    more, _, stamp = rest[end:].partition(b" ")
    return head, rest[:end] + more, stamp


def _number(text: bytes) -> float | None:
    """A value as sensors write it; None: it is written in another way, or is none."""
    end = text[-1:]
    if end in _WHOLE:
        digits = text[:-1]
        bare = digits[1:] if end == b"i" and digits[:1] == b"-" else digits
        return float(int(digits)) if bare.isdigit() and len(bare) <= _DIGITS else None
    if text.translate(None, _FIGURES):
        return None
    try:
        return float(text)
    except ValueError:
        return None
