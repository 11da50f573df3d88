"""What devices send as a value, made a number of its type's unit: numbers, booleans, and both as text."""

from __future__ import annotations

import re
from typing import NamedTuple

from iotd.model.errors import Refused
from iotd.model.types import SensorType
from iotd.model.units import conversion
from iotd.model.wording import shown

_NUMBER = re.compile(r"\s*([+-]?(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?)\s*(.*?)\s*", re.DOTALL)
_THOUSAND = re.compile(r"[0-9],[0-9]{3}(?![0-9])")
_TRUE = frozenset({"true", "on", "yes", "open", "opened", "detected", "motion", "wet", "active", "1"})
_FALSE = frozenset({"false", "off", "no", "closed", "close", "clear", "none", "dry", "inactive", "0"})
_NOTHING = frozenset({"", "unknown", "unavailable", "none", "null", "nan", "n/a", "-", "--"})


class Value(NamedTuple):
    """A number in the type's unit, and the unit that it came in where that is another."""

    number: float
    original_unit: str | None


def value_of(said: object, row: SensorType, unit: str | None = None) -> Value:
    """The value that a device means.

    Args:
        said: a number, a boolean, or a text of either; a text may have its unit behind it.
        row: of the reading's type.
        unit: as the device or its configuration says it; None: that of the type, unless the text has one.

    Raises:
        Refused: it is no number, its unit is not known or measures something else, or it is not plausible.
    """
    number, behind = _read(said, row)
    unit = behind or unit
    if unit:
        convert = conversion(unit, row.unit)
        if convert is None:
            raise Refused(f"unit {unit!r}", f"can't be converted into {row.unit}, the unit of {row.name}")
        converted = convert(number)
    else:
        converted = number
    if converted - converted != 0.0:
        raise Refused("not a finite number", f"{said!r}")
    low, high = row.range
    if not low <= converted <= high:
        raise Refused("not plausible", f"{converted:g} {row.shown_unit} is outside {low:g} to {high:g}")
    if row.kind == "state" and not converted.is_integer():
        raise Refused("not a state", f"{converted:g} is not a whole number")
    return Value(converted, unit if unit and converted is not number else None)


def says_nothing(said: object) -> bool:
    """Whether a device says that it has no value now: null, `unknown`, `unavailable`, `nan`, or nothing."""
    return said is None or (isinstance(said, str) and said.strip().casefold() in _NOTHING)


def _read(said: object, row: SensorType) -> tuple[float, str]:
    if isinstance(said, bool):
        return float(said), ""
    if isinstance(said, int | float):
        return _float(said), ""
    if isinstance(said, str):
        if row.kind == "state" and (word := said.strip().casefold()) in _TRUE | _FALSE:
            return float(word in _TRUE), ""
        if (match := _NUMBER.fullmatch(said)) is not None:
            if _THOUSAND.search(match[1]):
                raise Refused("not a number", f"{said!r:.80} may mean thousands or decimals")
            return _float(match[1].replace(",", ".")), match[2]
    raise Refused("not a number", shown(said))


def _float(said: float | str) -> float:
    try:
        return float(said)
    except OverflowError:  # an integer past the largest float
        raise Refused("not a finite number", f"{said!r:.80}") from None
