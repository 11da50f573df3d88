"""What must hold between settings: names that refer to others, addresses that no two servers share, times that fit."""

from __future__ import annotations

from iotd.config.places import FOLDER
from iotd.config.topology import http_address, topology
from iotd.config.tree import Tree
from iotd.config.values import Address, format_duration


def check(settings: Tree) -> None:
    """Checks the settings as a whole.

    Raises:
        ValueError: the first thing that does not hold, in one line that names the setting.
    """
    _types(settings)
    _served(settings)
    _intake(settings)
    _brokers(settings)
    _shards(settings)
    _addresses(settings)
    _retention(settings)


def _types(settings: Tree) -> None:
    known = settings.known_types
    if unknown := [name for name in settings.sensors.types if name not in known]:
        raise ValueError(
            f"sensors.types: unknown sensor type {unknown[0]!r}; known are {', '.join(known)}; "
            f"add your own as [types.{unknown[0]}]"
        )


def _served(settings: Tree) -> None:
    if settings.serve is not None and not settings.serve:
        raise ValueError("serve: name at least one location, or leave it out to serve all")
    if unknown := [name for name in settings.served if name not in settings.locations]:
        raise ValueError(f"serve: no location {unknown[0]!r}; there are {', '.join(settings.locations)}")


def _intake(settings: Tree) -> None:
    where = settings.intake.unknown_location
    if where != "hold" and where not in settings.locations:
        raise ValueError(
            f"intake.unknown_location: no location {where!r}; there are hold, {', '.join(settings.locations)}"
        )


def _brokers(settings: Tree) -> None:
    clients: dict[tuple[str | None, int, str], str] = {}
    for name, broker in settings.mqtt.items():
        if broker.client_id is None:
            continue
        other = clients.setdefault((broker.parts.hostname, broker.port, broker.client_id), name)
        if other != name:
            raise ValueError(
                f"mqtt.{name}.client_id: {broker.client_id!r} is that of mqtt.{other} at the same broker, where each "
                "would end the other's connection"
            )


def _shards(settings: Tree) -> None:
    for table, named in (("topology", settings.topology.shards), ("startup", settings.startup.shards)):
        if unknown := [name for name in named if name not in settings.locations]:
            raise ValueError(f"{table}.shards.{unknown[0]}: no such location in locations")


def check_places(settings: Tree) -> None:
    """Checks the settings against what the state directory remembers.

    Raises:
        ValueError: a location would get servers of another one, in one line that names both.
    """
    _addresses(settings)
    owners = {address: name for name, known in settings.known.items() for address in known.addresses("redis-")}
    for shard in topology(settings).shards:
        for node in shard.redis:
            owner = owners.get(node.address, shard.location)
            if owner != shard.location:
                raise ValueError(
                    f"{node.name} would get the address {node.address}, which is {owner}'s: a location's servers never "
                    f"become another's by configuration; mend topology.shards (if {owner} and its readings are gone "
                    f"for good, delete {FOLDER}/{owner}.json in the state directory)"
                )


def _addresses(settings: Tree) -> None:
    whole = topology(settings)
    taken: dict[Address, str] = {}
    for shard in whole.shards:
        for node in shard.nodes:
            _claim(taken, node.address, node.name, f"topology.shards.{shard.location}")
    if settings.influxdb.url is None and settings.archive.scheme in ("auto", "influxdb"):
        _claim(taken, whole.influxdb.address, "influxdb", "influxdb.port")
    if settings.ingest.listen is not None:
        _claim(taken, settings.ingest.listen, "the ingest", "ingest.listen")
    if settings.http.enabled:
        _claim(taken, http_address(settings), "the HTTP server", "http.port")


def _claim(taken: dict[Address, str], address: Address, node: str, setting: str) -> None:
    if not 0 < address.port < 65536:
        raise ValueError(
            f"{node} would get the port {address.port}, and 65535 is the last; set topology.port_offset lower"
        )
    if (other := taken.setdefault(address, node)) != node:
        raise ValueError(f"{other} and {node} both have the address {address}; give one of them another in {setting}")


def _retention(settings: Tree) -> None:
    # a pass of the archive that fails must find the same readings in the shard when it is tried again
    retention, interval = settings.redis.retention, settings.archive.interval
    if settings.archive.store != "none" and retention < 2 * interval:
        raise ValueError(
            f"redis.retention: {format_duration(retention)} is less than two archive intervals: readings could be gone "
            f"before they are archived; set at least {format_duration(2 * interval)}, or a shorter archive.interval"
        )
