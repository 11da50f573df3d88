"""Longer computations in the event loop take turns."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from iotd.ops.turns import turn


async def test_between_two_computations_every_other_task_has_its_turn() -> None:
    order: list[str] = []

    async def computes(name: str) -> None:
        for _ in range(3):
            await turn()
            order.append(name)

    async def ticks() -> None:
        while True:
            order.append("tick")
            await asyncio.sleep(0)

    ticking = asyncio.create_task(ticks())
    await asyncio.gather(*(computes(name) for name in "abc"))
    ticking.cancel()
    assert not any(one != "tick" and other != "tick" for one, other in pairwise(order)), order
    assert sorted(name for name in order if name != "tick") == list("aaabbbccc")


async def test_one_who_is_cancelled_while_waiting_keeps_nobody_from_a_turn() -> None:
    waiting = [asyncio.create_task(turn()) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting, return_exceptions=True)
    assert [task.cancelled() for task in waiting] == [False, True, False, False, False]
