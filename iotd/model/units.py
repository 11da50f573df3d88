"""Units as devices write them, and their conversion into the unit that a type is stored in: exact, rounded once."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Unit:
    """One row of ``units.toml``: a value in the base unit of its dimension is value × factor + offset."""

    name: str
    dimension: str
    factor: Fraction
    offset: Fraction


@dataclass(frozen=True, slots=True)
class Conversion:
    """From one unit into another: value × factor + offset, in exact arithmetic, rounded to the nearest float.

    A value stands for the shortest decimal that it is the nearest float to, which is what the device wrote: 293.15 K is
    20 °C, not the 19.99999999999998 that the float's own binary digits would give.
    """

    factor: Fraction
    offset: Fraction

    def __call__(self, value: float) -> float:
        """The value in the other unit; what is not finite stays what it is."""
        if value - value != 0.0 or self.same:
            return value
        return _converted(self, value)

    @property
    def same(self) -> bool:
        """Whether values stay as they are."""
        return self.factor == 1 and self.offset == 0


_SAME = Conversion(Fraction(1), Fraction(0))


def unit_named(text: str) -> Unit | None:
    """The unit that a device means by a text; None when nobody knows it.

    The case of letters counts where only it tells two units apart.
    """
    spelt = _plain(text)
    return _EXACT.get(spelt) or _FOLDED.get(spelt.casefold())


@lru_cache(maxsize=4_096)
def conversion(text: str, stored: str) -> Conversion | None:
    """How values in a device's unit become values in the unit that a type is stored in.

    Args:
        text: the unit as the device writes it.
        stored: the type's unit, as in ``types.toml``.

    Returns:
        None: the unit is not known, or measures something else.
    """
    if _plain(text).casefold() == stored.casefold():
        return _SAME
    source, target = unit_named(text), _BY_NAME.get(stored)
    if source is None or target is None or source.dimension != target.dimension:
        return None
    return Conversion(source.factor / target.factor, (source.offset - target.offset) / target.factor)


@lru_cache(maxsize=16_384)
def _converted(how: Conversion, value: float) -> float:
    try:
        return float(Fraction(repr(value)) * how.factor + how.offset)
    except OverflowError:  # past the largest float
        return float("inf") if value > 0 else float("-inf")


def _plain(text: str) -> str:
    return " ".join(text.split())


def _read(text: str) -> dict[str, tuple[Unit, tuple[str, ...]]]:
    rows = {}
    for dimension, units in tomllib.loads(text).items():
        for name, row in units.items():
            unit = Unit(name, dimension, Fraction(row.get("factor", "1")), Fraction(row.get("offset", "0")))
            rows[name] = (unit, tuple(row["spellings"]))
    return rows


def _fold(exact: dict[str, Unit]) -> dict[str, Unit]:
    by_fold: dict[str, set[Unit]] = {}
    for spelling, unit in exact.items():
        by_fold.setdefault(spelling.casefold(), set()).add(unit)
    return {fold: next(iter(units)) for fold, units in by_fold.items() if len(units) == 1}


_ROWS = _read(files("iotd.model").joinpath("units.toml").read_text(encoding="utf-8"))
_BY_NAME = {name: unit for name, (unit, _) in _ROWS.items()}
_EXACT = _BY_NAME | {spelling: unit for unit, spellings in _ROWS.values() for spelling in spellings}
_FOLDED = _fold(_EXACT)
