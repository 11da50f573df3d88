"""Adopting: shards of another system, whose state directory is lost, become this one's with all that they hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from iotd.config.topology import Shard
from iotd.daemon.runtime import Runtime
from iotd.daemon.system import note_system
from iotd.model.errors import IotdError, ShardForeign, ShardUnavailable, UsageError
from iotd.ops.loggers import get_logger
from iotd.shards.connection import Connection
from iotd.shards.identity import Expected, Identity, identify, locations_held, write
from iotd.shards.series import recover_series

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Holding:
    """What a shard holds that is not this system's.

    Attributes:
        system: whose it says that it is; None where it says nothing.
        created: when that system made it.
        node: the master, by name.
        series: how many.
        first, last: times of the oldest and of the newest reading, ms; None where there is none.
    """

    location: str
    system: str | None
    created: str | None
    node: str
    series: int
    first: int | None
    last: int | None


async def holdings(runtime: Runtime) -> list[Holding]:
    """What the shards hold that are not this system's.

    Raises:
        ShardError: one can't be asked.
        ShardForeign: one is another location's, and so none to adopt.
    """
    found = await asyncio.gather(*(_look(runtime, location.shard.shard) for location in runtime.locations.values()))
    return [holding for holding in found if holding is not None]


async def adopt(runtime: Runtime) -> list[Holding]:
    """Takes them over: this system has the id that they carry from now on, and knows their series.

    Raises:
        UsageError: there is nothing to adopt, or they are of several systems.
        ShardError: one can't be asked or written to; asking again goes on.
        StateError: log or catalogue can't be written.
    """
    found = await holdings(runtime)
    if not found:
        raise UsageError("there is nothing to adopt: every shard is this system's, or holds nothing")
    systems = sorted({holding.system for holding in found if holding.system} - {runtime.log.id})
    if len(systems) > 1:
        raise UsageError(
            f"these shards are of several systems ({', '.join(systems)}) and can't become one: "
            "take the locations of all but one out of the configuration"
        )
    system = systems[0] if systems else runtime.system
    for holding in found:
        await _learn(runtime, holding)
    await note_system(runtime.log, system)
    for location in runtime.locations.values():
        await _mark(runtime, location.shard.shard, system)
        await location.replace_shard(runtime.settings, runtime.tasks)
    log.warning("shards_adopted", system=system, locations=[holding.location for holding in found])
    return found


async def _look(runtime: Runtime, shard: Shard) -> Holding | None:
    async with _master(runtime, shard) as (connection, identity):
        if identity is not None and identity.system == runtime.system:
            return None
        held = (await locations_held(connection))[shard.location]
        if identity is None and not held:
            return None
        first, last = await _ends(connection, shard.location)
        return Holding(
            location=shard.location,
            system=identity.system if identity else None,
            created=identity.created if identity else None,
            node=shard.name_of(connection.address),
            series=held,
            first=first,
            last=last,
        )


async def _learn(runtime: Runtime, holding: Holding) -> None:
    async with _master(runtime, runtime.locations[holding.location].shard.shard) as (connection, _):
        await recover_series(connection, holding.location, runtime.catalogue)
        await runtime.catalogue.save()


async def _mark(runtime: Runtime, shard: Shard, system: str) -> None:
    async with _master(runtime, shard) as (connection, identity):
        if identity is None or identity.system != system:
            held = await locations_held(connection)
            if identity is not None or held[shard.location]:
                made = Identity.new(system, shard.name)
                await write(connection, made, replace=True)


async def _ends(connection: Connection, location: str) -> tuple[int | None, int | None]:
    of_location = ("FILTER", f"location={location}")
    last = await connection.call("TS.MGET", *of_location)
    keys = [key for key, _, sample in last if sample]
    infos = await connection.call_many([("TS.RANGE", key, "-", "+", "COUNT", 1) for key in keys])
    firsts = [int(info[0][0]) for info in infos if isinstance(info, list) and info]
    return min(firsts, default=None), max((int(sample[0]) for _, _, sample in last if sample), default=None)


@asynccontextmanager
async def _master(runtime: Runtime, shard: Shard) -> AsyncGenerator[tuple[Connection, Identity | None]]:
    """A connection to the node of a shard that says it is master, and what it says that it is."""
    reason = "no node says that it is master"
    for node in shard.redis:
        async with AsyncExitStack() as opened:
            try:
                connection = await opened.enter_async_context(
                    await Connection.to_node(node.address, runtime.settings.redis)
                )
                if (await connection.call("ROLE"))[0] != b"master":
                    continue
                identity = await identify(connection, Expected(shard.name))
            except ShardForeign:
                raise
            except IotdError as e:
                reason = str(e)
                continue
            yield connection, identity
            return
    raise ShardUnavailable(f"{shard.location}: {reason}")
