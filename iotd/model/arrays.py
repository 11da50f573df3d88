"""Arrays: samples that come in pieces, and what NumPy has too, without its price at the first call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from iotd.model.batch import Numbers, Times, Values

T = TypeVar("T", np.int32, np.int64, np.float64)


class _Columns(Protocol):
    """Readings of several series: columns of one length, as batches and records have them."""

    @property
    def series(self) -> Numbers: ...
    @property
    def times(self) -> Times: ...
    @property
    def values(self) -> Values: ...


def columns_of(pieces: Sequence[_Columns]) -> tuple[Numbers, Times, Values]:
    """Series, times and values of readings that came in pieces, in their order, each of shape (n,). A single piece is
    not copied."""
    if not pieces:
        return np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float64)
    if len(pieces) == 1:
        return pieces[0].series, pieces[0].times, pieces[0].values
    return (
        np.concatenate([piece.series for piece in pieces]),
        np.concatenate([piece.times for piece in pieces]),
        np.concatenate([piece.values for piece in pieces]),
    )


def concatenated(pieces: Sequence[tuple[Times, Values]]) -> tuple[Times, Values]:
    """The samples of a series that came in pieces, in their order; both arrays of shape (n,). A single piece is not
    copied."""
    if not pieces:
        return np.empty(0, np.int64), np.empty(0, np.float64)
    if len(pieces) == 1:
        return pieces[0]
    return np.concatenate([times for times, _ in pieces]), np.concatenate([values for _, values in pieces])


def distinct(values: NDArray[T]) -> NDArray[T]:
    """Each value once, rising; ``values`` of shape (n,), none of them NaN.

    ``np.unique`` asks first whether the array is a masked one, and loads ``numpy.ma`` for that: 1.6 MiB, and 9 ms in
    which nothing else runs, just as the first readings come.
    """
    ordered = np.sort(values)
    first = np.ones(len(ordered), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]


def among(values: NDArray[T], wanted: NDArray[T]) -> NDArray[np.bool_]:
    """Which of ``values`` are among ``wanted``, both in any order; ``np.isin`` has the price of ``np.unique``."""
    if not len(wanted):
        return np.zeros(len(values), bool)
    ordered = np.sort(wanted)
    at = np.searchsorted(ordered, values)
    at[at == len(ordered)] = 0
    same: NDArray[np.bool_] = ordered[at] == values
    return same
