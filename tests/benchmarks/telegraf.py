"""`python -m tests.benchmarks.telegraf`: iotd beside a real Telegraf, line protocol over HTTP into Redis and InfluxDB.

One process posts the same bodies to both, in turn, each with servers of its own that are alike
(:mod:`tests.benchmarks.receivers`). ``rate``: how fast lines are acknowledged, and are in Redis, and in InfluxDB too;
what that costs. ``kills``: the receiver is SIGKILLed at random moments while the client, which repeats what was not
acknowledged and nothing else, goes on; counted is what was acknowledged and is in no Redis in the end.

iotd acknowledges what is on disk, Telegraf what it has in memory; it is also killed with its buffer on disk, which its
authors call experimental. It is given a series policy, a buffer and lines such that it drops and refuses nothing by
itself.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import click

from tests.benchmarks.found import cpu_of, in_influxdb, in_redis, peak_mib, servers_cpu, times_in_redis
from tests.benchmarks.frame import Ratio, ratios, tell
from tests.benchmarks.receivers import TOKEN, Receiver, client_of, killed, receiver
from tests.servers.influxdb import InfluxServer, running_influxdb

BOTH = ("iotd", "telegraf")
KILLED = (*BOTH, "telegraf-on-disk")
_FIGURES = ("acknowledged", "redis", "both", "cpu", "servers", "peak")
_LOOK_S = 0.1
_PATIENCE_S = 240.0
_KILLS_SIZE, _KILLS_EVERY_S = 100, 0.05
"""Lines of a body, and seconds between two."""
_STEADY_S = 6.0
"""So long nothing comes any more when all that will has come."""


@dataclass(frozen=True)
class Rate:
    """One receiver, one size of bodies, one round.

    Attributes:
        acknowledged, redis, both: lines a second until all were that, or were there; ``both``: in InfluxDB as well.
        cpu, servers: µs of CPU for each line, of the receiver and of all servers, until all was in both.
        peak: MiB resident of the receiver, at most.
    """

    name: str
    size: int
    lines: int
    acknowledged: float
    redis: float
    both: float
    cpu: float
    servers: float
    peak: float

    @property
    def case(self) -> str:
        return f"{self.size:,} lines a body"


@dataclass(frozen=True)
class Kills:
    """One receiver, killed some times.

    Attributes:
        acknowledged: lines.
        lost: of these, in no Redis in the end.
        tries: requests that it took.
        down: why it did not start again after one of the kills; they ended with that.
    """

    name: str
    kills: int
    bodies: int
    acknowledged: int
    lost: int
    tries: int
    down: str | None


@asynccontextmanager
async def loading(port: int, first: int, size: int, bodies: int, every: float = 0) -> AsyncIterator[Any]:
    """A client that has made its bodies, and posts them once it gets a line; killed if it is not done."""
    options = {"port": port, "token": TOKEN, "first": first, "size": size, "bodies": bodies, "every": every}
    async with client_of("tests.benchmarks.lineload", options) as process:
        yield process


async def rate(name: str, influx: InfluxServer, folder: Path, size: int, lines: int) -> Rate:
    """Posts so many lines in bodies of a size, and waits until all are in Redis and InfluxDB."""
    bodies, first = lines // size, time.time_ns() // 1_000_000 - 86_400_000
    async with receiver(name, influx, folder.name, folder) as its, loading(its.port, first, size, bodies) as load:
        cpu, served, began = cpu_of(its.process), servers_cpu(its.system, influx), monotonic()
        load.stdin.write(b"\n")
        done = asyncio.create_task(load.stdout.readline())
        redis = await _seconds(began, bodies * size, lambda: in_redis(its.system))
        posted = json.loads(await done)
        both = await _seconds(began, bodies * size, lambda: in_influxdb(influx, folder.name))
        each = 1e6 / (bodies * size)
        return Rate(
            name,
            size,
            bodies * size,
            acknowledged=bodies * size / posted["seconds"],
            redis=bodies * size / redis,
            both=bodies * size / max(redis, both),
            cpu=(cpu_of(its.process) - cpu) * each,
            servers=(servers_cpu(its.system, influx) - served) * each,
            peak=peak_mib(its.process),
        )


async def _seconds(began: float, count: int, there: Callable[[], Awaitable[int]]) -> float:
    while (found := await there()) < count:
        if monotonic() - began > _PATIENCE_S:
            raise click.ClickException(f"{found} of {count} lines after {_PATIENCE_S:g} s")
        await asyncio.sleep(_LOOK_S)
    return monotonic() - began


async def kills(name: str, influx: InfluxServer, folder: Path, times: int) -> Kills:
    """Posts bodies at a rate that both can take, while the receiver is killed so many times at random moments."""
    chance, first = random.Random(16), time.time_ns() // 1_000_000 - 86_400_000
    size, every = _KILLS_SIZE, _KILLS_EVERY_S
    most = round(times * 10 / every)
    async with receiver(name, influx, folder.name, folder) as its, loading(its.port, first, size, most, every) as load:
        load.stdin.write(b"\n")
        count, down = await killed(its, times, chance)
        await asyncio.sleep(1.0)  # and it goes on
        load.terminate()
        posted = json.loads(await load.stdout.readline())
        await _settled(its)
        found = await times_in_redis(its.system)
        wanted = {first + body * size + n for body in posted["bodies"] for n in range(size)}
        return Kills(name, count, len(posted["bodies"]), len(wanted), len(wanted - found), posted["tries"], down)


async def _settled(its: Receiver) -> None:
    last, since = -1, monotonic()
    while monotonic() - since < _STEADY_S:
        if (now := await in_redis(its.system)) != last:
            last, since = now, monotonic()
        await asyncio.sleep(_LOOK_S)


@dataclass(frozen=True)
class Result:
    """All of it."""

    rates: Sequence[Rate]
    ratios: Sequence[Ratio]
    kills: Sequence[Kills]


async def measured(lines: int, sizes: Sequence[int], rounds: int, times: int) -> Result:
    """All of it; what is first changes from round to round."""
    rates: list[Rate] = []
    killed: list[Kills] = []
    with tempfile.TemporaryDirectory(prefix="iotd-bench-") as scratch:
        folder = Path(scratch)
        with running_influxdb(folder / "influxdb") as influx:
            for n in range(rounds):
                for size in sizes:
                    for name in BOTH if n % 2 == 0 else reversed(BOTH):
                        rates.append(await rate(name, influx, folder / f"{name}-{size}-{n}", size, lines))
                        click.echo(_rate(rates[-1]), err=True)
            for name in KILLED if times else ():
                killed.append(await kills(name, influx, folder / f"{name}-kills", times))
                click.echo(_kills(killed[-1]), err=True)
    return Result(rates, ratios(rates, BOTH, _FIGURES), killed)


def _rate(one: Rate) -> str:
    return (
        f"{one.name}, {one.size:,} lines a body, {one.lines:,} lines: {one.acknowledged:,.0f} lines/s acknowledged, "
        f"{one.redis:,.0f} until all were in Redis, {one.both:,.0f} in InfluxDB too; {one.cpu:.1f} µs of CPU a line, "
        f"{one.servers:.1f} of the servers'; {one.peak:.0f} MiB at most"
    )


def _kills(one: Kills) -> str:
    return (
        f"{one.name}, killed {one.kills} times: {one.lost:,} of {one.acknowledged:,} acknowledged lines lost "
        f"({one.bodies:,} bodies in {one.tries:,} requests)"
        + (f"; then it did not start: {one.down}" if one.down else "")
    )


@click.command()
@click.option("--lines", default=500_000, show_default=True, help="Of each run.")
@click.option("--size", "sizes", multiple=True, type=int, default=(5_000, 100), show_default=True, help="Of a body.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=0))
@click.option("--kills", "times", default=10, show_default=True)
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def bench(*, lines: int, sizes: Sequence[int], rounds: int, times: int, output: str) -> None:
    """Line protocol over HTTP into Redis and InfluxDB: iotd beside Telegraf."""
    tell([asyncio.run(measured(lines, sizes, rounds, times))], output, _lines)


def _lines(result: Result) -> str:
    return "\n".join([*map(_rate, result.rates), *map(str, result.ratios), *map(_kills, result.kills)])


if __name__ == "__main__":
    bench()
