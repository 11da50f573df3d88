"""The wire format of a reading: TS.MADD commands in RESP, packed once, spooled as they will be sent.

Batches of a roster look alike: the same series in the same order, with other times and values. So a batch's commands
are made once as a layout with holes, and the next batch with these series is a copy of it with the holes filled, all
times in one operation and all values in another: some ten nanoseconds a reading, a thirtieth of what a Redis takes for
it. What fills a hole must be as wide as the hole, which is why values are filled up with zeros (decimals.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from iotd.model.roster import Batch, Roster
from iotd.wire import decimals
from iotd.wire.fields import fields

ELEMENTS = 256
"""Readings in one TS.MADD: few enough to hold up a Redis for well under a millisecond."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Readings of one location as they go over the wire.

    Attributes:
        payload: one or more TS.MADD commands in RESP.
        commands: how many; so many replies will come.
        count: readings.
        first: smallest time in it, ms.
        last: largest time in it, ms.
    """

    payload: bytes
    commands: int
    count: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Element:
    """One reading of a packed batch, as text; ``index`` is its place among all of the batch."""

    index: int
    key: str
    time: int
    value: str


class _Records:
    """Each sensor's part of a command, with holes for a time and a value of one width each."""

    def __init__(self, keys: Sequence[bytes], time_width: int, value_width: int) -> None:
        time, value = (b"$%d\r\n%b\r\n" % (width, bytes(width)) for width in (time_width, value_width))
        self.bytes = [b"$%d\r\n%b\r\n%b%b" % (len(key), key, time, value) for key in keys]
        self.lengths = np.array(list(map(len, self.bytes)), np.intp)
        self.value_at = -(2 + value_width)
        """Where the hole for the value is, from the end; the time's likewise."""
        self.time_at = -(len(value) + 2 + time_width)
        self.widths = time_width, value_width


class _Layout:
    """The commands for some readings, with holes for times and values."""

    def __init__(self, records: _Records, series: NDArray[np.int32]) -> None:
        parts, heads = [], np.zeros(len(series), np.intp)
        chosen = list(map(records.bytes.__getitem__, series.tolist()))
        for n in range(0, len(chosen), ELEMENTS):
            some = chosen[n : n + ELEMENTS]
            head = b"*%d\r\n$7\r\nTS.MADD\r\n" % (1 + 3 * len(some))
            parts.append(head)
            parts.extend(some)
            heads[n] = len(head)
        ends = np.cumsum(records.lengths[series] + heads)
        self._bytes = b"".join(parts)
        self._widths = records.widths
        self._times, self._values = ends + records.time_at, ends + records.value_at

    def fill(self, times: NDArray[np.void], values: NDArray[np.void]) -> bytes:
        """The commands with these texts in their holes."""
        out = bytearray(self._bytes)
        for width, holes, texts in zip(self._widths, (self._times, self._values), (times, values), strict=True):
            fields(out, width)[holes] = texts
        return bytes(out)


class Packer:
    """Packs the batches of one roster."""

    def __init__(self, roster: Roster) -> None:
        self.roster = roster
        self._records: dict[tuple[int, int], _Records] = {}
        self._alike: tuple[bytes, int, int] | None = None
        self._layout: _Layout

    def pack(self, batch: Batch) -> Packed:
        """The batch as TS.MADD commands of at most :data:`ELEMENTS` readings each, in the batch's order.

        The batch must not be empty, its values must be finite, and its times never fall.
        """
        starts = np.flatnonzero(np.diff(batch.times, prepend=batch.times[0] - 1))
        stamps = [b"%d" % time for time in batch.times[starts].tolist()]
        lengths = np.diff(starts, append=len(batch))
        values = decimals.texts(batch.values)
        payloads, commands, ticks, first = [], 0, 0, 0
        for width, some in groupby(stamps, len):  # one group: thirteen digits from 2001 to 2286
            alike = np.array(list(some), f"S{width}").view(f"V{width}")
            times = alike.repeat(lengths[ticks : ticks + len(alike)])
            last = first + len(times)
            layout = self._layout_of(batch.series[first:last], width, values.itemsize)
            payloads.append(layout.fill(times, values[first:last]))
            commands += -(-len(times) // ELEMENTS)
            ticks, first = ticks + len(alike), last
        whole = payloads[0] if len(payloads) == 1 else b"".join(payloads)
        return Packed(whole, commands, len(batch), int(batch.times.min()), int(batch.times.max()))

    def _layout_of(self, series: NDArray[np.int32], time_width: int, value_width: int) -> _Layout:
        # the last one only: ticks are alike, batches of history are, and these are too large to be kept for the next
        alike = series.tobytes(), time_width, value_width
        if alike != self._alike:
            self._layout = _Layout(self._records_of(time_width, value_width), series)
            self._alike = alike
        return self._layout

    def _records_of(self, time_width: int, value_width: int) -> _Records:
        widths = time_width, value_width
        if widths not in self._records:
            self._records[widths] = _Records(self.roster.keys, *widths)
        return self._records[widths]


def elements(payload: bytes) -> Iterator[list[Element]]:
    """The readings in a payload that :class:`Packer` made, one list per command; for what went wrong, not for speed."""
    lines = payload.split(b"\r\n")
    at = index = 0
    while at < len(lines) - 1:
        count = (int(lines[at][1:]) - 1) // 3
        at += 3  # the array's header, and the name with its length
        found = []
        for _ in range(count):
            key, time, value = lines[at + 1], lines[at + 3], lines[at + 5]
            found.append(Element(index, key.decode(), int(time), repr(float(value))))
            at += 6
            index += 1
        yield found


def repack(chosen: list[Element]) -> bytes:
    """One TS.MADD command with just these readings."""
    parts = [b"*%d\r\n$7\r\nTS.MADD\r\n" % (1 + 3 * len(chosen))]
    for e in chosen:
        parts.extend(
            b"$%d\r\n%b\r\n" % (len(text), text) for text in (e.key.encode(), str(e.time).encode(), e.value.encode())
        )
    return b"".join(parts)
