"""What takes readings and brings them into Redis and InfluxDB: iotd, and a real Telegraf.

Both get the same servers: for each room a Redis with its replica and Sentinels, and a bucket of one influxd.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from tests.benchmarks.lineload import KINDS, ROOMS
from tests.servers.clients import client, running
from tests.servers.daemon import running_daemon
from tests.servers.influxdb import InfluxServer
from tests.servers.ports import port_block
from tests.servers.system import System, make_settings, start_system, stop_system, until

TOKEN = "a-token-for-the-benchmark"
_TELEGRAF_KEYS = [
    *(f"{measurement}_{kind}" for measurement in ("environment", "mqtt_consumer") for kind, _, _ in KINDS),
    *(f"{unit}_value" for _, unit, _ in KINDS),
]
"""It takes measurement and field for the key, and leaves the tags out."""
_INGEST = 90
"""Of the block of ports, the one where lines are taken."""


@dataclass(frozen=True)
class Way:
    """How readings come in.

    Attributes:
        iotd: tables of its configuration.
        telegraf: the input of Telegraf's configuration.
        picked: which metrics a room's output takes (`tagpass`), with ``{room}`` for the room.
        keys: that Telegraf writes into a room's Redis.
        agent: lines of Telegraf's table `[agent]`, over those made here.
        takes: whether a receiver that was just started takes readings.
    """

    iotd: Mapping[str, Any]
    telegraf: str
    picked: str
    keys: Callable[[str], Sequence[str]]
    takes: Callable[[], Awaitable[bool]]
    agent: Mapping[str, str] = field(default_factory=dict)


def over_http(port: int, folder: Path) -> Way:
    """Line protocol."""
    tokens = folder / "tokens"
    tokens.write_text(f"{TOKEN}\n")

    async def takes() -> bool:
        try:
            url = f"http://127.0.0.1:{port}/health"
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                return answer.status == 200
        except aiohttp.ClientConnectionError:
            return False

    return Way(
        iotd={"ingest": {"listen": f"127.0.0.1:{port}", "tokens_file": tokens}},
        telegraf=f"""
[[inputs.influxdb_v2_listener]]
  service_address = "127.0.0.1:{port}"
  token = "{TOKEN}"
  parser_type = "upstream"
""",
        picked='room = ["{room}"]\n    topic = ["zigbee2mqtt/{room}/*"]\n    entity_id = ["{room}_*"]',
        keys=lambda _: _TELEGRAF_KEYS,
        takes=takes,
    )


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


async def killed(its: Receiver, times: int, chance: random.Random) -> tuple[int, str | None]:
    """Kills it at random moments and starts it again; how often, and what it said if it did not start any more."""
    count, down = 0, None
    while count < times and down is None:
        await asyncio.sleep(chance.uniform(0.5, 3.0))  # at any moment of its work
        its.process.kill()
        its.process.wait()
        count += 1
        try:
            await its.start()
        except DoesNotStart as e:
            down = str(e)
    return count, down


@asynccontextmanager
async def client_of(module: str, options: Mapping[str, object]) -> AsyncIterator[Any]:
    """A client in a process of its own that has made what it sends, and begins once it gets a line; killed if it is
    not done."""
    pipe = asyncio.subprocess.PIPE
    command = [f"--{name}={value}" for name, value in options.items()]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *command, stdin=pipe, stdout=pipe, limit=2**24
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"READY\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class _Base:
    def __init__(self, system: System, port: int, life: ExitStack, way: Way) -> None:
        self.system = system
        self.port = port
        self._log: Path
        self._life = life
        self._way = way
        self._process: subprocess.Popen[bytes]

    @property
    def process(self) -> subprocess.Popen[bytes]:
        return self._process

    async def _taking(self) -> None:
        async def takes() -> bool:
            if self._process.poll() is not None:
                raise DoesNotStart(self._log.read_text().strip().splitlines()[-1])
            return await self._way.takes()

        await until(takes, 60, "readings are taken")


class Iotd(_Base):
    """A daemon, which acknowledges what is on disk."""

    async def start(self) -> None:
        daemon = self._life.enter_context(running_daemon(self.system.settings))
        self._process, self._log = daemon.process, daemon.log
        await daemon.running()
        await self._taking()


class Telegraf(_Base):
    """Telegraf, with room for all of it in memory, so that it need not drop any."""

    def __init__(
        self, system: System, port: int, life: ExitStack, way: Way, influx: Mapping[str, Any], *, on_disk: bool
    ) -> None:
        """
        Args:
            on_disk: it keeps what it has taken on disk, which its authors call experimental.
        """
        super().__init__(system, port, life, way)
        folder = system.settings.state.parent
        agent = {
            "flush_interval": '"1s"',
            "metric_batch_size": "5000",
            "metric_buffer_limit": "10000000",
            "omit_hostname": "true",
            **({"buffer_strategy": '"disk"', "buffer_directory": f'"{folder / "buffer"}"'} if on_disk else {}),
            **way.agent,
        }
        lines = "".join(f"  {key} = {value}\n" for key, value in agent.items())
        outputs = "".join(
            f"""
[[outputs.redistimeseries]]
  alias = "{room}"
  address = "{system.topology.shard(room).master.address}"
  convert_string_fields = false
  timeout = "60s"
  [outputs.redistimeseries.tagpass]
    {way.picked.replace("{room}", room)}
"""
            for room in ROOMS
        )
        self._config = folder / "telegraf.conf"
        self._config.write_text(
            f"""
[agent]
{lines}
{way.telegraf}
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
                made = [("TS.CREATE", key, "DUPLICATE_POLICY", "LAST") for key in self._way.keys(room)]
                await redis.call_many(made)
        command: list[str | Path] = [client("telegraf") / "telegraf", "--config", self._config]
        self._log = self._config.with_suffix(".log")
        self._process = self._life.enter_context(running(command, self._log)).process
        await self._taking()


@asynccontextmanager
async def receiver(
    name: str, influx: InfluxServer, bucket: str, folder: Path, way: Way | None = None
) -> AsyncIterator[Receiver]:
    """``iotd``, ``telegraf`` or ``telegraf-on-disk``, with servers that hold nothing yet.

    Args:
        way: how readings come in; None: as line protocol over HTTP.
    """
    async with AsyncExitStack() as later:
        life = later.enter_context(ExitStack())
        first = life.enter_context(port_block())
        port = first + _INGEST
        folder.mkdir(parents=True, exist_ok=True)
        way = way or over_http(port, folder)
        archive = {"url": influx.url, "org": influx.org, "bucket": influx.make_bucket(bucket), "token": influx.token}
        settings = await asyncio.to_thread(
            make_settings,
            folder / "system",
            first,
            ROOMS,
            influxdb=archive,
            archive={"store": "influxdb:", "interval": "2s"},
            logging={"level": "warning"},
            **way.iotd,
        )
        system = await asyncio.to_thread(start_system, settings)
        later.push_async_callback(asyncio.to_thread, stop_system, system)
        made: Iotd | Telegraf
        if name == "iotd":
            made = Iotd(system, port, life, way)
        else:
            made = Telegraf(system, port, life, way, archive, on_disk=name == "telegraf-on-disk")
        later.callback(life.close)
        await made.start()
        yield made
