"""Line protocol, as `influxd inspect export-lp`, `influx_inspect export` and Telegraf's files have it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from iotd.model.errors import Refused
from iotd.model.observation import Names, Observation
from iotd.sources.http.lines import lines, parted
from iotd.sources.importers.base import Row, opened, told, with_fixed

_PIECE = 1 << 18
"""Bytes that are read at once."""
_LONGEST = 1 << 24
"""Bytes of a line."""


class LineImporter:
    """A line after the other; those of an export that are no points (``# DDL``, ``CREATE …``) are passed over."""

    def __init__(self, path: Path, precision: str, fixed: Mapping[str, str], names: Names) -> None:
        """
        Args:
            precision: of the times: ``ns``, ``us``, ``ms``, ``s``.
        """
        self.size = path.stat().st_size
        self._path = path
        self._precision = precision
        self._fixed = fixed
        self._names = names

    def rows(self, after: int = 0) -> Iterator[Row]:
        """See :class:`iotd.sources.importers.base.Importer`."""
        return told(self._path, self._rows(after))

    def _rows(self, after: int) -> Iterator[Row]:
        file, counted = opened(self._path)
        before, rest = 0, b""
        with file:
            while True:
                piece = file.read(_PIECE)
                # a quoted text may go over lines: a piece ends where none is open
                whole, rest = parted(rest + piece) if piece and len(rest) < _LONGEST else (rest + piece, b"")
                for line in lines(whole, self._precision, self._names):
                    number = before + line.number
                    if number > after and not line.text.startswith(b"CREATE "):
                        yield Row(f"line {number}", number, counted.count, line.refused or self._said(line.said))
                before += whole.count(b"\n")
                if not piece:
                    return

    def _said(self, said: list[Observation]) -> list[Observation] | Refused:
        if any(one.time is None for one in said):
            return Refused("no time", "what is imported has to say when it was measured")
        return with_fixed(said, self._fixed)
