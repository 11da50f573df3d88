"""Whether a server that runs also does its work."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import aiohttp

from iotd.config import Address, Settings
from iotd.config.sections.servers import Credentials
from iotd.config.topology import Node, Shard, Topology
from iotd.model.errors import IotdError, StackError
from iotd.shards.connection import Connection
from iotd.shards.sentinels import AddressMap, blind_s

_TIMEOUT_S = 0.5


async def problem(settings: Settings, topology: Topology, node: Node) -> str | None:
    """Why a server is not fit yet; None when it is."""
    if node.role == "influxdb":
        return await influxdb_problem(node)
    if node.role == "redisinsight":
        return await page_problem(node)
    if node.role == "sentinel":
        return await sentinel_problem(settings, topology.shard_of(node), node)
    return await redis_problem(settings, node)


async def redis_problem(settings: Settings, node: Node) -> str | None:
    """Why a Redis node is not fit yet; None when it is: a master that answers, or a replica in sync with one."""
    try:
        role = await _ask(settings.redis, node, "ROLE")
    except IotdError as e:
        return str(e)
    if role[0] == b"slave" and role[3] != b"connected":
        return f"is a replica of {role[1].decode()}:{role[2]}, link {role[3].decode()}"
    return None


async def sentinel_problem(settings: Settings, shard: Shard, node: Node) -> str | None:
    """Why a Sentinel is not fit yet; None when it watches the master and knows a replica and the other Sentinels."""
    try:
        said = await _master_as_named(settings, shard, node)
    except IotdError as e:
        return str(e)
    if seconds := blind_s(said):
        return f"asks the nodes nothing for {seconds:.0f} s more: its clock was ahead; start it again"
    if said[b"flags"] != b"master":
        return f"says the master is {said[b'flags'].decode()}"
    if int(said[b"num-slaves"]) < 1:
        return "knows no replica yet"
    if int(said[b"num-other-sentinels"]) < len(shard.sentinels) - 1:
        return "does not know all other Sentinels yet"
    return None


async def is_blind(settings: Settings, shard: Shard, node: Node) -> bool:
    """Whether a Sentinel asks the nodes nothing at present; see :func:`iotd.shards.sentinels.blind_s`."""
    try:
        return bool(blind_s(await _master_as_named(settings, shard, node)))
    except IotdError:
        return False


async def all_replicas(settings: Settings, shard: Shard) -> bool:
    """Whether every Redis of a shard answers, and says that it is a replica."""
    try:
        roles = await asyncio.gather(*(_ask(settings.redis, node, "ROLE") for node in shard.redis))
    except IotdError:
        return False
    return all(role[0] == b"slave" for role in roles)


async def promote(settings: Settings, address: Address) -> None:
    """Makes a replica a master.

    Raises:
        IotdError: it does not answer.
    """
    async with await Connection.open(
        address, settings.redis, connect_timeout=_TIMEOUT_S, response_timeout=_TIMEOUT_S
    ) as connection:
        await connection.call("REPLICAOF", "NO", "ONE")


async def influxdb_problem(node: Node) -> str | None:
    """Why InfluxDB is not fit yet; None when it answers its health check."""
    return await page_problem(node, "/health")


async def page_problem(node: Node, path: str = "/") -> str | None:
    """Why an HTTP server is not fit yet; None when it answers with a page."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
            session.get(f"http://{node.address}{path}") as response,
        ):
            return None if response.status == 200 else f"{path} says {response.status}"
    except (aiohttp.ClientError, OSError, TimeoutError) as e:
        return str(e) or "no answer"


async def current_master(settings: Settings, shard: Shard) -> Address | None:
    """Who is master now: the one of the highest configuration epoch that a Sentinel names, not of the most Sentinels.

    For a moment after a promotion most of them still name the old one. Where the one named does not say it is a
    master and exactly one node does, that node is it: it was promoted, and the Sentinels are about to say so.
    """

    reach = AddressMap(shard, settings)

    async def named(node: Node) -> tuple[int, Address] | None:
        try:
            said = await _master_as_named(settings, shard, node)
        except IotdError:
            return None
        return int(said[b"config-epoch"]), reach(said[b"ip"].decode(), int(said[b"port"]))

    async def is_master(node: Node) -> bool:
        try:
            return bool((await _ask(settings.redis, node, "ROLE"))[0] == b"master")
        except IotdError:
            return False

    roles = await asyncio.gather(*map(is_master, shard.redis))
    masters = [node.address for node, yes in zip(shard.redis, roles, strict=True) if yes]
    said = [s for s in await asyncio.gather(*map(named, shard.sentinels)) if s is not None]
    newest = max(said)[1] if said else None
    if len(masters) == 1 and newest not in masters:
        return masters[0]
    return newest


def require_free_port(node: Node, setting: str) -> None:
    """Makes sure that nobody listens where a node is going to.

    Raises:
        StackError: the port is taken, or the address is none of this machine's; names the setting to change.
    """
    family = socket.AF_INET6 if ":" in node.address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(tuple(node.address))
        except OSError as e:
            raise StackError(
                f"port {node.address.port} on {node.address.host}, which {node.name} needs, "
                f"can't be had ({e.strerror}): set {setting}, "
                "or move all ports with topology.port_offset (IOTD_TOPOLOGY__PORT_OFFSET=1000)"
            ) from None


async def _master_as_named(settings: Settings, shard: Shard, sentinel: Node) -> dict[bytes, bytes]:
    """What a Sentinel says of the shard's master, by field of SENTINEL MASTER."""
    reply = await _ask(settings.sentinel, sentinel, "SENTINEL", "MASTER", shard.service)
    return dict(zip(reply[::2], reply[1::2], strict=True))


async def _ask(credentials: Credentials, node: Node, *command: str) -> list[Any]:
    async with await Connection.open(
        node.address, credentials, connect_timeout=_TIMEOUT_S, response_timeout=_TIMEOUT_S
    ) as connection:
        reply: list[Any] = await connection.call(*command)
        return reply
