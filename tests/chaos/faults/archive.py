"""Faults of the archive: InfluxDB itself, what stands before it, and the daemon between a write and its watermark."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random

from iotd.model.errors import IotdError
from iotd.ops.control import request
from tests.chaos.faults.base import fault
from tests.chaos.world import World
from tests.servers.influxproxy import WRITE, Answer, CutAnswer, CutRequest, Endless, Fault, Mute
from tests.servers.system import until


@asynccontextmanager
async def archiving(world: World) -> AsyncIterator[None]:
    """The archiver is asked to work meanwhile: nothing would be seen of a fault between two passes."""

    async def ask() -> None:
        while True:
            with suppress(IotdError):
                await request(world.settings.state, "POST", "/archive/now")
            await asyncio.sleep(0.2)

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


@asynccontextmanager
async def _proxied(world: World, *faults: Fault, path: str = WRITE) -> AsyncIterator[None]:
    for one in faults:
        world.influx.proxy.inject(one, path=path)
    async with archiving(world):
        try:
            yield
        finally:
            world.influx.proxy.heal()


@fault
async def archive_killed(world: World, rng: Random) -> AsyncIterator[str]:
    async with archiving(world):
        await asyncio.sleep(rng.uniform(0, 0.5))
        try:
            yield world.kill(world.influx.node)
        finally:
            await world.influx.mend()


@fault
async def archive_hangs(world: World, rng: Random) -> AsyncIterator[str]:
    async with archiving(world):
        with world.hanging(world.influx.node) as name:
            yield name


@fault
async def archive_disk_full(world: World, rng: Random) -> AsyncIterator[str]:
    async with archiving(world):
        try:
            with world.influx.disk.full():
                yield "not a byte left for influxd"
        finally:
            # influxd 2.7 does not try again to open a shard that it could not open for want of room
            world.kill(world.influx.node)
            await world.influx.mend()


@fault
async def archive_answers_with_an_error(world: World, rng: Random) -> AsyncIterator[str]:
    status = rng.choice([400, 413, 422, 429, 500, 502, 503])
    headers = {"Retry-After": str(rng.randrange(3))} if status in (429, 503) and rng.random() < 0.5 else {}
    async with _proxied(world, Answer(status, headers=headers), path=rng.choice([WRITE, ""])):
        yield f"{status} {headers or ''}"


@fault
async def archive_connection_cut(world: World, rng: Random) -> AsyncIterator[str]:
    after = rng.choice([0, rng.randrange(200), rng.randrange(200_000)])
    cuts: list[Fault] = [CutRequest(after), CutAnswer(after % 200)]
    cut = rng.choice(cuts)
    async with _proxied(world, cut):
        yield str(cut)


@fault
async def archive_answer_lost(world: World, rng: Random) -> AsyncIterator[str]:
    async with _proxied(world, CutAnswer(0)):
        yield "stored, and the 204 never came"


@fault
async def archive_answer_never_ends(world: World, rng: Random) -> AsyncIterator[str]:
    kinds: list[Fault] = [Mute(), Endless(), Endless(chunk=65_536, pause=0.001)]
    endless = rng.choice(kinds)
    async with _proxied(world, endless):
        yield str(endless)


@fault
async def daemon_killed_between_archive_write_and_watermark(world: World, rng: Random) -> AsyncIterator[str]:
    proxy = world.influx.proxy
    async with _proxied(world, CutAnswer(0)):
        before = proxy.passed[WRITE]

        async def stored() -> bool:
            return proxy.passed[WRITE] > before

        with suppress(AssertionError):  # another fault may keep it from writing
            await until(stored, 15, "the archive has stored a write")
        world.kill_daemon()
    world.start_daemon()
    yield "the archive has it, and nobody knows"


@fault
async def watermarks_damaged(world: World, rng: Random) -> AsyncIterator[str]:
    harm = rng.choice(["cut", "garbage", "torn", "gone"])
    world.kill_daemon()
    _harm_watermarks(world, harm)
    world.start_daemon()
    yield harm


@fault
async def failover_in_the_middle_of_a_page(world: World, rng: Random) -> AsyncIterator[str]:
    # all that the shards hold is archived again, slowly, and meanwhile a master dies
    location = rng.choice(world.locations)
    world.kill_daemon()
    _harm_watermarks(world, "gone")
    world.influx.proxy.rate = 300_000
    world.start_daemon()
    before = world.influx.proxy.passed[WRITE]

    async def writing() -> bool:
        return world.influx.proxy.passed[WRITE] > before + 2

    with suppress(AssertionError):
        await until(writing, 15, "the archiver is at it")
    master = await world.master(location)
    world.kill(master)
    try:
        yield master.name
    finally:
        world.influx.proxy.rate = None


def _harm_watermarks(world: World, harm: str) -> None:
    path = world.settings.state / "watermarks.sqlite"
    if not path.exists():
        return
    whole = path.read_bytes()
    if harm == "gone":
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
    elif harm == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif harm == "garbage":
        path.write_bytes(b"\xff" * len(whole))
    else:
        path.write_bytes(whole[:4096] + bytes(4096) + whole[8192:])
