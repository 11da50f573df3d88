"""Line protocol: lines into observations, whoever wrote them.

What a line means is found by the names that Telegraf, Home Assistant and people use for tags and fields
(https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from line_protocol_parser import LineFormatError, parse_line

from iotd.model.errors import Refused
from iotd.model.folding import folded
from iotd.model.observation import Moment, Names, Observation, Subject
from iotd.model.units import unit_named

PRECISIONS = {"ns": 1, "n": 1, "us": 1_000, "u": 1_000, "µ": 1_000, "ms": 1_000_000, "s": 1_000_000_000,
              "m": 60_000_000_000, "h": 3_600_000_000_000, "auto": 0}  # fmt: skip
"""Nanoseconds of a unit of time, by the names that InfluxDB's write APIs have for it; 0: it is told by the size."""

_LOCATION = ("location", "room", "area")
_SENSOR = ("sensor_id", "sensor", "entity_id", "device_id", "device", "id", "topic", "host")
_UNIT = ("unit", "unit_of_measurement", "unit_of_measurement_str")
_TYPE = ("type",)
_CLASS = ("device_class", "device_class_str")
_VALUE = ("value", "state")
_NAME = "friendly_name_str"
_AIMING = ("climate", "water_heater", "humidifier")
"""Home Assistant's domains in which a value is what is aimed at, and ``current_…`` is what is measured."""
DESCRIBING = frozenset({*_UNIT, *_CLASS, _NAME})
"""Fields whose values say what the others are."""
_LONGEST = 64
"""Lines that a quoted text may go on over."""


class Line(NamedTuple):
    """One line as it came, its number in the body from 1, and what it says; ``refused`` where it is no line."""

    number: int
    text: bytes
    said: list[Observation]
    refused: Refused | None = None


def lines(body: bytes, precision: str, names: Names) -> Iterator[Line]:
    """The lines of a body; empty ones, comments, and those of measurements that are to be ignored are passed over.

    Args:
        precision: of the times, one of :data:`PRECISIONS`.
    """
    unit = PRECISIONS[precision]
    pieces = body.split(b"\n")
    at = 0
    while at < len(pieces):
        number, text = at + 1, pieces[at]
        at += 1
        try:
            whole = parsed(text)
        except Refused as e:
            # a quoted text may hold line breaks: then the line goes on
            more = _goes_on(text, pieces[at : at + _LONGEST]) if b'"' in text else None
            if more is None:
                yield Line(number, text, [], e)
                continue
            count, text, whole = more
            at += count
        if whole is not None and ((line := _line(number, text, whole, unit, names)).said or line.refused):
            yield line


def pieces(body: bytes, size: int) -> Iterator[bytes]:
    """A body in pieces of whole lines, of about so many bytes; none ends within a quoted text, if its end is near."""
    at = 0
    while at < len(body):
        end = _end(body, at, size)
        yield body[at:end]
        at = end


def parted(text: bytes) -> tuple[bytes, bytes]:
    """Whole lines, and what is left: the last line, and a quoted text that is still open, if that began near."""
    end = text.rfind(b"\n") + 1
    end = _back(text, 0, end) or end
    return text[:end], text[end:]


def _end(body: bytes, start: int, size: int) -> int:
    end = body.rfind(b"\n", start, start + size) + 1 or body.find(b"\n", start + size) + 1 or len(body)
    if (back := _back(body, start, end)) is not None:
        return back
    at = end
    for _ in range(_LONGEST):
        at = body.find(b"\n", at) + 1 or len(body)
        if at == len(body) or not _odd(body, start, at):
            return at
    return end


def _back(text: bytes, start: int, end: int) -> int | None:
    """The end of the last line up to there at which no quoted text is open; None where none is near."""
    odd = _odd(text, start, end)
    for _ in range(_LONGEST):
        if not odd or end == start:
            break
        begin = max(start, text.rfind(b"\n", start, end - 1) + 1)
        odd ^= _odd(text, begin, end)
        end = begin
    return end if end > start and not odd else None


def _odd(text: bytes, begin: int, end: int) -> bool:
    """Whether as many quotes are there that one stays open; an escaped one is none."""
    return (text.count(b'"', begin, end) - text.count(b'\\"', begin, end)) % 2 == 1


