"""A series: what one sensor measures of one type in one location, and its names in Redis."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote

from iotd.model.types import BUILT_IN, Types

MAX_ID = 200
"""Characters of a sensor's id."""

_UNSAFE = re.compile(r"[:%\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Series:
    """A series in its location's Redis, a tag set in the archive.

    Attributes:
        sensor_id: any text of the source's, at most :data:`MAX_ID` characters.
        unit: of the values; by default the one of the built-in type.
    """

    type: str
    location: str
    sensor_id: str
    unit: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.unit:
            object.__setattr__(self, "unit", BUILT_IN.unit(self.type))

    @property
    def key(self) -> str:
        """The key in Redis: ``sensor:{type}:{location}:{id}``; what an id may not hold there is percent-encoded."""
        return f"sensor:{self.type}:{self.location}:{_UNSAFE.sub(_encoded, self.sensor_id)}"

    @property
    def labels(self) -> dict[str, str]:
        """The labels in Redis."""
        return {
            "type": self.type,
            "location": self.location,
            "sensor_id": self.sensor_id,
            "unit": self.unit,
        }

    def __lt__(self, other: Series) -> bool:
        """By type, location and id; in ids numbers count as numbers, so that 2 comes before 10."""
        mine, its = (self.type, self.location), (other.type, other.location)
        return mine < its or (mine == its and natural(self.sensor_id) < natural(other.sensor_id))

    @classmethod
    def from_key(cls, key: str, types: Types = BUILT_IN) -> Series:
        """The series that a key names.

        Args:
            types: where the unit of the series is looked up; an unknown type has none.

        Raises:
            ValueError: the key is not ``sensor:{type}:{location}:{id}``.
        """
        parts = key.split(":")
        if len(parts) != 4 or parts[0] != "sensor" or not all(parts):
            raise ValueError(f"not a series' key: {key!r}")
        return cls(parts[1], parts[2], unquote(parts[3]), types.unit(parts[1]))


@dataclass(frozen=True, slots=True)
class Found:
    """A series that was found in a shard, with its labels and the newest sample that it has there: ms, value."""

    series: Series
    labels: Mapping[str, str]
    newest: tuple[int, float] | None


def location_of(key: str) -> str:
    """The location in a series' key; cheaper than :meth:`Series.from_key`."""
    return key.split(":", 3)[2]


@lru_cache(maxsize=65_536)
def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key by which numbers within a text count as numbers."""
    parts = re.split(r"([0-9]+)", text)
    return tuple((0, int(part), part) if part.isascii() and part.isdigit() else (1, 0, part) for part in parts if part)


def _encoded(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode())
