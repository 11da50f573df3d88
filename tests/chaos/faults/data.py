"""Faults of what a shard holds: deleted, flushed or altered behind iotd's back."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from random import Random
from typing import Any

from iotd.model.errors import IotdError
from tests.chaos.faults.base import fault
from tests.chaos.world import World


@fault
async def series_deleted(world: World, rng: Random) -> AsyncIterator[str]:
    location = rng.choice(world.locations)
    key = await _some_key(world, location, rng)
    await _tell(world, location, "DEL", key)
    yield key


@fault
async def range_deleted(world: World, rng: Random) -> AsyncIterator[str]:
    # of what came last: the archive's pass is still to come for most of it
    location = rng.choice(world.locations)
    key = await _some_key(world, location, rng)
    last = await _tell(world, location, "TS.GET", key)
    if last:
        await _tell(world, location, "TS.DEL", key, last[0] - rng.randrange(500, 9_000), last[0])
    yield key


@fault
async def shard_flushed(world: World, rng: Random) -> AsyncIterator[str]:
    location = rng.choice(world.locations)
    await _tell(world, location, "FLUSHALL")
    yield location


@fault
async def sample_altered(world: World, rng: Random) -> AsyncIterator[str]:
    # one that is not archived yet; with the daemon away, so that none is taken that is being archived now
    location = rng.choice(world.locations)
    await asyncio.sleep(rng.uniform(0.5, 2))
    world.kill_daemon()
    altered = await _alter(world, location, rng)
    world.start_daemon()
    yield altered or f"{location}: none was there"


async def _alter(world: World, location: str, rng: Random) -> str | None:
    marks = _watermarks(world)
    for _, readings in sorted(world.logged(location).items()):
        series, time, value = rng.choice(readings)
        if time <= marks.get(series.key, time):
            continue
        held = await _tell(world, location, "TS.RANGE", series.key, time, time)
        if held and float(held[0][1]) == value:
            await _tell(world, location, "TS.ADD", series.key, time, repr(value + 1), "ON_DUPLICATE", "LAST")
            return f"{series.key} at {time}"
    return None


def _watermarks(world: World) -> dict[str, int]:
    path = world.settings.state / "watermarks.sqlite"
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as db:
        return dict(db.execute("SELECT key, max(ms) FROM watermarks GROUP BY key").fetchall())
    return {}


async def _some_key(world: World, location: str, rng: Random) -> str:
    keys = await _tell(world, location, "TS.QUERYINDEX", f"location={location}")
    return rng.choice(sorted(keys)).decode() if keys else "none"


async def _tell(world: World, location: str, *command: str | int) -> Any:
    """One command to the master, and its reply; None where another fault has taken it."""
    world.tampered.add(location)
    with suppress(IotdError):
        return await world.system.ask((await world.master(location)).name, *command)
    return None
