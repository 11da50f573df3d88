"""Fields of text anywhere in a run of bytes, read and written many at once: no object or turn of a loop for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.intp]
"""Where fields begin, in bytes, shape (n,)."""


def fields(data: bytearray | NDArray[np.uint8], width: int) -> NDArray[Any]:
    """A view of the bytes in which element ``i`` is the field of that width (bytes) that begins at byte ``i``.

    So one assignment to an array of places fills all fields there. Dtype ``V{width}``; fields overlap.
    """
    return np.ndarray((len(data) - width + 1,), f"V{width}", data, strides=(1,))


def alike(numbers: Places) -> Iterator[tuple[int, Places]]:
    """Each of the numbers, none below zero and all small, and where it stands."""
    for number in np.flatnonzero(np.bincount(numbers)).tolist():
        yield number, np.flatnonzero(numbers == number)


def copy(source: NDArray[np.uint8], at: Places, target: NDArray[np.uint8], to: Places, widths: Places) -> None:
    """Copies fields of these widths (bytes) from their places to others; all of shape (n,)."""
    for width, some in alike(widths):
        fields(target, width)[to[some]] = fields(source, width)[at[some]]
