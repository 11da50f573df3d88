"""A source that follows a CSV file which something else appends to: ``time,location,type,sensor,value``, a line each.

The time is in ms since the epoch, or ISO 8601. It is the example of ``ADDING.md``: everything a source needs is here.
"""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from iotd.model.batch import Batch
from iotd.model.errors import ConfigError
from iotd.model.series import Series
from iotd.sources.base import Context, Intake

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
        rows: dict[str, list[tuple[Series, int, float]]] = {}
        strange: list[dict[str, str]] = []
        for line in chunk.decode(errors="replace").splitlines():
            if line == _HEAD:
                continue
            try:
                row = self._row(line)
            except (ValueError, csv.Error) as e:
                strange.append({"line": line[:1_000], "said": str(e)})
            else:
                rows.setdefault(row[0].location, []).append(row)
        if strange:
            await intake.hold("", strange, f"{self._path}: not a line of this form")
        if not rows:  # the position moves with the next reading; until then held lines would be held once more
            return
        for n, (location, its) in enumerate(rows.items(), start=1):
            batch = Batch(
                location,
                await intake.register([series for series, _, _ in its]),
                np.array([time for _, time, _ in its], np.int64),
                np.array([value for _, _, value in its], np.float64),
            )
            # the position is true once all locations' readings are there: it goes with the last of them
            await intake.put(batch, position if n == len(rows) else None)

    def _row(self, line: str) -> tuple[Series, int, float]:
        time, location, kind, sensor, value = next(csv.reader([line]))
        if location not in self._context.locations:
            raise ValueError(f"no location {location!r}")
        if kind not in self._context.types:
            raise ValueError(f"no type {kind!r}")
        series = Series(kind, location, sensor, self._context.types.unit(kind))
        return series, _ms(time), float(value)


def _ms(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    moment = datetime.fromisoformat(text)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
