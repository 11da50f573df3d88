"""Which servers there are: names, roles and addresses, derived from the settings."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from iotd.config.places import Known
from iotd.config.tree import Tree
from iotd.config.values import Address
from iotd.model.errors import UsageError

Role = Literal["master", "replica", "sentinel", "influxdb", "redisinsight"]


@dataclass(frozen=True, slots=True)
class Node:
    """One server. ``role`` is the one it starts with: a failover swaps master and replica."""

    name: str
    role: Role
    address: Address


@dataclass(frozen=True, slots=True)
class Shard:
    """One location's servers.

    Attributes:
        name: of the shard, which its servers carry too: that of its location when it was made.
        place: which of the default ports are its, whether it uses them or not, see :mod:`iotd.config.places`.
        service: the name under which its Sentinels watch the master.
        formers: earlier names of the location, the oldest first, each with its last ms.
        system: the id that its servers are to carry, as the state directory remembers it; None where it says nothing.
    """

    location: str
    name: str
    place: int | None
    service: str
    master: Node
    replica: Node
    sentinels: tuple[Node, ...]
    formers: tuple[tuple[str, int], ...] = ()
    system: str | None = field(default=None, compare=False)

    @property
    def redis(self) -> tuple[Node, Node]:
        """Master and replica, as configured."""
        return (self.master, self.replica)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All its servers."""
        return (self.master, self.replica, *self.sentinels)

    def name_of(self, address: Address) -> str:
        """The node's name at that address, or the address itself when it is none of ours."""
        return next((n.name for n in self.nodes if n.address == address), str(address))


@dataclass(frozen=True, slots=True)
class Topology:
    """All servers of one system."""

    shards: tuple[Shard, ...]
    influxdb: Node
    redisinsight: Node
    """Only where it was asked for."""
    retired: tuple[Shard, ...] = ()
    """Of locations that are no longer configured, as they were."""

    @property
    def nodes(self) -> Iterator[Node]:
        """All servers of all shards."""
        for shard in self.shards:
            yield from shard.nodes
        yield self.influxdb
        yield self.redisinsight

    def shard(self, location: str) -> Shard:
        """The shard of a location, of a retired one too.

        Raises:
            UsageError: there is no such location.
        """
        for shard in (*self.shards, *self.retired):
            if shard.location == location:
                return shard
        known = ", ".join(s.location for s in self.shards)
        raise UsageError(f"no location {location!r}; there are {known}")

    def node(self, name: str) -> Node:
        """The node of that name.

        Raises:
            UsageError: there is no such node.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        names = [n.name for n in self.nodes]
        near = difflib.get_close_matches(name, names, n=3) or [names[0], names[2], names[-1]]
        raise UsageError(f"no node {name!r}; there are for instance {', '.join(near)}")

    def shard_of(self, node: Node) -> Shard:
        """The shard that a master, replica or Sentinel belongs to."""
        return next(shard for shard in self.shards if node in shard.nodes)

    def port_setting(self, node: Node) -> str:
        """The setting that gives a node another port."""
        if node.role == "influxdb":
            return "influxdb.port"
        if node.role == "redisinsight":
            return "stack.docker.redisinsight_port"
        return f"topology.shards.{self.shard_of(node).location}.{'sentinels' if node.role == 'sentinel' else node.role}"


SENTINELS = 3
"""Sentinels per shard: with fewer, one that dies leaves no majority (Redis Sentinel documentation)."""


def topology(settings: Tree) -> Topology:
    """The servers that the settings describe."""
    t = settings.topology
    shards = []
    for location, place in settings.places.items():
        own, known = t.shards.get(location), settings.known.get(location)
        name = known.shard if known else location
        master = own.master if own else None
        replica = own.replica if own else None
        sentinels = own.sentinels if own else None
        if sentinels is None:
            base = t.sentinel_port + t.port_offset + SENTINELS * place
            sentinels = tuple(Address(t.host, base + n) for n in range(SENTINELS))
        port = t.redis_port + t.port_offset + 2 * place
        shards.append(
            Shard(
                location=location,
                name=name,
                place=place,
                service=(own.service if own else None) or name,
                master=Node(f"redis-{name}-master", "master", master or Address(t.host, port)),
                replica=Node(f"redis-{name}-replica", "replica", replica or Address(t.host, port + 1)),
                sentinels=_sentinels(name, sentinels),
                formers=known.formers if known else (),
                system=known.system if known else None,
            )
        )
    retired = tuple(shard for name in settings.retired if (shard := _as_it_was(name, settings.known[name])))
    influxdb = Node("influxdb", "influxdb", Address(t.host, settings.influxdb.port + t.port_offset))
    insight = Address(t.host, settings.stack.docker.redisinsight_port + t.port_offset)
    return Topology(tuple(shards), influxdb, Node("redisinsight", "redisinsight", insight), retired)


def _as_it_was(location: str, known: Known) -> Shard | None:
    master, replica = (known.nodes.get(f"redis-{known.shard}-{role}") for role in ("master", "replica"))
    if master is None or replica is None:
        return None
    return Shard(
        location=location,
        name=known.shard,
        place=known.place,
        service=known.service,
        master=Node(f"redis-{known.shard}-master", "master", master),
        replica=Node(f"redis-{known.shard}-replica", "replica", replica),
        sentinels=_sentinels(known.shard, known.addresses("sentinel-")),
        formers=known.formers,
        system=known.system,
    )


def _sentinels(shard: str, addresses: Sequence[Address]) -> tuple[Node, ...]:
    return tuple(Node(f"sentinel-{shard}-{n}", "sentinel", address) for n, address in enumerate(addresses, start=1))


def http_address(settings: Tree) -> Address:
    """Where the daemon's HTTP server listens."""
    return Address(settings.http.host, settings.http.port + settings.topology.port_offset)
