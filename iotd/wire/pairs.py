"""Replies of TS.RANGE in RESP2, read without an object per reading.

A list, an int and bytes for each reading, and the garbage collection that so many bring on, take ten times as long as
Redis takes to make the reply. So its bytes are kept, and what is wanted is read out of them: all texts that have the
same width at once. A reading is ``*2 :time +value``, each of the three a line, in a reply without its first line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from iotd.model.batch import Times, Values
from iotd.wire.fields import Places, alike, fields

_Texts = NDArray[np.uint8]
"""Texts of one width, a row for each."""

_LINE_END, _MINUS, _POINT, _ZERO = b"\n-.0"

_EXACT = 15
"""Digits of a whole number that a double surely holds; divided by a power of ten that it holds too it gives the double
nearest to the decimal (Clinger, How to Read Floating Point Numbers Accurately, 1990)."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Where the texts of a reply's times and values begin, and how wide (bytes) they are; each of shape (samples,)."""

    times: Places
    time_widths: Places
    values: Places
    value_widths: Places

    @classmethod
    def of(cls, text: NDArray[np.uint8]) -> Pairs:
        """Finds them in a reply that has this form (:meth:`iotd.shards.connection.Connection.call_pairs`)."""
        ends = np.flatnonzero(text == _LINE_END)
        times, values = ends[0::3] + 2, ends[1::3] + 2  # behind the sign
        return cls(times, values - times - 3, values, ends[2::3] - 1 - values)


def arrays(pairs: bytes) -> tuple[Times, Values]:
    """Times (int64 ms) and values.

    Raises:
        ValueError: a value is no number.
    """
    text = np.frombuffer(pairs, np.uint8)
    found = Pairs.of(text)
    count = len(found.times)
    times, values = np.empty(count, np.int64), np.empty(count, np.float64)
    for rows, some in _by_width(text, found.times, found.time_widths):
        times[rows] = _whole(some)
    for rows, some in _by_width(text, found.values, found.value_widths):
        values[rows] = _decimal(some)
    return times, values


def each(replies: Sequence[tuple[int, bytes]]) -> list[tuple[Times, Values]]:
    """The arrays of each reply, given how many pairs it has; all are read at once, for many series have little each.

    Raises:
        ValueError: a value is no number.
    """
    times, values = arrays(b"".join([pairs for _, pairs in replies]))
    ends = np.cumsum([count for count, _ in replies])[:-1]
    return list(zip(np.split(times, ends), np.split(values, ends), strict=True))


def _by_width(text: NDArray[np.uint8], places: Places, widths: Places) -> Iterator[tuple[Places, _Texts]]:
    for width, rows in alike(widths):
        yield rows, fields(text, width)[places[rows]].view(np.uint8).reshape(-1, width)


def _whole(texts: _Texts) -> Times:
    return (texts - _ZERO).astype(np.int64) @ 10 ** np.arange(texts.shape[1])[::-1]


def _decimal(texts: _Texts) -> Values:
    values = np.empty(len(texts), np.float64)
    width = texts.shape[1]
    first = (texts == _POINT).argmax(axis=1)
    place = np.where(texts[np.arange(len(texts)), first] == _POINT, first, width)
    for point, rows in alike(place):
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
    # orjson reads a list of numbers in 50 ns each, and rounds right; float reads what is no JSON number: nan, inf
    width = texts.shape[1]
    text = np.empty((len(texts), width + 1), np.uint8)
    text[:, :width], text[:, width] = texts, ord(",")
    try:
        return np.array(orjson.loads(b"[%b]" % text.tobytes()[:-1]), np.float64)
    except orjson.JSONDecodeError:
        return np.array([float(one.tobytes()) for one in texts], np.float64)
