"""The shared capacity: ingest takes what is free, the archiver waits and has half."""

from __future__ import annotations

import asyncio

import pytest

from iotd.log.budget import Budget


def test_ingest_gets_all_of_it_and_no_more() -> None:
    budget = Budget(100)
    assert budget.take(100)
    assert not budget.take(1)
    budget.give(100)
    assert budget.take(1)


async def test_the_archiver_has_half_at_most_so_that_ingest_finds_room() -> None:
    budget = Budget(100)
    await budget.acquire(50)
    waiting = asyncio.ensure_future(budget.acquire(1))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert budget.take(50)
    budget.release(50)
    await waiting
    budget.release(1)
    budget.give(50)
    assert budget.used == 0


async def test_those_who_wait_are_served_in_order() -> None:
    budget = Budget(100)
    await budget.acquire(50)
    order: list[int] = []

    async def take(size: int) -> None:
        await budget.acquire(size)
        order.append(size)

    tasks = []
    for size in (40, 5, 3):
        tasks.append(asyncio.ensure_future(take(size)))
        await asyncio.sleep(0)
    budget.release(50)
    await asyncio.gather(*tasks)
    assert order == [40, 5, 3]


async def test_one_page_larger_than_the_half_is_let_through_alone() -> None:
    budget = Budget(100)
    await budget.acquire(80)
    waiting = asyncio.ensure_future(budget.acquire(80))
    await asyncio.sleep(0)
    assert not waiting.done()
    budget.release(80)
    await waiting
    budget.release(80)
    assert budget.used == 0


@pytest.mark.parametrize("late", [False, True])
async def test_a_cancelled_wait_leaves_nothing_taken(late: bool) -> None:
    budget = Budget(100)
    await budget.acquire(50)
    waiting = asyncio.ensure_future(budget.acquire(10))
    await asyncio.sleep(0)
    if late:
        budget.release(50)  # its turn has come, and it is cancelled before it runs
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    if not late:
        budget.release(50)
    assert budget.used == 0
    await budget.acquire(50)
