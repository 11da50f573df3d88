"""Reloading a running daemon: all that can change changes, what can't is refused or said, no reading is touched."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from iotd.config import Settings
from iotd.shards.connection import Connection
from tests.conftest import FreshSystem
from tests.servers.checker import RedisStore, handed_over
from tests.servers.daemon import Daemon, iotd, running_daemon
from tests.servers.phases import due, phases
from tests.servers.system import System, make_settings, until

LOCATIONS = ("salon", "chambre1")
RELOADS = 100


def rewrite(system: System, **overrides: Any) -> Settings:
    """Writes the system's configuration file anew, with other settings."""
    first = system.settings.topology.redis_port
    tables = {"stack": {"redis_dir": system.settings.stack.redis_dir}, **overrides}
    serve = {"serve": tables.pop("serve")} if "serve" in tables else {}
    return make_settings(system.settings.state.parent, first, LOCATIONS, **tables, **serve)


async def hang_up(daemon: Daemon) -> Any:
    """Sends SIGHUP and returns what the status says of that reload."""
    before = (await daemon.status())["reload"]

    async def done() -> bool:
        now = (await daemon.status())["reload"]
        return bool(now["count"] + now["failures"] > before["count"] + before["failures"])

    daemon.process.send_signal(signal.SIGHUP)
    await until(done, 60, "the reload is done")
    return (await daemon.status())["reload"]


async def taken(daemon: Daemon, location: str) -> int:
    shards = {s["location"]: s for s in (await daemon.status())["shards"]}
    return int(shards[location]["taken"]) if location in shards else -1


async def test_a_hundred_reloads_under_load_with_a_failover_neither_drop_nor_double_a_reading(
    fresh_system: FreshSystem,
) -> None:
    system = fresh_system(LOCATIONS, sensors={"interval": "50ms"}, shutdown={"drain": "3s"})
    luck = random.Random(8)
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        for location in LOCATIONS:
            await daemon.writes(location)
        for n in range(RELOADS):
            if n == 30:
                system.stack.backend.kill(system.topology.node("redis-salon-master"))
            if n == 60:
                await system.stack.start("redis-salon-master")
            serve = ("salon",) if n % 12 == 5 else ("chambre1",) if n == 34 else LOCATIONS
            rewrite(
                system,
                serve=list(serve),
                sensors={"interval": luck.choice(["40ms", "50ms", "70ms"]), "per_type": luck.choice([1, 2, 3])},
                shutdown={"drain": "3s"},
                archive={"interval": luck.choice(["1s", "2s", "5m"])},
                logging={"level": luck.choice(["debug", "info"])},
                redis={"response_timeout": luck.choice(["3s", "4s"])},
                log={"memory": luck.choice(["1MiB", "64MiB"])},
                intake={"linger": luck.choice(["10ms", "500ms"])},
            )
            said = await hang_up(daemon)
            assert said["refused"] is None
            before = await taken(daemon, serve[0])

            async def more(location: str = serve[0], before: int = before) -> bool:
                return await taken(daemon, location) > before

            await until(more, 30, f"{serve[0]} is read after reload {n}")
        assert said["count"] == RELOADS
        total = {location: await taken(daemon, location) for location in LOCATIONS}
        daemon.process.send_signal(signal.SIGTERM)
        assert await daemon.ended() == 0
        assert not daemon.events("task_failed")
        assert daemon.events("shard_failed_over")
    for location in LOCATIONS:
        found = phases(daemon.events("source_started"), location, handed_over(system.settings, location).last)
        master = await system.master(location)
        async with system.connection(master.name) as redis:
            there = await due(system.settings, location, RedisStore(redis), found)
            assert await _readings(redis, location) == there
        # what was taken after the last status is not in total; nothing was taken twice
        assert total[location] <= there


async def _readings(redis: Connection, location: str) -> int:
    keys = await redis.call("TS.QUERYINDEX", f"location={location}")
    infos = [await redis.call("TS.INFO", key) for key in keys]
    return sum(int(dict(zip(info[::2], info[1::2], strict=True))[b"totalSamples"]) for info in infos)


