"""Faults of what InfluxDB holds, keeps and allows: rows deleted, set back, a short retention, a token revoked."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import aiohttp

from iotd.model.errors import IotdError
from iotd.ops.control import request
from tests.chaos.faults.archive import archiving
from tests.chaos.faults.base import fault
from tests.chaos.world import World

_NO_ANSWER = (aiohttp.ClientError, OSError, TimeoutError)
"""Another fault may have taken the archive."""


@fault
async def archive_rows_deleted(world: World, rng: Random) -> AsyncIterator[str]:
    # through its own API, as a person does who cleans up; a verification finds it, and the shard still has them
    location = rng.choice(world.locations)
    world.tampered.add(location)
    async with archiving(world):
        await asyncio.sleep(2)
    end = datetime.now(UTC)
    begin = end - timedelta(seconds=rng.choice((3, 30, 3_600)))
    what = f'location="{location}"' + rng.choice(("", ' AND sensor_id="1"'))
    with suppress(*_NO_ANSWER):
        await world.influx.delete(begin, end, what)
    yield f"{what}, {(end - begin).total_seconds():g} s"


@fault
async def archive_set_back(world: World, rng: Random) -> AsyncIterator[str]:
    # a backup from some seconds ago comes back: watermarks speak of points that are gone
    world.tampered.update(world.rooms)
    folder = world.influx.disk.path
    backup = folder.with_name("influxdb-backup")
    world.kill(world.influx.node)
    await asyncio.to_thread(shutil.copytree, folder, backup)
    try:
        await world.influx.mend()
        async with archiving(world):
            await asyncio.sleep(rng.uniform(2, 8))
        world.kill(world.influx.node)
        await asyncio.to_thread(_replace, folder, backup)
        await world.influx.mend()
        yield "by some seconds"
    finally:
        await asyncio.to_thread(shutil.rmtree, backup)


@fault
async def archive_keeps_less_than_there_is(world: World, rng: Random) -> AsyncIterator[str]:
    # InfluxDB refuses what is older than it keeps; put right, it is taken all the same
    world.tampered.update(world.rooms)
    async with archiving(world):
        with suppress(*_NO_ANSWER):
            await world.influx.keep(seconds=3_600)
        try:
            yield "one hour"
        finally:
            await _put_right(world, lambda: world.influx.keep(seconds=0))
    with suppress(IotdError):
        await request(world.settings.state, "POST", "/archive/retry-rejected")


@fault
async def archive_token_revoked_during_a_pass(world: World, rng: Random) -> AsyncIterator[str]:
    world.influx.proxy.rate = 300_000
    try:
        async with archiving(world):
            await asyncio.sleep(rng.uniform(0.2, 1.5))
            with suppress(*_NO_ANSWER):
                await world.influx.allow(False)
            try:
                yield "and given back"
            finally:
                await _put_right(world, lambda: world.influx.allow(True))
    finally:
        world.influx.proxy.rate = None


async def _put_right(world: World, how: Callable[[], Awaitable[None]]) -> None:
    """At once, or as soon as influxd answers again."""

    async def put_right() -> None:
        try:
            await how()
        except _NO_ANSWER as e:
            raise IotdError(f"influxd: {e!r}") from None

    try:
        await put_right()
    except IotdError:
        world.owe(put_right)


def _replace(folder: Path, backup: Path) -> None:
    for path in folder.iterdir():
        if path.name in ("pid", "output", "log"):
            continue  # of the process
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    for path in backup.iterdir():
        if path.name not in ("pid", "output", "log"):
            if path.is_dir():
                shutil.copytree(path, folder / path.name)
            else:
                shutil.copy2(path, folder)
