"""`python -m tests.benchmarks.sustained`: 100,000 sensors at one reading a second, and what a reading costs.

One daemon, five shards with replicas and Sentinels, all on this machine. Each size has servers of its own, and is
watched from when all becomes durable as it comes. Without an archive, unless ``--store`` names one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal

import click
import psutil

from tests.benchmarks.frame import LOCATIONS, tell
from tests.benchmarks.watch import TYPES, Moment, World, world

SIZES = (1_000, 100_000)
_WARM_S = 10.0
_SHORT_S = 60.0
"""Of watching the smaller size, at most: nothing changes there."""


@dataclass(frozen=True)
class Minute:
    """One moment: seconds since the start of the watching, what waits, seconds since any became durable, MiB."""

    at: float
    waiting: int
    age: float
    resident: float


@dataclass(frozen=True)
class Run:
    """One size, watched.

    Attributes:
        readings: that became durable meanwhile.
        daemon, shards, influxdb: µs of CPU per reading.
        busy: CPU of the whole machine, of all its cores, 0 to 1.
        behind: the readings that waited, in seconds of what comes: median and largest of all looks.
        kept_up: no more waited in the last fifth of the time than in the first, but for a second's readings.
    """

    sensors: int
    seconds: float
    readings: int
    daemon: float
    shards: float
    influxdb: float
    busy: float
    behind: tuple[float, float]
    kept_up: bool
    archived: int
    course: Sequence[Minute]

    @property
    def rate(self) -> float:
        return self.readings / self.seconds


async def measure(at_work: World, seconds: float) -> Run:
    """Waits until all becomes durable as it comes, and watches then."""
    await at_work.runs()
    await at_work.keeps_up(300)
    await asyncio.sleep(min(_WARM_S, seconds))
    psutil.cpu_percent()
    began = monotonic()
    moments = [moment async for moment in at_work.every(1.0, began + seconds)]
    moments.append(await at_work.moment())
    busy = psutil.cpu_percent() / 100
    return _run(at_work.sensors * len(LOCATIONS), moments, busy)


def _run(sensors: int, moments: Sequence[Moment], busy: float) -> Run:
    first, last = moments[0], moments[-1]
    readings, seconds = last.durable - first.durable, last.usage.at - first.usage.at

    def each(of: Literal["daemon", "shards", "influxdb"]) -> float:
        return 1e6 * float(getattr(last.usage, of) - getattr(first.usage, of)) / max(1, readings)

    waiting = sorted(moment.waiting / sensors for moment in moments)
    fifth = max(1, len(moments) // 5)
    early = min(moment.waiting for moment in moments[:fifth])
    late = min(moment.waiting for moment in moments[-fifth:])
    return Run(
        sensors=sensors,
        seconds=seconds,
        readings=readings,
        daemon=each("daemon"),
        shards=each("shards"),
        influxdb=each("influxdb"),
        busy=busy,
        behind=(waiting[len(waiting) // 2], waiting[-1]),
        kept_up=late <= early + sensors,
        archived=last.archived - first.archived,
        course=[_course(moment, first) for moment in (*moments[:-1:60], last)],
    )


def _course(moment: Moment, first: Moment) -> Minute:
    age = max(one.age for one in moment.partitions.values())
    return Minute(moment.usage.at - first.usage.at, moment.waiting, age, moment.usage.mib)


@click.command()
@click.option("--seconds", default=300.0, show_default=True, help="Of watching the larger size.")
@click.option("--rounds", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--sensors", "sizes", multiple=True, type=int, default=SIZES, show_default=True)
@click.option("--store", type=click.Choice(["none", "embedded", "influxdb"]), default="none", show_default=True)
@click.option("--interval", default="5m", show_default=True, help="Of the archive's passes.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def bench(*, seconds: float, rounds: int, sizes: Sequence[int], store: Any, interval: str, output: str) -> None:
    """CPU per reading and what waits, by the number of sensors."""
    runs = []
    for _ in range(rounds):
        for size in sizes:
            per_type = round(size / len(LOCATIONS) / TYPES)
            with world(per_type, store, archive={"interval": interval}, logging={"level": "warning"}) as at_work:
                upto = seconds if size == max(sizes) else min(seconds, _SHORT_S)
                runs.append(asyncio.run(measure(at_work, upto)))
                click.echo(_line(runs[-1]), err=True)
    tell(runs, output, _lines)


def _lines(run: Run) -> str:
    course = (
        f"    {at.at:4.0f} s: {at.waiting:9,} wait, {at.age:.1f} s old, {at.resident:.0f} MiB resident"
        for at in run.course
    )
    return "\n".join((_line(run), *course))


def _line(run: Run) -> str:
    return (
        f"{run.sensors:,} sensors, {run.seconds:.0f} s: {run.rate:,.0f} readings/s durable; each costs the daemon "
        f"{run.daemon:.2f} µs of CPU, shards and Sentinels {run.shards:.2f}, InfluxDB {run.influxdb:.2f}; the machine "
        f"{100 * run.busy:.0f} % busy; {run.behind[0]:.1f} s behind (at most {run.behind[1]:.1f}), "
        f"{'kept up' if run.kept_up else 'FELL BEHIND'}" + (f"; {run.archived:,} archived" if run.archived else "")
    )


if __name__ == "__main__":
    bench()
