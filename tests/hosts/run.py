"""Five hosts: two with a shard each, one of them with InfluxDB, three with a daemon; ends with 0 when all is right.

python -m tests.hosts.run FOLDER
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from iotd.config import Settings
from iotd.sources.simulator.source import Span
from iotd.stack import Stack
from tests.chaos.hosts import Host, Hosts
from tests.servers.archives import InfluxWitness
from tests.servers.checker import Checklist, RedisStore, handed_over
from tests.servers.daemon import Daemon
from tests.servers.system import System, make_settings, until

_IOTD = (sys.executable, "-m", "iotd")


class Building:
    """Shards on hosts of their own, as every daemon is told of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hosts = Hosts()
        self._stacks: list[tuple[Host, Settings]] = []
        secret = folder / "password"
        secret.write_text("between-hosts")
        self._secrets: dict[str, Any] = {
            "redis": {"password_file": str(secret)},
            "sentinel": {"password_file": str(secret), "down_after": "500ms", "failover_timeout": "3s"},
        }
        self._shards: dict[str, Any] = {}

    def start_servers(self, location: str, *, influxdb: bool) -> Settings:
        """`iotd stack up` on a new host."""
        host = self._hosts.add(f"servers-{location}")
        settings = make_settings(
            self._folder / host.name,
            7000,
            [location],
            topology={"host": host.address},
            archive={"store": "influxdb:" if influxdb else "embedded:"},
            stack=self._stack(),
            **self._secrets,
        )
        self._stacks.append((host, settings))
        self._on(host, settings, "stack", "up")
        shard = System(settings, Stack(settings)).topology.shard(location)
        self._shards[location] = {
            "master": str(shard.master.address),
            "replica": str(shard.replica.address),
            "sentinels": [str(node.address) for node in shard.sentinels],
        }
        return settings

    @contextmanager
    def daemon(self, name: str, *locations: str, archive: Settings) -> Iterator[Daemon]:
        """`iotd run --locations …` on a host of its own, with a state directory of its own."""
        host = self._hosts.add(name)
        store = System(archive, Stack(archive)).topology.influxdb
        settings = make_settings(
            self._folder / name,
            9000,
            list(self._shards),
            topology={"shards": self._shards},
            archive={"store": "influxdb:", "interval": "2s"},
            influxdb={"url": f"http://{store.address}", "token_file": str(archive.stack_token)},
            sensors={"interval": "100ms"},
            **self._secrets,
        )
        log = settings.state.parent / "daemon.log"
        command = [
            *_IOTD,
            "--config",
            str(settings.state.parent / "iotd.toml"),
            "run",
            "--locations",
            ",".join(locations),
        ]
        with log.open("ab") as out:
            process = subprocess.Popen(host.inside(command), stdout=out, stderr=out)
        try:
            yield Daemon(settings, process, log)
        finally:
            process.kill()
            process.wait()

    def stop_servers(self) -> None:
        for host, settings in self._stacks:
            self._on(host, settings, "stack", "down")

    def _stack(self) -> dict[str, str]:
        return {"redis_dir": named} if (named := os.environ.get("IOTD_TEST_REDIS_DIR")) else {}

    def _on(self, host: Host, settings: Settings, *args: str) -> None:
        command = [*_IOTD, "--config", str(settings.state.parent / "iotd.toml"), *args]
        done = subprocess.run(host.inside(command), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "warning" not in done.stderr, done.stderr  # beyond loopback, but with a password


async def check(servers: Settings, daemons: list[Daemon], location: str, archive: Settings) -> None:
    """Asserts that what these daemons handed over is in the shard and in the archive, each reading once."""
    spans = [handed_over(daemon.settings, location) for daemon in daemons]
    whole = Span(min(span.first for span in spans), max(span.last for span in spans))
    system = System(servers, Stack(servers))
    store = system.topology.influxdb.address if servers is archive else Stack(archive).topology.influxdb.address
    influxdb = InfluxWitness(
        f"http://{store}",
        org=archive.influxdb.org,
        bucket=archive.influxdb.bucket,
        token=archive.stack_token.read_text().strip(),
    )
    async with system.connection((await system.master(location)).name) as redis:
        checkpoints = {key async for key in _keys(redis, "iotd:checkpoint:*")}
        assert len(checkpoints) == len(daemons), checkpoints
        for held in (RedisStore(redis), influxdb):
            checklist = Checklist(daemons[0].settings, location, whole)
            await checklist.see(held)
            found = checklist.count()
            assert found.good, f"{location} in {type(held).__name__}: {found}"


async def _keys(redis: Any, pattern: str) -> Any:
    for key in await redis.call("KEYS", pattern):
        yield key


async def main(folder: Path) -> None:
    building = Building(folder)
    try:
        salon = building.start_servers("salon", influxdb=False)
        cuisine = building.start_servers("cuisine", influxdb=True)
        with ExitStack() as running:
            one = running.enter_context(building.daemon("one", "salon", archive=cuisine))
            two = running.enter_context(building.daemon("two", "cuisine", archive=cuisine))
            for daemon, location in ((one, "salon"), (two, "cuisine")):
                await daemon.running()
                await daemon.writes(location)
            third = running.enter_context(building.daemon("third", "cuisine", archive=cuisine))
            await third.running()
            await third.says("node_foreign", "cuisine")
            await third.says("not_written", "cuisine")
            assert [shard["location"] for shard in (await one.status())["shards"]] == ["salon"]

            async def archived() -> bool:
                return all(len(daemon.events("archived")) >= 2 for daemon in (one, two))

            await until(archived, 60, "each daemon has archived twice")
            for daemon in (one, two, third):
                assert await daemon.stop() == 0, daemon.log.read_text()
        await check(salon, [one], "salon", cuisine)
        await check(cuisine, [two], "cuisine", cuisine)
    finally:
        building.stop_servers()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
