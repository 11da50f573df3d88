"""The first archive: seven days of readings from the shards into a real InfluxDB.

Four ways of bringing the same points into an empty bucket, with as many writes under way at once:

- ``ready``: bodies in line protocol that were made before, posted; what the server and an HTTP client can do at best.
- ``iotd``: the archiver, from the shards, with its watermarks.
- ``iotd-gzip``: the same, compressed, as it would be for a server on another machine: what that costs on loopback.
- ``usual``: what one finds in tutorials: TS.RANGE, a ``Point`` per sample, the batching WriteApi. One location's part
  only, for it takes long.
"""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import numpy as np
import psutil
import redis
from influxdb_client import InfluxDBClient, Point, WritePrecision
from influxdb_client.client.write_api import WriteOptions

from iotd.archive.archiver import Archiver
from iotd.archive.state import ArchiveState
from iotd.config import Address, Settings
from iotd.log.budget import Budget
from iotd.model.batch import Batch, Times, Values
from iotd.model.series import Series
from iotd.shards.reader import ShardReader
from iotd.sources.simulator.signal import Signal
from iotd.stores.influxdb.store import InfluxStore
from tests.benchmarks.core import Core, simulated
from tests.benchmarks.frame import LOCATIONS, Benchmark, Case, Kind, Run
from tests.benchmarks.load import load
from tests.servers.influxdb import InfluxServer, running_influxdb
from tests.servers.ports import port_block
from tests.servers.system import System, make_settings, server_pids, start_system, stop_system

DAYS = 7
STEP_MS = 10_000


class _Sound:
    """Stands for the service of a shard that has lost nothing; the log is empty, so nothing is mended."""

    def __init__(self) -> None:
        self.lost_series: set[int] = set()

    async def write_again(self, batch: Batch, upto: int) -> None:
        raise AssertionError(f"{len(batch)} readings to be written again")

    async def restore(self, series: Series, times: Times, values: Values) -> int:
        raise AssertionError(f"{len(times)} readings of {series.key} to be restored")


