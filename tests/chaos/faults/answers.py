"""Faults in what servers answer: OOM, READONLY, NOREPLICAS, MISCONF, no append-only file, a Sentinel that lies."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random

from iotd.config.topology import Node
from iotd.model.errors import IotdError
from tests.chaos import liar
from tests.chaos.faults.base import fault
from tests.chaos.world import World


@asynccontextmanager
async def _configured(world: World, node: Node, name: str, value: str) -> AsyncIterator[str]:
    try:
        await _set(world, node, name, value)
        yield node.name
    finally:
        await _set(world, node, name, "0")


async def _set(world: World, node: Node, name: str, value: str) -> None:
    with suppress(IotdError):  # another fault may have taken the node; the next start of it sets all anew
        await world.system.ask(node.name, "CONFIG", "SET", name, value)


@fault
async def master_out_of_memory(world: World, rng: Random) -> AsyncIterator[str]:
    master = await world.master(rng.choice(world.locations))
    async with _configured(world, master, "maxmemory", "1") as name:
        yield name


@fault
async def master_wants_more_replicas(world: World, rng: Random) -> AsyncIterator[str]:
    master = await world.master(rng.choice(world.locations))
    async with _configured(world, master, "min-replicas-to-write", "5") as name:
        yield name


@fault
async def master_made_a_replica_by_hand(world: World, rng: Random) -> AsyncIterator[str]:
    master, replica = await world.pair(rng.choice(world.locations))
    with suppress(IotdError):
        await world.system.ask(master.name, "REPLICAOF", *map(str, replica.address))
    try:
        yield master.name
    finally:
        with suppress(IotdError):
            if not await world.system.says_master(replica.name):
                await world.system.ask(master.name, "REPLICAOF", "NO", "ONE")


@fault
async def master_can_not_save(world: World, rng: Random) -> AsyncIterator[str]:
    # MISCONF: its snapshot fails for real, because a folder stands where the file is to come
    master = await world.master(rng.choice(world.locations))
    obstacle = world.backend.folder(master) / "dump.rdb"
    obstacle.unlink(missing_ok=True)
    (obstacle / "in-the-way").mkdir(parents=True)
    await _set(world, master, "stop-writes-on-bgsave-error", "yes")
    await _set(world, master, "save", "1 1")
    try:
        yield master.name
    finally:
        shutil.rmtree(obstacle, ignore_errors=True)
        await _set(world, master, "save", "")


@fault
async def append_only_file_switched_off(world: World, rng: Random) -> AsyncIterator[str]:
    # should both nodes be killed then, what only they had is written back from the archive
    location = rng.choice(world.locations)
    node = rng.choice(await world.pair(location))
    world.tampered.add(location)
    await _set(world, node, "appendonly", "no")
    try:
        yield node.name
    finally:
        await _set(world, node, "appendonly", "yes")


@fault
async def sentinel_that_lies(world: World, rng: Random) -> AsyncIterator[str]:
    # only a fake can: a real one is soon put right by the others
    location = rng.choice(world.locations)
    sentinel = rng.choice(world.sentinels(location))
    _, replica = await world.pair(location)
    world.kill(sentinel)
    command = [sys.executable, str(Path(liar.__file__)), *map(str, sentinel.address), location]
    fake = subprocess.Popen(world.host(sentinel).inside([*command, *map(str, replica.address)]))
    try:
        yield f"{sentinel.name} names {replica.name}"
    finally:
        fake.kill()
        fake.wait()
