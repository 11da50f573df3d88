"""Which servers are a location's: what was given to it once stays its own, and is remembered in the state directory.

A location's *place* says which of the default ports are its: the first has 6379 and 6380, the next 6381 and 6382. It
is given to it once. A location that is added in front of others, a changed order, and one that is taken out move none
of them; one that is no longer configured keeps its place, and its servers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from iotd.config.values import Address

FOLDER = "sharding_metadata"


class Ports(Protocol):
    """Where the default ports begin."""

    @property
    def host(self) -> str: ...
    @property
    def redis_port(self) -> int: ...
    @property
    def port_offset(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a location.

    Attributes:
        shard: the name of its shard and of the servers.
        place: None where it never had the default ports, or an earlier version did not note it.
        service: the name under which the Sentinels watch the master.
        nodes: the servers' addresses, by name.
        formers: earlier names of the location, the oldest first, each with its last ms.
        system: the id that its servers carry; None where nothing was written into them yet.
    """

    shard: str
    place: int | None
    service: str
    nodes: Mapping[str, Address]
    formers: tuple[tuple[str, int], ...] = ()
    system: str | None = None

    def addresses(self, kind: str) -> tuple[Address, ...]:
        """Of the servers whose names begin like this (``redis-``, ``sentinel-``), in the order of the names."""
        return tuple(address for name, address in sorted(self.nodes.items()) if name.startswith(kind))


def metadata_file(state: Path, location: str) -> Path:
    """Where the sharding metadata of a location are."""
    return state / FOLDER / f"{location}.json"


def remembered(state: Path, ports: Ports) -> dict[str, Known]:
    """What the sharding metadata say, by location; those that can't be read say nothing. Blocking.

    Args:
        ports: by which the place is found where an earlier version noted the addresses only.
    """
    found = {}
    try:
        files = sorted((state / FOLDER).glob("*.json"))
    except OSError:
        return {}
    for file in files:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            found[file.stem] = _known(file.stem, content, ports)
        except (OSError, ValueError, AttributeError, TypeError, KeyError):
            continue
    return found


def given(locations: Sequence[str], known: Mapping[str, int]) -> dict[str, int]:
    """The place of each location: the one it has; else, for a new one, its index, or the first that is nobody's."""
    places = {location: known[location] for location in locations if location in known}
    taken = {*known.values(), *places.values()}
    for index, location in enumerate(locations):
        if location not in places:
            place = index if index not in taken else next(n for n in range(len(taken) + 1) if n not in taken)
            places[location] = place
            taken.add(place)
    return {location: places[location] for location in locations}


def _known(location: str, content: Mapping[str, Any], ports: Ports) -> Known:
    nodes = {name: Address.parse(address) for name, address in content.get("nodes", {}).items()}
    shard, service = str(content.get("shard", location)), str(content.get("service", location))
    formers = tuple((str(former["name"]), int(former["until"])) for former in content.get("formers", ()))
    system = content.get("system")
    found = Known(shard, None, service, nodes, formers, None if system is None else str(system))
    place = content.get("place")
    if not isinstance(place, int) or place < 0:
        redis = found.addresses("redis-")
        first = min((address.port for address in redis), default=0)
        steps, odd = divmod(first - ports.redis_port - ports.port_offset, 2)
        pair = {Address(ports.host, first), Address(ports.host, first + 1)}
        place = steps if set(redis) == pair and not odd and steps >= 0 else None
    return replace(found, place=place)
