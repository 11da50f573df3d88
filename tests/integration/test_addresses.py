"""Sentinels that speak of addresses which the daemon does not reach: address_map translates all they say."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from iotd.config import Address
from tests.conftest import FreshSystem
from tests.servers.checker import RedisStore, count, handed_over
from tests.servers.daemon import running_daemon
from tests.servers.relay import relay
from tests.servers.system import make_settings, until

_AWAY = 50
"""The daemon reaches each node so many ports from where its Sentinels say it is."""


async def test_the_daemon_follows_a_failover_through_addresses_of_its_own(
    fresh_system: FreshSystem, tmp_path: Path
) -> None:
    system = fresh_system()
    shard = system.topology.shard("salon")
    reached = {node: Address(node.address.host, node.address.port + _AWAY) for node in shard.nodes}
    settings = make_settings(
        tmp_path / "daemon",
        1,
        ["salon"],
        sensors={"interval": "100ms"},
        topology={
            "shards": {
                "salon": {
                    "master": str(reached[shard.master]),
                    "replica": str(reached[shard.replica]),
                    "sentinels": [str(reached[node]) for node in shard.sentinels],
                }
            },
            "address_map": {str(node.address): str(reached[node]) for node in shard.redis},
        },
    )
    async with AsyncExitStack() as relays:
        for node in shard.nodes:
            await relays.enter_async_context(relay(reached[node], node.address))
        with running_daemon(settings) as daemon:
            await daemon.running()
            await daemon.writes("salon")
            system.stack.backend.kill(shard.master)

            async def moved() -> bool:
                said = (await daemon.status())["shards"][0]
                return bool(said["master"] == "redis-salon-replica" and said["settled"])

            await until(moved, 30, "the promoted replica is written to, and a majority of the Sentinels names it")
            await daemon.writes("salon")
            await system.stack.start("redis-salon-master")
            assert await daemon.stop() == 0
            assert daemon.events("sentinel_names_unknown_node") == []
    async with system.connection("redis-salon-replica") as redis:
        found = await count(settings, "salon", handed_over(settings, "salon"), RedisStore(redis))
    assert found.good, found


async def test_without_the_map_the_stranger_is_named_with_the_setting(
    fresh_system: FreshSystem, tmp_path: Path
) -> None:
    system = fresh_system()
    shard = system.topology.shard("salon")
    away = Address(shard.master.address.host, shard.master.address.port + _AWAY)
    settings = make_settings(
        tmp_path / "daemon",
        1,
        ["salon"],
        topology={
            "shards": {
                "salon": {
                    "master": str(away),
                    "replica": str(shard.replica.address),
                    "sentinels": [str(node.address) for node in shard.sentinels],
                }
            }
        },
    )
    async with relay(away, shard.master.address):
        with running_daemon(settings) as daemon:
            await daemon.running()
            await daemon.writes("salon")  # it is master, whatever it is called
            (said,) = {event["hint"] for event in daemon.events("sentinel_names_unknown_node")}
            assert f'topology.address_map."{shard.master.address}"' in said
            assert await daemon.stop() == 0
