"""A histogram that costs one bisection: read by a scrape, never in the way of what it measures."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """Counts of observations by upper bound.

    Attributes:
        bounds: upper bounds, each included, rising; above the last there is one more bucket.
        sum: of all observations.
        largest: of the observations since the last :meth:`take_largest`.
    """

    __slots__ = ("_counts", "bounds", "largest", "sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.sum = 0.0
        self.largest = 0.0
        self._counts = [0] * (len(bounds) + 1)

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
        self.largest = max(self.largest, value)

    def take_largest(self) -> float:
        """The largest observation since the last call."""
        largest, self.largest = self.largest, 0.0
        return largest

    @property
    def cumulative(self) -> list[int]:
        """How many observations are at most each bound; the last one is how many there are."""
        return list(accumulate(self._counts))