def _line(number: int, text: bytes, whole: Mapping[str, Any], unit_ns: int, names: Names) -> Line:
    try:
        return Line(number, text, observations(whole, unit_ns, names))
    except Refused as e:
        return Line(number, text, [], e)


def parsed(text: bytes) -> Mapping[str, Any] | None:
    """A line's measurement, tags, fields and time; None for an empty one or a comment.

    Raises:
        Refused: it is no line.
    """
    bare = text.strip()
    if not bare or bare.startswith(b"#"):
        return None
    try:
        found: Mapping[str, Any] | None = parse_line(bare.decode())
    except (LineFormatError, ValueError, OverflowError) as e:  # UnicodeDecodeError is a ValueError
        raise Refused("not a line", str(e)) from None
    return found


def _goes_on(text: bytes, rest: list[bytes]) -> tuple[int, bytes, Mapping[str, Any]] | None:
    for count, piece in enumerate(rest, start=1):
        text += b"\n" + piece
        if b'"' in piece:
            try:
                whole = parsed(text)
            except Refused:
                continue
            if whole is not None:
                return count, text, whole
    return None


def observations(whole: Mapping[str, Any], unit_ns: int, names: Names) -> list[Observation]:
    """The readings of a point.

    Args:
        whole: ``measurement``, ``tags``, ``fields`` and ``time`` (None, or so many times ``unit_ns``).
        unit_ns: 0: it is told by its size.

    Raises:
        Refused: none of its fields is a reading.
    """
    fields, stamp = whole["fields"], whole["time"]
    time = None if stamp is None else Moment(stamp * unit_ns // 1_000_000) if unit_ns else str(stamp)
    return [
        Observation(its.type, its.sensor, fields[name], its.location, its.unit, time, its.hints)
        for name, its in subjects(whole["measurement"], whole["tags"], fields, names)
    ]


def subjects(
    measurement: str, tags: Mapping[str, str], fields: Mapping[str, Any], names: Names
) -> list[tuple[str, Subject]]:
    """The fields of a line that are readings, and whose they are; none of a measurement that is to be ignored.

    Raises:
        Refused: there is none.
    """
    if names.ignores(measurement):
        return []
    unit = _first(tags, _UNIT) or _first(fields, _UNIT) or (measurement if unit_named(measurement) else "")
    name = fields.get(_NAME)
    hints = (*((name,) if isinstance(name, str) else ()), measurement, *tags.values())
    sensor = _first(tags, _SENSOR) or ",".join(f"{k}={v}" for k, v in sorted(tags.items()) if k not in _LOCATION)
    plain = next((field for field in _VALUE if field in fields), None)
    if "domain" in tags and "entity_id" in tags:
        # Home Assistant: an entity is known by both, and what it has a number made of is told by the text
        sensor = f"{tags['domain']}.{tags['entity_id']}"
        plain = "state" if "state" in fields else plain
    found = []
    for field_name, value in fields.items():
        kind, its_unit = field_name, None
        if field_name == plain:
            its_class = _first(tags, _CLASS) or _first(fields, _CLASS)
            others = (_first(tags, _TYPE), measurement, *_endings(sensor))
            kind, its_unit = _kind(its_class, others, names) or measurement, unit or None
        elif not names.knows(field_name) and (plain is not None or isinstance(value, str)):
            continue  # an attribute of the sensor
        elif tags.get("domain") in _AIMING and not field_name.startswith("current_"):
            continue  # what it is set to
        found.append((field_name, Subject(kind, sensor or measurement, _first(tags, _LOCATION), its_unit, hints)))
    if not found:
        raise Refused("unknown type", f"none of the fields {', '.join(fields):.200} is a reading")
    return found


def _kind(its_class: str, others: Iterable[str], names: Names) -> str | None:
    """The type of a value; a device class that nobody knows is not guessed at."""
    if its_class:
        return its_class
    return next((name for name in others if name and names.knows(name)), None)


def _endings(name: str) -> list[str]:
    """The last words of an id such as ``sensor.salon_air_quality``, the longest ending first."""
    words = folded(name).split("_")[1:]
    return ["_".join(words[at:]) for at in range(max(0, len(words) - 3), len(words))]


def _first(there: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((str(there[name]) for name in names if there.get(name)), "")
