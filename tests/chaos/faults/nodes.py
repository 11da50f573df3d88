"""Faults of servers: killed, hanging, restarted empty, one after the other, all at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

from tests.chaos.faults.base import fault
from tests.chaos.world import World


@fault
async def master_killed(world: World, rng: Random) -> AsyncIterator[str]:
    yield world.kill(await world.master(rng.choice(world.locations)))


@fault
async def master_hangs(world: World, rng: Random) -> AsyncIterator[str]:
    with world.hanging(await world.master(rng.choice(world.locations))) as name:
        yield name


@fault
async def replica_killed(world: World, rng: Random) -> AsyncIterator[str]:
    _, replica = await world.pair(rng.choice(world.locations))
    yield world.kill(replica)


@fault
async def replica_hangs(world: World, rng: Random) -> AsyncIterator[str]:
    _, replica = await world.pair(rng.choice(world.locations))
    with world.hanging(replica) as name:
        yield name


@fault
async def replica_stalled_and_then_the_master_killed(world: World, rng: Random) -> AsyncIterator[str]:
    # everything the master acknowledged meanwhile is gone with it
    master, replica = await world.pair(rng.choice(world.locations))
    with world.hanging(replica):
        await asyncio.sleep(8)
        world.kill(master)
    yield f"{replica.name}, {master.name}"


@fault
async def one_master_killed_after_the_other(world: World, rng: Random) -> AsyncIterator[str]:
    location = rng.choice(world.locations)
    first, second = await world.pair(location)
    world.kill(first)
    await world.promoted(location, first)
    await world.system.stack.start(first.name)
    world.kill(second)
    yield f"{first.name}, then {second.name}"


@fault
async def second_failover_right_after_the_first(world: World, rng: Random) -> AsyncIterator[str]:
    location = rng.choice(world.locations)
    first, second = await world.pair(location)
    world.kill(first)
    await world.promoted(location, first)
    world.restart(first, second.address)
    world.kill(second)  # whether or not the first is in sync by now
    yield f"{first.name}, {second.name}"


@fault
async def both_nodes_killed(world: World, rng: Random) -> AsyncIterator[str]:
    yield world.kill(*await world.pair(rng.choice(world.locations)))


@fault
async def two_masters_killed_at_once(world: World, rng: Random) -> AsyncIterator[str]:
    chosen = rng.sample(world.locations, min(2, len(world.locations)))
    yield world.kill(*[await world.master(location) for location in chosen])


@fault
async def all_masters_killed_at_once(world: World, rng: Random) -> AsyncIterator[str]:
    yield world.kill(*[await world.master(location) for location in world.locations])


@fault
async def master_restarted_at_once(world: World, rng: Random) -> AsyncIterator[str]:
    # it answers LOADING until its append-only file is read
    master = await world.master(rng.choice(world.locations))
    world.kill(master)
    world.restart(master, None)
    yield master.name


@fault
async def master_restarted_empty(world: World, rng: Random) -> AsyncIterator[str]:
    # its replica copies the emptiness; what the log does not have any more is written back from the archive
    location = rng.choice(world.locations)
    master = await world.master(location)
    world.tampered.add(location)
    world.kill(master)
    world.restart(master, None, empty=True)
    yield master.name


@fault
async def sentinel_killed(world: World, rng: Random) -> AsyncIterator[str]:
    yield world.kill(rng.choice(world.sentinels(rng.choice(world.locations))))


@fault
async def sentinel_hangs(world: World, rng: Random) -> AsyncIterator[str]:
    with world.hanging(rng.choice(world.sentinels(rng.choice(world.locations)))) as name:
        yield name


@fault
async def sentinel_hangs_and_the_master_is_killed(world: World, rng: Random) -> AsyncIterator[str]:
    location = rng.choice(world.locations)
    sentinel, master = rng.choice(world.sentinels(location)), await world.master(location)
    with world.hanging(sentinel) as name:
        yield f"{name}, {world.kill(master)}"


@fault
async def all_sentinels_killed(world: World, rng: Random) -> AsyncIterator[str]:
    location = rng.choice(world.locations)
    world.kill(*world.sentinels(location))
    yield location


@fault
async def all_sentinels_killed_and_the_master(world: World, rng: Random) -> AsyncIterator[str]:
    location = rng.choice(world.locations)
    world.kill(*world.sentinels(location))
    yield world.kill(await world.master(location))
