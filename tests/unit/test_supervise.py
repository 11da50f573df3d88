"""Supervision: started again with backoff, told once, ended by what cannot mend."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from iotd.model.errors import ShardUnavailable, StateError
from iotd.ops.supervise import Supervisor


class Time:
    """Time that passes only when someone sleeps in it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        if seconds == 10:  # the wait after which a task counts as recovered; the tests' tasks live in no real time
            await asyncio.Event().wait()
        self.pauses.append(seconds)
        self.now += seconds


def failing(time: Time, lives: list[float], error: Callable[[], Exception]) -> Callable[[], Awaitable[None]]:
    """A task that lives so many seconds each time, then fails; after the last one it ends well."""
    left = list(lives)

    async def run() -> None:
        if left:
            time.now += left.pop(0)
            raise error()

    return run


async def kept(time: Time, run: Callable[[], Awaitable[None]]) -> tuple[Supervisor, list[Any]]:
    supervisor = Supervisor(time.sleep, lambda: time.now)
    with capture_logs() as logs:
        await supervisor.keep("writer", run)
    return supervisor, [entry for entry in logs if entry["event"] == "task_failed"]


async def test_a_task_that_fails_is_started_again_and_told_once() -> None:
    time = Time()
    supervisor, told = await kept(time, failing(time, [0, 0, 0], lambda: ShardUnavailable("gone")))
    assert supervisor.restarts == {"writer": 3}
    assert [entry["reason"] for entry in told] == ["gone"]


async def test_the_unexpected_is_told_with_its_traceback() -> None:
    time = Time()
    _, told = await kept(time, failing(time, [0], lambda: KeyError("x")))
    assert isinstance(told[0]["exc_info"], KeyError)


async def test_a_lack_of_memory_is_told_without_a_traceback() -> None:
    time = Time()
    _, told = await kept(time, failing(time, [0], MemoryError))
    assert told[0]["reason"].startswith("out of memory: ")
    assert told[0]["exc_info"] is None


async def test_pauses_grow_up_to_half_a_minute_and_never_overflow() -> None:
    time = Time()
    await kept(time, failing(time, [0] * 1_200, lambda: ShardUnavailable("gone")))
    assert time.pauses[0] <= 0.1
    for n, pause in enumerate(time.pauses):
        longest = min(30.0, 0.1 * 2 ** min(n, 10))
        assert longest / 2 <= pause <= longest


async def test_a_failure_after_a_recovery_is_told_again_and_its_pauses_begin_anew() -> None:
    time = Time()
    _, told = await kept(time, failing(time, [0, 0, 0, 3600, 0], lambda: ShardUnavailable("gone")))
    assert len(told) == 2
    assert time.pauses[3] <= 0.1


async def test_a_task_that_lives_on_is_told_as_recovered() -> None:
    wakes: list[float] = []
    recovered = asyncio.Event()

    async def sleep(seconds: float) -> None:
        wakes.append(seconds)
        if seconds == 10:
            recovered.set()

    first = [True]

    async def run() -> None:
        if first.pop() if first else False:
            raise ShardUnavailable("gone")
        await recovered.wait()
        await asyncio.sleep(0)

    with capture_logs() as logs:
        await asyncio.wait_for(Supervisor(sleep).keep("writer", run), 10)
    assert [entry["event"] for entry in logs] == ["task_failed", "task_recovered"]


async def test_what_nobody_can_retry_ends_it() -> None:
    async def run() -> None:
        raise StateError("the spool lacks a part")

    supervisor = Supervisor()
    with pytest.raises(StateError):
        await supervisor.keep("writer", run)
    assert not supervisor.restarts


async def test_cancelling_ends_the_task_and_leaves_nothing_running() -> None:
    ended = asyncio.Event()
    began = asyncio.Event()
    first = [True]

    async def run() -> None:
        if first.pop() if first else False:
            raise ShardUnavailable("gone")
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.ensure_future(Supervisor(Time().sleep).keep("writer", run))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
