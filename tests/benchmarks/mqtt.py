"""`python -m tests.benchmarks.mqtt`: iotd beside a real Telegraf, MQTT of QoS 1 into Redis and InfluxDB.

A real mosquitto, which loses nothing by itself, keeps a persistent session for each; each has servers of its own that
are alike (:mod:`tests.benchmarks.receivers`). A gate between counts their PUBACKs (:mod:`tests.benchmarks.gate`).
``backlog``: messages that queued up at the broker are drained. ``sustained``: so many a second. ``kills``: the receiver
is SIGKILLed at random moments while messages come; counted is what is nowhere in the end, and what is there twice.

iotd acknowledges what is on disk, Telegraf what all its outputs have taken.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import click

from tests.benchmarks.found import (
    cpu_of,
    in_influxdb,
    in_redis,
    peak_mib,
    servers_cpu,
)
from tests.benchmarks.frame import Ratio, ratios, tell
from tests.benchmarks.gate import Gate
from tests.benchmarks.mqttkills import Kills, kills
from tests.benchmarks.mqttload import FORMS, Form
from tests.benchmarks.overmqtt import broker_and_gate, over_mqtt, publishing
from tests.benchmarks.receivers import receiver
from tests.servers.influxdb import InfluxServer, running_influxdb
from tests.servers.system import until

BOTH = ("iotd", "telegraf")
_FIGURES = ("acknowledged", "redis", "both", "cpu", "servers", "peak")
_LOOK_S = 0.2
_STEADY_S = 6.0
"""So long nothing comes any more when all that will has come."""


@dataclass(frozen=True)
class Work:
    """Messages of one form.

    Attributes:
        rate: at which they come, messages a second; 0: all are there.
    """

    form: Form
    messages: int
    rate: float

    def __str__(self) -> str:
        return f"{self.form}, {f'{self.rate:,.0f} messages/s' if self.rate else 'backlog'}"


@dataclass(frozen=True)
class Rate:
    """One receiver, one round.

    Attributes:
        acknowledged, redis, both: messages a second until all were acknowledged, or were there; ``both``: in InfluxDB
            as well.
        behind: seconds from the publisher's last PUBACK to the receiver's.
        cpu, servers: µs of CPU for each message, of the receiver and of all servers, the broker too, until all was in
            both.
        peak: MiB resident of the receiver, at most.
        there: messages that Redis and InfluxDB have; of several values without a time within a ms only the last.
        load: of the machine when it ended, processes that want a core.
    """

    name: str
    work: Work
    acknowledged: float
    redis: float
    both: float
    behind: float
    cpu: float
    servers: float
    peak: float
    there: tuple[int, int]
    load: float

    @property
    def case(self) -> str:
        return str(self.work)


async def rate(name: str, influx: InfluxServer, folder: Path, work: Work) -> Rate:
    """Messages, until all are acknowledged, and in Redis and InfluxDB."""
    messages = work.messages
    first = time.time_ns() // 1_000_000 - 86_400_000
    async with (
        broker_and_gate(folder / "broker") as (broker, its_gate),
        receiver(name, influx, folder.name, folder, over_mqtt(its_gate, work.form)) as its,
        publishing(broker, work.form, first, messages, work.rate) as load,
    ):
        if not work.rate:
            its_gate.shut()
            load.stdin.write(b"\n")
            await load.stdout.readline()
        cpu, served = cpu_of(its.process), servers_cpu(its.system, influx, broker.process)
        began, ended = monotonic(), list[float]()
        if work.rate:
            load.stdin.write(b"\n")
            published = asyncio.create_task(load.stdout.readline())
            published.add_done_callback(lambda _: ended.append(monotonic()))
        else:
            its_gate.open()
        redis, in_it = await _seconds(began, messages, lambda: in_redis(its.system))
        both, in_both = await _seconds(began, messages, lambda: in_influxdb(influx, folder.name))
        await _acknowledged(its_gate, messages)
        each = 1e6 / messages
        return Rate(
            name,
            work,
            acknowledged=messages / (its_gate.at - began),
            redis=messages / redis,
            both=messages / max(redis, both),
            behind=max(0.0, its_gate.at - ended[0]) if ended else 0.0,
            cpu=(cpu_of(its.process) - cpu) * each,
            servers=(servers_cpu(its.system, influx, broker.process) - served) * each,
            peak=peak_mib(its.process),
            there=(in_it, in_both),
            load=os.getloadavg()[0],
        )


async def _seconds(began: float, count: int, there: Callable[[], Awaitable[int]]) -> tuple[float, int]:
    """When the last came, and how many have come: all, or as many as there are when nothing comes any more."""
    last, since = 0, began
    while last < count and (not last or monotonic() - since < _STEADY_S):
        await asyncio.sleep(_LOOK_S)
        if (now := await there()) != last:
            last, since = now, monotonic()
    return since - began, last


async def _acknowledged(its: Gate, messages: int) -> None:
    async def all_are() -> bool:
        return its.acknowledged >= messages

    await until(all_are, 60, f"{messages} messages are acknowledged")


@dataclass(frozen=True)
class Result:
    """All of it."""

    rates: Sequence[Rate]
    ratios: Sequence[Ratio]
    kills: Sequence[Kills]


async def measured(works: Sequence[Work], rounds: int, times: int) -> Result:
    """All of it; what is first changes from round to round."""
    rates: list[Rate] = []
    killed: list[Kills] = []
    with tempfile.TemporaryDirectory(prefix="iotd-bench-") as scratch:
        folder = Path(scratch)
        with running_influxdb(folder / "influxdb") as influx:
            for n in range(rounds):
                for at, work in enumerate(works):
                    for name in BOTH if n % 2 == 0 else reversed(BOTH):
                        rates.append(await rate(name, influx, folder / f"{name}-{at}-{n}", work))
                        click.echo(_rate(rates[-1]), err=True)
            for form in dict.fromkeys(work.form for work in works) if times else ():
                for name in BOTH:
                    killed.append(await kills(name, influx, folder / f"{name}-{form}-kills", form, times))
                    click.echo(str(killed[-1]), err=True)
    return Result(rates, ratios(rates, BOTH, _FIGURES) if rates else [], killed)


def _rate(one: Rate) -> str:
    late = f", {one.behind:.1f} s behind the publisher," if one.work.rate else ","
    return (
        f"{one.name}, {one.case}, {one.work.messages:,} messages: {one.acknowledged:,.0f} acknowledged a second{late} "
        f"{one.redis:,.0f} until all were in Redis ({one.there[0]:,}), {one.both:,.0f} in InfluxDB too "
        f"({one.there[1]:,}); {one.cpu:.1f} µs of CPU a message, {one.servers:.1f} of the servers'; "
        f"{one.peak:.0f} MiB at most (load {one.load:.1f})"
    )


@click.command()
@click.option("--form", "forms", multiple=True, type=click.Choice(FORMS), default=FORMS, show_default=True)
@click.option("--messages", default=100_000, show_default=True, help="Of the backlog; 0: none.")
@click.option("--rate", "sustained", default=5_000.0, show_default=True, help="Messages a second; 0: none.")
@click.option("--seconds", default=20.0, show_default=True, help="Of these.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=0))
@click.option("--kills", "times", default=10, show_default=True)
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def bench(
    *,
    forms: Sequence[Form],
    messages: int,
    sustained: float,
    seconds: float,
    rounds: int,
    times: int,
    output: str,
) -> None:
    """MQTT of QoS 1 into Redis and InfluxDB: iotd beside Telegraf."""
    works = [
        Work(form, count, rate)
        for form in forms
        for count, rate in ((messages, 0.0), (round(sustained * seconds), sustained))
        if count
    ]
    tell([asyncio.run(measured(works, rounds, times))], output, _lines)


def _lines(result: Result) -> str:
    return "\n".join([*map(_rate, result.rates), *map(str, result.ratios), *map(str, result.kills)])


if __name__ == "__main__":
    bench()
