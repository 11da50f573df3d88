"""The simulated sensors of one location."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from itertools import chain

import numpy as np
import structlog

from iotd.config.tree import Tree
from iotd.model.batch import Times, Values
from iotd.model.roster import Roster
from iotd.sources.clock import Clock
from iotd.sources.schedule import Grid, Schedule
from iotd.sources.signal import Signal
from iotd.sources.source import Intake

log = structlog.get_logger(__name__)

_AT_ONCE = 16_384
"""Readings in one batch at most, when more is due than one tick: some milliseconds of the loop's time."""
_AHEAD = 2
"""Batches that are read while others are still on their way into the spool: reading and fsync at once."""

Progress = Callable[[int, int], None]
"""Told (readings done, readings in all)."""


def ignore(done: int, total: int) -> None:
    """A progress that nobody looks at."""


class Simulator:
    """Hands over what its sensors read, at whole multiples of the interval, and after a stop what was due meanwhile."""

    def __init__(self, settings: Tree, roster: Roster, intake: Intake, clock: Clock) -> None:
        self._roster = roster
        self._intake = intake
        self._clock = clock
        self._schedule = Schedule.of(settings)
        self._signal = Signal(settings.simulator.seed, roster, settings.known_types)
        self._times_at_once = max(1, _AT_ONCE // len(roster))

    async def run(self) -> None:
        """Hands over live readings until cancelled; a location that has none yet begins now."""
        last = self._last()
        if last is None:
            last = self._clock.now()
        log.info(
            "source_started",
            shard=self._roster.location,
            after=last,
            interval_ms=self._schedule.interval,
            sensors=len(self._roster),
        )
        while True:
            now = self._clock.now()
            if now < last - self._schedule.interval:
                last = await self._clock_went_back(now, last)
                continue
            due = self._schedule.due(max(last, self._schedule.oldest(now)), now, self._times_at_once)
            async for times in self._handed_over(due):
                last = int(times[-1])
            await self._clock.sleep(self._schedule.next(max(now, last)) - self._clock.now())

    async def history(self, days: float, progress: Progress = ignore) -> int:
        """Hands over what is due from ``days`` ago until now, as far as it was not handed over before.

        Returns:
            how many readings that were.
        """
        now = self._clock.now()
        start = now - round(days * 86_400_000)
        span = self._intake.position(self._roster.location)
        after = start if span is None else max(span.last, min(start, self._schedule.oldest(now)))
        before = Grid(start, start if span is None else span.first - 1, self._schedule.step, self._times_at_once)
        total = (self._schedule.count(after, now) + before.count) * len(self._roster)
        done = 0
        # what lies before goes latest first, so that what was handed over is one unbroken span at each moment
        due = chain(self._schedule.due(after, now, self._times_at_once), reversed(before))
        async for times in self._handed_over(due):
            done += len(times) * len(self._roster)
            progress(done, total)
        return done

    def expected(self, since: int) -> tuple[Times, Values]:
        """The live readings that were handed over from ``since`` (ms) on: times (T,), and values (T, sensors)."""
        span = self._intake.position(self._roster.location)
        # a location that had none begins when its source does, a little after the daemon
        times = (
            [] if span is None else list(Grid(max(since, span.first) - 1, span.last, self._schedule.interval, 100_000))
        )
        whole = np.concatenate(times) if times else np.empty(0, np.int64)
        return whole, self._signal.values(whole)

    def _last(self) -> int | None:
        span = self._intake.position(self._roster.location)
        return span.last if span else None

    async def _handed_over(self, due: Iterable[Times]) -> AsyncIterator[Times]:
        """Hands over the readings at these times, and gives those that are in the spool, in order."""
        under_way: deque[tuple[Times, Awaitable[None]]] = deque()
        for times in due:
            under_way.append((times, await self._intake.take(self._signal.batch(times))))
            if len(under_way) > _AHEAD:
                yield await _kept(under_way)
            await asyncio.sleep(0)  # the loop's other tasks get their turn after each batch
        while under_way:
            yield await _kept(under_way)

    async def _clock_went_back(self, now: int, last: int) -> int:
        log.warning(
            "clock_went_back",
            shard=self._roster.location,
            by_ms=last - now,
            effect="no readings until the clock has passed the last one",
        )
        while (now := self._clock.now()) <= last:
            await self._clock.sleep(min(last - now + 1, 1_000))
        log.info("clock_caught_up", shard=self._roster.location)
        return last


async def _kept(under_way: deque[tuple[Times, Awaitable[None]]]) -> Times:
    times, kept = under_way.popleft()
    await kept
    return times
