"""`python -m tests.benchmarks.outage`: what a daemon needs while a store is away for long, and how it catches up.

10,000 sensors at one reading a second in five locations. Both nodes of one location are killed (``one``), or of all
(``all``), or the archive is (``influxdb``), and started again after so many seconds. Looked at: resident memory against
that before, how fast what waited is brought in, as a multiple of the rate at which readings come, and how far behind
the other locations are meanwhile. Readings of a location come in order: a live one is with its shard when those that
waited are, so the time of catching up is also the longest that it waits once the shard is there again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import monotonic
from typing import Any

import click

from iotd.config.topology import Node
from tests.benchmarks.frame import LOCATIONS, tell
from tests.benchmarks.watch import Moment, World, world

PER_TYPE = 667
_WARM_S = 75.0
"""Before anything is killed: memory is given back once a minute (:mod:`iotd.ops.memory`)."""
_LOOK_S = 0.25
_ARCHIVE_INTERVAL = "10s"


@dataclass(frozen=True)
class Outage:
    """One outage.

    Attributes:
        seconds: how long it was.
        before, grown: MiB resident; how much more there was at most, during the outage and after it.
        waited: readings that waited when the store was there again.
        first: seconds from then until it took the first of them.
        caught_up: seconds from the first until the last of them.
        times: readings brought in during these, a second, against those that come.
        others: the largest number of seconds that another location was behind: before, during the outage, after it.
    """

    what: str
    seconds: float
    before: float
    grown: tuple[float, float]
    waited: int
    first: float
    caught_up: float
    times: float
    others: tuple[float, float, float]


class Drill:
    """One outage of some nodes, watched."""

    def __init__(self, at_work: World, what: str, seconds: float) -> None:
        self._world = at_work
        self._what = what
        self._seconds = seconds
        self._dead: Sequence[str] = LOCATIONS if what == "all" else LOCATIONS[:1] if what == "one" else ()
        self._came = at_work.sensors * (len(self._dead) or len(LOCATIONS))
        """Readings a second of what is away."""

    async def run(self) -> Outage:
        """Kills, waits, starts, and waits until all is caught up."""
        at_work = self._world
        await at_work.runs()
        await at_work.keeps_up(300)
        if at_work.influxdb:
            await at_work.archived_once(300)
        calm = await self._watch(1.0, min(_WARM_S, self._seconds))
        self._kill()
        away = await self._watch(1.0, self._seconds)
        back = asyncio.create_task(self._start())
        after = await self._watch(_LOOK_S, 600, until=self._back(back, away[-1]))
        await back
        started = next(i for i, moment in enumerate(after) if self._begun(moment) > self._begun(away[-1]))
        first, last = after[max(0, started - 1)], after[-1]
        took = last.usage.at - first.usage.at
        before = median(moment.usage.mib for moment in calm[-10:])
        return Outage(
            what=self._what,
            seconds=after[0].usage.at - away[0].usage.at,
            before=before,
            grown=(_largest(away) - before, _largest(after) - before),
            waited=self._waits(after[0]),
            first=first.usage.at - after[0].usage.at,
            caught_up=took,
            times=(self._done(last) - self._done(first)) / took / self._came,
            others=(self._behind(calm[-10:]), self._behind(away), self._behind(after)),
        )

    async def _watch(
        self, step: float, seconds: float, until: Callable[[Moment], bool] = lambda moment: False
    ) -> list[Moment]:
        found = []
        async for moment in self._world.every(step, monotonic() + seconds):
            found.append(moment)
            if until(moment):
                return found
        return found

    def _back(self, start: asyncio.Task[None], away: Moment) -> Callable[[Moment], bool]:
        owed = self._waits(away)

        def caught_up(moment: Moment) -> bool:
            if not start.done():
                return False
            if self._what == "influxdb":
                return moment.archived >= away.archived + owed
            return all(moment.partitions[name].waiting <= 2 * self._world.sensors for name in self._dead)

        return caught_up

    def _waits(self, moment: Moment) -> int:
        if self._what == "influxdb":
            return moment.unarchived
        return sum(moment.partitions[name].waiting for name in self._dead)

    def _done(self, moment: Moment) -> int:
        if self._what == "influxdb":
            return moment.archived
        return sum(moment.partitions[name].durable for name in self._dead)

    def _begun(self, moment: Moment) -> int:
        if self._what == "influxdb":
            return moment.archived
        return sum(moment.partitions[name].acknowledged for name in self._dead)

    def _behind(self, moments: Sequence[Moment]) -> float:
        others = [name for name in LOCATIONS if name not in self._dead]
        return max((m.partitions[name].waiting / self._world.sensors for m in moments for name in others), default=0.0)

    def _kill(self) -> None:
        if self._what == "influxdb":
            assert self._world.influxdb is not None
            self._world.influxdb.kill()
        for node in self._nodes:
            self._world.system.stack.backend.kill(node)

    async def _start(self) -> None:
        if self._what == "influxdb":
            assert self._world.influxdb is not None
            await self._world.influxdb.start()
        else:
            await self._world.system.stack.up()

    @property
    def _nodes(self) -> list[Node]:
        return [node for name in self._dead for node in self._world.system.topology.shard(name).redis]


def _largest(moments: Sequence[Moment]) -> float:
    return max(moment.usage.mib for moment in moments)


@click.command()
@click.argument("what", nargs=-1, type=click.Choice(["one", "all", "influxdb"]))
@click.option("--seconds", default=600.0, show_default=True, help="How long the store is away.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def bench(what: Sequence[Any], seconds: float, output: str) -> None:
    """Memory while a store is away, and catching up with what came meanwhile."""
    found = []
    for one in what or ("one", "all", "influxdb"):
        store: Any = "influxdb" if one == "influxdb" else "none"
        with world(PER_TYPE, store, archive={"interval": _ARCHIVE_INTERVAL}, logging={"level": "warning"}) as at_work:
            found.append(asyncio.run(Drill(at_work, one, seconds).run()))
    tell(found, output, _line)


def _line(one: Outage) -> str:
    return (
        f"{one.what} away for {one.seconds:.0f} s: {one.before:.0f} MiB resident before, "
        f"{one.grown[0]:+.1f} during, {one.grown[1]:+.1f} after. {one.waited:,} readings waited: the first was "
        f"taken {one.first:.1f} s after the start of the servers, all {one.caught_up:.1f} s later, "
        f"{one.times:.1f} times as fast as readings come. Other locations were behind by at most "
        f"{one.others[0]:.1f} s before, {one.others[1]:.1f} during, {one.others[2]:.1f} after."
    )


if __name__ == "__main__":
    bench()
