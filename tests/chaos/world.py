"""The world of a chaos run: each node on a host of the lab, and the daemon as a process with a disk and a clock."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from iotd.config import Address, Settings
from iotd.config.topology import Node
from iotd.model.errors import IotdError
from iotd.stack import Stack
from iotd.stack.processes import Processes
from tests.chaos.hosts import Host, Hosts
from tests.chaos.influx import Influx
from tests.servers.daemon import Daemon
from tests.servers.disk import Disk
from tests.servers.system import System, make_settings, until

_FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
_DISK_MB = 2_000
_MEND_S = 120


class NodesOnHosts(Processes):
    """The process backend, with each server on its own host."""

    def __init__(self, settings: Settings, hosts: dict[str, Host]) -> None:
        super().__init__(settings)
        self._hosts = hosts

    def require_free(self, node: Node, setting: str) -> None:
        """The address is not of this machine, and nobody but us is in the lab."""

    def _start(self, node: Node, command: list[str]) -> None:
        super()._start(node, self._hosts[node.name].inside(command))


class World:
    """Servers, the daemon, and what can be done to them.

    Attributes:
        emptied: locations whose shard has lost all its data: what was archived before is in the archive alone.
        deaths: ends of the daemon that no fault brought about.
    """

    def __init__(self, folder: Path, locations: Sequence[str], *, per_type: int, daemon: Sequence[str]) -> None:
        """
        Args:
            folder: an empty one, for everything.
            per_type: sensors of each type and location; each gives ten readings a second.
            daemon: the command that runs the daemon.
        """
        self.hosts = Hosts()
        self.home = self.hosts.add("home")
        self.emptied: set[str] = set()
        self.deaths: list[str] = []
        self._command = daemon
        self.disk = Disk(folder / "daemon", _DISK_MB)
        self._clock = folder / "clock"
        self._clock.write_text("+0")
        places: dict[str, Host] = {}
        shards = {}
        for i, location in enumerate(locations):
            a, b = self.hosts.add(f"{location}-a"), self.hosts.add(f"{location}-b")
            sentinels = (a, b, self.home)
            port = 7100 + i
            shards[location] = {
                "master": f"{a.address}:7000",
                "replica": f"{b.address}:7000",
                "sentinels": [f"{host.address}:{port}" for host in sentinels],
            }
            places |= {f"redis-{location}-master": a, f"redis-{location}-replica": b}
            places |= {f"sentinel-{location}-{n}": host for n, host in enumerate(sentinels, start=1)}
        self._places = places
        influx_host = places["influxdb"] = self.hosts.add("influxdb")
        common = {
            "topology": {"shards": shards},
            # not only for the sake of it: a Redis without a password answers nobody from another host
            "redis": {"password": "chaos"},
            "stack": {"redis_dir": named} if (named := os.environ.get("IOTD_TEST_REDIS_DIR")) else {},
            "sentinel": {"password": "chaos", "down_after": "500ms", "failover_timeout": "3s"},
        }
        self.system = System(stack := make_settings(folder / "servers", 7000, locations, **common), Stack(stack))
        self.backend = NodesOnHosts(stack, places)
        self.system.stack.backend = self.backend
        self.influx = Influx(self.backend, stack, influx_host.address, self.hosts.ours)
        self.settings = make_settings(
            self.disk.path,
            7000,
            locations,
            **common,
            sensors={"per_type": per_type, "interval": "100ms"},
            spool={"keep": "256MiB"},
            archive={"interval": "10s", "sink": "influxdb"},
            influxdb={"url": self.influx.proxy_url, "token_file": self.influx.token_file, "timeout": "3s"},
            shutdown={"drain": "60s"},  # the count follows the last pass
            log={"level": "info", "format": "json"},
        )
        self._daemon: Daemon | None = None
        self._wanted = False

    @property
    def locations(self) -> tuple[str, ...]:
        return self.settings.locations

    # ── servers ──

    def node(self, name: str) -> Node:
        return self.system.topology.node(name)

    def host(self, node: Node) -> Host:
        return self._places[node.name]

    def sentinels(self, location: str) -> tuple[Node, ...]:
        return self.system.topology.shard(location).sentinels

    async def master(self, location: str) -> Node:
        """A node that says it is master; the one named so at first if none does."""
        shard = self.system.topology.shard(location)
        for node in shard.redis:
            if self.backend.state(node) == "running":
                try:
                    if await self.system.says_master(node.name):
                        return node
                except IotdError:
                    continue
        return shard.master

    async def pair(self, location: str) -> tuple[Node, Node]:
        """Master and replica, as they are now."""
        master = await self.master(location)
        a, b = self.system.topology.shard(location).redis
        return (a, b) if master == a else (b, a)

    async def promoted(self, location: str, before: Node, limit: float = 30) -> bool:
        """Waits until another node than ``before`` says it is master; False when none did."""

        async def other() -> bool:
            return await self.master(location) != before and await self.system.says_master(
                (await self.master(location)).name
            )

        try:
            await until(other, limit, f"{location}: a replica is promoted")
        except (AssertionError, IotdError):
            return False
        return True

    async def mend(self) -> None:
        """Brings back whatever is not running, and returns when all servers are healthy.

        Raises:
            AssertionError: they did not become healthy.
        """
        last = ""

        async def healthy() -> bool:
            nonlocal last
            try:
                await self.system.stack.up()
            except IotdError as e:
                last = str(e)
                return False
            return True

        try:
            await until(healthy, _MEND_S, "all servers are healthy")
        except AssertionError as e:
            raise AssertionError(f"{e}; {last}") from None
        await self.influx.mend()

    def kill(self, *nodes: Node) -> str:
        """Kills servers; returns their names. :meth:`mend` brings them back."""
        for node in nodes:
            self.backend.kill(node)
        return ", ".join(node.name for node in nodes)

    @contextmanager
    def hanging(self, *nodes: Node) -> Iterator[str]:
        """Servers that hang meanwhile; their names."""
        for node in nodes:
            self.backend.pause(node)
        try:
            yield ", ".join(node.name for node in nodes)
        finally:
            for node in nodes:
                self.backend.resume(node)

    def restart(self, node: Node, master: Address | None, *, empty: bool = False) -> None:
        """Starts a killed Redis at once; as a master when ``master`` is None."""
        if empty:
            for path in (self.system.settings.state / "nodes" / node.name).glob("appendonlydir/*"):
                path.unlink()
        self.backend.start_redis(node, master)

    # ── the daemon ──

    @property
    def daemon(self) -> Daemon:
        assert self._daemon is not None
        return self._daemon

    def start_daemon(self) -> None:
        """Starts it, unless it runs."""
        if self._wanted and self.daemon.process.poll() is None:
            return
        log = self.disk.path.parent / "daemon.log"
        env = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if _FAKETIME is not None:
            # only the wall clock: what waits, waits by the monotonic one
            env |= {"LD_PRELOAD": str(_FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(self._clock)}
            env |= {"FAKETIME_CACHE_DURATION": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        config = str(self.disk.path / "iotd.toml")
        with log.open("ab") as out:
            process = subprocess.Popen(
                self.home.inside([sys.executable, *self._command, "--config", config, "run"]),
                stdout=out,
                stderr=out,
                env=env,
            )
        self._daemon = Daemon(self.settings, process, log)
        self._wanted = True

    def kill_daemon(self) -> None:
        self._wanted = False
        self.daemon.process.kill()
        self.daemon.process.wait()

    def look_after_daemon(self) -> None:
        """Starts the daemon again if it has ended of its own accord, and notes that it did."""
        if self._wanted and (code := self.daemon.process.poll()) is not None:
            lines = self.daemon.log.read_text(errors="replace").splitlines()
            self.deaths.append(f"exit code {code}: {' | '.join(lines[-3:])}")
            self.start_daemon()

    async def drained(self, limit: float = 300) -> None:
        """Waits until all that was handed over is confirmed, or nearly so, and archived."""

        async def confirmed() -> bool:
            said = await self.daemon.status()
            return bool(said) and all(s["depth"]["age"] < 3 and s["master"] for s in said["shards"])

        await until(confirmed, limit, "the spool has drained")

    async def stop_daemon(self) -> int:
        self._wanted = False
        return await self.daemon.stop()

    def memory(self) -> int:
        """The daemon's resident bytes."""
        try:
            return int(psutil.Process(self.daemon.process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    @property
    def has_clock(self) -> bool:
        """Whether the daemon's wall clock can be set."""
        return _FAKETIME is not None

    def set_clock(self, seconds: float) -> None:
        """Puts the daemon's wall clock off by so much; it takes effect within a second."""
        self._clock.write_text(f"{seconds:+g}")

    # ── all ──

    async def up(self) -> None:
        await self.system.stack.up()
        await self.influx.up()
        self.start_daemon()
        await self.daemon.running()

    async def down(self) -> None:
        if self._daemon is not None and self._daemon.process.poll() is None:
            self._daemon.process.send_signal(signal.SIGCONT)
            self.kill_daemon()
        await asyncio.gather(*(asyncio.to_thread(self.backend.kill, node) for node in self.system.stack.nodes()))
        await self.influx.down()
        self.disk.unmount()
