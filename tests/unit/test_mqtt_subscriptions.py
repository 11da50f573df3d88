"""What the broker's session is subscribed to is known, whenever either side dies: else it would never be ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import cast

from hypothesis import example, given
from hypothesis import strategies as st

from iotd.config.topics.filters import disjoint
from iotd.sources.mqtt.connection import Connection
from iotd.sources.mqtt.presets.base import Filter
from iotd.sources.mqtt.subscriptions import Subscriptions

FILTERS = ("a/#", "a/b", "a/+", "c", "+/d", "refused", "e/f/#")
WANTS = st.lists(st.sampled_from(FILTERS), max_size=4, unique=True)


class Broker:
    """A broker's session for us, and the packets that it has not read yet."""

    def __init__(self) -> None:
        self.has: set[str] = set()
        self._unread: list[tuple[bool, list[str], asyncio.Future[Sequence[int]]]] = []

    def subscribe(self, filters: Iterable[tuple[str, bool]]) -> asyncio.Future[Sequence[int]]:
        return self._comes(True, [topic for topic, _ in filters])

    def unsubscribe(self, filters: Iterable[str]) -> asyncio.Future[Sequence[int]]:
        return self._comes(False, list(filters))

    def _comes(self, begins: bool, filters: list[str]) -> asyncio.Future[Sequence[int]]:
        self._unread.append((begins, filters, asyncio.get_running_loop().create_future()))
        return self._unread[-1][2]

    def reads(self, count: int) -> None:
        """It reads so many packets, and answers."""
        for begins, filters, answer in self._unread[:count]:
            taken = [one for one in filters if one != "refused"]
            self.has = self.has.union(taken) if begins else self.has.difference(filters)
            answer.set_result([1 if one in taken else 0x87 for one in filters])
        del self._unread[:count]

    def away(self) -> None:
        """The link is cut: what it has not read is gone."""
        self._unread.clear()


class Memory:
    """What is noted, a moment after it is to be."""

    def __init__(self) -> None:
        self.subscribed: frozenset[str] | None = None

    async def subscribes(self, filters: Iterable[str]) -> None:
        await asyncio.sleep(0)
        self.subscribed = frozenset(filters)


def is_settled(ours: Subscriptions) -> bool:
    return ours.settled


Steps = st.lists(st.one_of(WANTS, st.integers(0, 3), st.just("settle"), st.just("cut")), max_size=25)


@given(steps=Steps)
@example(steps=[["c"], [], ["c"], [], 2, "settle", 1])  # ended, begun and ended again before the first is answered
async def test_what_is_noted_is_all_that_the_broker_may_have_at_each_moment_and_in_the_end_what_it_has(
    steps: list[list[str] | int | str],
) -> None:
    broker, memory = Broker(), Memory()
    ours = Subscriptions(cast(Connection, broker), memory)
    wanted: list[str] = []
    for step in [*steps, "cut", ["c", "refused", "a/+"]]:
        if isinstance(step, list):
            wanted = step
            await ours.want(map(Filter, step))
        elif isinstance(step, int):
            broker.reads(step)
        elif step == "settle":
            await ours.settle()
        else:
            broker.away()
            ours = Subscriptions(cast(Connection, broker), memory)
            await ours.want(map(Filter, wanted))
        assert broker.has <= (memory.subscribed or frozenset())
    assert not is_settled(ours)
    broker.reads(100)
    await ours.settle()
    assert is_settled(ours)
    assert broker.has == set(memory.subscribed or ()) == set(disjoint(wanted)) - {"refused"}
    assert set(ours.refused) == {"refused"}


async def test_it_is_not_settled_before_what_the_broker_answered_is_noted() -> None:
    broker, memory = Broker(), Memory()
    broker.has = {"old"}
    memory.subscribed = frozenset({"old"})
    ours = Subscriptions(cast(Connection, broker), memory)
    await ours.want([Filter("new")])
    assert memory.subscribed == {"old", "new"}
    broker.reads(2)
    noting = asyncio.create_task(ours.settle())
    await asyncio.sleep(0)
    assert not is_settled(ours)
    await noting
    assert is_settled(ours)
    assert broker.has == set(memory.subscribed) == {"new"}
