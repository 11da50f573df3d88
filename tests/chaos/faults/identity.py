"""Faults of who is who: a node with another's dataset, a Sentinel that has forgotten its master."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from random import Random

from iotd.config.topology import Node
from iotd.model.errors import IotdError
from iotd.shards.identity import IDENTITY_KEY, Identity
from tests.chaos.faults.base import fault
from tests.chaos.world import World

_SENTINEL = {
    "down-after-milliseconds": "500",
    "failover-timeout": "3000",
    "parallel-syncs": "1",
    "master-reboot-down-after-period": "500",
    "auth-pass": "chaos",
}
"""As :func:`iotd.stack.conf.sentinel_conf` has it in the lab."""


@fault
async def replica_replaced_by_a_foreign_node(world: World, rng: Random) -> AsyncIterator[str]:
    # somebody put another node at this address; the Sentinels make it a replica after a while, and it is ours again. If
    # they promote it before that, both nodes have its dataset, and a person has to empty them
    location = rng.choice(world.locations)
    master, replica = await world.pair(location)
    world.kill(replica)
    world.restart(replica, None, empty=True)
    identity = _foreign(world, location, rng)
    with suppress(IotdError):
        await world.until_it_answers(replica)
        await world.system.ask(replica.name, "SET", IDENTITY_KEY, identity)
        await world.system.ask(replica.name, "TS.ADD", f"sensor:temperature:{location}:1", "1000", "1")

    async def empty() -> None:
        for name in (master.name, replica.name):
            foreign = await world.system.ask(name, "GET", IDENTITY_KEY) == identity.encode()
            if foreign and await world.system.says_master(name):
                await world.system.ask(name, "FLUSHALL")

    world.owe(empty)
    yield f"{replica.name}: {identity}"


@fault
async def replica_says_that_it_is_another_s(world: World, rng: Random) -> AsyncIterator[str]:
    # it follows the master all the same: should it be promoted, nothing may be written to it
    location = rng.choice(world.locations)
    master, replica = await world.pair(location)
    ours = None
    with suppress(IotdError):
        ours = await world.system.ask(master.name, "GET", IDENTITY_KEY)
    identity = _foreign(world, location, rng)
    if ours is not None:
        with suppress(IotdError):
            await _write_identity(world, replica, identity)
    try:
        yield f"{replica.name}: {identity}"
    finally:
        if ours is not None:
            text = ours.decode()

            async def put_right() -> None:
                await world.until_it_answers(replica)
                await _write_identity(world, replica, text)

            try:
                await _write_identity(world, replica, text)
            except IotdError:
                world.owe(put_right)


@fault
async def sentinel_forgets_its_master(world: World, rng: Random) -> AsyncIterator[str]:
    location = rng.choice(world.locations)
    sentinels = world.sentinels(location)
    forgetful = rng.sample(sentinels, rng.choice((1, 1, 2, 3)))
    for sentinel in forgetful:
        with suppress(IotdError):
            await world.system.ask(sentinel.name, "SENTINEL", "REMOVE", _service(world, location))
    try:
        # asked once in `sentinel.poll_interval`, and told when it has lasted
        with world.expecting("sentinel_foreign", location, within=5 + 5 + 3):
            yield ", ".join(sentinel.name for sentinel in forgetful)
    finally:
        for sentinel in forgetful:

            async def teach(sentinel: Node = sentinel) -> None:
                await _teach(world, location, sentinel)

            try:
                await teach()
            except IotdError:
                world.owe(teach)


def _foreign(world: World, location: str, rng: Random) -> str:
    system, room = rng.choice((("another-system", location), ("another-system", "cave"), ("", "cave")))
    made = Identity.new(system or world.settings.state.name, room)
    return f'{{"system": "{made.system}", "shard": "{made.shard}", "created": "{made.created}"}}'


async def _write_identity(world: World, node: Node, identity: str) -> None:
    if await world.system.ask(node.name, "GET", IDENTITY_KEY) == identity.encode():
        return
    async with world.system.connection(node.name) as redis:
        await redis.call("CONFIG", "SET", "replica-read-only", "no")
        await redis.call("SET", IDENTITY_KEY, identity)
        await redis.call("CONFIG", "SET", "replica-read-only", "yes")


async def _teach(world: World, location: str, sentinel: Node) -> None:
    """Has a Sentinel watch the master again, unless it does; one that does not run is started with its first file."""
    if world.backend.state(sentinel) != "running":
        world.backend.folder(sentinel).joinpath("made-from").unlink(missing_ok=True)
        return
    service = _service(world, location)
    async with world.system.connection(sentinel.name) as asked:
        if await asked.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service):
            return
        master = (await world.master(location)).address
        await asked.call("SENTINEL", "MONITOR", service, master.host, str(master.port), "2")
        for name, value in _SENTINEL.items():
            await asked.call("SENTINEL", "SET", service, name, value)


def _service(world: World, location: str) -> str:
    return world.system.topology.shard(location).service
