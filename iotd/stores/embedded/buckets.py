"""Aggregations from pieces: a piece is what is known of some readings that lie in one bucket.

Pieces come from headers, without decoding, or from readings; those of one bucket are combined.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from iotd.model.aggregate import AGGREGATIONS, Aggregation
from iotd.model.batch import Values
from iotd.stores.embedded.block import Headers

PIECE: Final = np.dtype([(name, "<f8") for name in ("count", "sum", "min", "max", "first", "last", "avg", "squares")])
"""``squares``: the sum of the squared distances from the mean; NaN where only a header is known."""

Pieces = NDArray[np.void]
Numbers = NDArray[np.int64]
"""The bucket of each piece or reading, rising, several times the same."""


def of_headers(headers: Headers) -> Pieces:
    """The pieces that blocks are."""
    pieces = np.empty(len(headers), PIECE)
    for name in ("count", "sum", "min", "max"):
        pieces[name] = headers[name]
    pieces["first"], pieces["last"] = headers["first_value"], headers["last_value"]
    pieces["avg"] = pieces["sum"] / pieces["count"]
    pieces["squares"] = np.nan
    return pieces


def of_readings(numbers: Numbers, values: Values) -> tuple[Numbers, Pieces]:
    """The pieces that some readings make, one a bucket, and the bucket of each.

    Args:
        values: float64, shape (n,), in the order of time.
    """
    starts = boundaries(numbers)
    pieces = np.empty(len(starts), PIECE)
    if len(starts):
        lengths = np.diff(np.append(starts, len(values)))
        with np.errstate(over="ignore", invalid="ignore"):  # values near the largest float64: infinite, not an error
            pieces["count"] = lengths
            pieces["sum"] = np.add.reduceat(values, starts)
            pieces["min"] = np.minimum.reduceat(values, starts)
            pieces["max"] = np.maximum.reduceat(values, starts)
            pieces["first"], pieces["last"] = values[starts], values[starts + lengths - 1]
            pieces["avg"] = pieces["sum"] / pieces["count"]
            pieces["squares"] = np.add.reduceat((values - np.repeat(pieces["avg"], lengths)) ** 2, starts)
    return numbers[starts], pieces


def combined(numbers: Numbers, pieces: Pieces) -> dict[Aggregation, Values]:
    """All aggregations of each bucket from its pieces, which are in the order of time.

    Returns:
        arrays of one length, a place for each different number.
    """
    starts = boundaries(numbers)
    if not len(starts):
        nothing = np.empty(0, np.float64)
        return dict.fromkeys(AGGREGATIONS, nothing)
    lengths = np.diff(np.append(starts, len(numbers)))
    with np.errstate(over="ignore", invalid="ignore"):
        count, total = np.add.reduceat(pieces["count"], starts), np.add.reduceat(pieces["sum"], starts)
        low, high = np.minimum.reduceat(pieces["min"], starts), np.maximum.reduceat(pieces["max"], starts)
        mean = total / count
        # the mean square within the pieces, and that of their means (Chan, Golub, LeVeque, 1983)
        between = pieces["count"] * (pieces["avg"] - np.repeat(mean, lengths)) ** 2
        squares = np.add.reduceat(pieces["squares"] + between, starts)
        return {
            "avg": mean,
            "min": low,
            "max": high,
            "sum": total,
            "count": count,
            "first": pieces["first"][starts],
            "last": pieces["last"][starts + lengths - 1],
            "range": high - low,
            "std.p": np.sqrt(squares / count),
        }


def boundaries(numbers: Numbers) -> NDArray[np.intp]:
    """Where each different number begins."""
    if not len(numbers):
        return np.empty(0, np.intp)
    return np.flatnonzero(np.append(True, numbers[1:] != numbers[:-1]))
