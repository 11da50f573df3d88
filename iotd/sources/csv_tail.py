"""A source that follows a CSV file which something else appends to: ``time,location,type,sensor,value``, a line each.

The time is in s or ms since the epoch, or ISO 8601. It is the example of ``ADDING.md``: all a source needs is here.
"""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iotd.model.errors import ConfigError, Refused
from iotd.model.observation import Observation, Piece
from iotd.sources.base import Context, Intake
from iotd.sources.http.jsonreadings import as_json

_AT_ONCE = 256 * 1024
"""Bytes read at once; a longer line is held."""


_HEAD = "time,location,type,sensor,value"


def source(name: str, options: Mapping[str, Any], context: Context) -> CsvTail:
    """The source of a table ``[sources.NAME]`` with ``kind = "csv_tail"``."""
    match dict(options):
        case {"path": str(path), **rest} if not rest:
            return CsvTail(name, Path(path).expanduser(), context)
    raise ConfigError(f"sources.{name}: it takes one key beside kind, path: the file to follow")


class CsvTail:
    """Reads whole lines behind the last byte that was committed; a file that was made anew is read from its start."""

    def __init__(self, name: str, path: Path, context: Context) -> None:
        self.name = name
        self._path = path
        self._context = context

    async def run(self, intake: Intake) -> None:
        """See :class:`iotd.sources.base.Source`."""
        inode, at = map(int, (intake.position() or b"0 0").split())
        while True:
            found, chunk, upto = await asyncio.to_thread(self._read, inode, at)
            if not chunk:
                await self._context.clock.sleep(200)
                continue
            await self._hand_over(intake, chunk, b"%d %d" % (found, upto))
            inode, at = found, upto

    def _read(self, inode: int, at: int) -> tuple[int, bytes, int]:
        try:
            with self._path.open("rb") as f:
                found = self._path.stat().st_ino
                begin = at if found == inode else 0
                f.seek(begin)
                chunk = f.read(_AT_ONCE)
        except FileNotFoundError:
            return inode, b"", at
        whole = chunk if len(chunk) == _AT_ONCE and b"\n" not in chunk else chunk[: chunk.rfind(b"\n") + 1]
        return found, whole, begin + len(whole)

    async def _hand_over(self, intake: Intake, chunk: bytes, position: bytes) -> None:
        lines = chunk.decode(errors="replace").splitlines()
        pieces = [_piece(self._path.name, line) for line in lines if line and line != _HEAD]
        await (await intake.observe(pieces, position, backlog=True))


def _piece(topic: str, line: str) -> Piece:
    try:
        time, location, kind, sensor, value = next(csv.reader([line]))
    except (ValueError, csv.Error) as e:
        return Piece("", topic, line.encode(), (), Refused("not a line of this form", f"{e}; it is {_HEAD}"))
    one = Observation(kind, sensor, value, location, time=time)
    return Piece("json", topic, as_json(one), (one,))
