"""The daemon as a process, on real shards: no reading is lost, whatever happens to it or to them."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from iotd.stack.processes import Processes
from tests.conftest import FreshSystem
from tests.intakes import held_readings
from tests.servers.checker import all_there
from tests.servers.daemon import Daemon, iotd, running_daemon
from tests.servers.ports import port_block
from tests.servers.system import System, until


@asynccontextmanager
async def live(system: System) -> AsyncIterator[Daemon]:
    """A daemon that writes into every shard, and is stopped in good order at the end."""
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        for location in system.settings.locations:
            await daemon.writes(location)
        yield daemon
        assert await daemon.stop() == 0


FAST: dict[str, Any] = {"sensors": {"interval": "100ms"}}


async def test_readings_arrive_and_a_restart_leaves_no_hole(fresh_system: FreshSystem) -> None:
    system = fresh_system(("salon", "chambre1"), **FAST)
    async with live(system) as daemon:
        await daemon.writes("salon")
    await all_there(system, "salon")
    async with live(system) as daemon:
        assert daemon.events("writing")
    for location in ("salon", "chambre1"):
        await all_there(system, location)


async def test_a_daemon_killed_and_started_again_loses_nothing(fresh_system: FreshSystem) -> None:
    system = fresh_system(**FAST)
    for _ in range(3):
        with running_daemon(system.settings) as daemon:
            await daemon.running()
            await daemon.writes("salon")
            daemon.process.kill()
    async with live(system):
        pass
    await all_there(system, "salon")


async def test_a_killed_master_costs_nothing_and_the_move_is_kept_as_history(fresh_system: FreshSystem) -> None:
    system = fresh_system(("salon", "chambre1"), **FAST)
    async with live(system) as daemon:
        system.stack.backend.kill(system.topology.node("redis-salon-master"))

        async def moved() -> bool:
            said = await daemon.status()
            return bool(said["shards"][0]["master"] == "redis-salon-replica" and said["shards"][0]["settled"])

        await until(moved, 20, "the promoted replica is written to")
        await daemon.writes("salon")
        await system.stack.start("redis-salon-master")
        # the old master is a replica now, in sync, and what waited is durable
        assert not await system.says_master("redis-salon-master")

        async def durable() -> bool:
            said = await daemon.status()
            return bool(said["shards"][0]["age"] < 3)

        await until(durable, 20, "the readings are durable")
    for location in ("salon", "chambre1"):
        await all_there(system, location)
    kept = json.loads((system.settings.state / "sharding_metadata" / "salon.json").read_text())
    assert kept["master"] == "redis-salon-replica"
    (failover,) = kept["failovers"]
    assert (failover["source"], failover["target"]) == ("redis-salon-master", "redis-salon-replica")
    assert 0 < failover["gap_ms"] < 20_000


async def test_a_master_that_hangs_is_as_dead_as_one_that_was_killed(fresh_system: FreshSystem) -> None:
    system = fresh_system(**FAST)
    async with live(system) as daemon:
        system.stack.backend.pause(system.topology.node("redis-salon-master"))
        await until(lambda: system.says_master("redis-salon-replica"), 20, "the replica is promoted")
        await daemon.writes("salon")
        system.stack.backend.resume(system.topology.node("redis-salon-master"))

        async def demoted() -> bool:
            return not await system.says_master("redis-salon-master")

        await until(demoted, 20, "the old master is a replica")
        await daemon.writes("salon")
    await all_there(system, "salon")


async def test_a_series_that_vanishes_is_made_again_with_its_labels(fresh_system: FreshSystem) -> None:
    system = fresh_system(**FAST)
    key = "sensor:temperature:salon:1"
    async with live(system) as daemon:
        await system.ask("redis-salon-master", "DEL", key)

        async def made() -> bool:
            return bool(await system.ask("redis-salon-master", "EXISTS", key))

        await until(made, 20, "the series is there")
        await daemon.writes("salon")
    said = await system.ask("redis-salon-master", "TS.INFO", key)
    info = dict(zip(said[::2], said[1::2], strict=True))
    assert [b"location", b"salon"] in info[b"labels"]
    assert info[b"retentionTime"] == 8 * 86_400_000
    assert info[b"duplicatePolicy"] == b"last"


async def test_what_redis_refuses_for_good_is_held_and_the_rest_goes_on(
    fresh_system: FreshSystem,
) -> None:
    system = fresh_system(**FAST)
    key = "sensor:temperature:salon:1"
    async with live(system) as daemon:
        async with system.connection("redis-salon-master") as redis:
            await redis.call_many([("MULTI",), ("DEL", key), ("SET", key, "not a series"), ("EXEC",)])

        async def refused() -> bool:
            return bool((await daemon.status())["shards"][0]["held"] > 0)

        await until(refused, 20, "a reading was refused")
        await daemon.writes("salon")
        assert daemon.events("readings_refused")
    held = held_readings(system.settings.state)
    assert {one.series.key for one in held} == {key}
    assert all("not a TSDB key" in one.reason or "WRONGTYPE" in one.reason for one in held)


async def test_a_wrong_password_is_said_and_what_was_read_meanwhile_is_written_with_the_right_one(
    fresh_system: FreshSystem, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text("right")
    system = fresh_system(**FAST, redis={"password_file": str(secret)})
    secret.write_text("wrong")
    with running_daemon(system.settings) as daemon:
        await daemon.running()

        async def degraded() -> bool:
            return "check the user" in str((await daemon.status())["shards"][0]["trouble"])

        await until(degraded, 20, "the daemon says that the password is wrong")
        await daemon.says("not_written", "salon")
        status = await iotd("status", config=system.config)
        assert status.code == 1
        assert "check the user" in status.out
        secret.write_text("right")
        await daemon.writes("salon")
        assert await daemon.stop() == 0
    await all_there(system, "salon")


async def test_a_redis_without_timeseries_is_said_and_the_readings_wait(fresh_system: FreshSystem) -> None:
    system = fresh_system(**FAST)
    master, replica = system.topology.shard("salon").redis
    async with live(system) as daemon:
        for node in (master, replica):
            system.stack.backend.kill(node)
        bare = _redis_without_module(system)
        try:

            async def said() -> bool:
                return "TimeSeries is loaded" in str((await daemon.status())["shards"][0]["trouble"])

            await until(said, 30, "the daemon says that the module is not there")
        finally:
            bare.terminate()
            bare.wait()
        await system.stack.up()
        await daemon.writes("salon")
    await all_there(system, "salon")


def _redis_without_module(system: System) -> subprocess.Popen[bytes]:
    backend = system.stack.backend
    assert isinstance(backend, Processes)
    binary = system.settings.stack.redis_dir
    assert binary is not None
    address = system.topology.shard("salon").master.address
    folder = system.settings.state.parent / "bare"
    folder.mkdir()
    command = [str(binary / "redis-server"), "--port", str(address.port), "--bind", address.host, "--dir", str(folder)]
    return subprocess.Popen([*command, "--save", ""], stdout=subprocess.DEVNULL)


async def test_a_shard_that_never_answers_delays_no_other(fresh_system: FreshSystem) -> None:
    system = fresh_system(("salon", "chambre1"), **FAST)

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    for node in system.topology.shard("salon").nodes:
        system.stack.backend.kill(node)
    servers = [await asyncio.start_server(mute, *node.address) for node in system.topology.shard("salon").nodes]
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        await daemon.writes("chambre1")
        await daemon.writes("chambre1")
        shards = {s["location"]: s for s in (await daemon.status())["shards"]}
        assert shards["salon"]["master"] is None
        assert shards["salon"]["waiting"]["batches"] > 0
        await daemon.says("not_written", "salon")
        status = await iotd("status", config=system.config)
        assert status.code == 1
        assert "none" in status.out
        for server in servers:
            server.close()
        await system.stack.up()
        await daemon.writes("salon")
        daemon.process.send_signal(signal.SIGTERM)
        assert await daemon.ended() == 0
    for location in ("salon", "chambre1"):
        await all_there(system, location)


async def test_a_stop_says_that_the_last_pass_did_not_come_to_its_end(fresh_system: FreshSystem) -> None:
    with port_block() as closed:
        nowhere = {"url": f"http://127.0.0.1:{closed}", "token": "none"}
        system = fresh_system(archive={"store": "influxdb:"}, influxdb=nowhere, shutdown={"drain": "3s"})
        with running_daemon(system.settings) as daemon:
            await daemon.running()
            await daemon.writes("salon")
            assert await daemon.stop() == 0
        (said,) = daemon.events("not_archived")
        assert said["reason"]
        assert daemon.events("not_drained") == []
