"""Probes a shard from outside, without a daemon: who is master, who is replica, who answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from iotd.config.sections.servers import Credentials
from iotd.config.topology import Node, Shard
from iotd.config.tree import Tree
from iotd.config.values import Address
from iotd.model.errors import IotdError
from iotd.shards.connection import Argument, Connection
from iotd.shards.election import elect
from iotd.shards.identity import IDENTITY_KEY, Expected
from iotd.shards.sentinels import AddressMap, SentinelClient

_TIMEOUT_S = 0.4


@dataclass(frozen=True, slots=True)
class NodeView:
    """One Redis node as it answered.

    Attributes:
        role: ``master``, ``slave``, or None when it did not answer.
        problem: why it did not, or why it is not in order.
        lag: of a replica that its master knows: bytes of the replication stream it is behind.
        memory: bytes used.
        keys: how many series (and few other keys) it holds.
    """

    name: str
    address: str
    role: str | None
    problem: str | None
    lag: int | None
    memory: int | None
    keys: int | None

    @property
    def follows(self) -> bool:
        """Whether it is a replica whose link to its master is up, as it says itself."""
        return self.role == "slave" and self.problem is None


@dataclass(frozen=True, slots=True)
class ShardView:
    """One shard as its nodes and Sentinels answered; ``master`` is the node that may be written to."""

    location: str
    master: str | None
    nodes: list[NodeView]
    sentinels: dict[str, bool]

    @property
    def whole(self) -> bool:
        """Whether there is a master, and every other node is its replica, in sync."""
        return self.master is not None and all(
            node.follows and node.lag is not None for node in self.nodes if node.name != self.master
        )


async def probe(settings: Tree, shard: Shard, timeout: float = _TIMEOUT_S) -> ShardView:
    """Asks all nodes and Sentinels of a shard at once; by default within about half a second.

    Args:
        timeout: seconds that a node may take to connect, and again to answer.
    """
    answers, claims = await asyncio.gather(
        asyncio.gather(*(_redis(settings, shard, node, timeout) for node in shard.redis)),
        asyncio.gather(*(_claim(settings, shard, node, timeout) for node in shard.sentinels)),
    )
    roles: dict[Address, Any] = {node.address: a.role for node, a in zip(shard.redis, answers, strict=True)}
    belief = elect(None, [c for c in claims if c is not None], len(shard.sentinels), roles, ())
    master = belief.address if belief else None
    lags = next((a.lags for n, a in zip(shard.redis, answers, strict=True) if n.address == master), {})
    return ShardView(
        location=shard.location,
        master=shard.name_of(master) if master else None,
        nodes=[
            NodeView(n.name, str(n.address), a.role, a.problem, lags.get(n.address), a.memory, a.keys)
            for n, a in zip(shard.redis, answers, strict=True)
        ],
        sentinels={node.name: claim is not None for node, claim in zip(shard.sentinels, claims, strict=True)},
    )


@dataclass(frozen=True, slots=True)
class _Answer:
    role: str | None = None
    problem: str | None = None
    memory: int | None = None
    keys: int | None = None
    lags: dict[Address, int] = field(default_factory=dict)


async def _redis(settings: Tree, shard: Shard, node: Node, timeout: float) -> _Answer:
    try:
        asked: list[tuple[str, ...]] = [("ROLE",), ("INFO", "memory"), ("DBSIZE",), ("GET", IDENTITY_KEY)]
        role, memory, keys, identity = await _ask(settings.redis, node, asked, timeout)
        Expected(shard.name, shard.system).check(identity, node.address)
    except IotdError as e:
        return _Answer(problem=str(e))
    reach = AddressMap(shard, settings)
    lags: dict[Address, int] = {}
    problem = None
    if role[0] == b"master":
        lags = {reach(h.decode(), int(p)): max(0, int(role[1]) - int(offset)) for h, p, offset in role[2]}
    elif role[3] != b"connected":
        problem = f"link to its master: {role[3].decode()}"
    used = next(line for line in memory.split(b"\r\n") if line.startswith(b"used_memory:"))
    return _Answer(role[0].decode(), problem, int(used.partition(b":")[2]), int(keys), lags)


async def _claim(settings: Tree, shard: Shard, node: Node, timeout: float) -> Any:
    client = SentinelClient(node, shard, settings)
    try:
        async with asyncio.timeout(timeout):
            return await client.claim()
    except (IotdError, TimeoutError):
        return None
    finally:
        await client.close_asking()


async def _ask(
    credentials: Credentials, node: Node, commands: Sequence[Sequence[Argument]], timeout: float
) -> list[Any]:
    async with await Connection.open(
        node.address, credentials, connect_timeout=timeout, response_timeout=timeout
    ) as connection:
        replies = await connection.call_many(commands)
    for reply in replies:
        if isinstance(reply, BaseException):
            raise IotdError(f"{node.address}: {reply}")
    return replies
