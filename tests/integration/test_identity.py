"""Each shard says whose it is, and what is another's is neither read nor written."""

from __future__ import annotations

import json

import pytest

from iotd.model.errors import ShardForeign
from iotd.shards.identity import IDENTITY_KEY, Expected, claim, locations_held
from tests.conftest import FreshSystem
from tests.servers.daemon import iotd, running_daemon
from tests.servers.system import System, make_settings, until

MASTER, REPLICA = "redis-salon-master", "redis-salon-replica"
OURS = Expected("salon", "aa", "iotd:checkpoint:bb:salon")


@pytest.fixture
async def shard(system: System) -> System:
    """The shared system; its salon is empty."""
    await system.ask(MASTER, "FLUSHALL")
    return system


async def test_an_empty_master_becomes_ours_once_and_its_replica_with_it(shard: System) -> None:
    async with shard.connection(MASTER) as master:
        made = await claim(master, OURS)
        assert await claim(master, OURS) == made
        with pytest.raises(ShardForeign):
            await claim(master, Expected("salon", "another"))
    assert json.loads(await shard.ask(MASTER, "GET", IDENTITY_KEY))["shard"] == "salon"

    async def has_it() -> bool:
        return await shard.ask(REPLICA, "GET", IDENTITY_KEY) is not None

    await until(has_it, 10, "the replica has it")


async def test_a_master_that_holds_readings_of_whoever_is_not_made_ours(shard: System) -> None:
    await shard.ask(MASTER, "TS.ADD", "sensor:temperature:cuisine:1", 1000, 20)
    await shard.ask(MASTER, "TS.ADD", "sensor:humidity:cuisine:a%3Ab", 1000, 20)
    await shard.ask(MASTER, "TS.ADD", "sensor:humidity:salon:1", 1000, 20)
    async with shard.connection(MASTER) as master:
        with pytest.raises(ShardForeign, match="2 series of 'cuisine', 1 series of 'salon'"):
            await claim(master, OURS)
        assert await locations_held(master) == {"cuisine": 2, "salon": 1}
    assert await shard.ask(MASTER, "EXISTS", IDENTITY_KEY) == 0


async def test_a_master_with_our_checkpoint_is_ours_as_it_was_before_there_were_identities(shard: System) -> None:
    await shard.ask(MASTER, "TS.ADD", "sensor:humidity:salon:1", 1000, 20)
    await shard.ask(MASTER, "SET", "iotd:checkpoint:bb:salon", "0-x:17")
    async with shard.connection(MASTER) as master:
        assert (await claim(master, OURS)).system == "aa"


async def test_after_version_0_1_a_shard_with_readings_of_its_own_alone_is_ours(shard: System) -> None:
    await shard.ask(MASTER, "TS.ADD", "sensor:humidity:salon:1", 1000, 20)
    legacy = Expected("salon", "aa", legacy=True)
    async with shard.connection(MASTER) as master:
        await shard.ask(MASTER, "TS.ADD", "sensor:humidity:cuisine:1", 1000, 20)
        with pytest.raises(ShardForeign, match="1 series of 'cuisine'"):
            await claim(master, legacy)
        await shard.ask(MASTER, "DEL", "sensor:humidity:cuisine:1")
        assert (await claim(master, legacy)).shard == "salon"


async def test_keys_of_other_programs_are_none_of_our_business(shard: System) -> None:
    await shard.ask(MASTER, "SET", "theirs", "1")
    async with shard.connection(MASTER) as master:
        assert (await claim(master, OURS)).shard == "salon"
    await shard.ask(MASTER, "FLUSHALL")


async def test_a_query_does_not_read_the_servers_of_another_system(fresh_system: FreshSystem) -> None:
    system, another = fresh_system(), fresh_system()
    for one in (system, another):
        with running_daemon(one.settings) as daemon:
            await daemon.running()
            await daemon.writes("salon")
            assert await daemon.stop() == 0
    other = another.topology.shard("salon")
    make_settings(
        system.settings.state.parent,
        system.settings.topology.redis_port,
        ["salon"],
        topology={
            "shards": {
                "salon": {
                    "master": str(other.master.address),
                    "replica": str(other.replica.address),
                    "sentinels": [str(node.address) for node in other.sentinels],
                }
            }
        },
    )
    asked = await iotd("query", "location", "salon", "temperature", "--start", "-1h", config=system.config)
    assert (asked.code, "of system" in asked.err) == (1, True)  # the archive has some of it
    shown = await iotd("status", config=system.config)
    assert "none" in shown.out
