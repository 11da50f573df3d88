"""A block: up to 65,536 readings of one series in one hour, as two compressed columns and a header.

The header is the block's summary, so that what it says need not be decoded. It has a checksum of its own, and holds
the columns'. Both cover where the block belongs, so that a block that stands in another's place is noticed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pcodec import ChunkConfig
from pcodec.standalone import simple_compress, simple_decompress
from xxhash import xxh3_64, xxh3_64_intdigest

from iotd.model.batch import Times, Values
from iotd.model.buckets import HOUR
from iotd.model.errors import ArchiveRefused, ArchiveRejected
from iotd.model.series import Series

MAX_READINGS: Final = 65_536
"""Readings of a block; an hour with more has several parts, each later than the one before."""

HEADER: Final = np.dtype(
    [
        ("count", "<i8"),
        ("first", "<i8"),  # ms
        ("last", "<i8"),
        ("sum", "<f8"),
        ("min", "<f8"),
        ("max", "<f8"),
        ("first_value", "<f8"),
        ("last_value", "<f8"),
        ("columns", "<u8"),  # the checksum of the two columns
        ("checksum", "<u8"),  # that of all before, and of the place
    ]
)
"""A header as it is stored. A blob, not SQL columns: SQLite does not keep the sign of -0.0."""

Headers = NDArray[np.void]
"""Headers, of dtype :data:`HEADER`."""

SERIES_LIMIT: Final = 1 << 25
"""Numbers of series are below this: see :attr:`Place.id`."""

TIME_LIMIT: Final = 1 << 52
"""Times are at most this far from the epoch, ms: no calendar goes further, and floats are exact."""

_CONFIG = ChunkConfig(compression_level=4)  # level 8 takes twice as long and saves 1 to 3 %
_SEALED = HEADER.itemsize - 8


@dataclass(frozen=True, slots=True)
class Place:
    """Where a block belongs.

    Attributes:
        series: its number in the file.
        hour: ms, a multiple of :data:`HOUR`.
        part: 0 for the first of its hour.
    """

    series: int
    hour: int
    part: int

    @property
    def id(self) -> int:
        """The key of its columns, in the order of series, hour and part."""
        return self.series << 38 | (self.hour // HOUR + (1 << 31)) << 6 | self.part

    @property
    def raw(self) -> bytes:
        """The place in 24 bytes, for checksums."""
        return struct.pack("<qqq", self.series, self.hour, self.part)


def place_of(series: int, hour: object, part: object) -> Place:
    """The place that a row names.

    Raises:
        Unsound: it can't be one.
    """
    if type(hour) is not int or type(part) is not int or hour % HOUR or not 0 <= part < 64:
        raise Unsound(f"hour {hour!r}, part {part!r}")
    return Place(series, hour, part)


@dataclass(frozen=True, slots=True)
class Block:
    """A block as it is stored: the header's bytes, and the two columns."""

    header: bytes
    times: bytes
    values: bytes


class BlockDamaged(ArchiveRefused):
    """A block is not what was written; the others can be used.

    Attributes:
        series: whose block it is.
        hour: where it begins, ms; None: that is damaged, too.
        part: which one of its hour.
    """

    def __init__(self, series: Series, hour: int | None, part: int, reason: str) -> None:
        super().__init__(
            f"the embedded archive's block of {series.key} from {_text(hour)} is damaged ({reason}); the other hours "
            "can be read, and what a shard or a backup still has of this one can be archived again"
        )
        self.series = series
        self.hour = hour
        self.part = part


class Unsound(Exception):  # never leaves the package: whoever knows the series makes it BlockDamaged
    """Bytes that are not those of a block; the message says why."""


def encode(place: Place, times: Times, values: Values) -> Block:
    """The block of some readings.

    Args:
        times: int64 ms, strictly rising, all in the place's hour, 1 to :data:`MAX_READINGS`.
        values: float64, finite, as many.
    """
    packed_times, packed_values = simple_compress(times, _CONFIG), simple_compress(values, _CONFIG)
    header = np.zeros(1, HEADER)
    header["count"] = len(times)
    header["first"], header["last"] = times[0], times[-1]
    header["sum"], header["min"], header["max"] = total(values), values.min(), values.max()
    header["first_value"], header["last_value"] = values[0], values[-1]
    header["columns"] = _of_columns(place, packed_times, packed_values)
    header["checksum"] = _of_header(place, header.tobytes())
    return Block(header.tobytes(), packed_times, packed_values)


