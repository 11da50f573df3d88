"""Faults of the network: hosts that can't reach each other, one way or both, and slow links."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

from tests.chaos.faults.base import fault
from tests.chaos.world import World

_FLAPS = 5


@fault
async def master_isolated(world: World, rng: Random) -> AsyncIterator[str]:
    # with a Sentinel on its side; it goes on believing that it is master
    host = world.host(await world.master(rng.choice(world.locations)))
    with world.hosts.cut(host, world.hosts.others(host)):
        yield host.name


@fault
async def replica_isolated(world: World, rng: Random) -> AsyncIterator[str]:
    _, replica = await world.pair(rng.choice(world.locations))
    host = world.host(replica)
    with world.hosts.cut(host, world.hosts.others(host)):
        yield host.name


@fault
async def master_and_replica_parted(world: World, rng: Random) -> AsyncIterator[str]:
    a, b = map(world.host, await world.pair(rng.choice(world.locations)))
    with world.hosts.cut(a, [b]):
        yield f"{a.name} from {b.name}"


@fault
async def master_killed_with_writes_that_never_left_it(world: World, rng: Random) -> AsyncIterator[str]:
    # a replica that only hangs may still find them in its socket
    location = rng.choice(world.locations)
    master, replica = await world.pair(location)
    with world.hosts.cut(world.host(master), [world.host(replica)]):
        await asyncio.sleep(8)
        world.kill(master)
        await world.promoted(location, master)
        yield master.name


@fault
async def master_sends_and_does_not_hear(world: World, rng: Random) -> AsyncIterator[str]:
    host = world.host(await world.master(rng.choice(world.locations)))
    with world.hosts.cut(host, world.hosts.others(host), one_way=True):
        yield host.name


@fault
async def daemon_isolated(world: World, rng: Random) -> AsyncIterator[str]:
    with world.hosts.cut(world.home, world.hosts.others(world.home)):
        yield world.home.name


@fault
async def daemon_parted_from_a_master(world: World, rng: Random) -> AsyncIterator[str]:
    # the Sentinels beside master and replica see nothing wrong
    host = world.host(await world.master(rng.choice(world.locations)))
    with world.hosts.cut(world.home, [host]):
        yield f"{world.home.name} from {host.name}"


@fault
async def slow_link(world: World, rng: Random) -> AsyncIterator[str]:
    # slower than what the master has to send to its replica, so that the replica falls behind
    host = world.host(await world.master(rng.choice(world.locations)))
    kbit = rng.choice((64, 256, 1024))
    with world.hosts.slow(host, kbit):
        yield f"{host.name}, {kbit} kbit/s"


@fault
async def client_cut_off(world: World, rng: Random) -> AsyncIterator[str]:
    host = world.clients.host
    with world.hosts.cut(host, [world.home]):
        yield host.name


@fault
async def client_sends_and_does_not_hear(world: World, rng: Random) -> AsyncIterator[str]:
    # acknowledgements are lost, so that it sends again what was taken
    host = world.clients.host
    with world.hosts.cut(host, [world.home], one_way=True):
        yield host.name


@fault
async def client_link_flaps(world: World, rng: Random) -> AsyncIterator[str]:
    host = world.clients.host
    for _ in range(_FLAPS):
        with world.hosts.cut(host, [world.home], one_way=rng.random() < 0.5):
            await asyncio.sleep(rng.uniform(0.1, 1.5))
        await asyncio.sleep(rng.uniform(0.1, 1))
    yield f"{host.name}, {_FLAPS} times"


@fault
async def client_behind_a_slow_link(world: World, rng: Random) -> AsyncIterator[str]:
    host = world.clients.host
    kbit = rng.choice((8, 32, 128))
    with world.hosts.slow(host, kbit):
        yield f"{host.name}, {kbit} kbit/s"
