"""The servers, as plain processes and as containers: the same names, the same commands, the same behaviour."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from iotd import ShardingSystem
from iotd.shards.drill import hand_over
from iotd.sources.simulator.signal import values
from tests.servers.checker import all_there, handed_over
from tests.servers.daemon import iotd, running_daemon
from tests.servers.system import System, until

NODES = ["redis-salon-master", "redis-salon-replica", "sentinel-salon-1", "sentinel-salon-2", "sentinel-salon-3"]
DRILL = ("failover-test", "--location", "salon", "--yes", "--restore")


async def lives(system: System) -> dict[str, str]:
    """What tells one life of a server from the next, by node."""
    found = {}
    for name in NODES:
        info = await system.ask(name, "INFO", "server")
        found[name] = next(line for line in info.decode().splitlines() if line.startswith("run_id:"))
    return found


async def replica_of(system: System) -> str:
    """The name of the node that is the replica now."""
    (replica,) = [node.name for node in system.topology.shard("salon").redis if not await system.says_master(node.name)]
    return replica


async def test_stack_status_knows_every_node_by_its_name(each_system: System) -> None:
    shown = await iotd("stack", "status", "--output", "json", config=each_system.config)
    assert shown.code == 0, shown
    wanted = [*NODES, "influxdb"] if each_system.settings.stack_token.exists() else NODES
    assert [node["name"] for node in shown.json if node["problem"] is None] == wanted


async def test_up_again_touches_nothing(each_system: System) -> None:
    before = await lives(each_system)
    again = await iotd("stack", "up", "--output", "json", config=each_system.config)
    assert again.code == 0, again
    assert {report["action"] for report in again.json} == {"ran already"}
    assert await lives(each_system) == before


async def test_up_repairs_what_is_missing_and_touches_nothing_else(each_system: System) -> None:
    before = await lives(each_system)
    backend, node = each_system.stack.backend, each_system.topology.node
    replica = await replica_of(each_system)
    backend.kill(node(replica))
    backend.stop(node("sentinel-salon-2"))
    backend.pause(node("sentinel-salon-3"))
    again = await iotd("stack", "up", "--output", "json", config=each_system.config)
    assert again.code == 0, again
    did = {report["name"]: report["action"] for report in again.json}
    others = dict.fromkeys(did, "ran already")
    assert did == others | {replica: "started", "sentinel-salon-2": "started", "sentinel-salon-3": "resumed"}
    after = await lives(each_system)
    assert {name for name in NODES if after[name] != before[name]} == {replica, "sentinel-salon-2"}


async def test_a_stopped_node_is_shown_and_started_again_in_its_role(each_system: System) -> None:
    replica = await replica_of(each_system)
    stopped = await iotd("stack", "stop", replica, config=each_system.config)
    assert stopped.out == f"{replica}: stopped\n"
    assert (await iotd("stack", "stop", replica, config=each_system.config)).out == f"{replica}: did not run\n"
    shown = await iotd("stack", "status", config=each_system.config)
    assert shown.code == 1
    assert "stopped" in shown.out
    started = await iotd("stack", "start", replica, config=each_system.config)
    assert (started.code, started.out) == (0, f"{replica}: started\n")
    assert not await each_system.says_master(replica)
    logs = await iotd("stack", "logs", replica, "-n", "5", config=each_system.config)
    assert len(logs.out.splitlines()) == 5


async def test_the_drill_kills_checks_and_restores_and_all_is_archived(each_system: System) -> None:
    with running_daemon(each_system.settings) as daemon:
        await daemon.running()
        await daemon.writes("salon")
        before = (await each_system.master("salon")).name
        told = await iotd(*DRILL, "--output", "json", config=each_system.config)
        assert told.code == 0, told
        drill = told.json["drill"]
        assert drill["source"] == before
        assert drill["target"] in NODES[:2]
        assert drill["target"] != before
        assert 0 < drill["outage_ms"] < 30_000
        assert any(moment["what"].startswith("+switch-master") for moment in drill["timeline"])
        assert told.json["check"]["missing"] == 0
        assert told.json["check"]["due"] > 0
        assert told.json["restored"] is not None
        # again, for people; usually the other way round, unless Sentinels that got no processor went back themselves
        struck = (await each_system.master("salon")).name
        (other,) = set(NODES[:2]) - {struck}
        shown = await iotd(*DRILL, config=each_system.config)
        assert shown.code == 0, shown
        assert f"{other} is master now" in shown.out
        assert "are there, with their values" in shown.out
        status = await iotd("status", config=each_system.config)
        assert f"to {other}" in status.out
        assert (await iotd("archive", "now", config=each_system.config)).code == 0
        verified = await iotd("archive", "verify", "--deep", "--output", "json", config=each_system.config)
        assert verified.code == 0, verified
        assert verified.json["salon"]["compared"] > 0
        await queries_equal_the_function(each_system)
        assert await daemon.stop() == 0
    await all_there(each_system, "salon")


async def test_a_drill_waits_for_the_master_before_to_become_a_replica(each_system: System) -> None:
    before = await each_system.master("salon")
    # as when its Sentinels lost sight of it: it lives, is no master any more, and does not know it for 8 s
    await hand_over(each_system.topology.shard("salon"), each_system.settings)

    async def handed_over() -> bool:
        return await each_system.master("salon") != before

    await until(handed_over, 30, "the failover")
    told = await iotd(*DRILL, "--output", "json", config=each_system.config)
    assert told.code == 0, told
    assert told.json["drill"]["target"] == before.name


async def queries_equal_the_function(system: System) -> None:
    """Asks for all that was handed over, of which the archive has a part and the shard the rest, and compares it."""
    span = handed_over(system.settings, "salon")
    async with ShardingSystem.connect(system.config) as asked:
        found = await asked.query_location_data("salon", "temperature", span.first / 1000, (span.last + 1) / 1000)
        assert found.complete, found.problems
        grid = np.arange(span.first, span.last + 1, 100, dtype=np.int64)
        for sensor, (times, got) in found.by_sensor().items():
            np.testing.assert_array_equal(times, grid, err_msg=sensor.key)
            np.testing.assert_array_equal(got, values(system.settings.simulator.seed, sensor, grid), err_msg=sensor.key)
        unit = await asked.query_by_unit_measure("celsius", "-1m", "now")
        assert len(unit.sensors) == system.settings.sensors.per_type
        status = await asked.get_shards_status()
        assert status.shard("salon").master in NODES[:2]
    shown = await iotd("query", "location", "salon", "temperature", "--start", "-1m", config=system.config)
    assert shown.code == 0, shown


async def test_a_master_that_hangs_is_replaced_and_a_killed_daemon_loses_nothing(each_system: System) -> None:
    with running_daemon(each_system.settings) as daemon:
        await daemon.running()
        await daemon.writes("salon")
        told = await iotd(*DRILL, "--hang", "--output", "json", config=each_system.config)
        assert told.code == 0, told
        assert told.json["check"]["missing"] == 0
        daemon.process.kill()
    with running_daemon(each_system.settings) as daemon:
        await daemon.running()
        await daemon.writes("salon")
        assert await daemon.stop() == 0
    await all_there(each_system, "salon")


async def test_down_keeps_roles_and_data_and_deletes_them_only_when_told_and_asked(each_system: System) -> None:
    config = each_system.config
    before = await each_system.master("salon")
    assert (await iotd(*DRILL, config=config)).code == 0
    promoted = await each_system.master("salon")
    assert promoted != before
    await each_system.ask(promoted.name, "SET", "kept", "yes")
    down = await iotd("stack", "down", config=config)
    assert down.code == 0, down
    assert "their data stays in" in down.out
    status = await iotd("stack", "status", "--output", "json", config=config)
    assert {node["problem"] for node in status.json} == {"stopped"}

    assert (await iotd("stack", "up", config=config)).code == 0
    assert await each_system.master("salon") == promoted
    assert await each_system.says_master(promoted.name)
    assert not await each_system.says_master(before.name)
    assert await each_system.ask(before.name, "GET", "kept") == b"yes"

    asked = await iotd("stack", "down", "--volumes", config=config)
    assert asked.code == 130
    assert "for good" in asked.err
    assert await each_system.ask(promoted.name, "GET", "kept") == b"yes"

    gone = await iotd("stack", "down", "--volumes", "--yes", config=config)
    assert gone.code == 0, gone
    assert "deleted the data of" in gone.out
    up = await iotd("stack", "up", config=config)
    assert up.code == 0, up
    assert await each_system.master("salon") == each_system.topology.node("redis-salon-master")
    assert await each_system.ask("redis-salon-master", "DBSIZE") == 0


async def test_logs_can_be_followed(each_system: System) -> None:
    lines = each_system.stack.log("sentinel-salon-1", 1, follow=True)

    def read() -> None:
        assert any("test-marker" in line for line in lines)
        lines.close()

    following = asyncio.create_task(asyncio.to_thread(read))
    # a Sentinel logs what it is told to watch
    await each_system.ask("sentinel-salon-1", "SENTINEL", "MONITOR", "test-marker", "127.0.0.1", 1, 1)
    try:
        await asyncio.wait_for(following, 20)
    finally:
        await each_system.ask("sentinel-salon-1", "SENTINEL", "REMOVE", "test-marker")


@pytest.mark.parametrize("args", [("stack", "up", "--with", "redisinsight")])
async def test_redisinsight_is_for_containers_only(system: System, args: tuple[str, ...]) -> None:
    ended = await iotd(*args, config=system.config)
    assert ended.code == 69
    assert "set stack.backend to docker" in ended.err
