"""Records and deletions as bytes: items of a frame."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from iotd.log.base import RECORD_BYTES, Append, Delete, Deletion, Record, deletion_size, record_size
from iotd.model.batch import Numbers, Times, Values

_RECORD, _TICK, _DELETION = 5, 9, 10
RECORDS = (_RECORD, _TICK, _DELETION)
"""Kinds of items that have a sequence."""
_HEAD = struct.Struct("<BHQII")
_RANGE = struct.Struct("<qq")


class RecordItem(NamedTuple):
    """A record: ``offset`` is that of its columns in the payload, ``before`` the count of readings before it, ``size``
    what it takes in the frame. One without readings is a deletion."""

    partition: int
    sequence: int
    readings: int
    before: int
    offset: int
    size: int


def parsed(payload: memoryview, at: int) -> tuple[RecordItem, int]:
    """The record at an offset, and where the next item begins.

    Raises:
        struct.error: it is cut short.
    """
    kind, partition, sequence, count, before = _HEAD.unpack_from(payload, at)
    if kind == _DELETION:
        size, count = deletion_size(count), 0
    else:
        size = record_size(count) - (8 * (count - 1) if kind == _TICK else 0)
    return RecordItem(partition, sequence, count, before, at + RECORD_BYTES, size), at + size


def record_item(partition: int, sequence: int, before: int, append: Append) -> bytes:
    """A record; where all its readings have one time, as those of a tick have, that is written once."""
    times, count = append.times, len(append.series)
    tick = count > 1 and times[0] == times[-1] and bool((times == times[0]).all())
    return b"".join(
        (
            _HEAD.pack(_TICK if tick else _RECORD, partition, sequence, count, before),
            (times[:1] if tick else times).astype("<i8", copy=False).tobytes(),
            append.values.astype("<f8", copy=False).tobytes(),
            append.series.astype("<i4", copy=False).tobytes(),
        )
    )


def deletion_item(partition: int, sequence: int, before: int, delete: Delete) -> bytes:
    """A deletion; where a record counts its readings, it counts its series."""
    return b"".join(
        (
            _HEAD.pack(_DELETION, partition, sequence, len(delete.series), before),
            _RANGE.pack(delete.first, delete.last),
            delete.series.astype("<i4", copy=False).tobytes(),
        )
    )


def appended_item(partition: int, sequence: int, before: int, append: Append | Delete) -> bytes:
    """A record or a deletion."""
    if isinstance(append, Delete):
        return deletion_item(partition, sequence, before, append)
    return record_item(partition, sequence, before, append)


def record_of(sequence: int, append: Append | Delete) -> Record:
    """What becomes of readings or a deletion in the log."""
    if isinstance(append, Append):
        return Record(sequence, append.series, append.times, append.values)
    none = np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float64)
    return Record(sequence, *none, Deletion(sequence, append.series, append.first, append.last))


def appended(payload: memoryview, offset: int, count: int) -> Append | Delete:
    """A copy of a record of so many readings whose columns begin at an offset; of a deletion, where they are none.

    The location is left empty.

    Raises:
        ValueError: there is no such record.
    """
    if count:
        return Append("", *columns(payload, offset, count))
    try:
        kind, _, _, series, _ = _HEAD.unpack_from(payload, offset - RECORD_BYTES)
        first, last = _RANGE.unpack_from(payload, offset)
    except struct.error as e:
        raise ValueError(str(e)) from None
    if kind != _DELETION:
        raise ValueError("a record without readings")
    numbers = np.frombuffer(payload, "<i4", series, offset + _RANGE.size).astype(np.int32)
    return Delete("", numbers, first, last)


def columns(payload: memoryview, offset: int, count: int) -> tuple[Numbers, Times, Values]:
    """Copies of a record's columns, which begin at an offset.

    Raises:
        ValueError: there is no such record.
    """
    tick = payload[offset - RECORD_BYTES : offset][:1] == bytes((_TICK,))
    stored = np.frombuffer(payload, "<i8", 1 if tick else count, offset)
    times = np.full(count, stored[0], np.int64) if tick else stored.astype(np.int64)
    offset += stored.nbytes
    values = np.frombuffer(payload, "<f8", count, offset).astype(np.float64)
    series = np.frombuffer(payload, "<i4", count, offset + 8 * count).astype(np.int32)
    return series, times, values
