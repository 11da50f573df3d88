"""The wire format of a reading: TS.MADD commands in RESP, packed once, spooled as they will be sent.

A reading costs three slices of bytes here, each made once and used again: the series' key (packed when the roster
is), the time (one for all readings of a tick) and the value (sensors round, so values repeat). Joining such slices
was measured at 16 million a second, four times what one Redis takes (facts.md), so the server stays the limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from iotd.sensors import Batch, Roster

ELEMENTS = 256
"""Readings in one TS.MADD: few enough to hold up a Redis for well under a millisecond."""

_VALUES_KEPT = 100_000


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


class _Bulk(dict[float, bytes]):
    """Values as RESP bulk strings, remembered, because a sensor's rounded values come again and again."""

    def __missing__(self, value: float) -> bytes:
        if len(self) >= _VALUES_KEPT:
            self.clear()
        text = repr(value).encode()
        self[value] = bulk = b"$%d\r\n%b\r\n" % (len(text), text)
        return bulk


class Packer:
    """Packs the batches of one roster."""

    def __init__(self, roster: Roster) -> None:
        self.roster = roster
        self._keys = [b"$%d\r\n%b\r\n" % (len(key), key) for key in roster.keys]
        self._values = _Bulk()

    def pack(self, batch: Batch) -> Packed:
        """The batch as TS.MADD commands of at most :data:`ELEMENTS` readings each, in the batch's order.

        The batch must not be empty and its values must be finite.
        """
        n = len(batch)
        parts: list[bytes] = [b""] * (3 * n)
        parts[0::3] = map(self._keys.__getitem__, batch.series.tolist())
        times, places = np.unique(batch.times, return_inverse=True)
        stamps = [b"$%d\r\n%d\r\n" % (len(str(t)), t) for t in times.tolist()]
        parts[1::3] = stamps * n if len(stamps) == 1 else map(stamps.__getitem__, places.tolist())
        parts[2::3] = map(self._values.__getitem__, batch.values.tolist())
        chunks = []
        for start in range(0, n, ELEMENTS):
            end = min(start + ELEMENTS, n)
            chunks.append(b"*%d\r\n$7\r\nTS.MADD\r\n" % (1 + 3 * (end - start)))
            chunks.extend(parts[3 * start : 3 * end])
        return Packed(b"".join(chunks), -(-n // ELEMENTS), n, int(times[0]), int(times[-1]))


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
            found.append(Element(index, key.decode(), int(time), value.decode()))
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
