"""The simulated sensors of one location."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from itertools import chain

import numpy as np

from iotd.config import Tree
from iotd.model.batch import Batch, Times
from iotd.ops.loggers import get_logger
from iotd.ops.turns import turn
from iotd.sources.base import Intake
from iotd.sources.clock import Clock
from iotd.sources.simulator.schedule import Grid, Schedule
from iotd.sources.simulator.signal import Signal, sensors

log = get_logger(__name__)

_AT_ONCE = 16_384
"""Readings in one batch at most, when more is due than one tick: some milliseconds of the loop's time. Half of it would
cost a fifth more CPU a reading."""
_AHEAD = 2
"""Batches that are read while others are still on their way into the log: reading and fsync at once."""

SIMULATORS = "simulator "
"""How the names of all simulators among the sources begin."""

Progress = Callable[[int, int], None]
"""Told (readings done, readings in all)."""


def ignore(done: int, total: int) -> None:
    """A progress that nobody sees."""


@dataclass(frozen=True, slots=True)
class Span:
    """What was handed over of a location, from first to last time, ms, both included: a simulator's position."""

    first: int
    last: int

    def with_(self, times: Times) -> Span:
        """The span with more times (ms, rising, not empty)."""
        return Span(min(self.first, int(times[0])), max(self.last, int(times[-1])))

    def to_bytes(self) -> bytes:
        """As the log keeps it."""
        return b"%d %d" % (self.first, self.last)

    @classmethod
    def of(cls, position: bytes | None) -> Span | None:
        """From what the log has kept."""
        if position is None:
            return None
        first, last = map(int, position.split())
        return cls(first, last)


def source_name(location: str) -> str:
    """The name of a location's simulator among the sources."""
    return SIMULATORS + location


class Simulator:
    """Hands over what its sensors read, at whole multiples of the interval, and after a stop what was due meanwhile.

    A source as :mod:`iotd.sources.base` has it; its position is the span of time that it has handed over.
    """

    def __init__(self, settings: Tree, location: str, intake: Intake, clock: Clock) -> None:
        self.name = source_name(location)
        self.location = location
        simulated = settings.sensors
        self.series = sensors(location, simulated.types, simulated.per_type, settings.known_types)
        self._intake = intake
        self._clock = clock
        self._schedule = Schedule.of(settings)
        self._seed = settings.simulator.seed
        self._signal = Signal(settings.simulator.seed, self.series, settings.known_types)
        self._times_at_once = max(1, _AT_ONCE // len(self.series))
        self._numbers = np.empty(0, np.int32)
        self._span = Span.of(intake.position())
        self._turn = asyncio.Lock()

    async def run(self, intake: Intake) -> None:
        """Hands over live readings until cancelled; a location that has none yet begins now."""
        await self._clock.certain()
        last = self._clock.now() if self._span is None else self._span.last
        log.info(
            "source_started",
            source=self.name,
            after=last,
            interval_ms=self._schedule.interval,
            seed=self._seed,
            sensors=len(self.series),
        )
        while True:
            await self._clock.certain()
            now = self._clock.now()
            if now < last - self._schedule.interval:
                last = await self._clock_went_back(now, last)
            due = self._schedule.due(max(last, self._schedule.oldest(now)), now, self._times_at_once)
            async for times in self._handed_over(due):
                last = int(times[-1])
            # the clock may have been set meanwhile
            pause = self._schedule.next(max(now, last)) - self._clock.now()
            await self._clock.sleep(min(pause, 2 * self._schedule.interval))

    async def history(self, days: float, progress: Progress = ignore) -> int:
        """Hands over what is due from ``days`` ago until now, as far as it was not handed over before.

        Returns:
            how many readings that were.
        """
        now = self._clock.now()
        start = now - round(days * 86_400_000)
        span = self._span
        after = start if span is None else max(span.last, min(start, self._schedule.oldest(now)))
        before = Grid(start, start if span is None else span.first - 1, self._schedule.step, self._times_at_once)
        total = (self._schedule.count(after, now) + before.count) * len(self.series)
        done = 0
        # what lies before goes latest first, so that what was handed over is one unbroken span at each moment
        due = chain(self._schedule.due(after, now, self._times_at_once), reversed(before))
        async for times in self._handed_over(due):
            done += len(times) * len(self.series)
            progress(done, total)
        return done

    async def _handed_over(self, due: Iterable[Times]) -> AsyncIterator[Times]:
        """Hands over the readings at these times, and gives those that are in the log, in order."""
        if not len(self._numbers):
            self._numbers = await self._intake.register(self.series)
        under_way: deque[tuple[Times, Awaitable[None]]] = deque()
        for times in due:
            under_way.append((times, await self._take(times)))
            if len(under_way) > _AHEAD:
                yield await _kept(under_way)
        while under_way:
            yield await _kept(under_way)

    async def _take(self, times: Times) -> Awaitable[None]:
        await turn()
        batch = Batch(
            self.location,
            np.tile(self._numbers, len(times)),
            np.repeat(times, len(self.series)),
            self._signal.values(times).ravel(),
        )
        async with self._turn:  # history may be loaded meanwhile, and the span must grow in the order of the log
            span = Span(int(times[0]), int(times[-1])) if self._span is None else self._span.with_(times)
            taken = await self._intake.take(batch, span.to_bytes(), waits=False)
            self._span = span
            return taken

    async def _clock_went_back(self, now: int, last: int) -> int:
        """The clock was ahead before, and is set right: sensors go on from now, and hand over once more what they read
        at those times, which is the same."""
        log.warning("clock_went_back", shard=self.location, by_ms=last - now, effect="readings go on from now")
        async with self._turn:
            if self._span is not None:
                self._span = Span(min(self._span.first, now), now)
        return now


async def _kept(under_way: deque[tuple[Times, Awaitable[None]]]) -> Times:
    times, kept = under_way.popleft()
    await kept
    return times
