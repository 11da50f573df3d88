"""Frames and the items in them, as bytes; nothing about files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import xxhash

from iotd.log.base import Epoch
from iotd.log.record import RECORDS, RecordItem, parsed
from iotd.model.errors import StateError

VERSION = 1
MAGIC = b"iL\xf1\x0d"
_HEADER = struct.Struct("<4sIQI")
_CHECK = struct.Struct("<Q")
HEADER = _HEADER.size + _CHECK.size
"""Bytes before the payload of a frame: magic, length of the payload, number, tag of the epoch, checksum."""
MAX_PAYLOAD = 256 * 1024 * 1024
MAX_READINGS = 4 * 1024 * 1024
"""In one record."""
UNKNOWN = 0xFFFF_FFFF
"""Stands for a count of readings that nobody knows. Others are modulo this: enough to say how many a gap held."""

_LOG, _EPOCH, _PARTITION, _SERIES, _, _SOURCE, _POSITION, _STATE = range(1, 9)
"""Kinds of items; those of records are in :mod:`iotd.log.record`."""
_LOG_ITEM = struct.Struct("<BH16s")
_EPOCH_ITEM = struct.Struct("<BQ8sI")
_FIRST = struct.Struct("<HQI")
_NAME_ITEM = struct.Struct("<BHH")
_SERIES_ITEM = struct.Struct("<BBII")
_DEFINITION = struct.Struct("<iH")
_STATE_ITEM = struct.Struct("<BHQIQI")
_COMPRESS_FROM = 512
"""Bytes of definitions from which on compressing them pays."""


class FrameError(StateError):
    """The bytes of a frame do not hold what they must."""


class FormatError(StateError):
    """A newer iotd has written this: nothing is touched."""


class LogItem(NamedTuple):
    """Which log it is."""

    id: bytes


class PartitionItem(NamedTuple):
    """The name of a partition's number; a number is never given twice."""

    number: int
    name: str


class SeriesItem(NamedTuple):
    """What series numbers mean in frames of the same epoch."""

    descriptions: dict[int, bytes]


class SourceItem(NamedTuple):
    """The name of a source's number."""

    number: int
    name: str


class PositionItem(NamedTuple):
    """A source's position, committed with the readings in the same frame."""

    source: int
    position: bytes


class StateItem(NamedTuple):
    """How far a partition reaches and is truncated, with the readings counted until there."""

    partition: int
    truncated: int
    truncated_readings: int
    end: int
    end_readings: int


Item = LogItem | Epoch | PartitionItem | SeriesItem | RecordItem | SourceItem | PositionItem | StateItem


def counted(before: int, readings: int) -> int:
    """The count after so many more readings; where it was unknown it begins anew."""
    return ((0 if before == UNKNOWN else before) + readings) % UNKNOWN


def between(first: int, last: int) -> int | None:
    """How many readings lie between two counts; None when it cannot be known."""
    return None if UNKNOWN in (first, last) else (last - first) % UNKNOWN


def frame(number: int, tag: int, payload: Iterable[bytes]) -> bytes:
    """A whole frame; the parts of its payload are joined."""
    parts = list(payload)
    head = _HEADER.pack(MAGIC, sum(map(len, parts)), number, tag)
    digest = xxhash.xxh3_64(head)
    for part in parts:
        digest.update(part)
    return b"".join((head, _CHECK.pack(digest.intdigest()), *parts))


class Head(NamedTuple):
    """A frame's header, whose payload was found to match its checksum."""

    length: int
    number: int
    tag: int


def verify(data: memoryview, offset: int) -> Head | None:
    """The header of a whole, unaltered frame at an offset; None when there is none."""
    if offset + HEADER > len(data):
        return None
    magic, length, number, tag = _HEADER.unpack_from(data, offset)
    start = offset + HEADER
    if magic != MAGIC or length > MAX_PAYLOAD or start + length > len(data):
        return None
    digest = xxhash.xxh3_64(data[offset : offset + _HEADER.size])
    digest.update(data[start : start + length])
    if digest.intdigest() != _CHECK.unpack_from(data, offset + _HEADER.size)[0]:
        return None
    return Head(length, number, tag)


def payload_length(header: bytes) -> int:
    """How long the payload is, by a header that is not verified yet.

    Raises:
        FrameError: it is no header.
    """
    if len(header) < HEADER or header[:4] != MAGIC:
        raise FrameError("no frame starts here")
    length = int(_HEADER.unpack_from(header)[1])
    if length > MAX_PAYLOAD:
        raise FrameError("a frame is too long")
    return length


