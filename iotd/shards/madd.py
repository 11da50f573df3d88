"""TS.MADD commands in RESP, made from columns when they are sent.

Batches look alike: the same series in the same order, with other times and values. So the commands are made once as a
layout with holes, and the next batch with these series is a copy of it with the holes filled, all times in one
operation and all values in another. What fills a hole must be as wide as the hole: values are widened by zeros where
they do not count (:mod:`iotd.shards.texts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from iotd.model.batch import Numbers, Times, Values
from iotd.shards import texts
from iotd.wire.fields import fields

ELEMENTS = 256
"""Readings in one TS.MADD: few enough to hold up a Redis for well under a millisecond."""


@dataclass(frozen=True, slots=True, eq=False)
class Commands:
    """TS.MADD commands ready to be sent, and the readings in them.

    Attributes:
        payload: the commands in RESP.
        starts: the place of each command's first reading; so many replies will come.
        series, times, values: the readings, columns of one length, in the order of the payload.
    """

    payload: bytes
    starts: Sequence[int]
    series: Numbers
    times: Times
    values: Values

    def __len__(self) -> int:
        return len(self.series)

    def spans(self) -> Iterator[range]:
        """The places of each command's readings."""
        return map(range, self.starts, [*self.starts[1:], len(self)])


class Packer:
    """Packs readings whose series are given by number.

    Args:
        keys: Redis keys by number; may grow, and never changes otherwise.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys
        self._records: dict[tuple[int, int], _Records] = {}
        self._alike: tuple[bytes, int, int] | None = None
        self._layout: _Layout

    def pack(self, series: Numbers, times: Times, values: Values) -> Commands:
        """The readings as TS.MADD commands of at most :data:`ELEMENTS` each, in the same order.

        Args:
            series, times, values: of one length, values finite; none at all makes no command.
        """
        if not len(times):
            return Commands(b"", (), series, times, values)
        found = texts.of_values(values)
        payloads: list[bytes] = []
        starts: list[int] = []
        for first, last, stamps in _runs(times):
            layout = self._layout_of(series[first:last], stamps.itemsize, found.itemsize)
            payloads.append(layout.fill(stamps, found[first:last]))
            starts.extend(range(first, last, ELEMENTS))
        whole = payloads[0] if len(payloads) == 1 else b"".join(payloads)
        return Commands(whole, starts, series, times, values)

    def _layout_of(self, series: Numbers, time_width: int, value_width: int) -> _Layout:
        # the last one only: ticks are alike, batches of history are, and these are too large to be kept for the next
        alike = series.tobytes(), time_width, value_width
        if alike != self._alike:
            widths = time_width, value_width
            if widths not in self._records:
                self._records[widths] = _Records(self._keys, *widths)
            self._layout = _Layout(self._records[widths], series)
            self._alike = alike
        return self._layout


def _runs(times: Times) -> Iterator[tuple[int, int, NDArray[np.void]]]:
    # runs of texts of one width; one run in practice: thirteen digits from 2001 to 2286
    shortest, longest = len(b"%d" % times.min()), len(b"%d" % times.max())
    if shortest == longest and times.min() >= 0:
        yield 0, len(times), texts.of_times(times, longest)
        return
    first = 0
    for _, run in groupby(map(len, map(str, times.tolist()))):
        last = first + len(list(run))
        some = times[first:last]
        yield first, last, texts.of_times(some, len(b"%d" % some[0]))
        first = last


class _Records(dict[int, bytes]):
    """Each series' part of a command, with holes for a time and a value of one width each; made when it is asked for,
    for a catalogue has the series of all locations."""

    def __init__(self, keys: Sequence[bytes], time_width: int, value_width: int) -> None:
        super().__init__()
        time, value = (b"$%d\r\n%b\r\n" % (width, bytes(width)) for width in (time_width, value_width))
        self._keys = keys
        self._holes = time + value
        self.value_at = -(2 + value_width)
        """Where the hole for the value is, from the end; the time's likewise."""
        self.time_at = -(len(value) + 2 + time_width)
        self.widths = time_width, value_width

    def __missing__(self, number: int) -> bytes:
        key = self._keys[number]
        record = self[number] = b"$%d\r\n%b\r\n%b" % (len(key), key, self._holes)
        return record


class _Layout:
    """The commands for some series, with holes for times and values."""

    def __init__(self, records: _Records, series: Numbers) -> None:
        chosen = list(map(records.__getitem__, series.tolist()))
        lengths = np.fromiter(map(len, chosen), np.intp, len(chosen))
        parts = []
        for n in range(0, len(chosen), ELEMENTS):
            some = chosen[n : n + ELEMENTS]
            head = b"*%d\r\n$7\r\nTS.MADD\r\n" % (1 + 3 * len(some))
            lengths[n] += len(head)
            parts.append(head)
            parts.extend(some)
        ends = np.cumsum(lengths)
        self._bytes = b"".join(parts)
        self._widths = records.widths
        self._times, self._values = ends + records.time_at, ends + records.value_at

    def fill(self, times: NDArray[np.void], values: NDArray[np.void]) -> bytes:
        """The commands with these texts in their holes."""
        out = bytearray(self._bytes)
        for width, holes, found in zip(self._widths, (self._times, self._values), (times, values), strict=True):
            fields(out, width)[holes] = found
        return bytes(out)
