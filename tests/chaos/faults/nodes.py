"""Faults of servers: killed, hanging, restarted empty, one after the other, all at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

from tests.chaos.faults.base import fault
from tests.chaos.world import World


@fault
async def master_killed(world: World, rng: Random) -> AsyncIterator[str]:
    master = await world.master(rng.choice(world.locations))
    world.backend.kill(master)
    yield master.name


@fault
async def master_hangs(world: World, rng: Random) -> AsyncIterator[str]:
    master = await world.master(rng.choice(world.locations))
    world.backend.pause(master)
    try:
        yield master.name
    finally:
        world.backend.resume(master)


@fault
async def replica_killed(world: World, rng: Random) -> AsyncIterator[str]:
    _, replica = await world.pair(rng.choice(world.locations))
    world.backend.kill(replica)
    yield replica.name


@fault
async def replica_hangs(world: World, rng: Random) -> AsyncIterator[str]:
    _, replica = await world.pair(rng.choice(world.locations))
    world.backend.pause(replica)
    try:
        yield replica.name
    finally:
        world.backend.resume(replica)


@fault
async def replica_stalled_and_then_the_master_killed(world: World, rng: Random) -> AsyncIterator[str]:
    # everything the master acknowledged meanwhile is gone with it
    master, replica = await world.pair(rng.choice(world.locations))
    world.backend.pause(replica)
    await asyncio.sleep(8)
    world.backend.kill(master)
    world.backend.resume(replica)
    yield f"{replica.name}, {master.name}"


@fault
async def one_master_killed_after_the_other(world: World, rng: Random) -> AsyncIterator[str]:
    location = rng.choice(world.locations)
    first, second = await world.pair(location)
    world.backend.kill(first)
    await world.promoted(location, first)
    await world.system.stack.start(first.name)
    world.backend.kill(second)
    yield f"{first.name}, then {second.name}"


@fault
async def second_failover_right_after_the_first(world: World, rng: Random) -> AsyncIterator[str]:
    location = rng.choice(world.locations)
    first, second = await world.pair(location)
    world.backend.kill(first)
    await world.promoted(location, first)
    world.restart(first, second.address)
    world.backend.kill(second)  # whether or not the first is in sync by now
    yield f"{first.name}, {second.name}"


@fault
async def both_nodes_killed(world: World, rng: Random) -> AsyncIterator[str]:
    pair = await world.pair(rng.choice(world.locations))
    for node in pair:
        world.backend.kill(node)
    yield ", ".join(node.name for node in pair)


@fault
async def two_masters_killed_at_once(world: World, rng: Random) -> AsyncIterator[str]:
    chosen = rng.sample(world.locations, min(2, len(world.locations)))
    masters = [await world.master(location) for location in chosen]
    for master in masters:
        world.backend.kill(master)
    yield ", ".join(master.name for master in masters)


@fault
async def all_masters_killed_at_once(world: World, rng: Random) -> AsyncIterator[str]:
    masters = [await world.master(location) for location in world.locations]
    for master in masters:
        world.backend.kill(master)
    yield ", ".join(master.name for master in masters)


@fault
async def master_restarted_at_once(world: World, rng: Random) -> AsyncIterator[str]:
    # it answers LOADING until its append-only file is read
    master = await world.master(rng.choice(world.locations))
    world.backend.kill(master)
    world.restart(master, None)
    yield master.name


@fault
async def master_restarted_empty(world: World, rng: Random) -> AsyncIterator[str]:
    # always the same location: in the others the shard alone must hold everything
    location = world.locations[-1]
    master = await world.master(location)
    world.emptied.add(location)
    world.backend.kill(master)
    world.restart(master, None, empty=True)
    yield master.name


@fault
async def sentinel_killed(world: World, rng: Random) -> AsyncIterator[str]:
    sentinel = rng.choice(world.sentinels(rng.choice(world.locations)))
    world.backend.kill(sentinel)
    yield sentinel.name


@fault
async def sentinel_hangs(world: World, rng: Random) -> AsyncIterator[str]:
    sentinel = rng.choice(world.sentinels(rng.choice(world.locations)))
    world.backend.pause(sentinel)
    try:
        yield sentinel.name
    finally:
        world.backend.resume(sentinel)


@fault
async def sentinel_hangs_and_the_master_is_killed(world: World, rng: Random) -> AsyncIterator[str]:
    location = rng.choice(world.locations)
    sentinel, master = rng.choice(world.sentinels(location)), await world.master(location)
    world.backend.pause(sentinel)
    world.backend.kill(master)
    try:
        yield f"{sentinel.name}, {master.name}"
    finally:
        world.backend.resume(sentinel)


@fault
async def all_sentinels_killed(world: World, rng: Random) -> AsyncIterator[str]:
    location = rng.choice(world.locations)
    for sentinel in world.sentinels(location):
        world.backend.kill(sentinel)
    yield location


@fault
async def all_sentinels_killed_and_the_master(world: World, rng: Random) -> AsyncIterator[str]:
    location = rng.choice(world.locations)
    for sentinel in world.sentinels(location):
        world.backend.kill(sentinel)
    master = await world.master(location)
    world.backend.kill(master)
    yield master.name
