"""Whatever becomes of the list of locations: no reading goes to another's servers, and no server is forgotten."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from iotd.config import Settings
from iotd.model.errors import ConfigError
from iotd.shards.identity import IDENTITY_KEY
from tests.conftest import FreshSystem
from tests.integration.test_reload import hang_up
from tests.servers.checker import all_there
from tests.servers.daemon import iotd, running_daemon
from tests.servers.system import System, alive, make_settings, server_pids, until

LOCATIONS = ("salon", "chambre1")


def configure(system: System, *locations: str, **overrides: Any) -> Settings:
    """Writes the system's configuration file anew, for other locations."""
    first = system.settings.topology.redis_port
    tables = {"stack": {"redis_dir": system.settings.stack.redis_dir}, "sensors": {"interval": "100ms"}, **overrides}
    return make_settings(system.settings.state.parent, first, locations, **tables)


async def locations_on(system: System, node: str) -> set[str]:
    """Of which locations a node holds series."""
    keys = await system.ask(node, "KEYS", "sensor:*")
    return {key.decode().split(":")[2] for key in keys}


async def written_everywhere(system: System) -> None:
    """A daemon runs until it has written into all locations, and is stopped."""
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        for location in LOCATIONS:
            await daemon.writes(location)
        assert await daemon.stop() == 0


async def test_another_order_of_the_locations_moves_nobody(fresh_system: FreshSystem) -> None:
    system = fresh_system(LOCATIONS, sensors={"interval": "100ms"})
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        configure(system, *reversed(LOCATIONS))
        said = await hang_up(daemon)
        assert said["refused"] is None
        for location in LOCATIONS:
            await daemon.writes(location)
        assert await daemon.stop() == 0
    for location in LOCATIONS:
        assert await locations_on(system, f"redis-{location}-master") == {location}
        assert json.loads(await system.ask(f"redis-{location}-master", "GET", IDENTITY_KEY))["shard"] == location
        await all_there(system, location)


async def test_locations_that_exchange_their_servers_are_refused_and_no_reading_is_lost(
    fresh_system: FreshSystem,
) -> None:
    system = fresh_system(LOCATIONS, sensors={"interval": "100ms"})
    salon, chambre = (system.topology.shard(location) for location in LOCATIONS)
    shards = {
        one: {
            "master": str(other.master.address),
            "replica": str(other.replica.address),
            "sentinels": [str(node.address) for node in other.sentinels],
        }
        for one, other in (("salon", chambre), ("chambre1", salon))
    }
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        for location in LOCATIONS:
            await daemon.writes(location)
        system.stack.backend.pause(salon.master)  # a backlog
        with pytest.raises(ConfigError, match="redis-salon-master would get the address"):
            configure(system, *LOCATIONS, topology={"shards": shards})
        said = await hang_up(daemon)
        assert "is chambre1's" in said["refused"]
        system.stack.backend.resume(salon.master)
        configure(system, *LOCATIONS)
        assert (await hang_up(daemon))["refused"] is None
        for location in LOCATIONS:
            await daemon.writes(location)
        assert await daemon.stop() == 0
    for location in LOCATIONS:
        await all_there(system, location)
    with pytest.raises(ConfigError):
        configure(system, *LOCATIONS, topology={"shards": shards})
    refused = await iotd("run", config=system.config)
    assert refused.code == 78
    assert refused.err.count("\n") == 1


