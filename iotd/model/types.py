"""Sensor types: one row of a table each, from which everything that depends on a type is taken."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

Kind = Literal["gauge", "counter", "state"]


@dataclass(frozen=True, slots=True)
class SensorType:
    """One row of the table; ``types.toml`` says what each column means."""

    name: str
    unit: str
    title: str = ""
    symbol: str = ""
    kind: Kind = "gauge"
    range: tuple[float, float] = (-1e15, 1e15)
    simulated: tuple[float, float] | None = None
    resolution: int | None = None
    decimals: int = 2
    span: float = 1.0
    colour: str = "#475569"
    aliases: tuple[str, ...] = ()
    unit_aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.title:
            object.__setattr__(self, "title", self.name.replace("_", " ").capitalize())

    @property
    def shown_unit(self) -> str:
        """What stands behind a value: the symbol, else the unit."""
        return self.symbol or self.unit

    @property
    def words(self) -> tuple[str, str]:
        """Of a state: how people say that it is off, and on."""
        on = self.shown_unit.replace("_", " ")
        return {"open": "closed", "on": "off"}.get(on, f"no {on}"), on


class Types(Mapping[str, SensorType]):
    """The types that a system knows, by name, in the table's order."""

    def __init__(self, types: Mapping[str, SensorType]) -> None:
        self._types = dict(types)

    def __getitem__(self, name: str) -> SensorType:
        return self._types[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)

    def __hash__(self) -> int:
        return hash(tuple(self._types.values()))

    def unit(self, name: str) -> str:
        """The unit of a type; empty when there is no such type (any more)."""
        known = self._types.get(name)
        return known.unit if known else ""

    def row(self, name: str, unit: str = "") -> SensorType:
        """The type; for one that is not in the table (any more) a gauge with this unit."""
        return self._types.get(name) or SensorType(name, unit)

    def extended(self, more: Mapping[str, SensorType]) -> Types:
        """The same with more types; one of the same name replaces the built-in one."""
        return Types({**self._types, **more})


def _read(text: str) -> Types:
    def tupled(row: dict[str, Any]) -> dict[str, Any]:
        return {column: tuple(v) if isinstance(v, list) else v for column, v in row.items()}

    return Types({name: SensorType(name, **tupled(row)) for name, row in tomllib.loads(text).items()})


BUILT_IN = _read(files("iotd.model").joinpath("types.toml").read_text(encoding="utf-8"))
"""The types of ``types.toml``."""
