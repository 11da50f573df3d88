"""A daemon on real servers, watched from outside while it works: CPU, memory, what waits in its log."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import psutil

from iotd.config import Settings
from tests.benchmarks.frame import LOCATIONS
from tests.servers.daemon import Daemon, running_daemon
from tests.servers.influxdb import InfluxServer, running_influxdb
from tests.servers.ports import port_block
from tests.servers.system import System, alive, make_settings, server_pids, start_system, stop_system, until

TYPES = 3
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Usage:
    """What was taken so far, found out without asking the daemon anything.

    Attributes:
        at: monotonic seconds.
        daemon, shards, influxdb: seconds of CPU of the daemon, of all Redis and Sentinels, of influxd.
        resident: bytes of the daemon.
        written: bytes that the daemon had written to disk: pages that it made dirty, each as often as it was synced.
    """

    at: float
    daemon: float
    shards: float
    influxdb: float
    resident: int
    written: int

    @property
    def mib(self) -> float:
        return self.resident / _MIB


@dataclass(frozen=True)
class Partition:
    """One location, as the daemon says.

    Attributes:
        acknowledged, durable: readings, since the daemon's start.
        waiting: readings that are in the log and not durable.
        age: seconds since readings last became durable, while some wait.
    """

    acknowledged: int
    durable: int
    waiting: int
    age: float


@dataclass(frozen=True)
class Moment:
    """The daemon at one moment.

    Attributes:
        archived: points that the archive has acknowledged.
        unarchived: readings that are in the log and not archived.
    """

    usage: Usage
    partitions: Mapping[str, Partition]
    archived: int
    unarchived: int

    @property
    def durable(self) -> int:
        return sum(one.durable for one in self.partitions.values())

    @property
    def waiting(self) -> int:
        return sum(one.waiting for one in self.partitions.values())


@dataclass(frozen=True)
class World:
    """A running daemon with its servers."""

    system: System
    daemon: Daemon
    influxdb: InfluxServer | None

    @property
    def settings(self) -> Settings:
        return self.system.settings

    @property
    def sensors(self) -> int:
        """Simulated ones in each location."""
        return len(self.settings.sensors.types) * self.settings.sensors.per_type

    def usage(self) -> Usage:
        """What is taken until now."""
        process = psutil.Process(self.daemon.process.pid)
        with process.oneshot():
            cpu, resident = sum(process.cpu_times()[:2]), process.memory_info().rss
            written = process.io_counters().write_bytes
        influxdb = self.influxdb.settings.state if self.influxdb else None
        served = _cpu(influxdb) if influxdb else 0.0
        return Usage(monotonic(), cpu, _cpu(self.settings.state), served, resident, written)

    async def moment(self) -> Moment:
        """How it is now."""
        said = await self._status()
        partitions = {
            s["location"]: Partition(s["acknowledged"], s["durable"], s["waiting"]["readings"], s["age"])
            for s in said["shards"]
        }
        unarchived = sum(s["unarchived"]["readings"] for s in said["shards"])
        return Moment(self.usage(), partitions, said["archive"]["archived"], unarchived)

    async def every(self, step: float, upto: float) -> AsyncIterator[Moment]:
        """A moment each ``step`` seconds, until ``upto`` (monotonic seconds)."""
        due = monotonic()
        while due < upto:
            yield await self.moment()
            due = max(due + step, monotonic())
            await asyncio.sleep(due - monotonic())

    async def runs(self, limit: float = 120) -> None:
        """Waits until the daemon runs: on a busy machine that takes longer than tests allow it."""

        async def running() -> bool:
            assert self.daemon.process.poll() is None, f"the daemon ended: {self.daemon.log.read_text()[-2000:]}"
            said = await self.daemon.status()
            return said is not None and said["phase"] == "running"

        await until(running, limit, "the daemon runs")

    async def keeps_up(self, limit: float) -> None:
        """Waits until in every location nothing waits but what the last two seconds have brought."""

        async def steady() -> bool:
            partitions = (await self.moment()).partitions
            return len(partitions) == len(LOCATIONS) and all(
                one.durable and one.waiting <= 3 * self.sensors for one in partitions.values()
            )

        await until(steady, limit, "readings of all locations become durable as they come")

    async def archived_once(self, limit: float) -> None:
        """Waits until all locations have been archived and verified."""

        async def whole() -> bool:
            found = (await self._status())["archive"]["locations"].values()
            return all(one["compared"] is not None or one["unverified"] is not None for one in found)

        await until(whole, limit, "the first archive pass and its verification are over")

    async def _status(self) -> Any:
        said = await self.daemon.status()
        assert said is not None, "the daemon does not answer"
        return said


def _cpu(state: Path) -> float:
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in alive(server_pids(state)))


@contextmanager
def world(
    per_type: int, store: Literal["influxdb", "embedded", "none"], *, history: bool = False, **overrides: Any
) -> Iterator[World]:
    """Five shards with replicas and Sentinels, an influxd where that is the archive, and a daemon.

    Args:
        history: the daemon is that of `iotd up`, which begins a week ago, not of `iotd run`.
        overrides: tables of the configuration, as for :func:`make_settings`.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="iotd-bench-")))
        influx = stack.enter_context(running_influxdb(folder / "influxdb")) if store == "influxdb" else None
        first = stack.enter_context(port_block())
        tables: dict[str, Any] = {
            "sensors": {"per_type": per_type},
            "sentinel": {"down_after": "1s", "failover_timeout": "5s"},
            **overrides,
            "archive": {"store": store if store == "none" else f"{store}:", **overrides.get("archive", {})},
        }
        if influx is not None:
            tables["influxdb"] = {"url": influx.url, "org": influx.org, "token": influx.token}
        system = start_system(make_settings(folder / "system", first, LOCATIONS, **tables))
        stack.callback(stop_system, system)
        run = _up if history else running_daemon
        yield World(system, stack.enter_context(run(system.settings)), influx)


@contextmanager
def _up(settings: Settings) -> Iterator[Daemon]:
    folder = settings.state.parent
    command = [sys.executable, "-m", "iotd", "--config", str(folder / "iotd.toml"), "up"]
    log = folder / "daemon.log"
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        yield Daemon(settings, process, log)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)
