"""The commands on a running system: what they print, for people and programs, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from iotd.ops.control import request
from tests.conftest import FreshSystem
from tests.servers.daemon import iotd, running_daemon
from tests.servers.system import System


async def test_status_without_a_daemon_shows_the_shards_and_exits_with_1(system: System) -> None:
    shown = await iotd("status", config=system.config)
    assert shown.code == 1
    assert "redis-salon-master" in shown.out
    assert "redis-chambre1-replica" in shown.out
    assert "no daemon runs" in shown.out
    told = (await iotd("status", "--output", "json", config=system.config)).json
    assert [shard["master"] for shard in told["shards"]] == ["redis-salon-master", "redis-chambre1-master"]
    assert told["daemon"] is None


async def test_the_drill_asks_first_and_touches_nothing_on_no(system: System) -> None:
    shown = await iotd("failover-test", "--location", "salon", config=system.config)
    assert shown.code == 130
    assert "This stops redis-salon-master" in shown.err
    assert await system.says_master("redis-salon-master")


async def test_the_drill_has_the_sentinels_hand_over_what_is_not_ours_to_stop(
    fresh_system: FreshSystem, tmp_path: Path
) -> None:
    system = fresh_system()
    nodes = system.topology.shard("salon")
    config = tmp_path / "iotd.toml"
    shard = {
        "master": str(nodes.master.address),
        "replica": str(nodes.replica.address),
        "sentinels": [str(node.address) for node in nodes.sentinels],
    }
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in shard.items())
    config.write_text(f'locations = ["salon"]\nstate_dir = "{tmp_path}/state"\n[topology.shards.salon]\n{lines}\n')
    asked = await iotd("failover-test", "--location", "salon", config=config)
    assert asked.code == 130
    assert "redis-salon-master was not started by `iotd stack`" in asked.err
    hung = await iotd("failover-test", "--location", "salon", "--yes", "--hang", config=config)
    assert hung.code == 69
    assert "can't be made to hang" in hung.err
    assert await system.says_master("redis-salon-master")

    shown = await iotd("failover-test", "--location", "salon", "--yes", "--restore", config=config)
    assert shown.code == 0, shown
    assert "to promote the replica" in shown.out
    assert "redis-salon-replica is master now" in shown.out
    assert "redis-salon-master is back as a replica, in sync" in shown.out
    assert await system.says_master("redis-salon-replica")
    assert not await system.says_master("redis-salon-master")


async def test_the_drill_checks_all_that_was_taken_since_the_strike_though_it_is_archived_meanwhile(
    fresh_system: FreshSystem,
) -> None:
    system = fresh_system(sensors={"interval": "100ms"}, archive={"interval": "1s"}, log={"segment": "64KiB"})
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        await daemon.writes("salon")
        drill = ("failover-test", "--location", "salon", "--yes", "--restore", "--output", "json")
        told = await iotd(*drill, config=system.config)
        assert told.code == 0, told
        said = told.json
        assert said["drill"]["target"] == "redis-salon-replica"
        assert (said["check"]["missing"], said["check"]["strange"], said["check"]["first"]) == (0, 0, None)
        # nine sensors ten times a second, from the strike until the old master is back
        assert said["check"]["due"] >= 90 * (said["drill"]["outage_ms"] / 1000 + said["restored"]["seconds"])
        assert daemon.events("archived")
        assert await daemon.stop() == 0


async def test_a_check_finds_what_a_shard_lacks(fresh_system: FreshSystem) -> None:
    system = fresh_system(sensors={"interval": "100ms"})
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        await daemon.writes("salon")
        where = {"location": "salon"}
        await request(system.settings.state, "POST", "/check/begin", where)
        await daemon.writes("salon")
        whole = await request(system.settings.state, "POST", "/check", where)
        assert (whole["missing"], whole["strange"]) == (0, 0)
        await request(system.settings.state, "POST", "/check/begin", where)
        await daemon.writes("salon")
        key = "sensor:temperature:salon:2"
        ((time, _),) = await system.ask("redis-salon-master", "TS.REVRANGE", key, "-", "+", "COUNT", 1)
        assert await system.ask("redis-salon-master", "TS.DEL", key, time, time) == 1
        # a value that nobody took, at a time that nobody had
        assert await system.ask("redis-salon-master", "TS.ADD", key, time - 1, "1.5") == time - 1
        found = await request(system.settings.state, "POST", "/check", where)
        assert found["due"] > 0
        assert (found["missing"], found["strange"], found["first"]) == (1, 1, f"{key} at {time}")
        assert await daemon.stop() == 0


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["stack", "stop", "redis-salon-mastr"], 64, "redis-salon-master"),
        (["failover-test", "--location", "kitchen"], 64, "there are salon, chambre1"),
        (["history", "--days", "0"], 64, "above 0"),
        (["history", "--days", "400"], 64, "redis.retention"),
        (["history", "--days", "1"], 69, "no iotd daemon runs"),
        (["archive", "now"], 69, "no iotd daemon runs"),
        (["archive", "status"], 69, "no iotd daemon runs"),
        (["run", "--locations", "kitchen"], 78, "no location 'kitchen'"),
    ],
)
async def test_bad_input_is_one_line_that_says_what_to_do(
    system: System, args: list[str], code: int, says: str
) -> None:
    ended = await iotd(*args, config=system.config)
    assert (ended.code, ended.out) == (code, "")
    assert says in ended.err
    assert ended.err.count("\n") == 1


async def test_config_show_hides_secrets_and_check_names_the_file(tmp_path: Path) -> None:
    config = tmp_path / "iotd.toml"
    config.write_text('[redis]\npassword = "hunter2"\n[influxdb]\ntoken = "s3cret"\n')
    for args in (["config", "show"], ["config", "show", "--output", "json"], ["config", "check"]):
        shown = await iotd(*args, config=config)
        assert shown.code == 0, shown
        assert "hunter2" not in shown.out
        assert "s3cret" not in shown.out
    assert str(config) in shown.out
    schema = (await iotd("config", "schema", config=config)).json
    assert "sensors" in schema["properties"]


async def test_help_of_every_command_has_a_line_of_what_it_does() -> None:
    root = await iotd("--help")
    assert root.code == 0
    for command in ("up", "down", "run", "stack", "status", "failover-test", "archive", "history", "config"):
        assert f"  {command} " in root.out
        assert (await iotd(command, "--help")).code == 0
    nonsense = await iotd("upp")
    assert nonsense.code == 2
    assert "No such command 'upp'" in nonsense.err
