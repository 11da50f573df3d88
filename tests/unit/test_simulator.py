"""The simulated sensors of a location: live, after a stop, under backpressure, and when the clock misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from iotd.config import Tree
from iotd.model.batch import Batch, Numbers
from iotd.model.observation import Message, Names
from iotd.model.series import Series
from iotd.sources.simulator.signal import sensors, values
from iotd.sources.simulator.source import Simulator, Span

SENSORS = sensors("salon", ["temperature", "humidity"], 2)
DAY = 86_400_000
T0 = 1_790_000_000_000 // DAY * DAY


class StillClock:
    """A clock that the test moves; who sleeps wakes when it was moved."""

    def __init__(self, now: int) -> None:
        self._now = now
        self._moved = asyncio.Condition()
        self.slept: list[float] = []

    def now(self) -> int:
        return self._now

    async def sleep(self, ms: float) -> None:
        self.slept.append(ms)
        async with self._moved:
            await self._moved.wait()

    async def certain(self) -> None:
        return

    async def move(self, ms: int) -> None:
        """Moves it by so much, once everyone sleeps; returns when everyone sleeps again."""
        before = len(self.slept)
        async with self._moved:
            self._now += ms
            self._moved.notify_all()
        async with asyncio.timeout(10):
            while len(self.slept) == before:
                await asyncio.sleep(0)


class Store:
    """An intake that remembers what it was given; it can hold its giver back, and be refilled by a second run."""

    def __init__(self, span: Span | None = None) -> None:
        self.span = span
        self.batches: list[Batch] = []
        self.open = asyncio.Event()
        self.open.set()

    async def register(self, series: Sequence[Series]) -> Numbers:
        return np.arange(len(series), dtype=np.int32)

    async def take(self, batch: Batch, position: bytes | None = None, *, waits: bool = True) -> Awaitable[None]:
        await self.open.wait()
        self.batches.append(batch)
        self.span = Span.of(position)
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        kept.set_result(None)
        return kept

    async def put(self, batch: Batch, position: bytes | None = None) -> None:
        await (await self.take(batch, position))

    async def add(self, location: str, number: int, time: int, value: float) -> Awaitable[None]:
        raise NotImplementedError

    async def observe(self, messages: Sequence[Message], position: bytes | None = None, **_: Any) -> Any:
        raise NotImplementedError

    def patient(self, seconds: float) -> Store:
        return self

    def hurry(self) -> None:
        raise NotImplementedError

    @property
    def names(self) -> Names:
        raise NotImplementedError

    def position(self) -> bytes | None:
        return self.span.to_bytes() if self.span else None

    @property
    def times(self) -> list[int]:
        """The times handed over, in the order that they came, each once per sensor."""
        for batch in self.batches:
            whole = batch.times.reshape(-1, len(SENSORS))
            assert (whole == whole[:, :1]).all()
            assert batch.series.reshape(-1, len(SENSORS)).tolist() == [list(range(len(SENSORS)))] * len(whole)
        return [t for batch in self.batches for t in batch.times[:: len(SENSORS)].tolist()]


def simulator(store: Store, clock: StillClock, **settings: object) -> Simulator:
    settings["sensors"] = {"types": ["temperature", "humidity"], "per_type": 2}
    return Simulator(Tree.model_validate(settings), "salon", store, clock)


@asynccontextmanager
async def running(simulator: Simulator, clock: StillClock) -> AsyncIterator[asyncio.Task[None]]:
    before = len(clock.slept)
    task = asyncio.ensure_future(simulator.run(simulator._intake))
    async with asyncio.timeout(10):
        while len(clock.slept) == before and not task.done():
            await asyncio.sleep(0)
    yield task
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def settled(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def test_readings_come_at_whole_multiples_of_the_interval_with_the_signals_values() -> None:
    store, clock = Store(), StillClock(T0 + 300)
    async with running(simulator(store, clock), clock):
        assert clock.slept == [700]
        for ms in (700, 1_000, 1_004):
            await clock.move(ms)
    assert store.times == [T0 + 1_000, T0 + 2_000, T0 + 3_000]
    assert clock.slept[-1] == 996
    for batch in store.batches:
        for column, sensor in enumerate(SENSORS):
            assert batch.values[column] == values(1, sensor, batch.times[:1])[0]


async def test_a_loop_that_was_late_hands_over_what_it_missed() -> None:
    store, clock = Store(), StillClock(T0)
    async with running(simulator(store, clock, simulator={"catch_up": 0}), clock):
        await clock.move(5_500)
    assert store.times == [T0 + 1_000 * n for n in range(1, 6)]


async def test_after_a_stop_what_was_due_meanwhile_is_handed_over_and_nothing_twice() -> None:
    store, clock = Store(Span(T0, T0 + 5_000)), StillClock(T0 + 20_500)
    async with running(simulator(store, clock), clock):
        await clock.move(500)
    assert store.times == [T0 + 1_000 * n for n in range(6, 22)]


async def test_after_a_long_stop_the_last_while_is_fine_the_rest_coarse_and_what_is_older_forgotten() -> None:
    now = T0 + 30 * DAY
    store, clock = Store(Span(T0, T0)), StillClock(now)
    memory = {"history_days": 1, "history_step": "1m", "catch_up": "10m"}
    async with running(simulator(store, clock, simulator=memory), clock):
        pass
    fine = now - 600_000
    assert store.times == [
        *range(now - DAY + 60_000, fine + 1, 60_000),
        *range(fine + 1_000, now + 1, 1_000),
    ]


async def test_a_source_that_is_held_back_waits_and_then_hands_over_all_of_it() -> None:
    store, clock = Store(), StillClock(T0)
    async with running(simulator(store, clock), clock) as task:
        store.open.clear()
        before = len(clock.slept)
        async with clock._moved:
            clock._now += 1_000
            clock._moved.notify_all()
        for _ in range(50):
            await asyncio.sleep(0)
        assert (store.batches, len(clock.slept), task.done()) == ([], before, False)
        clock._now += 60_000  # time goes on meanwhile
        store.open.set()
        await settled(lambda: len(clock.slept) > before and store.span == Span(T0 + 1_000, T0 + 1_000))
        await clock.move(0)
    assert store.times == [T0 + 1_000 * n for n in range(1, 62)]


async def test_readings_go_on_at_once_when_a_clock_that_was_ahead_is_set_right_and_it_is_told_once() -> None:
    store, clock = Store(), StillClock(T0)
    with capture_logs() as logs:
        async with running(simulator(store, clock), clock):
            await clock.move(3_000)
            await clock.move(-6_000)
            assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["clock_went_back"]
            for _ in range(5):
                await clock.move(1_000)
    assert store.times == [T0 + 1_000 * n for n in (1, 2, 3, -2, -1, 0, 1, 2)]
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["clock_went_back"]
    assert store.span == Span(T0 - 3_000, T0 + 2_000)
    for batch in store.batches:
        for column, sensor in enumerate(SENSORS):
            assert batch.values[column] == values(1, sensor, batch.times[:1])[0]


async def test_a_start_with_a_clock_that_is_behind_what_was_handed_over_goes_on_from_now() -> None:
    store, clock = Store(Span(T0, T0 + 7_200_000)), StillClock(T0 + 60_300)
    async with running(simulator(store, clock), clock):
        await clock.move(700)
        await clock.move(1_000)
    assert store.times == [T0 + 61_000, T0 + 62_000]
    assert store.span == Span(T0, T0 + 62_000)


async def test_a_small_step_back_is_no_event() -> None:
    store, clock = Store(), StillClock(T0)
    with capture_logs() as logs:
        async with running(simulator(store, clock), clock):
            await clock.move(2_010)
            await clock.move(-500)
            assert clock.slept[-1] == 3_000 - 1_510
            await clock.move(1_490)
    assert store.times == [T0 + 1_000, T0 + 2_000, T0 + 3_000]
    assert not [entry for entry in logs if entry["log_level"] == "warning"]


async def test_history_and_live_readings_join_without_a_hole_or_a_jump() -> None:
    store, clock = Store(), StillClock(T0 + 1_234)
    told: list[tuple[int, int]] = []
    settings = {"history_step": "10s", "catch_up": "1m"}
    source = simulator(store, clock, simulator=settings)
    done = await source.history(0.1, lambda done, total: told.append((done, total)))
    async with running(source, clock):
        await clock.move(1_000)
    start = T0 + 1_234 - round(0.1 * DAY)
    fine = T0 + 1_234 - 60_000
    coarse = range(-(-(start + 1) // 10_000) * 10_000, fine + 1, 10_000)
    assert store.times == [*coarse, *range(fine // 1_000 * 1_000 + 1_000, T0 + 2_235, 1_000)]
    assert told[-1] == (done, done)
    assert done == (len(store.times) - 1) * len(SENSORS)
    whole = np.concatenate([batch.values.reshape(-1, len(SENSORS)) for batch in store.batches])
    assert (whole[:, 0] == values(1, SENSORS[0], np.array(store.times))).all()


async def test_more_history_is_handed_over_backwards_so_that_the_span_is_never_broken() -> None:
    gaps = []

    class Watched(Store):
        async def take(self, batch: Batch, position: bytes | None = None, *, waits: bool = True) -> Awaitable[None]:
            before = self.span
            assert before is not None
            gaps.append(before.first - int(batch.times[-1]))
            return await super().take(batch, position)

    store, clock = Watched(Span(T0, T0 + 60_000)), StillClock(T0 + 60_500)
    source = simulator(store, clock)
    done = await source.history(1)
    assert len(gaps) > 1
    assert all(0 < gap <= 10_000 for gap in gaps)
    assert sorted(store.times) == list(range(-(-(clock.now() - DAY + 1) // 10_000) * 10_000, T0, 10_000))
    assert done == len(store.times) * len(SENSORS)
    # again, there is nothing left to hand over
    assert await source.history(1) == 0


async def test_batches_are_bounded_whatever_is_due() -> None:
    store, clock = Store(), StillClock(T0)
    await simulator(store, clock).history(7)
    assert max(map(len, store.batches)) <= 16_384
    assert sum(map(len, store.batches)) == (7 * 8_640 - 360 + 3_600) * len(SENSORS)
