"""CSV files: a reading a row, or a time and a column for each sensor; columns are found by their names or mapped."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TextIO

from iotd.model.errors import Refused, UsageError
from iotd.model.folding import folded
from iotd.model.observation import Observation
from iotd.sources.importers.excel import AmbiguousDate, number_of, time_of

PARTS = ("time", "type", "location", "sensor", "value", "unit")

_NAMES = {
    "time": ("time", "timestamp", "datetime", "date", "ts", "last_changed", "last_updated", "heure", "datum", "zeit"),
    "type": ("type", "measurement", "quantity", "metric"),
    "location": ("location", "room", "area", "piece", "raum"),
    "sensor": ("sensor", "sensor_id", "entity_id", "device", "id", "name"),
    "value": ("value", "state", "reading", "valeur", "wert"),
    "unit": ("unit", "unit_of_measurement", "unite", "einheit"),
}
_DELIMITERS = ",;\t|"
_SEP = re.compile(r'"?sep=([,;\t|])"?\s*')
"""The line by which Excel is told its delimiter."""


@dataclass(frozen=True, slots=True)
class Sensor:
    """What a column of its own holds: ``temperature:salon:north``, and ``:°F`` behind it for another unit."""

    type: str
    location: str
    sensor: str
    unit: str | None = None

    @classmethod
    def parse(cls, text: str) -> Sensor | None:
        """The sensor that a text names; None when it does not have this form."""
        parts = text.split(":", 3)
        if len(parts) < 3 or not all(parts):
            return None
        kind, location, sensor, *unit = parts
        return cls(kind, location, sensor, unit[0] if unit else None)


@dataclass(frozen=True, slots=True)
class Form:
    """What the columns of a file are.

    Attributes:
        columns: the number of each part's column.
        fixed: parts that are the same in every row.
        sensors: columns that are a sensor each; then there is no column for values.
        time_format: of its times, see :func:`iotd.sources.importers.excel.time_of`.
        decimal_comma: values may have one.
    """

    columns: Mapping[str, int]
    fixed: Mapping[str, str]
    sensors: Mapping[int, Sensor] = field(default_factory=dict)
    time_format: str | None = None
    decimal_comma: bool = False

    def readings(self, cells: Sequence[str]) -> list[Observation]:
        """The readings of a row; an empty cell has none.

        Raises:
            Refused: the row has fewer cells than the form, or its time does not have the form.
        """

        def part(name: str) -> str:
            return cells[self.columns[name]] if name in self.columns else self.fixed.get(name, "")

        number = number_of if self.decimal_comma else str
        try:
            time = time_of(part("time"), self.time_format)
            if self.sensors:
                return [
                    Observation(its.type, its.sensor, number(cells[at]), its.location, its.unit, time)
                    for at, its in self.sensors.items()
                    if cells[at].strip()
                ]
            sensor = part("sensor") or part("type")
            location, unit = part("location"), part("unit") or None
            return [Observation(part("type"), sensor, number(part("value")), location, unit, time, (sensor,))]
        except IndexError:
            raise Refused("not a row", f"it has {len(cells)} cells, fewer than its header names") from None


def _said(columns: Mapping[str, str], places: Mapping[str, int]) -> tuple[dict[str, int], dict[int, Sensor]]:
    """Where parts of a reading, and sensors, are said to be, by the columns' places in a row."""
    found: dict[str, int] = {}
    sensors: dict[int, Sensor] = {}
    for name, meaning in columns.items():
        if name not in places:
            raise UsageError(f"no column {name!r}; {_there(places)}")
        if meaning in PARTS:
            found[meaning] = places[name]
        elif (sensor := Sensor.parse(meaning)) is not None:
            sensors[places[name]] = sensor
        else:
            raise UsageError(f"{name}={meaning}: give one of {', '.join(PARTS)}, or TYPE:LOCATION:SENSOR[:UNIT]")
    return found, sensors


def _there(places: Mapping[str, int]) -> str:
    return f"the columns are {', '.join(map(repr, places))}"


def form_of(header: Sequence[str], columns: Mapping[str, str], fixed: Mapping[str, str]) -> Form:
    """What the columns of a header are.

    Args:
        columns: by the name of a column: the part that it is, or the sensor that it has (:class:`Sensor`).
        fixed: parts that are the same in every row.

    Raises:
        UsageError: it can't be told which column has time or values, or there is no such column; the message shows
            what there is, and what to give.
    """
    places = {name.strip(): at for at, name in enumerate(header)}
    found, sensors = _said(columns, places)
    if unknown := [name for name in fixed if name not in PARTS]:
        raise UsageError(f"{unknown[0]!r} is no part of a reading; there are {', '.join(PARTS)}")
    by_fold = {folded(name): at for name, at in reversed(places.items())}
    for part, names in _NAMES.items():
        if part not in found and part not in fixed:
            at = next((by_fold[name] for name in names if name in by_fold and by_fold[name] not in sensors), None)
            if at is not None:
                found[part] = at
    for at, name in enumerate(header):
        if at not in sensors and at not in found.values() and (sensor := Sensor.parse(name.strip())) is not None:
            sensors[at] = sensor
    needed = ("time",) if sensors else ("time", "type", "value")
    if lacking := [part for part in needed if part not in found and part not in fixed]:
        way = f"--column NAME={lacking[0]}"
        if "time" not in lacking:
            way += ", or, where a column is one sensor's, with --column NAME=TYPE:LOCATION:SENSOR"
        raise UsageError(f"which column is the {lacking[0]}? {_there(places)}; say it with {way}")
    return Form(found, fixed, sensors)


def rows(
    file: TextIO, columns: Mapping[str, str], fixed: Mapping[str, str], time_format: str | None = None
) -> Iterator[tuple[int, str, list[Observation] | Refused]]:
    """Line number, text and readings of each row behind the header.

    Raises:
        UsageError: see :func:`form_of`; or there is no header, or it can't be told how its dates are to be read.
    """
    head, before = file.readline().lstrip("\ufeff"), 1
    if said := _SEP.fullmatch(head):
        head, before = file.readline(), 2
    if not head.strip():
        raise UsageError("the file is empty; its first line has to name the columns")
    delimiter = said[1] if said else max(_DELIMITERS, key=head.count)
    form = form_of(next(csv.reader([head], delimiter=delimiter)), columns, fixed)
    form = replace(form, time_format=time_format, decimal_comma=delimiter != ",")
    reader = csv.reader(file, delimiter=delimiter)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as e:
            yield reader.line_num + before, "", Refused("not a row", str(e))
            continue
        if not any(cell.strip() for cell in cells):
            continue
        try:
            yield reader.line_num + before, delimiter.join(cells), form.readings(cells)
        except AmbiguousDate as e:
            raise UsageError(f"line {reader.line_num + before}: {e.detail}") from None
        except Refused as e:
            yield reader.line_num + before, delimiter.join(cells), e
