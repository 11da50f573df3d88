"""What an importer is: it reads what people already have, and says it as observations."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from iotd.model.errors import Refused, UsageError
from iotd.model.observation import Observation
from iotd.model.summaries import HourlySummaries
from iotd.ops.systemerrors import said

PACKED = b"\x1f\x8b"
"""How a gzip file begins."""


@dataclass(frozen=True, slots=True)
class Row:
    """A part of what is imported.

    Attributes:
        place: where it stands, for people: ``line 7``.
        mark: for :meth:`Importer.rows`, so that the next run goes on behind it; never falls.
        done: of :attr:`Importer.size`, how much is read when this is.
        said: its readings, or summaries of hours, or why it has none.
    """

    place: str
    mark: int
    done: int
    said: list[Observation] | HourlySummaries | Refused


class Importer(Protocol):
    """Reads one file; blocking."""

    size: int
    """How much there is to read, in the unit of :attr:`Row.done`; 0: it can't be told."""

    def rows(self, after: int = 0) -> Iterator[Row]:
        """The rows behind a mark, in their order.

        Raises:
            UsageError: it is no such file.
        """


class LiveImporter(Protocol):
    """Reads a server."""

    size: int
    """As :attr:`Importer.size`; known once there are rows."""

    def rows(self, after: int = 0) -> AsyncIterator[Row]:
        """As :meth:`Importer.rows`.

        Raises:
            UsageError: there is no such bucket or database, or the server refuses us.
            ArchiveUnavailable: the server does not answer.
        """


class Counted(io.RawIOBase):
    """A file whose bytes are counted as they are read, so that a compressed one has a progress too."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._file = path.open("rb")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        got = self._file.readinto(cast(bytearray, buffer))
        self.count += got
        return got

    def close(self) -> None:
        self._file.close()
        super().close()


def opened(path: Path) -> tuple[BinaryIO, Counted]:
    """A file's content, unpacked where it is a gzip file, and the file itself.

    Raises:
        UsageError: it can't be opened.
    """
    try:
        with path.open("rb") as f:
            packed = f.read(2) == PACKED
        counted = Counted(path)
    except OSError as e:
        raise UsageError(f"{path}: can't be read ({said(e)})") from None
    buffered = io.BufferedReader(counted, 1 << 20)
    return (cast(BinaryIO, gzip.GzipFile(fileobj=buffered)) if packed else buffered), counted


def with_fixed(said: list[Observation], fixed: Mapping[str, str]) -> list[Observation]:
    """The same readings, each with these parts (type, location, sensor, unit), whatever else was said of it."""
    return [replace(one, **fixed) for one in said] if fixed else said  # type: ignore[arg-type]  # its texts


def told(path: Path, rows: Iterator[Row]) -> Iterator[Row]:
    """The rows of a file; where it can't be read to its end, that is said.

    Raises:
        UsageError: it can't.
    """
    try:
        yield from rows
    except (OSError, EOFError, zlib.error, csv.Error) as e:
        raise UsageError(f"{path}: can't be read to its end ({said(e) if isinstance(e, OSError) else e})") from None
