"""What takes line protocol over HTTP and brings it into Redis and InfluxDB: iotd, and a real Telegraf.

Both get the same servers: for each room a Redis with its replica and Sentinels, and a bucket of one influxd.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import psutil

from iotd.shards.connection import Connection
from tests.benchmarks.lineload import KINDS, ROOMS
from tests.servers.clients import client, running
from tests.servers.daemon import running_daemon
from tests.servers.influxdb import InfluxServer
from tests.servers.ports import port_block
from tests.servers.system import System, make_settings, server_pids, start_system, stop_system, until

TOKEN = "a-token-for-the-benchmark"
_TELEGRAF_KEYS = [
    *(f"{measurement}_{kind}" for measurement in ("environment", "mqtt_consumer") for kind, _, _ in KINDS),
    *(f"{unit}_value" for _, unit, _ in KINDS),
]
"""It takes measurement and field for the key, and leaves the tags out."""
_INGEST = 90
"""Of the block of ports, the one where lines are taken."""


class DoesNotStart(Exception):
    """A receiver ended when it was to begin; the last line that it said."""


class Receiver(Protocol):
    """One of them, running."""

    system: System
    port: int

    async def start(self) -> None:
        """Starts it (again), and waits until it takes lines.

        Raises:
            DoesNotStart: it has ended by itself.
        """

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The one that runs now."""


class _Base:
    def __init__(self, system: System, port: int, life: ExitStack) -> None:
        self.system = system
        self.port = port
        self._log: Path
        self._life = life
        self._process: subprocess.Popen[bytes]

    @property
    def process(self) -> subprocess.Popen[bytes]:
        return self._process

    async def _listening(self) -> None:
        async def answers() -> bool:
            if self._process.poll() is not None:
                raise DoesNotStart(self._log.read_text().strip().splitlines()[-1])
            try:
                url = f"http://127.0.0.1:{self.port}/health"
                async with aiohttp.ClientSession() as session, session.get(url) as answer:
                    return answer.status == 200
            except aiohttp.ClientConnectionError:
                return False

        await until(answers, 60, "lines are taken")


class Iotd(_Base):
    """A daemon, which acknowledges what is on disk."""

    async def start(self) -> None:
        daemon = self._life.enter_context(running_daemon(self.system.settings))
        self._process, self._log = daemon.process, daemon.log
        await daemon.running()
        await self._listening()


class Telegraf(_Base):
    """Telegraf, which acknowledges what it has in memory; room for all of it there, so that it need not drop any."""

    def __init__(self, system: System, port: int, life: ExitStack, influx: Mapping[str, Any], *, on_disk: bool) -> None:
        """
        Args:
            on_disk: it keeps what it has taken on disk, which its authors call experimental.
        """
        super().__init__(system, port, life)
        folder = system.settings.state.parent
        strategy = f'buffer_strategy = "disk"\n  buffer_directory = "{folder / "buffer"}"' if on_disk else ""
        outputs = "".join(
            f"""
[[outputs.redistimeseries]]
  alias = "{room}"
  address = "{system.topology.shard(room).master.address}"
  convert_string_fields = false
  timeout = "60s"
  [outputs.redistimeseries.tagpass]
    room = ["{room}"]
    topic = ["zigbee2mqtt/{room}/*"]
    entity_id = ["{room}_*"]
"""
            for room in ROOMS
        )
        self._config = folder / "telegraf.conf"
        self._config.write_text(
            f"""
[agent]
  flush_interval = "1s"
  metric_batch_size = 5000
  metric_buffer_limit = 10000000
  omit_hostname = true
  {strategy}
[[inputs.influxdb_v2_listener]]
  service_address = "127.0.0.1:{port}"
  token = "{TOKEN}"
  parser_type = "upstream"
[[outputs.influxdb_v2]]
  urls = ["{influx["url"]}"]
  organization = "{influx["org"]}"
  bucket = "{influx["bucket"]}"
  token = "{influx["token"]}"
  content_encoding = "identity"
{outputs}"""
        )

    async def start(self) -> None:
        # by itself it makes series that refuse a time which they have: then one repeated line stops it for good
        for room in ROOMS:
            async with self.system.connection(self.system.topology.shard(room).master.name) as redis:
                await redis.call_many([("TS.CREATE", key, "DUPLICATE_POLICY", "LAST") for key in _TELEGRAF_KEYS])
        command: list[str | Path] = [client("telegraf") / "telegraf", "--config", self._config]
        self._log = self._config.with_suffix(".log")
        self._process = self._life.enter_context(running(command, self._log)).process
        await self._listening()


