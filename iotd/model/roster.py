"""What a batch of readings is: arrays that name their series by the place in the roster of their location."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from iotd.model.batch import Times, Values
from iotd.model.series import Series
from iotd.model.types import BUILT_IN, Types

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Roster(Sequence[Series]):
    """The series of one location in a fixed order; a reading names its series by the place in it."""

    def __init__(self, location: str, sensors: Sequence[Series]) -> None:
        if stray := [s for s in sensors if s.location != location]:
            raise ValueError(f"{stray[0].key} does not belong to {location}")
        self.location = location
        self._sensors = tuple(sensors)

    @classmethod
    def of(cls, location: str, types: Sequence[str], per_type: int, table: Types = BUILT_IN) -> Roster:
        """``per_type`` sensors, numbered from 1, of each of the types."""
        return cls(
            location, [Series(t, location, str(i), table.unit(t)) for t in types for i in range(1, per_type + 1)]
        )

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._sensors[index]

    def __len__(self) -> int:
        return len(self._sensors)

    def __iter__(self) -> Iterator[Series]:
        return iter(self._sensors)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Roster) and self._sensors == other._sensors

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Roster({self.location!r}, {len(self)} series)"

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
        values: float64, in the series' unit.
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
