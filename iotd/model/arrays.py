"""What NumPy has too, without its price at the first call."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", np.int32, np.int64, np.float64)


def distinct(values: NDArray[T]) -> NDArray[T]:
    """Each value once, rising; ``values`` of shape (n,), none of them NaN.

    ``np.unique`` asks first whether the array is a masked one, and loads ``numpy.ma`` for that: 1.6 MiB, and 9 ms in
    which nothing else runs, just as the first readings come.
    """
    ordered = np.sort(values)
    first = np.ones(len(ordered), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]
