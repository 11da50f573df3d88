"""`python -m tests.benchmarks.rest`: what a daemon takes that has next to nothing to do.

The default system: 45 sensors at one reading a second, five shards, a real InfluxDB as the archive, a pass every five
minutes. Once begun now, once with seven days of history behind it. Nobody asks the daemon anything meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

import click

from tests.benchmarks.frame import tell
from tests.benchmarks.watch import World, world

PER_TYPE = 3
_SETTLED_S = 70.0
"""After the first pass, so that what it needed was given back: once a minute (:mod:`iotd.ops.memory`)."""


@dataclass(frozen=True)
class Rest:
    """What was taken in so many seconds: CPU as a part of one core, the largest resident size and the last (MiB)."""

    name: str
    seconds: float
    daemon: float
    shards: float
    influxdb: float
    largest: float
    resident: float


async def measure(name: str, at_work: World, seconds: float) -> Rest:
    """Waits for the first pass of the archive, and watches then."""
    await at_work.daemon.running()
    await at_work.archived_once(300)
    await asyncio.sleep(min(_SETTLED_S, seconds))
    before = at_work.usage()
    ends, sizes = monotonic() + seconds, [before.mib]
    while monotonic() < ends:
        await asyncio.sleep(1.0)
        sizes.append(at_work.usage().mib)
    after = at_work.usage()
    took = after.at - before.at
    assert (await at_work.moment()).waiting <= 3 * at_work.sensors * 5
    return Rest(
        name,
        took,
        (after.daemon - before.daemon) / took,
        (after.shards - before.shards) / took,
        (after.influxdb - before.influxdb) / took,
        max(sizes),
        sizes[-1],
    )


def run(seconds: float) -> Sequence[Rest]:
    """Both ways of beginning."""
    found = []
    for name, history in (("begun now", False), ("after seven days of history", True)):
        with world(PER_TYPE, "influxdb", history=history) as at_work:
            found.append(asyncio.run(measure(name, at_work, seconds)))
    return found


@click.command()
@click.option("--seconds", default=300.0, show_default=True, help="Of watching; one archive pass lies in five minutes.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def bench(seconds: float, output: str) -> None:
    """CPU and memory of the default system at rest."""
    tell(run(seconds), output, _line)


def _line(one: Rest) -> str:
    return (
        f"{one.name}, {one.seconds:.0f} s: {100 * one.daemon:.2f} % of a core, {one.resident:.1f} MiB resident "
        f"(at most {one.largest:.1f}); shards and Sentinels {100 * one.shards:.1f} %, "
        f"InfluxDB {100 * one.influxdb:.1f} %"
    )


if __name__ == "__main__":
    bench()
