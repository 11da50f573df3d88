"""The frame of every benchmark: cases in turn, round after round, compared within a round.

A machine that others use too gives no absolute figures. So all cases of a benchmark run one after the other in each
round, the order moves by one from round to round, and what is told is the ratio within a round: its median, with the
smallest and largest beside it.
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import click

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LOCATIONS = ("salon", "chambre1", "chambre2", "cuisine", "salle_de_bain")

T = TypeVar("T", bound="DataclassInstance")

_TICK_S = 0.001


@dataclass(frozen=True)
class Measure:
    """One run of one case.

    Attributes:
        count: what was moved, in the benchmark's unit (readings, queries).
        seconds: wall time.
        cpu: seconds of CPU that our own process took.
        served: seconds of CPU that the servers took for it; with ``cpu`` all that the work costs, which a busy machine
            does not blur as it does the wall time.
        stall_ms: the longest time that the event loop was kept from its other tasks.
        busy_ms: the longest time that it spent computing meanwhile; the rest of a stall is the machine's.
    """

    count: int
    seconds: float
    cpu: float
    served: float
    stall_ms: float
    busy_ms: float

    @property
    def rate(self) -> float:
        """Count per second."""
        return self.count / self.seconds

    @property
    def per_cpu(self) -> float:
        """Count per second of CPU, our own and the servers'."""
        return self.count / (self.cpu + self.served)


Kind = Literal["limit", "ours", "peer"]
Run = Callable[[], Awaitable[int]]
"""Does the work once, from nothing, and returns how much it was."""


@dataclass(frozen=True)
class Case:
    """One way of doing the benchmark's work.

    Attributes:
        kind: a ``limit`` that the others are measured against, ``ours``, or a ``peer``.
        before, after: run around each run, not measured.
        servers: seconds of CPU that the servers have taken since they started.
    """

    name: str
    what: str
    run: Run
    kind: Kind = "ours"
    before: Callable[[], Awaitable[None]] | None = None
    after: Callable[[], Awaitable[None]] | None = None
    servers: Callable[[], float] = lambda: 0.0


@dataclass(frozen=True)
class Benchmark:
    """Cases that do the same work.

    Attributes:
        cases: makes what they need, yields them, takes it down.
    """

    name: str
    what: str
    unit: str
    cases: Callable[[], AsyncIterator[Sequence[Case]]]


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of some rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


@dataclass
class Result:
    """All rounds of one benchmark."""

    name: str
    what: str
    unit: str
    kinds: dict[str, Kind] = field(default_factory=dict)
    measures: dict[str, list[Measure]] = field(default_factory=dict)

    def others(self, case: str) -> list[str]:
        """What a case is compared with: ours with all limits and peers, a peer with the limits."""
        wanted = {"ours": ("limit", "peer"), "peer": ("limit",), "limit": ()}[self.kinds[case]]
        return [name for name, kind in self.kinds.items() if kind in wanted]

    def ratio(self, case: str, base: str) -> Spread:
        """How many times as fast ``case`` is as ``base``, round by round."""
        pairs = zip(self.measures[case], self.measures[base], strict=True)
        return Spread.of([one.rate / other.rate for one, other in pairs])

    def thrift(self, case: str, base: str) -> Spread:
        """How many times as much ``case`` does with a second of CPU (all processes) as ``base``, round by round."""
        pairs = zip(self.measures[case], self.measures[base], strict=True)
        return Spread.of([one.per_cpu / other.per_cpu for one, other in pairs])


class Running(Protocol):
    """One program's run of a case."""

    @property
    def name(self) -> str:
        """Of the program."""

    @property
    def case(self) -> str:
        """What it did."""


@dataclass(frozen=True)
class Ratio:
    """Ours against another program in one figure of one case: how many times as much, round by round."""

    case: str
    what: str
    other: str
    ratio: Spread

    def __str__(self) -> str:
        return f"{self.case}, {self.what}: {self.ratio} of {self.other}'s"


def ratios(runs: Sequence[Running], both: tuple[str, str], figures: Sequence[str]) -> list[Ratio]:
    """The ratios of each case and figure.

    Args:
        both: names, ours first; each has the same number of runs of a case.
        figures: names of attributes.
    """
    found = []
    for case in dict.fromkeys(one.case for one in runs):
        ours, its = ([one for one in runs if (one.name, one.case) == (name, case)] for name in both)
        for what in figures:
            pairs = zip(ours, its, strict=True)
            each = Spread.of([getattr(a, what) / getattr(b, what) for a, b in pairs])
            found.append(Ratio(case, what, both[1], each))
    return found


def tell(found: Sequence[T], output: str, line: Callable[[T], str]) -> None:
    """Prints dataclasses as JSON, or a text for each (``output``: ``json`` or ``table``)."""
    if output == "json":
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
        return
    for one in found:
        click.echo(line(one))


async def measure(benchmark: Benchmark, rounds: int, tell: Callable[[str], None]) -> Result:
    """Runs all cases ``rounds`` times, in turn."""
    result = Result(benchmark.name, benchmark.what, benchmark.unit)
    async with asynccontextmanager(benchmark.cases)() as cases:
        result.kinds = {case.name: case.kind for case in cases}
        result.measures = {case.name: [] for case in cases}
        for n in range(rounds):
            turn = n % len(cases)
            for case in (*cases[turn:], *cases[:turn]):
                one = await _measured(case)
                result.measures[case.name].append(one)
                tell(
                    f"{benchmark.name} {n + 1}/{rounds} {case.name}: {one.count:,} {benchmark.unit} in "
                    f"{one.seconds:.2f} s ({one.rate:,.0f}/s, {one.cpu:.2f} s of CPU and {one.served:.2f} s of the "
                    f"servers', stall {one.stall_ms:.1f} ms, "
                    f"of that computing {one.busy_ms:.1f} ms)"
                )
    return result


async def _measured(case: Case) -> Measure:
    if case.before is not None:
        await case.before()
    try:
        watch = _LoopWatch()
        ticking = asyncio.create_task(watch.run())
        try:
            cpu, served, began = _cpu(), case.servers(), time.perf_counter()
            count = await case.run()
            seconds, cpu, served = time.perf_counter() - began, _cpu() - cpu, case.servers() - served
        finally:
            ticking.cancel()
            with suppress(asyncio.CancelledError):
                await ticking
        return Measure(count, seconds, cpu, served, watch.stall_ms, watch.busy_ms)
    finally:
        if case.after is not None:
            await case.after()


class _LoopWatch:
    """Ticks, and notes how late the worst tick came and how long the loop had computed until then."""

    def __init__(self) -> None:
        self.stall_ms = 0.0
        self.busy_ms = 0.0

    async def run(self) -> None:
        wall, busy = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(_TICK_S)
            now, used = time.perf_counter(), time.thread_time()
            late = (now - wall - _TICK_S) * 1000
            self.stall_ms = max(self.stall_ms, late)
            self.busy_ms = max(self.busy_ms, min(late, (used - busy) * 1000))
            wall, busy = now, used


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