async def test_servers_of_another_location_are_never_written_to_though_nothing_is_remembered(
    fresh_system: FreshSystem,
) -> None:
    system = fresh_system(LOCATIONS, sensors={"interval": "100ms"})
    await written_everywhere(system)
    for file in (system.settings.state / "sharding_metadata").iterdir():
        file.unlink()
    # Sentinels too: what they say fits
    swapped = configure(system, *reversed(LOCATIONS))
    with running_daemon(swapped) as daemon:
        await daemon.running()

        async def refuses() -> bool:
            return {e["shard"] for e in daemon.events("node_of_others")} == set(LOCATIONS)

        await until(refuses, 30, "both locations' nodes are refused")
        said = await daemon.status()
        assert all("iotd adopt" not in shard["trouble"] and "is shard" in shard["trouble"] for shard in said["shards"])
        await daemon.says("not_written", LOCATIONS[0])
        assert (await iotd("status", config=system.config)).code != 0
        assert await daemon.stop(60) == 0
    configure(system, *LOCATIONS)
    for location in LOCATIONS:
        assert await locations_on(system, f"redis-{location}-master") == {location}
    for file in (system.settings.state / "sharding_metadata").iterdir():
        file.unlink()
    await written_everywhere(system)
    for location in LOCATIONS:
        await all_there(system, location)


async def test_renamed_locations_get_servers_of_their_own_and_down_ends_all(fresh_system: FreshSystem) -> None:
    system = fresh_system(LOCATIONS, sensors={"interval": "100ms"})
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        await daemon.writes("salon")
        configure(system, "sejour", "bureau")
        pids = server_pids(system.settings.state)
        assert (await iotd("stack", "up", config=system.config)).code == 0
        assert len(server_pids(system.settings.state)) == 20
        assert (await hang_up(daemon))["refused"] is None
        await daemon.writes("sejour")
        assert await daemon.stop() == 0
    assert await locations_on(system, "redis-salon-master") == {"salon"}
    shown = await iotd("status", "--output", "json", config=system.config)
    assert (shown.code, shown.json["retired"]) == (1, ["chambre1", "salon"])  # no daemon runs
    asked = ("query", "location", "salon", "temperature", "--start=-1h", "--output", "csv")
    answer = await iotd(*asked, config=system.config)
    assert answer.code == 0, answer
    assert answer.out.count("\n") > 10
    unknown = await iotd("query", "location", "cave", "temperature", config=system.config)
    assert unknown.code == 64
    down = await iotd("stack", "down", config=system.config)
    assert "stopped 20 servers" in down.out
    assert not alive(pids)
    assert not alive(server_pids(system.settings.state))


async def test_shards_whose_state_directory_is_lost_are_refused_until_they_are_adopted(
    fresh_system: FreshSystem,
) -> None:
    system = fresh_system(LOCATIONS, sensors={"interval": "100ms"})
    state, config = system.settings.state, system.config
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        assert (await iotd("adopt", config=config)).code == 64, "there is nothing to adopt"
        for location in LOCATIONS:
            await daemon.writes(location)
        assert await daemon.stop() == 0
    before = {location: await samples(system, location) for location in LOCATIONS}
    for lost in state.iterdir():
        if lost.name not in ("nodes", "backend"):
            shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    assert (await iotd("adopt", config=config)).code == 69, "no daemon runs"
    with running_daemon(system.settings) as daemon:
        await daemon.running()

        async def refuses() -> bool:
            return {e["shard"] for e in daemon.events("node_of_others")} == set(LOCATIONS)

        await until(refuses, 30, "both locations' nodes are refused")
        said = await daemon.status()
        assert all("iotd adopt" in shard["trouble"] for shard in said["shards"])
        await daemon.says("not_written", LOCATIONS[0])
        assert (await iotd("status", config=config)).code != 0
        asked = await iotd("adopt", config=config)
        assert asked.code == 130
        assert "redis-salon-master" in asked.out
        assert {location: await samples(system, location) for location in LOCATIONS} == before
        adopted = await iotd("adopt", "--yes", "--output", "json", config=config)
        assert adopted.code == 0, adopted
        assert {holding["location"]: holding["series"] for holding in adopted.json} == dict.fromkeys(LOCATIONS, 9)
        for location in LOCATIONS:
            await daemon.writes(location)
        assert (await iotd("archive", "now", config=config)).code == 0
        verified = await iotd("archive", "verify", "--deep", "--output", "json", config=config)
        assert verified.code == 0, verified
        for location in LOCATIONS:
            there = await samples(system, location)
            assert all(
                there[key][: len(held)] == held and len(there[key]) > len(held)
                for key, held in before[location].items()
            )
            assert verified.json[location]["compared"] > sum(map(len, before[location].values()))
        assert await daemon.stop() == 0
        refusals = len(daemon.events("node_of_others"))
    # the system's id is kept
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        for location in LOCATIONS:
            await daemon.writes(location)
        assert len(daemon.events("node_of_others")) == refusals
        assert await daemon.stop() == 0


