"""What goes from a shard into the archive: runs of one sensor's samples, as the bytes in which Redis returned them.

A run stays in RESP until it is written: 30 bytes a sample, against 200 as Python objects. Turning it into line
protocol is some passes over the bytes and no loop in Python, 20 million samples a second (`make bench`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from iotd.model.series import Series
from iotd.wire.fields import copy, fields
from iotd.wire.pairs import Pairs, arrays

_TIME = b"*2\r\n:"
"""How a sample begins in RESP2: an array of two, of which the first is an integer."""
_VALUE = b"\r\n+"
"""What stands between a sample's time and its value, a simple string."""


@dataclass(frozen=True, slots=True)
class Points:
    """Samples of one sensor in time order, at least one.

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

    def numbers(self) -> list[tuple[int, float]]:
        """(time in ms, value) pairs, the values as numbers.

        Raises:
            ValueError: a value is not a number.
        """
        times, values = arrays(self.resp)
        return list(zip(times.tolist(), values.tolist(), strict=True))

    def lines(self) -> bytes:
        """Line protocol, times in ms; the values are the bytes that came, so nothing is rounded on the way.

        https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
        """
        resp, head = np.frombuffer(self.resp, np.uint8), _head(self.sensor)
        pairs = Pairs.of(resp)
        stops = np.cumsum(pairs.value_widths + pairs.time_widths + (len(head) + 2))
        out = np.empty(int(stops[-1]), np.uint8)
        out[stops - 1] = ord("\n")
        at = stops - 1 - pairs.time_widths
        copy(resp, pairs.times, out, at, pairs.time_widths)
        out[at - 1] = ord(" ")
        at -= 1 + pairs.value_widths
        copy(resp, pairs.values, out, at, pairs.value_widths)
        fields(out, len(head))[at - len(head)] = np.void(head)
        return out[:-1].tobytes()


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


def lines(batch: Iterable[Points]) -> bytes:
    """Line protocol of a whole batch, see :meth:`Points.lines`."""
    return b"\n".join([points.lines() for points in batch])


def _head(sensor: Series) -> bytes:
    tags = f"location={_escaped(sensor.location)},sensor_id={_escaped(sensor.sensor_id)},unit={_escaped(sensor.unit)}"
    return f"{sensor.type},{tags} value=".encode()


def _escaped(tag: str) -> str:
    for sign in ",= ":
        tag = tag.replace(sign, "\\" + sign)
    return tag
