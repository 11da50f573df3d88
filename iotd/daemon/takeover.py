"""The state directory of version 0.1 is taken over once: its spool goes into the log, what it has done is remembered.

Version 0.1 kept what was not confirmed as TS.MADD commands in ``spool.sqlite``. They are parsed and appended to the log
as readings; shards and archive take them again, which changes nothing there. The file is then renamed, and kept.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from iotd.intake.catalogue import Catalogue
from iotd.log.base import Log
from iotd.model.batch import Times, Values
from iotd.model.errors import StateError
from iotd.model.series import Series
from iotd.model.types import Types
from iotd.ops.loggers import get_logger
from iotd.shards.identity import TAKEN_OVER
from iotd.sources.simulator.source import Span, source_name

log = get_logger(__name__)

_LANE_SHIFT = 40
_FIELDS = 6
"""Lines of RESP for one reading of a command: length and text of key, time and value."""


async def take_over_spool(state: Path, target: Log, catalogue: Catalogue, types: Types) -> None:
    """Appends what the spool of version 0.1 holds, if there is one; killed meanwhile, it is done again from the start.

    Raises:
        StateError: the spool can't be read.
    """
    path = state / "spool.sqlite"
    if not path.exists():
        return
    try:
        lanes = await asyncio.to_thread(_lanes, path)
        count = 0
        for lane, location, first, last in lanes:
            for sequence in await asyncio.to_thread(_sequences, path, lane):
                keys, times, values = await asyncio.to_thread(_entry, path, sequence)
                numbers = await _register(keys, catalogue, types)
                await target.append(location, numbers, times, values)
                count += len(times)
            if first is not None:
                span = Span(first, last)
                empty = np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float64)
                await target.append(location, *empty, [(source_name(location), span.to_bytes())])
    except sqlite3.Error as e:
        raise StateError(
            f"{path}: the spool of version 0.1 can't be read ({e}); it may hold readings that are nowhere else: "
            "mend the disk, or move the file away to begin without it"
        ) from None
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.replace(path.with_name(TAKEN_OVER))
    log.info("spool_taken_over", readings=count, locations=[location for _, location, _, _ in lanes])


def _open(path: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(path, isolation_level=None, timeout=10))


def _lanes(path: Path) -> list[tuple[int, str, int | None, int]]:
    with _open(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # so that the file alone is all of it
        return db.execute("SELECT id, location, first_ms, last_ms FROM lanes ORDER BY id").fetchall()


def _sequences(path: Path, lane: int) -> list[int]:
    with _open(path) as db:
        low, high = lane << _LANE_SHIFT, (lane + 1) << _LANE_SHIFT
        rows = db.execute("SELECT id FROM entries WHERE id > ? AND id < ? ORDER BY id", (low, high))
        return [row[0] for row in rows]


def _entry(path: Path, sequence: int) -> tuple[list[bytes], Times, Values]:
    with _open(path) as db:
        (payload,) = db.execute("SELECT payload FROM entries WHERE id = ?", (sequence,)).fetchone()
    found = list(_readings(payload))
    times = np.array([time for _, time, _ in found], np.int64)
    return [key for key, _, _ in found], times, np.array([value for _, _, value in found], np.float64)


def _readings(payload: bytes) -> Iterator[tuple[bytes, int, float]]:
    lines = payload.split(b"\r\n")
    at = 0
    while at < len(lines) - 1:
        count = (int(lines[at][1:]) - 1) // 3
        at += 3  # the array's header, and the command's name with its length
        for _ in range(count):
            yield lines[at + 1], int(lines[at + 3]), float(lines[at + 5])
            at += _FIELDS


async def _register(
    keys: list[bytes], catalogue: Catalogue, types: Types
) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    known = {key: Series.from_key(key.decode(), types) for key in dict.fromkeys(keys)}
    await catalogue.register(list(known.values()), "version 0.1")
    number = {key: catalogue.number_of(series) for key, series in known.items()}
    return np.array([number[key] for key in keys], np.int32)