class FirstArchive:
    """The servers, filled, and the three ways."""

    def __init__(self, system: System, influx: InfluxServer, folder: Path) -> None:
        self._system = system
        self._influx = influx
        self._folder = folder
        self._bucket = ""
        self._bodies: list[bytes] = []

    async def fill(self) -> None:
        """Loads the shards, and makes the bodies of ``ready`` from them."""
        settings = self._system.settings
        last = 1_790_000_000_000
        times = np.arange(last - DAYS * 86_400_000, last, STEP_MS, dtype=np.int64)
        for location in settings.locations:
            series = simulated(settings, location)
            values = Signal(settings.simulator.seed, series, settings.known_types).values(times)
            async with self._system.connection(f"redis-{location}-master") as link:
                await load(link, series, settings, times)
            for column, sensor in enumerate(series):
                head = f"{sensor.type},location={location},sensor_id={sensor.sensor_id},unit={sensor.unit}"
                pairs = list(zip(values[:, column].tolist(), times.tolist(), strict=True))
                batch = settings.archive.batch
                for n in range(0, len(pairs), batch):
                    lines = [f"{head} value={value!r} {time}" for value, time in pairs[n : n + batch]]
                    self._bodies.append("\n".join(lines).encode())

    @property
    def points(self) -> int:
        return len(LOCATIONS) * 9 * (DAYS * 86_400_000 // STEP_MS)

    async def new_bucket(self) -> None:
        self._bucket = f"b{uuid.uuid4().hex}"
        await asyncio.to_thread(self._influx.make_bucket, self._bucket)

    async def drop_bucket(self) -> None:
        await asyncio.to_thread(self._influx.drop_bucket, self._bucket)

    async def ready(self) -> int:
        bodies = iter(self._bodies)
        headers = {"Authorization": f"Token {self._influx.token}"}
        params = {"org": self._influx.org, "bucket": self._bucket, "precision": "ms"}
        async with aiohttp.ClientSession(headers=headers) as session, asyncio.TaskGroup() as group:

            async def post() -> None:
                for body in bodies:
                    async with session.post(f"{self._influx.url}/api/v2/write", params=params, data=body) as answer:
                        assert answer.status == 204, await answer.text()

            for _ in range(self._system.settings.archive.in_flight):
                group.create_task(post())
        return self.points

    async def iotd(self) -> int:
        return await self._archive("auto")

    async def zipped(self) -> int:
        return await self._archive("on")

    def servers(self) -> float:
        """Seconds of CPU that InfluxDB and the shards' nodes have taken."""
        folders = (self._influx.settings.state, self._system.settings.state)
        pids = [pid for folder in folders for pid in server_pids(folder)]
        return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)

    async def _archive(self, gzip: str) -> int:
        settings = self._settings(gzip)
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        state = ArchiveState(folder / "watermarks.sqlite")
        assert settings.influxdb.url is not None
        store = InfluxStore(settings, settings.influxdb.url)
        core = Core(settings, folder, LOCATIONS)
        archiver = Archiver(
            settings,
            readers={location: self._reader(location) for location in LOCATIONS},
            store=store,
            state=state,
            budget=Budget(settings.log.memory),
            log=core.log,
            log_limit=settings.log.limit,
            catalogue=core.catalogue,
            services=dict.fromkeys(LOCATIONS, _Sound()),
            state_dir=folder,
        )
        running = asyncio.create_task(archiver.run())
        try:
            done = await archiver.cycle()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await store.close()
            await core.close()
            state.close()
        return sum(one.new for one in done.values())

    async def usual(self) -> int:
        return await asyncio.to_thread(self._usual, LOCATIONS[0])

    def _usual(self, location: str) -> int:
        count = 0
        host, port = self._system.topology.shard(location).master.address
        shard = redis.Redis(host=host, port=port)
        influx = InfluxDBClient(url=self._influx.url, token=self._influx.token, org=self._influx.org)
        with shard, influx, influx.write_api(WriteOptions(batch_size=5_000)) as api:
            for sensor in simulated(self._system.settings, location):
                for time, value in shard.ts().range(sensor.key, "-", "+"):
                    point = Point(sensor.type).tag("location", location).tag("sensor_id", sensor.sensor_id)
                    point = point.tag("unit", sensor.unit).field("value", value).time(time, WritePrecision.MS)
                    api.write(bucket=self._bucket, record=point)
                    count += 1
        return count

    def _settings(self, gzip: str) -> Settings:
        token = self._folder / "token"
        token.write_text(self._influx.token)
        influx = {"url": self._influx.url, "org": self._influx.org, "bucket": self._bucket, "token_file": str(token)}
        influx["gzip"] = gzip
        return self._system.settings.model_copy(
            update={"influxdb": self._system.settings.influxdb.model_validate(influx)}
        )

    def _reader(self, location: str) -> ShardReader:
        async def master() -> Address:
            return self._system.topology.shard(location).master.address

        return ShardReader(location, self._system.settings, master)


async def _cases() -> AsyncIterator[Sequence[Case]]:
    with ExitStack() as servers:
        folder = Path(servers.enter_context(tempfile.TemporaryDirectory(prefix="iotd-bench-")))
        influx = await asyncio.to_thread(servers.enter_context, running_influxdb(folder / "influxdb"))
        first = servers.enter_context(port_block())
        settings = make_settings(folder / "system", first, LOCATIONS, redis={"retention": "3650d"})
        system = await asyncio.to_thread(start_system, settings)
        servers.callback(stop_system, system)
        ways = FirstArchive(system, influx, folder)
        await ways.fill()

        def case(name: str, what: str, run: Run, kind: Kind = "ours") -> Case:
            return Case(name, what, run, kind, before=ways.new_bucket, after=ways.drop_bucket, servers=ways.servers)

        yield (
            case("ready", "bodies made ready, posted with the same concurrency", ways.ready, "limit"),
            case("iotd", "the archiver, from the shards", ways.iotd),
            case("iotd-gzip", "the same, compressed as for a server on another machine", ways.zipped),
            case("usual", "TS.RANGE, Point, batching WriteApi (one location)", ways.usual, "peer"),
        )


FIRST_ARCHIVE = Benchmark("first-archive", "7 days at 10 s of 45 sensors into InfluxDB", "readings", _cases)