def header_of(place: Place, raw: object) -> bytes:
    """The header's bytes, once they are checked.

    Raises:
        Unsound: they are not those that were written there.
    """
    if not isinstance(raw, bytes) or len(raw) != HEADER.itemsize:
        raise Unsound("no header")
    if int.from_bytes(raw[_SEALED:], "little") != _of_header(place, raw):
        raise Unsound("checksum of the header")
    return raw


def headers_of(raw: list[bytes]) -> Headers:
    """Checked headers as one array."""
    return np.frombuffer(b"".join(raw), HEADER)


def decode(place: Place, header: np.void, times: object, values: object) -> tuple[Times, Values]:
    """The readings of a block.

    Args:
        header: one that is checked.

    Returns:
        times (int64 ms, strictly rising) and values (float64), as they were written, bit for bit.

    Raises:
        Unsound: the columns are not those that were written there.
    """
    if not isinstance(times, bytes) or not isinstance(values, bytes):
        raise Unsound("no columns")
    if int(header["columns"]) != _of_columns(place, times, values):
        raise Unsound("checksum of the columns")
    try:
        decoded = simple_decompress(times), simple_decompress(values)
    except (RuntimeError, TypeError) as e:  # the bytes are those written: another version of the library's
        raise Unsound(f"the columns can't be decoded: {e}") from None
    for column, kind in zip(decoded, (np.int64, np.float64), strict=True):
        if column is None or column.dtype != kind or len(column) != header["count"]:
            raise Unsound("the columns are not of the header's length")
    return decoded


def accepted(series: Series, times: Times, values: Values) -> tuple[Times, Values]:
    """The readings in time order, of those of one time only the last.

    Args:
        times: int64 ms, in any order, shape (n,).
        values: float64, shape (n,).

    Raises:
        ArchiveRejected: a value is not finite, a time is beyond all calendars, or the columns differ in length.
    """
    times, values = np.ascontiguousarray(times, np.int64), np.ascontiguousarray(values, np.float64)
    if times.shape != values.shape or times.ndim != 1:
        raise ArchiveRejected(f"{series.key}: {times.shape} times for {values.shape} values")
    if not (finite := np.isfinite(values)).all():
        at = int(np.argmin(finite))
        raise ArchiveRejected(f"{series.key} at {times[at]}: {values[at]} is not a finite number")
    if len(times) and (times.min() < -TIME_LIMIT or times.max() > TIME_LIMIT):
        raise ArchiveRejected(f"{series.key}: times from {times.min()} to {times.max()} ms are no dates")
    return in_order(times, values)


def in_order(times: Times, values: Values) -> tuple[Times, Values]:
    """The same in time order; of several values at one time, the one that came last."""
    if len(times) < 2 or (times[1:] > times[:-1]).all():
        return times, values
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    last = np.append(times[1:] != times[:-1], True)
    return times[last], values[last]


def total(values: Values) -> float:
    """The sum; infinite where it is beyond float64, never NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = float(values.sum())
    return found if np.isfinite(found) else float((values * 2.0**-64).sum()) * 2.0**64


def squares(values: Values) -> float:
    """The sum of the squares; infinite where it is beyond float64."""
    with np.errstate(over="ignore"):
        return float(np.dot(values, values))


def _of_columns(place: Place, times: bytes, values: bytes) -> int:
    checksum = xxh3_64(place.raw)
    checksum.update(times)
    checksum.update(values)
    return checksum.intdigest()


def _of_header(place: Place, raw: bytes) -> int:
    return xxh3_64_intdigest(place.raw + raw[:_SEALED])


def _text(ms: int | None) -> str:
    if ms is None:
        return "an unknown hour"
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%MZ")
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"
