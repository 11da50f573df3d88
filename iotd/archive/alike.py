"""Whether two summaries of one hour can be of the same readings, as far as sums in floating point can tell.

Count, smallest and largest value are the same on both sides, or the readings differ. The two sums depend on the order
of adding, and on what a server makes of them. For n readings, the largest of which is m in size, both sides together
are wrong by at most

- n² ε m in the sum of the values (ε = 2.2e-16), so that a reading altered by more than that is found:
  7e-8 for an hour at 1 Hz with values up to 23, 3e-6 for values up to 1,000;
- (n + 32) ε times the sum of the squares. Values altered so that their sum stays, x by d and y by -d, are found where
  2 d (d + x - y) is more than that: 1.5e-6 for the same hour.

Redis gives no sum of squares. It has one while it computes ``var.p``, from which it comes back with some ε of itself:
TimeSeries subtracts n times the squared mean from the very sum that is wanted here. So a variance says no more than the
squares do, and with a large mean it would be mostly rounding.

What this can't see: values that have changed places within an hour, and what is smaller than the tolerance. A
comparison of every reading (``--deep``) sees both. Summaries that are not alike are no alarm yet: then each reading of
the hour is compared.
"""

from __future__ import annotations

import math

from iotd.stores.base import Summary

_EPSILON = 2.0**-52
_TINY = 5e-324
"""The step between the smallest doubles: where squares are rounded to it, n of them are wrong by n of it."""


def alike(one: Summary | None, other: Summary | None) -> bool:
    """Whether they can be of the same readings; None: of none."""
    if one is None or other is None:
        return one is other
    if (one.count, one.min, one.max) != (other.count, other.min, other.max):
        return False
    count = one.count
    sums = count * _EPSILON * count * max(abs(one.min), abs(one.max))
    squares = (count + 32) * _EPSILON * max(one.squares, other.squares) + 16 * count * _TINY
    return _near(one.sum, other.sum, sums) and _near(one.squares, other.squares, squares)


def squares_of(count: float, total: float, variance: float) -> float:
    """The sum of the squares of so many values from their sum and variance (of the population)."""
    return count * variance + total * (total / count)


def _near(one: float, other: float, tolerance: float) -> bool:
    # what is beyond float64 on one side says nothing
    return not (math.isfinite(one) and math.isfinite(other)) or abs(one - other) <= tolerance
