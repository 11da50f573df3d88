"""`python -m tests.benchmarks.rest`: what a daemon takes that has next to nothing to do.

The default system: 45 sensors at one reading a second, five shards, a pass of the archive every five minutes. With a
real InfluxDB, once begun now and once with seven days of history behind it; with the embedded archive, which the daemon
itself writes, once on the simulator's grid, once with each sensor at a moment of its own, once with each of those
readings awaited by whoever handed it over. Nobody asks the daemon anything meanwhile.

What is written to disk is the kernel's count of the process: pages that were made dirty, each as often as it was
synced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Literal

import click

from tests.benchmarks.frame import tell
from tests.benchmarks.watch import World, world

PER_TYPE = 3
_SETTLED_S = 70.0
"""After the first pass, so that what it needed was given back: once a minute (:mod:`iotd.ops.memory`)."""


@dataclass(frozen=True)
class Rest:
    """What was taken in so many seconds: CPU as a part of one core, the largest resident size and the last (MiB), and
    GB that the daemon would write to disk in a day."""

    name: str
    seconds: float
    daemon: float
    shards: float
    influxdb: float
    largest: float
    resident: float
    written: float


@dataclass(frozen=True)
class Case:
    """A daemon, its archive, and the configuration's tables."""

    name: str
    store: Literal["influxdb", "embedded"]
    history: bool = False
    tables: Mapping[str, Any] = field(default_factory=dict)


def _moments(awaited: bool) -> Mapping[str, Any]:
    return {"sources": {"moments": {"kind": "tests.servers.moments", "sensors": 9, "awaited": awaited}}}


CASES = {
    "now": Case("begun now", "influxdb"),
    "history": Case("after seven days of history", "influxdb", history=True),
    "embedded": Case("embedded archive", "embedded"),
    "moments": Case("embedded, each sensor at a moment of its own", "embedded", tables=_moments(False)),
    "awaited": Case("the same, each reading awaited", "embedded", tables=_moments(True)),
}


async def measure(name: str, at_work: World, seconds: float) -> Rest:
    """Waits for the first pass of the archive, and watches then."""
    await at_work.runs()
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
        (after.written - before.written) / took * 86_400 / 1e9,
    )


def run(case: Case, seconds: float) -> Rest:
    """One case, from nothing."""
    with world(PER_TYPE, case.store, history=case.history, **case.tables) as at_work:
        return asyncio.run(measure(case.name, at_work, seconds))


@click.command()
@click.argument("cases", nargs=-1, type=click.Choice(list(CASES)))
@click.option("--seconds", default=300.0, show_default=True, help="Of watching; one archive pass lies in five minutes.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def bench(cases: Sequence[str], seconds: float, output: str) -> None:
    """CPU, memory and wear of the default system at rest."""
    tell([run(CASES[name], seconds) for name in cases or CASES], output, _line)


def _line(one: Rest) -> str:
    return (
        f"{one.name}, {one.seconds:.0f} s: {100 * one.daemon:.2f} % of a core, {one.resident:.1f} MiB resident "
        f"(at most {one.largest:.1f}), {one.written:.2f} GB written a day; "
        f"shards and Sentinels {100 * one.shards:.1f} %, InfluxDB {100 * one.influxdb:.1f} %"
    )


if __name__ == "__main__":
    bench()
