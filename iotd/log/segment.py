"""Segment files: their names, and the frames found in one, with what is damaged between them."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from iotd.log.disk import Disk
from iotd.log.frame import HEADER, MAGIC, FrameError, Head, Item, items, verify

_NAME = re.compile(r"(\d{10})\.seg")


@dataclass(slots=True)
class Segment:
    """What is known of a file.

    Attributes:
        size: bytes of whole frames in it.
        spans: per partition the last sequence in it, and the bytes of its records.
    """

    number: int
    size: int = 0
    spans: dict[int, tuple[int, int]] = field(default_factory=dict)

    def add(self, partition: int, sequence: int, size: int) -> None:
        """Counts a record."""
        last, total = self.spans.get(partition, (0, 0))
        self.spans[partition] = (max(last, sequence), total + size)

    def live(self, truncated: dict[int, int]) -> int:
        """Bytes of records that may not be truncated yet (at most: a span counts until all of it is)."""
        return sum(size for partition, (last, size) in self.spans.items() if last > truncated.get(partition, 0))


class Found(NamedTuple):
    """A frame that is whole."""

    offset: int
    head: Head
    items: list[Item]


class Bad(NamedTuple):
    """Bytes that are no whole frame.

    Attributes:
        offset, size: where.
        tail: whether nothing whole follows in the file.
        reason: what was found there.
    """

    offset: int
    size: int
    tail: bool
    reason: str


def segment_path(folder: Path, number: int) -> Path:
    """The file of a segment, by its number."""
    return folder / f"{number:010}.seg"


def segment_numbers(folder: Path) -> list[int]:
    """The segments of a folder, in order. Raises OSError."""
    return sorted(int(m[1]) for path in folder.iterdir() if (m := _NAME.fullmatch(path.name)))


def scan(data: bytes) -> Iterator[Found | Bad]:
    """The frames of a file, and what lies between them; after bad bytes it goes on at the next whole frame."""
    view = memoryview(data)
    offset = 0
    while offset < len(data):
        head = verify(view, offset)
        if head is None:
            after = _resume(data, view, offset + 1)
            yield Bad(offset, after - offset, after == len(data), "no whole frame, or its checksum is wrong")
            offset = after
            continue
        start = offset + HEADER
        try:
            yield Found(offset, head, list(items(view[start : start + head.length])))
        except FrameError as e:
            yield Bad(offset, HEADER + head.length, False, str(e))
        offset = start + head.length


def read_segment(disk: Disk, path: Path) -> list[Found | Bad]:
    """All of a file; one that its disk cannot read is bad as a whole.

    Raises:
        OSError: the system does not let us read it now: rights, file descriptors.
    """
    try:
        return list(scan(disk.read(path)))
    except OSError as e:
        if e.errno != errno.EIO:
            raise
        return [Bad(0, 0, False, f"it can't be read ({e.strerror})")]


def _resume(data: bytes, view: memoryview, offset: int) -> int:
    while (offset := data.find(MAGIC, offset)) >= 0:
        if verify(view, offset) is not None:
            return offset
        offset += 1
    return len(data)