async def test_a_log_that_was_lost_alone_is_named_and_the_system_stays_the_same(fresh_system: FreshSystem) -> None:
    system = fresh_system(LOCATIONS, sensors={"interval": "100ms"})
    await written_everywhere(system)
    before = await samples(system, "salon")
    shutil.rmtree(system.settings.state / "log")
    for _ in range(2):
        with running_daemon(system.settings) as daemon:
            await daemon.running()
            for location in LOCATIONS:
                await daemon.writes(location)
            await daemon.says("log_damaged")
            assert not daemon.events("node_of_others")
            assert await daemon.stop() == 0
    after = await samples(system, "salon")
    assert all(after[key][: len(held)] == held and len(after[key]) > len(held) for key, held in before.items())


async def samples(system: System, location: str) -> dict[bytes, Any]:
    """All that a location's master holds, by key."""
    node = f"redis-{location}-master"
    keys = await system.ask(node, "KEYS", "sensor:*")
    return {key: await system.ask(node, "TS.RANGE", key, "-", "+") for key in keys}


async def test_a_renamed_location_keeps_its_servers_and_both_names_find_all_readings(fresh_system: FreshSystem) -> None:
    system = fresh_system(LOCATIONS, sensors={"interval": "100ms"})
    config = system.config
    everything = ("--start=-1h", "--output", "csv")
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        await daemon.writes("salon")
        refused = await iotd("rename", "salon", "sejour", "--yes", config=config)
        assert refused.code == 64
        assert "in place of 'salon' in locations first" in refused.err
        renamed = configure(system, "sejour", "chambre1")
        await daemon.writes("salon")
        assert (await iotd("rename", "salon", "chambre1", "--yes", config=config)).code == 64
        assert (await iotd("rename", "cave", "sejour", "--yes", config=config)).code == 64
        before = await samples(system, "salon")
        ended = await iotd("rename", "salon", "sejour", "--yes", config=config)
        assert ended.code == 0, ended
        await daemon.writes("sejour")
        # by the servers' names of before
        assert await locations_on(system, "redis-salon-master") == {"sejour"}
        assert await system.ask("redis-salon-master", "TS.QUERYINDEX", "location=salon") == []
        after = await samples(system, "salon")
        for key, held in before.items():
            assert after[key.replace(b":salon:", b":sejour:")][: len(held)] == held
        found = await iotd("query", "location", "sejour", "temperature", *everything, config=config)
        assert found.code == 0, found
        assert found.out.count("\n") > sum(len(held) for key, held in before.items() if b"temperature" in key)
        by_old = await iotd("query", "location", "salon", "temperature", *everything, config=config)
        assert by_old.code == 0, by_old
        assert by_old.out.count("\n") >= found.out.count("\n")
        assert (await iotd("archive", "now", config=config)).code == 0
        verified = await iotd("archive", "verify", "--deep", "--output", "json", config=config)
        assert verified.code == 0, verified
        assert verified.json["sejour"]["gaps"] == []
        shown = await iotd("status", "--output", "json", config=config)
        assert shown.json["retired"] == []
        assert shown.json["shards"][0]["master"] == "redis-salon-master"
        # a failover, and a start with the new name
        drill = ("failover-test", "--location", "sejour", "--yes", "--restore")
        assert (await iotd(*drill, config=config)).code == 0
        await daemon.writes("sejour")
        assert await daemon.stop() == 0
    with running_daemon(renamed) as daemon:
        await daemon.running()
        await daemon.writes("sejour")
        assert (await iotd("status", config=config)).code == 0
        assert await daemon.stop() == 0
    assert await locations_on(system, "redis-salon-replica") == {"sejour"}