async def test_a_configuration_that_is_wrong_changes_nothing_and_says_why_and_systemd_follows(
    fresh_system: FreshSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = fresh_system(LOCATIONS, sensors={"interval": "50ms"})
    good = system.config.read_text()
    systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    systemd.bind(str(system.settings.state.parent / "notify"))
    systemd.setblocking(False)
    monkeypatch.setenv("NOTIFY_SOCKET", str(system.settings.state.parent / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")  # the queue of a socket holds few
    with systemd, running_daemon(system.settings) as daemon:
        await daemon.running()
        await told(systemd, "READY=1", "WATCHDOG=1")
        for bad, why in (
            ("[sensors\n", "not valid TOML"),
            ('[sensors]\nintervall = "1s"\n', "did you mean 'interval'"),
            (
                good.replace('["influxdb"]', '["influxdb"]\ntoken_file = "/nowhere/token"'),
                "/nowhere/token can't be read",
            ),
        ):
            system.config.write_text(bad)
            said = await hang_up(daemon)
            assert why in said["refused"]
            await daemon.writes("salon")
            await told(systemd, "RELOADING=1")
            await told(systemd, "READY=1")
        refused = await iotd("reload", config=None, IOTD_STATE_DIR=str(system.settings.state))
        assert refused.code == 78
        assert "token_file" in refused.err
        system.config.write_text(good)
        said = await hang_up(daemon)
        assert (said["refused"], said["failures"]) == (None, 4)
        assert len(daemon.events("reload_refused")) == 4
        assert not daemon.events("source_started")[2:]
        assert await daemon.stop() == 0
        await told(systemd, "STOPPING=1")


async def told(systemd: socket.socket, *what: str) -> None:
    """Waits until systemd has heard all of this, in any order, and passes over what else it hears meanwhile."""
    missing = set(what)
    async with asyncio.timeout(20):
        while missing:
            missing -= set((await asyncio.get_running_loop().sock_recv(systemd, 4096)).decode().split("\n"))


async def test_diff_shows_what_a_reload_would_do_and_what_waits_for_a_restart(
    fresh_system: FreshSystem, tmp_path: Path
) -> None:
    secret = tmp_path / "token"
    secret.write_text("first-token-of-ours")
    system = fresh_system(LOCATIONS, influxdb={"token_file": str(secret)})
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        assert (await iotd("config", "diff", config=system.config)).out.startswith("nothing differs")
        secret.write_text("second-token-of-ours")
        port = system.settings.http.port + 1
        rewrite(
            system,
            serve=["salon"],
            influxdb={"token_file": str(secret)},
            log={"segment": "4MiB"},
            redis={"password": "hunter22"},
            http={"port": port},
        )
        shown = await iotd("config", "diff", "--output", "json", config=system.config)
        effects = {c["name"]: c["effect"] for c in shown.json["changes"]}
        assert effects["location chambre1"] == "it is drained, then removed"
        assert effects["log.segment"] == "needs a restart"
        assert "influxdb.token_file (the file)" in effects
        table = await iotd("config", "diff", config=system.config)
        assert "hunter22" not in table.out + shown.out
        assert "of-ours" not in table.out + shown.out
        assert (await daemon.status())["reload"]["count"] == 0  # it only looked
        assert len((await daemon.status())["shards"]) == 2

        rewrite(
            system, serve=["salon"], influxdb={"token_file": str(secret)}, log={"segment": "4MiB"}, http={"port": port}
        )
        done = await iotd("reload", config=system.config)
        assert done.code == 0, done.err
        said = await daemon.status()
        assert [s["location"] for s in said["shards"]] == ["salon"]
        assert said["reload"]["restart"] == ["log.segment"]
        assert daemon.events("restart_needed")
        async with aiohttp.ClientSession() as session:

            async def moved() -> bool:
                try:
                    async with session.get(f"http://127.0.0.1:{port}/livez") as response:
                        return response.status == 200
                except aiohttp.ClientError:
                    return False

            await until(moved, 20, "the HTTP server listens on its new port")
        again = await iotd("config", "diff", "--output", "json", config=system.config)
        assert [c["name"] for c in again.json["changes"]] == ["log.segment"]
        await daemon.writes("salon")
        assert await daemon.stop() == 0


async def test_a_shard_that_moves_to_other_servers_is_written_to_there_and_nothing_that_waited_is_lost(
    fresh_system: FreshSystem,
) -> None:
    system, another = fresh_system(sensors={"interval": "50ms"}), fresh_system()
    # salon's servers are away; the configuration learns that its readings belong to another pair of servers
    for node in system.topology.shard("salon").nodes:
        system.stack.backend.kill(node)
    other = another.topology.shard("salon")
    with running_daemon(system.settings) as daemon:
        await daemon.running()

        async def waits() -> bool:
            return await taken(daemon, "salon") > 100

        await until(waits, 30, "readings wait in the log")
        moved = {
            "master": str(other.master.address),
            "replica": str(other.replica.address),
            "sentinels": [str(node.address) for node in other.sentinels],
        }
        first = system.settings.topology.redis_port
        make_settings(
            system.settings.state.parent,
            first,
            ["salon"],
            sensors={"interval": "50ms"},
            topology={"shards": {"salon": moved}},
        )
        said = await hang_up(daemon)
        assert said["refused"] is None
        await daemon.writes("salon")
        assert await daemon.stop() == 0
    found = phases(daemon.events("source_started"), "salon", handed_over(system.settings, "salon").last)
    async with another.connection("redis-salon-master") as redis:
        assert await due(system.settings, "salon", RedisStore(redis), found) > 100


async def test_a_reload_during_a_long_drain_gives_way_to_a_stop(fresh_system: FreshSystem) -> None:
    system = fresh_system(LOCATIONS, sensors={"interval": "50ms"}, shutdown={"drain": "30s"})
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        await daemon.writes("chambre1")
        for node in system.topology.shard("chambre1").nodes:
            system.stack.backend.kill(node)
        rewrite(system, serve=["salon"], sensors={"interval": "50ms"}, shutdown={"drain": "2s"})
        daemon.process.send_signal(signal.SIGHUP)
        await daemon.logs("draining", limit=20)  # in vain
        for _ in range(2):
            await daemon.writes("salon")  # which has nothing to do with it
        assert not daemon.events("not_drained")
        daemon.process.send_signal(signal.SIGTERM)
        assert await daemon.ended(25) == 0


async def test_a_location_that_is_removed_does_not_wait_for_the_shard_of_another(fresh_system: FreshSystem) -> None:
    system = fresh_system(LOCATIONS, sensors={"interval": "50ms"}, shutdown={"drain": "30s"})
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        await daemon.writes("chambre1")
        for node in system.topology.shard("salon").nodes:
            system.stack.backend.kill(node)
        await daemon.says("not_written", "salon")
        rewrite(system, serve=["salon"], sensors={"interval": "50ms"}, shutdown={"drain": "2s"})
        daemon.process.send_signal(signal.SIGHUP)
        await daemon.logs("location_removed", limit=20)  # drained before
        assert not daemon.events("not_archived")
        assert not daemon.events("not_drained")
        daemon.process.send_signal(signal.SIGTERM)
        assert await daemon.ended(25) == 0
