"""Groups of tasks: one error, the most telling; nothing left behind in the task that waited."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import pytest

from iotd.model.errors import NotMaster, ShardUnavailable, StateError
from iotd.ops.tasks import together


async def fails(error: BaseException, event: asyncio.Event | None = None) -> NoReturn:
    if event is not None:
        await event.wait()
    raise error


async def forever() -> None:
    await asyncio.Event().wait()


def requests() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def test_leaving_waits_for_all_tasks_also_those_that_tasks_make() -> None:
    done: list[str] = []

    async def child() -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        done.append("child")

    async with together() as group:

        async def parent() -> None:
            await asyncio.sleep(0)
            group.create_task(child())
            done.append("parent")

        group.create_task(parent())
    assert done == ["parent", "child"]


@pytest.mark.parametrize("in_body", [True, False])
async def test_after_a_failure_a_timeout_still_raises_timeout_error(in_body: bool) -> None:
    """In Debian 12's Python 3.11.2 it raised CancelledError, and a writer's first pause was its end."""

    async def work() -> None:
        async with together() as group:
            group.create_task(fails(ShardUnavailable("gone")))
            if in_body:
                await forever()

    with pytest.raises(ShardUnavailable):
        await work()
    assert requests() == 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await forever()
    await asyncio.sleep(0)


async def test_a_failure_that_coincides_with_the_end_of_the_body_cancels_nothing_later() -> None:
    async def work() -> None:
        async with together() as group:
            task = group.create_task(fails(ShardUnavailable("gone")))
            while not task.done():
                await asyncio.sleep(0)
            group._ended(task)  # what its callback does in the same turn of the loop in which the body ends

    with pytest.raises(ShardUnavailable):
        await work()
    await asyncio.sleep(0)
    assert requests() == 0


async def test_a_failure_ends_the_body_and_all_others() -> None:
    others: list[asyncio.Task[None]] = []

    async def work() -> None:
        async with together() as group:
            others.append(group.create_task(forever()))
            group.create_task(fails(ShardUnavailable("gone")))
            await forever()

    with pytest.raises(ShardUnavailable):
        await work()
    assert others[0].cancelled()


async def test_an_error_of_the_body_ends_the_tasks() -> None:
    others: list[asyncio.Task[None]] = []

    async def work() -> None:
        async with together() as group:
            others.append(group.create_task(forever()))
            raise StateError("damaged")

    with pytest.raises(StateError):
        await work()
    assert others[0].cancelled()


@pytest.mark.parametrize(
    ("errors", "telling"),
    [
        ([ShardUnavailable("a"), NotMaster("b")], NotMaster),
        ([ShardUnavailable("a"), NotMaster("b"), StateError("c")], StateError),
        ([ShardUnavailable("a"), StateError("c"), KeyError("d")], KeyError),
    ],
)
async def test_the_most_telling_error_is_raised(errors: list[Exception], telling: type[Exception]) -> None:
    go = asyncio.Event()

    async def work() -> None:
        async with together() as group:
            for error in errors:
                group.create_task(fails(error, go))
            await asyncio.sleep(0)
            go.set()

    with pytest.raises(telling):
        await work()


async def test_who_is_cancelled_while_a_task_fails_in_its_end_is_cancelled() -> None:
    """Else a supervisor would start again what is being shut down, and the shutdown would wait for ever."""
    began = asyncio.Event()

    async def fails_in_its_end() -> None:
        try:
            began.set()
            await forever()
        finally:
            raise ShardUnavailable("closing")

    async def work() -> None:
        async with together() as group:
            group.create_task(fails_in_its_end())

    task = asyncio.ensure_future(work())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("body", [True, False])
async def test_a_cancellation_from_outside_goes_to_the_tasks_and_on(body: bool) -> None:
    inner: list[asyncio.Task[None]] = []

    async def work() -> None:
        async with together() as group:
            inner.append(group.create_task(forever()))
            if body:
                await forever()

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert inner[0].cancelled()


async def test_a_task_made_while_the_group_ends_is_cancelled() -> None:
    made: list[asyncio.Task[None]] = []

    async def work() -> None:
        async with together() as group:

            async def last_words() -> None:
                try:
                    await forever()
                finally:
                    made.append(group.create_task(forever()))

            group.create_task(last_words())
            group.create_task(fails(ShardUnavailable("gone")))

    with pytest.raises(ShardUnavailable):
        await work()
    assert made[0].cancelled()


async def test_one_task_may_be_ended_and_the_others_go_on() -> None:
    async with together() as group:
        one = group.create_task(forever())
        other = group.create_task(asyncio.sleep(0.01, "done"))
        one.cancel()
    assert other.result() == "done"


async def test_what_a_task_does_in_its_end_is_cancelled_only_once() -> None:
    """A connection is closed there, and that takes an await; anyio's task groups cancel it again."""
    done: list[str] = []

    async def cleans_up() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)
            done.append("cleaned up")

    async def work() -> None:
        async with together() as group:
            group.create_task(cleans_up())
            await asyncio.sleep(0)
            group.create_task(fails(ShardUnavailable("gone")))

    with pytest.raises(ShardUnavailable):
        await work()
    assert done == ["cleaned up"]