def _made(name: str, system: System, port: int, life: ExitStack, archive: Mapping[str, Any]) -> Iotd | Telegraf:
    if name == "iotd":
        return Iotd(system, port, life)
    return Telegraf(system, port, life, archive, on_disk=name == "telegraf-on-disk")


@asynccontextmanager
async def receiver(name: str, influx: InfluxServer, bucket: str, folder: Path) -> AsyncIterator[Receiver]:
    """``iotd``, ``telegraf`` or ``telegraf-on-disk``, with servers that hold nothing yet."""
    async with AsyncExitStack() as later:
        life = later.enter_context(ExitStack())
        first = life.enter_context(port_block())
        port = first + _INGEST
        folder.mkdir(parents=True)
        tokens = folder / "tokens"
        tokens.write_text(f"{TOKEN}\n")
        archive = {"url": influx.url, "org": influx.org, "bucket": influx.make_bucket(bucket), "token": influx.token}
        settings = await asyncio.to_thread(
            make_settings,
            folder / "system",
            first,
            ROOMS,
            influxdb=archive,
            archive={"store": "influxdb:", "interval": "2s"},
            ingest={"listen": f"127.0.0.1:{port}", "tokens_file": tokens},
            logging={"level": "warning"},
        )
        system = await asyncio.to_thread(start_system, settings)
        later.push_async_callback(asyncio.to_thread, stop_system, system)
        made = _made(name, system, port, life, archive)
        later.callback(life.close)
        await made.start()
        yield made


async def in_redis(system: System) -> int:
    """How many readings the masters hold."""
    count = 0
    for room in ROOMS:
        async with system.connection(system.topology.shard(room).master.name) as redis:
            replies = await redis.call_many([("TS.INFO", key) for key in await _keys(redis)])
            count += sum(reply[reply.index(b"totalSamples") + 1] for reply in replies if isinstance(reply, list))
    return count


async def times_in_redis(system: System) -> set[int]:
    """The times (ms) of all readings that the masters hold."""
    found: set[int] = set()
    for room in ROOMS:
        async with system.connection(system.topology.shard(room).master.name) as redis:
            for key in await _keys(redis):
                found.update(time for time, _ in await redis.call("TS.RANGE", key, "-", "+"))
    return found


async def _keys(redis: Connection) -> list[bytes]:
    keys: list[bytes] = []
    cursor = b"0"
    while True:
        cursor, some = await redis.call("SCAN", cursor, "COUNT", 1000, "TYPE", "TSDB-TYPE")
        keys += some
        if cursor == b"0":
            return keys


async def in_influxdb(influx: InfluxServer, bucket: str) -> int:
    """How many readings a bucket holds: numbers, without the texts that Telegraf writes beside them."""
    flux = (
        f'from(bucket: "{bucket}") |> range(start: 0) |> filter(fn: (r) => r._field !~ /_str$/)'
        " |> count() |> group() |> sum()"
    )
    headers = {"Authorization": f"Token {influx.token}", "Content-Type": "application/vnd.flux"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{influx.url}/api/v2/query", params={"org": influx.org}, data=flux) as answer,
    ):
        text = await answer.text()
        assert answer.status == 200, text
    found = re.findall(r",(\d+)\s*$", text.strip())
    return int(found[-1]) if found else 0


def cpu_of(process: subprocess.Popen[bytes]) -> float:
    """Seconds of CPU that a process has taken."""
    return float(sum(psutil.Process(process.pid).cpu_times()[:2]))


def servers_cpu(system: System, influx: InfluxServer) -> float:
    """Seconds of CPU that all servers have taken."""
    pids = [*server_pids(system.settings.state), *server_pids(influx.settings.state)]
    return float(sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids))


def peak_mib(process: subprocess.Popen[bytes]) -> float:
    """The most memory that a process ever had, MiB resident."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024
