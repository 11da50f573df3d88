"""Readings as arrays: a reading never becomes an object of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:  # configuration and `iotd status` need no arrays
    import numpy as np
    from numpy.typing import NDArray

Times: TypeAlias = "NDArray[np.int64]"
"""Milliseconds since the epoch."""
Values: TypeAlias = "NDArray[np.float64]"
"""Readings, each in its series' unit."""
Numbers: TypeAlias = "NDArray[np.int32]"
"""Series, each by its number in the catalogue."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Readings of one location, as three arrays of one length, in the order in which they were taken.

    Attributes:
        series: int32, numbers of the catalogue, one per reading.
        times: int64, ms since the epoch, in any order.
        values: float64, in the series' unit.
    """

    location: str
    series: Numbers
    times: Times
    values: Values

    def __post_init__(self) -> None:
        if not (len(self.series) == len(self.times) == len(self.values)):
            raise ValueError("series, times and values differ in length")

    def __len__(self) -> int:
        return len(self.times)

    def take(self, which: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Batch:
        """Some of the readings, by mask, index or slice."""
        return Batch(self.location, self.series[which], self.times[which], self.values[which])
