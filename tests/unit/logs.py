"""What the tests of the log share: a catalogue in memory, readings, and a disk that fails when it is told to."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np

from iotd.log.base import Append
from iotd.log.disk import Disk
from iotd.model.errors import StateError


class Catalogue:
    """A numbering of series: its descriptions are names."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)

    def describe(self, number: int) -> bytes:
        return self.names[number].encode()

    def number(self, description: bytes) -> int:
        try:
            name = description.decode()
        except UnicodeDecodeError:
            raise StateError("no description of a series") from None
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name)


def readings(location: str, *rows: tuple[int, int, float]) -> Append:
    """Readings given as (series, time, value)."""
    return Append(
        location,
        np.array([row[0] for row in rows], np.int32),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.float64),
    )


def flip(path: Path, offset: int, bit: int = 0) -> None:
    """Changes one bit of a file."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


def cut(path: Path, size: int) -> None:
    """Leaves only the beginning of a file."""
    path.write_bytes(path.read_bytes()[:size])


class FaultyDisk(Disk):
    """Has no room for segments, or cannot sync them, while an error is set; what exists can be overwritten in place."""

    def __init__(self) -> None:
        self._segments: set[int] = set()
        self.error: int | None = None
        self.sync_error: int | None = None
        self.writes = 0

    def create(self, path: Path) -> int:
        self._refuse()
        fd = super().create(path)
        self._segments.add(fd)
        return fd

    def write(self, fd: int, data: bytes, offset: int) -> None:
        if fd in self._segments:
            self.writes += 1
            if self.error is not None:
                super().write(fd, data[: len(data) // 2], offset)
            self._refuse()
        super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        if self.sync_error is not None and fd in self._segments:
            raise OSError(self.sync_error, "the disk does not answer")
        super().sync(fd)

    def close(self, fd: int) -> None:
        self._segments.discard(fd)
        super().close(fd)

    def _refuse(self) -> None:
        if self.error is not None:
            raise OSError(self.error, "No space left on device" if self.error == errno.ENOSPC else "failed")
