"""The blocking system is the asynchronous one: every method, its parameters, and what help() says of it."""

from __future__ import annotations

import gc
import inspect
import threading
from collections.abc import AsyncIterator

import pytest

from iotd.query.blocking import Blocking, iterating, waiting
from iotd.query.system import BlockingShardingSystem, ShardingSystem

METHODS = [name for name, _ in inspect.getmembers(ShardingSystem, inspect.isfunction) if name[0] != "_"]


@pytest.mark.parametrize("name", [name for name in METHODS if name != "close"])
def test_help_shows_the_parameters_and_the_text_of_the_asynchronous_method(name: str) -> None:
    asynchronous, blocking = getattr(ShardingSystem, name), getattr(BlockingShardingSystem, name)
    said, wanted = inspect.signature(blocking), inspect.signature(asynchronous)
    assert said.parameters == wanted.parameters
    assert said.return_annotation == wanted.return_annotation.removeprefix("Async")
    assert inspect.getdoc(blocking) == inspect.getdoc(asynchronous)
    assert not inspect.iscoroutinefunction(blocking)


class Counter:
    """Asynchronous methods to be wrapped."""

    def __init__(self) -> None:
        self.closed = 0
        self.left = False

    async def close(self) -> None:
        self.closed += 1

    async def fails(self) -> None:
        raise KeyError("no")

    async def double(self, n: int, *, plus: int = 0) -> int:
        return 2 * n + plus

    async def upto(self, n: int) -> AsyncIterator[int | None]:
        try:
            yield None  # not the end
            for i in range(n):
                yield i
        finally:
            self.left = True


class BlockingCounter(Blocking[Counter]):
    """The same, blocking."""

    fails = waiting(Counter.fails)
    double = waiting(Counter.double)
    upto = iterating(Counter.upto)


def test_methods_block_errors_come_through_and_an_iterator_that_is_left_is_closed() -> None:
    counter = Counter()
    with BlockingCounter(counter) as blocking:
        assert blocking.double(2, plus=1) == 5
        with pytest.raises(KeyError):
            blocking.fails()
        assert list(blocking.upto(2)) == [None, 0, 1]
        counter.left = False
        for _ in blocking.upto(5):
            break
        gc.collect()
        assert counter.left
    blocking.close()
    assert counter.closed == 1


def test_what_is_let_go_of_is_closed_and_its_thread_ends() -> None:
    counter = Counter()
    blocking = BlockingCounter(counter)
    assert blocking.double(1) == 2
    del blocking
    gc.collect()
    assert counter.closed == 1
    assert "iotd queries" not in {thread.name for thread in threading.enumerate()}


async def test_it_works_where_an_event_loop_runs_already_as_in_a_notebook() -> None:
    with BlockingCounter(Counter()) as blocking:
        assert blocking.double(3) == 6
