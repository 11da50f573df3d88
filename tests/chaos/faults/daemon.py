"""Faults of the daemon, and of its disk that is full."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from random import Random

from tests.chaos.faults.base import fault
from tests.chaos.world import World

_KILLS = 5
_ANSWERS_S = 15


@fault
async def daemon_killed(world: World, rng: Random) -> AsyncIterator[str]:
    world.kill_daemon()
    try:
        yield "at any moment"
    finally:
        world.start_daemon()


@fault
async def daemon_killed_again_and_again(world: World, rng: Random) -> AsyncIterator[str]:
    # while it starts, and under whatever its clients bring at once
    for _ in range(_KILLS):
        world.kill_daemon()
        world.start_daemon()
        with suppress(AssertionError):  # another fault may keep it from that
            await world.daemon.running(_ANSWERS_S)
        await asyncio.sleep(rng.uniform(0, 3))
    world.kill_daemon()
    world.start_daemon()
    yield f"{_KILLS + 1} times"


@fault
async def daemon_killed_between_write_and_confirmation(world: World, rng: Random) -> AsyncIterator[str]:
    # while its replicas hang, what is written can't be confirmed
    replicas = [(await world.pair(location))[1] for location in world.locations]
    with world.hanging(*replicas):
        await asyncio.sleep(rng.uniform(0.5, 2))
        world.kill_daemon()
    world.start_daemon()
    yield "with readings written and not confirmed"


@fault
async def daemon_killed_in_a_failover(world: World, rng: Random) -> AsyncIterator[str]:
    location = rng.choice(world.locations)
    master = await world.master(location)
    world.kill(master)
    await asyncio.sleep(rng.uniform(0, 2.5))
    world.kill_daemon()
    world.start_daemon()
    yield master.name


@fault
async def daemon_hangs(world: World, rng: Random) -> AsyncIterator[str]:
    process = world.daemon.process
    process.send_signal(signal.SIGSTOP)
    try:
        yield "SIGSTOP"
    finally:
        process.send_signal(signal.SIGCONT)


@fault
async def disk_full(world: World, rng: Random) -> AsyncIterator[str]:
    # nothing becomes durable, so that the log can't make do with the room that it has
    replicas = [(await world.pair(location))[1] for location in world.locations]
    with world.hanging(*replicas), world.disk.full():
        yield "no byte is left"
