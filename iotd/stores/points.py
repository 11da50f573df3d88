"""What goes into an archive: runs of one series' samples, as the bytes in which Redis returns them.

A run stays in RESP until it is written: 30 bytes a sample, against 200 as Python objects. What a store makes of it is
some passes over the bytes and no loop in Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from iotd.model.batch import Times, Values
from iotd.model.series import Series
from iotd.wire.fields import Places, copy, fields
from iotd.wire.pairs import arrays

_TIME = b"*2\r\n:"
"""How a sample begins in RESP2: an array of two, of which the first is an integer."""
_VALUE = b"\r\n+"
"""What stands between a sample's time and its value, a simple string."""
_END = b"\r\n"


@dataclass(frozen=True, slots=True)
class Points:
    """Samples of one series in time order, at least one.

    Attributes:
        resp: for each sample ``*2 :time +value``, as in a reply to TS.RANGE without its first line; times in ms.
        count: samples.
    """

    sensor: Series
    resp: bytes
    count: int

    @classmethod
    def of(cls, sensor: Series, samples: Sequence[tuple[int, bytes]]) -> Points:
        """From (time in ms, value) pairs."""
        resp = b"".join([b"*2\r\n:%d\r\n+%b\r\n" % sample for sample in samples])
        return cls(sensor, resp, len(samples))

    @classmethod
    def from_arrays(cls, series: Series, times: Times, values: Values) -> Points:
        """From arrays of shape (n,), n > 0, the times in ms, rising, none below zero; no value is rounded.

        Raises:
            ValueError: a value is not finite.
        """
        if not np.isfinite(values).all():
            raise ValueError("a value is not a finite number")
        digits, time_widths, time_places = _texts(times)
        numbers, value_widths, value_places = _texts(values)
        stops = np.cumsum(time_widths + value_widths + (len(_TIME) + len(_VALUE) + len(_END)))
        resp = np.empty(int(stops[-1]), np.uint8)
        at = np.concatenate(([0], stops[:-1]))
        _fill(resp, at, _TIME)
        at += len(_TIME)
        copy(digits, time_places, resp, at, time_widths)
        at += time_widths
        _fill(resp, at, _VALUE)
        at += len(_VALUE)
        copy(numbers, value_places, resp, at, value_widths)
        _fill(resp, at + value_widths, _END)
        return cls(series, resp.tobytes(), len(times))

    def __len__(self) -> int:
        return self.count

    @property
    def first(self) -> int:
        """Time of the first sample, ms."""
        return int(self.resp[len(_TIME) : self.resp.index(_VALUE)])

    @property
    def last(self) -> int:
        """Time of the last sample, ms."""
        end = self.resp.rindex(_VALUE)
        return int(self.resp[self.resp.rindex(b":", 0, end) + 1 : end])

    def samples(self) -> list[tuple[int, bytes]]:
        """(time in ms, value) pairs."""
        text = self.resp[len(_TIME) : -2].replace(b"\r\n" + _TIME, b"\r\n")
        parts = text.replace(_VALUE, b"\r\n").split(b"\r\n")  # time, value, time, value …
        return list(zip(map(int, parts[0::2]), parts[1::2], strict=True))

    def arrays(self) -> tuple[Times, Values]:
        """Times (int64 ms) and values (float64), both of shape (n,).

        Raises:
            ValueError: a value is not a number.
        """
        return arrays(self.resp)


def halves(batch: Sequence[Points]) -> tuple[list[Points], list[Points]]:
    """A batch of at least two samples cut in the middle."""
    middle = sum(map(len, batch)) // 2
    left: list[Points] = []
    right: list[Points] = []
    for points in batch:
        if middle <= 0:
            right.append(points)
        elif len(points) <= middle:
            left.append(points)
        else:
            samples = points.samples()
            left.append(Points.of(points.sensor, samples[:middle]))
            right.append(Points.of(points.sensor, samples[middle:]))
        middle -= len(points)
    return left, right


def _texts(numbers: Times | Values) -> tuple[NDArray[np.uint8], Places, Places]:
    """The numbers as text (the shortest that gives the same number), and how wide and where each one is."""
    # some 40 ns a number, against 500 of repr
    text = np.frombuffer(orjson.dumps(np.ascontiguousarray(numbers), option=orjson.OPT_SERIALIZE_NUMPY), np.uint8)
    ends = np.append(np.flatnonzero(text == ord(",")), len(text) - 1)
    places = np.concatenate(([1], ends[:-1] + 1))
    return text, ends - places, places


def _fill(target: NDArray[np.uint8], at: Places, text: bytes) -> None:
    fields(target, len(text))[at] = np.void(text)
