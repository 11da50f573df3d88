"""What has come of a benchmark beside another program: readings in Redis and InfluxDB, and what it took."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import aiohttp
import psutil

from iotd.shards.connection import Connection
from tests.benchmarks.lineload import ROOMS
from tests.servers.influxdb import InfluxServer
from tests.servers.system import System, server_pids


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


async def values_in_redis(system: System) -> Counter[int]:
    """How many readings of each value, as a whole number, the masters hold."""
    found: Counter[int] = Counter()
    for room in ROOMS:
        async with system.connection(system.topology.shard(room).master.name) as redis:
            for key in await _keys(redis):
                found.update(round(float(value)) for _, value in await redis.call("TS.RANGE", key, "-", "+"))
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
    found = re.findall(r",(\d+)\s*$", (await _asked(influx, bucket, "|> count() |> group() |> sum()")).strip())
    return int(found[-1]) if found else 0


async def values_in_influxdb(influx: InfluxServer, bucket: str) -> Counter[int]:
    """How many readings of each value, as a whole number, a bucket holds."""
    text = await _asked(influx, bucket, '|> group() |> keep(columns: ["_value"])')
    return Counter(round(float(value)) for value in re.findall(r",([-+.e\d]+)\r?$", text, re.MULTILINE))


async def _asked(influx: InfluxServer, bucket: str, what: str) -> str:
    flux = f'from(bucket: "{bucket}") |> range(start: 0) |> filter(fn: (r) => r._field !~ /_str$/) {what}'
    headers = {"Authorization": f"Token {influx.token}", "Content-Type": "application/vnd.flux"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{influx.url}/api/v2/query", params={"org": influx.org}, data=flux) as answer,
    ):
        text = await answer.text()
        assert answer.status == 200, text
    return text


def cpu_of(process: subprocess.Popen[bytes]) -> float:
    """Seconds of CPU that a process has taken."""
    return float(sum(psutil.Process(process.pid).cpu_times()[:2]))


def servers_cpu(system: System, influx: InfluxServer, *others: subprocess.Popen[bytes]) -> float:
    """Seconds of CPU that all servers have taken."""
    pids = [*server_pids(system.settings.state), *server_pids(influx.settings.state), *(one.pid for one in others)]
    return float(sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids))


def peak_mib(process: subprocess.Popen[bytes]) -> float:
    """The most memory that a process ever had, MiB resident."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024
