"""A daemon on real servers, watched from outside while it works: CPU, memory, what waits in its lanes."""

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
    """

    at: float
    daemon: float
    shards: float
    influxdb: float
    resident: int

    @property
    def mib(self) -> float:
        return self.resident / _MIB


@dataclass(frozen=True)
class Lane:
    """One location, as the daemon says: readings written, confirmed and waiting; seconds without confirming."""

    written: int
    confirmed: int
    waiting: int
    age: float


@dataclass(frozen=True)
class Moment:
    """The daemon at one moment.

    Attributes:
        archived: points that the archive has acknowledged.
        unarchived: readings handed over since the last whole pass of the archive began.
    """

    usage: Usage
    lanes: Mapping[str, Lane]
    archived: int
    unarchived: int

    @property
    def confirmed(self) -> int:
        return sum(lane.confirmed for lane in self.lanes.values())

    @property
    def waiting(self) -> int:
        return sum(lane.waiting for lane in self.lanes.values())


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
        """In each location."""
        return len(self.settings.sensors.types) * self.settings.sensors.per_type

    def usage(self) -> Usage:
        """What is taken until now."""
        process = psutil.Process(self.daemon.process.pid)
        with process.oneshot():
            cpu, resident = sum(process.cpu_times()[:2]), process.memory_info().rss
        influxdb = self.influxdb.settings.state if self.influxdb else None
        return Usage(monotonic(), cpu, _cpu(self.settings.state), _cpu(influxdb) if influxdb else 0.0, resident)

    async def moment(self) -> Moment:
        """How it is now."""
        said = await self._status()
        lanes = {
            s["location"]: Lane(s["written"], s["confirmed"], s["depth"]["readings"], s["depth"]["age"])
            for s in said["shards"]
        }
        unarchived = sum(s["depth"]["unarchived"] for s in said["shards"])
        return Moment(self.usage(), lanes, said["archive"]["archived"], unarchived)

    async def every(self, step: float, upto: float) -> AsyncIterator[Moment]:
        """A moment each ``step`` seconds, until ``upto`` (monotonic seconds)."""
        due = monotonic()
        while due < upto:
            yield await self.moment()
            due = max(due + step, monotonic())
            await asyncio.sleep(due - monotonic())

    async def confirms(self, limit: float) -> None:
        """Waits until in every location nothing waits but what the last two seconds have brought."""

        async def steady() -> bool:
            lanes = (await self.moment()).lanes
            return len(lanes) == len(LOCATIONS) and all(
                lane.confirmed and lane.waiting <= 3 * self.sensors for lane in lanes.values()
            )

        await until(steady, limit, "all locations are confirmed as they come")

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
    per_type: int, sink: Literal["influxdb", "embedded", "none"], *, history: bool = False, **overrides: Any
) -> Iterator[World]:
    """Five shards with replicas and Sentinels, an influxd where that is the sink, and a daemon.

    Args:
        history: the daemon is that of `iotd up`, which begins a week ago, not of `iotd run`.
        overrides: tables of the configuration, as for :func:`make_settings`.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="iotd-bench-")))
        influx = stack.enter_context(running_influxdb(folder / "influxdb")) if sink == "influxdb" else None
        first = stack.enter_context(port_block())
        tables: dict[str, Any] = {
            "sensors": {"per_type": per_type},
            "sentinel": {"down_after": "1s", "failover_timeout": "5s"},
            **overrides,
            "archive": {"sink": sink, **overrides.get("archive", {})},
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
