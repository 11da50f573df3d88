"""The tables of InfluxDB's annotated CSV: each row a point, as line protocol would have said it.

A table has its own header, and annotations before it that say which columns are tags and of which type the others are
(https://docs.influxdata.com/influxdb/v2/reference/syntax/annotated-csv/). Both forms are read: a row for each field
(``_field``, ``_value``), and a row for each point, with a column for each field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from iotd.model.errors import Refused, UsageError
from iotd.model.observation import Names, Observation
from iotd.sources.http.lines import observations

_OURS = frozenset({"", "result", "table", "_start", "_stop", "_time", "_value", "_field", "_measurement"})
_AS: Mapping[str, Callable[[str], Any]] = {
    "double": float,
    "long": int,
    "unsignedLong": int,
    "boolean": lambda text: text == "true",
}
"""By a column's type; all others are text."""
_PARTS = {"location": "location", "sensor": "sensor_id", "type": "type", "unit": "unit"}
"""What a tag is called that says a part of a reading."""


class Tables:
    """Rows in, readings out; keeps the header of the table that it is in."""

    def __init__(self, names: Names, columns: Mapping[str, str]) -> None:
        """
        Args:
            columns: by the name of a tag: the part of a reading that it is (location, sensor, type, unit).
        """
        self._names = names
        self._columns = renaming(columns)
        self._notes: dict[str, Sequence[str]] = {}
        self._header: Sequence[str] | None = None
        self._tags: list[tuple[int, str]] = []
        self._fields: list[tuple[int, str, Callable[[str], Any]]] = []
        self._at: dict[str, int] = {}
        self._failed = False

    def row(self, cells: Sequence[str]) -> list[Observation] | Refused | None:
        """The readings of a row; None for one that has none by its kind: a header, an annotation, an empty line.

        Raises:
            UsageError: the table has no readings, or the answer says that it failed.
        """
        if not cells or cells[0].startswith("#"):
            if self._header is not None:
                self._header, self._notes = None, {}
            if cells:
                self._notes[cells[0]] = cells
            return None
        if self._header is None:
            self._begin(cells)
            return None
        if self._failed:
            raise UsageError(f"it ends with an error: {cells[self._at['error']]}")
        try:
            return self._said(cells)
        except IndexError:
            return Refused("not a row", f"it has {len(cells)} cells, fewer than its header names")
        except ValueError as e:
            return Refused("not a row", str(e))
        except Refused as e:
            return e

    def _begin(self, header: Sequence[str]) -> None:
        self._header = header
        self._at = {name: at for at, name in enumerate(header)}
        group, kinds = self._notes.get("#group"), self._notes.get("#datatype", ())
        single = "_value" in self._at
        self._failed = "error" in self._at and "_time" not in self._at
        if self._failed:
            return
        if missing := {"_time", *(() if group else ("_value",))} - set(header):
            raise UsageError(f"a table without {' and '.join(sorted(missing))}")
        self._tags, self._fields = [], []
        for at, name in enumerate(header):
            kind = kinds[at] if at < len(kinds) else ""
            if name == "_value" and single:
                self._fields.append((at, name, _AS.get(kind, str)))
            elif name in _OURS:
                continue
            elif single or (group is not None and at < len(group) and group[at] == "true"):
                self._tags.append((at, self._columns.get(name, name)))
            else:
                self._fields.append((at, self._columns.get(name, name), _AS.get(kind, str)))

    def _said(self, cells: Sequence[str]) -> list[Observation]:
        when, at = cells[self._at["_time"]], self._at
        fields = {name: read(cells[at]) for at, name, read in self._fields if cells[at]}
        if not when or not fields:
            raise Refused("not a row", "it has no time, or no value")
        measurement = cells[at["_measurement"]] if "_measurement" in at else ""
        if "_value" in fields:
            field = cells[at["_field"]] if "_field" in at else ""
            fields = {self._columns.get(field, field) or "value": fields["_value"]}
        tags = {name: cells[at] for at, name in self._tags if cells[at]}
        point = {"measurement": measurement, "tags": tags, "fields": fields, "time": _ms(when)}
        return observations(point, 1_000_000, self._names)


def renaming(columns: Mapping[str, str]) -> dict[str, str]:
    """By the name of a tag or field: the one by which it is known as that part of a reading.

    Raises:
        UsageError: there is no such part.
    """
    parts = _PARTS | {"value": "value"}
    for name, part in columns.items():
        if part not in parts:
            raise UsageError(f"--column {name}={part}: of a tag or field, give one of {', '.join(parts)}")
    return {name: parts[part] for name, part in columns.items()}


def _ms(text: str) -> int:
    if text.lstrip("-").isdigit():
        raise ValueError(f"not a time: {text}")
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"a time without a zone: {text}")
    whole = round(moment.replace(microsecond=0).timestamp()) * 1000
    return whole + moment.microsecond // 1000