def log_item(log_id: bytes) -> bytes:
    """Which log this is; ``id`` is 16 bytes."""
    return _LOG_ITEM.pack(_LOG, VERSION, log_id)


def epoch_item(epoch: Epoch) -> bytes:
    """An epoch, with where each partition began in it."""
    firsts = b"".join(_FIRST.pack(number, *first) for number, first in epoch.firsts.items())
    return _EPOCH_ITEM.pack(_EPOCH, epoch.ordinal, epoch.token, len(epoch.firsts)) + firsts


def partition_item(number: int, name: str) -> bytes:
    """A partition's number and name."""
    return _named(_PARTITION, number, name.encode())


def source_item(number: int, name: str) -> bytes:
    """A source's number and name."""
    return _named(_SOURCE, number, name.encode())


def position_item(source: int, position: bytes) -> bytes:
    """The position (at most 65,535 bytes) of a source, by its number."""
    return _named(_POSITION, source, position)


def state_item(state: StateItem) -> bytes:
    """How far a partition is truncated, and how far it reaches."""
    return _STATE_ITEM.pack(_STATE, *state)


def series_item(descriptions: Mapping[int, bytes]) -> bytes:
    """Descriptions of series by their number; compressed where that pays."""
    body = b"".join(_DEFINITION.pack(number, len(text)) + text for number, text in descriptions.items())
    compressed = len(body) >= _COMPRESS_FROM
    kept = zlib.compress(body, 1) if compressed else body
    return _SERIES_ITEM.pack(_SERIES, compressed, len(kept), len(body)) + kept


def items(payload: memoryview) -> Iterator[Item]:
    """The items of a verified payload, in order.

    Raises:
        FrameError: one does not hold what it must.
        FormatError: a newer iotd has written it.
    """
    offset, end = 0, len(payload)
    try:
        while offset < end:
            item, offset = _item(payload, offset)
            if offset > end:
                raise FrameError("an item is cut short")
            yield item
    except (struct.error, ValueError, zlib.error) as e:
        raise FrameError(f"an item can't be read ({e})") from None


def _item(payload: memoryview, at: int) -> tuple[Item, int]:
    kind = payload[at]
    if kind in RECORDS:
        return parsed(payload, at)
    if kind == _STATE:
        _, *state = _STATE_ITEM.unpack_from(payload, at)
        return StateItem(*state), at + _STATE_ITEM.size
    if kind in (_PARTITION, _SOURCE, _POSITION):
        _, number, length = _NAME_ITEM.unpack_from(payload, at)
        end = at + _NAME_ITEM.size + length
        text = bytes(payload[at + _NAME_ITEM.size : end])
        if kind == _POSITION:
            return PositionItem(number, text), end
        return (PartitionItem if kind == _PARTITION else SourceItem)(number, text.decode()), end
    if kind == _SERIES:
        _, compressed, kept, length = _SERIES_ITEM.unpack_from(payload, at)
        end = at + _SERIES_ITEM.size + kept
        body = bytes(payload[at + _SERIES_ITEM.size : end])
        return SeriesItem(_descriptions(zlib.decompress(body, bufsize=length) if compressed else body)), end
    if kind == _EPOCH:
        _, ordinal, token, count = _EPOCH_ITEM.unpack_from(payload, at)
        start = at + _EPOCH_ITEM.size
        end = start + count * _FIRST.size
        firsts = {number: (first, before) for number, first, before in _FIRST.iter_unpack(payload[start:end])}
        return Epoch(ordinal, token, firsts), end
    if kind == _LOG:
        _, version, log_id = _LOG_ITEM.unpack_from(payload, at)
        if version != VERSION:
            raise FormatError(f"the log has format {version}, this iotd knows {VERSION}: start the newer iotd again")
        return LogItem(log_id), at + _LOG_ITEM.size
    raise FrameError(f"an item of kind {kind} is not known")


def _descriptions(body: bytes) -> dict[int, bytes]:
    found = {}
    at = 0
    while at < len(body):
        number, length = _DEFINITION.unpack_from(body, at)
        at += _DEFINITION.size
        found[number] = body[at : at + length]
        at += length
    return found


def _named(kind: int, number: int, text: bytes) -> bytes:
    return _NAME_ITEM.pack(kind, number, len(text)) + text
