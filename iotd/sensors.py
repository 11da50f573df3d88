"""What a sensor and a batch of readings are.

A reading never becomes an object of its own: a batch holds arrays, and names its sensors by their
place in the roster of its location.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:  # settings name the types, and `iotd status` needs no arrays
    import numpy as np
    from numpy.typing import NDArray

Times: TypeAlias = "NDArray[np.int64]"
"""Milliseconds since the epoch."""
Values: TypeAlias = "NDArray[np.float64]"
"""Readings, each in its sensor's unit."""

UNITS: dict[str, str] = {
    "temperature": "celsius",
    "humidity": "percent",
    "air_quality": "aqi",
}
"""Unit by sensor type (design.md, Data)."""


@dataclass(frozen=True, slots=True, order=True)
class Sensor:
    """One sensor: a series in its location's Redis, a tag set in the archive."""

    type: str
    location: str
    sensor_id: int

    @property
    def unit(self) -> str:
        return UNITS[self.type]

    @property
    def key(self) -> str:
        """The series' key in Redis: ``sensor:{type}:{location}:{id}``."""
        return f"sensor:{self.type}:{self.location}:{self.sensor_id}"

    @property
    def labels(self) -> dict[str, str]:
        """The series' labels in Redis."""
        return {
            "type": self.type,
            "location": self.location,
            "sensor_id": str(self.sensor_id),
            "unit": self.unit,
        }

    @classmethod
    def from_key(cls, key: str) -> Sensor:
        """The sensor that a key names.

        Raises:
            ValueError: the key is not ``sensor:{type}:{location}:{id}`` with a known type.
        """
        parts = key.split(":")
        if len(parts) != 4 or parts[0] != "sensor" or parts[1] not in UNITS or not parts[3].isdigit():
            raise ValueError(f"not a sensor's key: {key!r}")
        return cls(parts[1], parts[2], int(parts[3]))


class Roster(Sequence[Sensor]):
    """The sensors of one location in a fixed order; a reading names its sensor by the place in it."""

    def __init__(self, location: str, sensors: Sequence[Sensor]) -> None:
        if stray := [s for s in sensors if s.location != location]:
            raise ValueError(f"{stray[0].key} does not belong to {location}")
        self.location = location
        self._sensors = tuple(sensors)

    @classmethod
    def of(cls, location: str, types: Sequence[str], per_type: int) -> Roster:
        """``per_type`` sensors, numbered from 1, of each of the types."""
        return cls(location, [Sensor(t, location, i) for t in types for i in range(1, per_type + 1)])

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._sensors[index]

    def __len__(self) -> int:
        return len(self._sensors)

    def __iter__(self) -> Iterator[Sensor]:
        return iter(self._sensors)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Roster) and self._sensors == other._sensors

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Roster({self.location!r}, {len(self)} sensors)"

    @cached_property
    def _hash(self) -> int:
        return hash(self._sensors)  # once: a roster may hold many thousands

    @cached_property
    def keys(self) -> tuple[bytes, ...]:
        """The Redis keys, as bytes, in the roster's order."""
        return tuple(s.key.encode() for s in self._sensors)


@dataclass(frozen=True, slots=True)
class Batch:
    """Readings of one location, as three arrays of one length, in time order.

    Attributes:
        roster: whose places ``series`` names.
        series: int32, place in the roster, one per reading.
        times: int64, milliseconds since the epoch, never falling.
        values: float64, in the sensor's unit.
    """

    roster: Roster
    series: NDArray[np.int32]
    times: Times
    values: Values

    def __post_init__(self) -> None:
        if not (len(self.series) == len(self.times) == len(self.values)):
            raise ValueError("series, times and values differ in length")

    def __len__(self) -> int:
        return len(self.times)

    @property
    def location(self) -> str:
        return self.roster.location

    def take(self, keep: NDArray[np.bool_]) -> Batch:
        """The readings where ``keep`` is true, in the same order."""
        return Batch(self.roster, self.series[keep], self.times[keep], self.values[keep])
