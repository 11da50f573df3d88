"""`python -m tests.benchmarks.stalls`: how long the event loop is kept while a week of history of five rooms loads.

The daemon runs in this process, on real shards with the embedded archive, until all of its history is durable and the
first pass of the archive is over. A task ticks each millisecond: how late it comes is a stall. The kernel tells how
long the loop's thread was ready meanwhile and had no core, which servers and daemon share (the second figure of
``schedstat``, Documentation/scheduler/sched-stats.rst): the rest of a stall is our own, be it that the loop computed,
that another thread held the interpreter (and perhaps had no core), or that it waited for a disk. With ``--first`` the
daemon's threads need not share: what is left then is the program's.
"""

from __future__ import annotations

import asyncio
import collections
import os
import sys
import tempfile
import threading
import time
import traceback
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import click
import uvloop

from iotd.config import Settings
from iotd.daemon.daemon import Daemon
from tests.benchmarks.frame import LOCATIONS, tell
from tests.servers.ports import port_block
from tests.servers.system import make_settings, start_system, stop_system

_TICK_S = 0.001
_LONG_S = 0.010


@dataclass(frozen=True)
class Stalls:
    """One phase: seconds it took; ms of the longest stall, of the longest without the wait for a core, of the longest
    in which the loop itself computed; stalls of over 10 ms, and how many are that long without the wait for a core."""

    phase: str
    seconds: float
    longest_ms: float
    own_ms: float
    computing_ms: float
    over: int
    own_over: int


class Watch:
    """Ticks in the loop; a thread beside it notes where the loop is when a tick is overdue.

    Attributes:
        where: how often the loop was found where, while it kept a tick waiting; only with ``trace``.
        worst: ms of the stalls of over 10 ms of our own, and where the loop was found meanwhile.
    """

    def __init__(self, trace: bool) -> None:
        self.where: collections.Counter[str] = collections.Counter()
        self.worst: list[tuple[float, list[str]]] = []
        self._found: list[str] = []
        self._begin()
        self._ticked = time.perf_counter()
        self._loop_thread = threading.get_ident()
        self._schedstat = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
        if trace:
            threading.Thread(target=self._sample, daemon=True).start()

    def _begin(self) -> None:
        self._began = time.perf_counter()
        self._stalls: list[tuple[float, float, float]] = []

    def _queued(self) -> float:
        """Seconds for which the loop's thread was ready, and another had its core."""
        return int(os.pread(self._schedstat, 100, 0).split()[1]) / 1e9

    async def run(self) -> None:
        """Ticks until cancelled."""
        busy, queued = time.thread_time(), self._queued()
        self._ticked = time.perf_counter()
        while True:
            await asyncio.sleep(_TICK_S)
            now, busy_now, queued_now = time.perf_counter(), time.thread_time(), self._queued()
            late = now - self._ticked - _TICK_S
            own = max(0.0, late - (queued_now - queued))
            self._stalls.append((late, own, min(late, busy_now - busy)))
            if own > _LONG_S:
                self.worst.append((1000 * own, self._found))
            self._found = []
            self._ticked, busy, queued = now, busy_now, queued_now

    def told(self, phase: str) -> Stalls:
        """What was found since the last call."""
        stalls, seconds = self._stalls, time.perf_counter() - self._began
        self._begin()
        return Stalls(
            phase,
            seconds,
            1000 * max(late for late, _, _ in stalls),
            1000 * max(own for _, own, _ in stalls),
            1000 * max(busy for _, _, busy in stalls),
            sum(late > _LONG_S for late, _, _ in stalls),
            sum(own > _LONG_S for _, own, _ in stalls),
        )

    def _sample(self) -> None:
        while True:
            time.sleep(0.002)
            if time.perf_counter() - self._ticked > _LONG_S / 2:
                stack = traceback.extract_stack(sys._current_frames().get(self._loop_thread), limit=None)
                ours = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in stack if "asyncio" not in f.filename]
                self.where[" > ".join(ours[-4:])] += 1
                self._found.append(" > ".join(ours[-3:]))


async def measure(settings: Settings, watch_all: bool) -> tuple[list[Stalls], Watch]:
    """Stalls until the history is handed over, until it is durable, and until it is archived."""
    daemon = Daemon(settings, reread=lambda: settings, history=True)
    life = asyncio.create_task(daemon.run())
    watch = Watch(watch_all)
    ticking = asyncio.create_task(watch.run())
    found = []
    try:
        while not hasattr(daemon, "runtime") or daemon.runtime.phase != "running":
            await asyncio.sleep(0.01)
            if life.done():
                await life
        await asyncio.sleep(2 * _TICK_S)  # the collector was run just before
        found.append(watch.told("start"))
        runtime = daemon.runtime
        await runtime.sources.loaded()
        for location in runtime.locations.values():
            await location.durable()
        found.append(watch.told("history, until it is durable"))
        await runtime.archiving.archiver.cycle()
        found.append(watch.told("first archive pass"))
    finally:
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking
        daemon.stop()
        await life
    return found, watch


@click.command()
@click.option("--trace", is_flag=True, help="Also tells where the loop was found while it kept others waiting.")
@click.option("--first", is_flag=True, help="The daemon has a core before the servers have one (SCHED_RR: for root).")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def bench(trace: bool, first: bool, output: str) -> None:
    """Stalls of the event loop while history is loaded and archived."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="iotd-bench-")))
        port = stack.enter_context(port_block())
        settings = make_settings(folder, port, LOCATIONS, logging={"level": "warning"})
        system = start_system(settings)
        stack.callback(stop_system, system)
        if first:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))  # what servers run already is not changed
        found, watch = uvloop.run(measure(settings, trace))
    tell(found, output, _line)
    for own, found_at in sorted(watch.worst, reverse=True)[:8]:
        click.echo(f"kept for {own:.1f} ms:")
        for place in found_at:
            click.echo(f"    {place}")
    for where, count in watch.where.most_common(25):
        click.echo(f"{count:6} {where}")


def _line(one: Stalls) -> str:
    return (
        f"{one.phase:<30} {one.seconds:6.1f} s: longest stall {one.longest_ms:.1f} ms, of our own "
        f"{one.own_ms:.1f}, computing {one.computing_ms:.1f}; {one.over} of over 10 ms, {one.own_over} of our own"
    )


if __name__ == "__main__":
    bench()
