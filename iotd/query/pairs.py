"""A long reply of TS.RANGE as arrays, without an object per reading.

A list, an int and bytes for each reading, and the garbage collection that so many bring on, take ten times as long as
Redis takes to make the reply. So the numbers are read out of its bytes, all that have the same width at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from iotd.query.join import Times, Values

_Texts = NDArray[np.uint8]
"""Texts of one width, a row for each."""
_Places = NDArray[np.intp]

_LINE_END, _MINUS, _POINT, _ZERO = b"\n-.0"

_EXACT = 15
"""Digits of a whole number that a double surely holds; divided by a power of ten that it holds too it gives the double
nearest to the decimal (Clinger, How to Read Floating Point Numbers Accurately, 1990)."""


def arrays(count: int, pairs: bytes) -> tuple[Times, Values]:
    """Times (int64 ms) and values of what :meth:`iotd.shards.connection.Connection.call_pairs` returned."""
    text = np.frombuffer(pairs, np.uint8)
    ends = np.flatnonzero(text == _LINE_END).reshape(count, 3)  # a pair is three lines: *2, :time, +value
    times, values = np.empty(count, np.int64), np.empty(count, np.float64)
    for rows, some in _by_width(text, ends[:, 0] + 2, ends[:, 1] - 1):
        times[rows] = _whole(some)
    for rows, some in _by_width(text, ends[:, 1] + 2, ends[:, 2] - 1):
        values[rows] = _decimal(some)
    return times, values


def _by_width(text: NDArray[np.uint8], starts: _Places, stops: _Places) -> Iterator[tuple[_Places, _Texts]]:
    for width, rows in _alike(stops - starts):
        yield rows, sliding_window_view(text, width)[starts[rows]]


def _alike(numbers: _Places) -> Iterator[tuple[int, _Places]]:
    """Each of the numbers, none below zero, and its places."""
    for number in np.flatnonzero(np.bincount(numbers)).tolist():
        yield number, np.flatnonzero(numbers == number)


def _whole(texts: _Texts) -> Times:
    return (texts - _ZERO).astype(np.int64) @ 10 ** np.arange(texts.shape[1])[::-1]


def _decimal(texts: _Texts) -> Values:
    values = np.empty(len(texts), np.float64)
    width = texts.shape[1]
    first = (texts == _POINT).argmax(axis=1)
    place = np.where(texts[np.arange(len(texts)), first] == _POINT, first, width)
    for point, rows in _alike(place):
        values[rows] = _fraction(texts[rows], point)
    return values


def _fraction(texts: _Texts, point: int) -> Values:
    width = texts.shape[1]
    bare, scale = (texts, 1.0) if point == width else (np.delete(texts, point, axis=1), 10.0 ** (width - 1 - point))
    if bare.shape[1] > _EXACT:
        return _each(texts)
    negative = bare[:, 0] == _MINUS
    digits = bare - _ZERO
    digits[negative, 0] = 0
    values = digits.astype(np.float64) @ 10.0 ** np.arange(bare.shape[1])[::-1] / scale
    values[negative] *= -1.0
    others = digits > 9
    if others.any():  # an exponent, a name, or no number
        rows = others.any(axis=1)
        values[rows] = _each(texts[rows])
    return values


def _each(texts: _Texts) -> Values:
    return np.array([float(text.tobytes()) for text in texts], np.float64)
