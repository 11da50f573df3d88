"""The world of a chaos run: each node on a host of the lab, and the daemon as a process with a disk and a clock."""

from __future__ import annotations

import asyncio
import os
import shutil
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
from iotd.model.series import Series
from iotd.stack import Stack
from iotd.stack.processes import Processes
from tests.chaos import damage
from tests.chaos.hosts import Host, Hosts
from tests.chaos.influx import Influx
from tests.servers.daemon import Daemon
from tests.servers.disk import Disk
from tests.servers.system import System, make_settings, until

_FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
_DISK_MB = 2_000
_ROOT = Path(__file__).parents[2]
_MEND_S = 120
_WITNESS = {"sensors": 5, "every_ms": 50, "late": 0.05, "early": 0.002}


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
        tampered: locations of whose shard data was taken or altered: some of it is in the archive alone for a while.
        deaths: ends of the daemon that no fault brought about.
        unnamed: what the log had lost, and the daemon did not name.
        losable: readings (series, time, values) that were in a part of the log which a fault has destroyed.
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
        self.tampered: set[str] = set()
        self.deaths: list[str] = []
        self.unnamed: list[str] = []
        self.losable: dict[Series, dict[int, set[float]]] = {}
        self._command = daemon
        self.witness = folder / "witness"  # not on the daemon's disk, which may be full
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
            simulator={"enabled": "on"},
            sources={"witness": {"kind": "tests.servers.witness", "witness": str(self.witness), **_WITNESS}},
            log={"limit": "256MiB", "segment": "1MiB"},
            archive={"interval": "10s", "store": "influxdb:"},
            influxdb={"url": self.influx.proxy_url, "token_file": self.influx.token_file, "timeout": "3s"},
            shutdown={"drain": "60s"},  # the count follows the last pass
            logging={"level": "info", "format": "json"},
        )
        self._daemon: Daemon | None = None
        self._wanted = False
        self._to_be_named: list[tuple[int, damage.Lost]] = []

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

    # ── the log ──

    @property
    def log(self) -> Path:
        """The folder of the daemon's log."""
        return self.settings.state / "log"

    def logged(self, location: str) -> damage.Records:
        """What the log has of a location; the daemon must be down."""
        there = damage.records(self.log)
        return {place: readings for place, readings in there.items() if place[0] == location}

    @contextmanager
    def harmed_log(self, *, named: bool) -> Iterator[Path]:
        """The log's files are harmed meanwhile; the daemon is down, and whoever started it again names what is lost.

        Args:
            named: whether the log can know what it has lost.
        """
        with damage.harming(self.log) as lost:
            yield self.log
        for readings in lost.records.values():
            for series, time, value in readings:
                self.losable.setdefault(series, {}).setdefault(time, set()).add(value)
        self.tampered.update(partition for partition, _ in lost.records)
        if named and lost.records:
            self._to_be_named.append((self._log_size(), lost))

    def look_for_names(self) -> None:
        """Notes which losses of the log the daemon has not named since; it must have been started again."""
        for size, lost in self._to_be_named:
            with self.daemon.log.open("rb") as f:
                f.seek(size)
                lines = Daemon.parsed(f.read().decode(errors="replace"))
            named = [(e["shard"], e["first"], e["last"]) for e in lines if e["event"] == "log_damaged"]
            self.unnamed += [f"{location} {sequence}" for location, sequence in lost.unnamed(named)]
        self._to_be_named.clear()

    def _log_size(self) -> int:
        return self.daemon.log.stat().st_size

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
            # what it mends in older C libraries makes a thread wait for seconds for the interpreter's lock
            env["FAKETIME_FORCE_MONOTONIC_FIX"] = "0"
        config = str(self.disk.path / "iotd.toml")
        with log.open("ab") as out:
            process = subprocess.Popen(
                self.home.inside([sys.executable, *self._command, "--config", config, "run"]),
                stdout=out,
                stderr=out,
                env=env,
                cwd=_ROOT,
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
        """Waits until all that was handed over is durable, or nearly so."""

        async def confirmed() -> bool:
            said = await self.daemon.status()
            return bool(said) and all(s["age"] < 3 and s["master"] for s in said["shards"])

        await until(confirmed, limit, "all is durable")

    async def stop_daemon(self) -> int:
        self._wanted = False
        return await self.daemon.stop(_MEND_S)

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
        await self.daemon.running(_MEND_S)

    def save(self, folder: Path) -> None:
        """Copies what the daemon leaves behind: its log, its state, what was handed over."""
        folder.mkdir(parents=True, exist_ok=True)
        for path in (self.witness, self.disk.path.parent / "daemon.log"):
            if path.exists():
                shutil.copy2(path, folder)
        shutil.copytree(self.settings.state, folder / "state", dirs_exist_ok=True, ignore=lambda *_: ["control.sock"])

    async def end_daemon(self) -> None:
        """Ends the daemon."""
        if self._daemon is not None and self._daemon.process.poll() is None:
            self._daemon.process.send_signal(signal.SIGCONT)
            self.kill_daemon()

    async def down(self) -> None:
        """Ends the servers, and takes the daemon's disk away."""
        await asyncio.gather(*(asyncio.to_thread(self.backend.kill, node) for node in self.system.stack.nodes()))
        await self.influx.down()
        self.disk.unmount()
