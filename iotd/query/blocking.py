"""ShardingSystem for scripts and notebooks: the same methods, which block."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from inspect import signature
from typing import Any, Concatenate, ParamSpec, TypeVar

from iotd.query.result import Readings
from iotd.query.system import ShardingSystem

T = TypeVar("T")
P = ParamSpec("P")


def _waiting(
    method: Callable[Concatenate[ShardingSystem, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[BlockingShardingSystem, P], T]:
    """The method that blocks, with the parameters and the docstring of the one that does not."""

    @wraps(method)
    def wait(self: BlockingShardingSystem, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._wait(method(self._system, *args, **kwargs))

    return wait


def _iterating(
    method: Callable[Concatenate[ShardingSystem, P], AsyncIterator[Readings]],
) -> Callable[Concatenate[BlockingShardingSystem, P], Iterator[Readings]]:
    @wraps(method)
    def iterate(self: BlockingShardingSystem, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[Readings]:
        return self._each(method(self._system, *args, **kwargs))

    # help() would show the asynchronous iterator that is wrapped
    vars(iterate)["__signature__"] = signature(method).replace(return_annotation="Iterator[Readings]")
    return iterate


def _close(system: ShardingSystem, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    asyncio.run_coroutine_threadsafe(system.close(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


class BlockingShardingSystem:
    """A :class:`ShardingSystem` on an event loop in a thread of its own, so that it works in a notebook too.

        with ShardingSystem.connect_sync() as system:
            readings = system.query_location_data("salon", "temperature", "-1h")

    Without ``with`` it is closed by :meth:`close`, or at the end of the program. Methods may be called from any thread.
    """

    def __init__(self, system: ShardingSystem) -> None:
        self._system = system
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="iotd queries", daemon=True)
        self._thread.start()
        # a notebook's is closed when it is let go of, or the program ends
        self._closing = weakref.finalize(self, _close, system, self._loop, self._thread)

    def __enter__(self) -> BlockingShardingSystem:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends its thread; it can't be used any more. A second call does nothing."""
        self._closing()

    def __repr__(self) -> str:
        return repr(self._system).replace("<Sharding", "<BlockingSharding", 1)

    get_shards_status = _waiting(ShardingSystem.get_shards_status)
    get_shard_distribution_metrics = _waiting(ShardingSystem.get_shard_distribution_metrics)
    get_sensors = _waiting(ShardingSystem.get_sensors)
    query_location_data = _waiting(ShardingSystem.query_location_data)
    query_by_unit_measure = _waiting(ShardingSystem.query_by_unit_measure)
    stream_location_data = _iterating(ShardingSystem.stream_location_data)
    stream_by_unit_measure = _iterating(ShardingSystem.stream_by_unit_measure)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _each(self, chunks: AsyncIterator[Readings]) -> Iterator[Readings]:
        async def following() -> Readings | None:
            return await anext(chunks, None)

        try:
            while (chunk := self._wait(following())) is not None:
                yield chunk
        finally:
            if (aclose := getattr(chunks, "aclose", None)) is not None:
                self._wait(aclose())
