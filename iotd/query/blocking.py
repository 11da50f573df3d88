"""ShardingSystem for scripts and notebooks: the same methods, which block."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from iotd.query.distribution import Distribution
from iotd.query.result import Readings
from iotd.query.status import ShardsStatus
from iotd.query.system import ShardingSystem
from iotd.query.times import Time
from iotd.sensors import Sensor

T = TypeVar("T")


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

    def get_shards_status(self) -> ShardsStatus:
        """See :meth:`ShardingSystem.get_shards_status`."""
        return self._wait(self._system.get_shards_status())

    def get_shard_distribution_metrics(self) -> Distribution:
        """See :meth:`ShardingSystem.get_shard_distribution_metrics`."""
        return self._wait(self._system.get_shard_distribution_metrics())

    def get_sensors(
        self, location: str | None = None, sensor_type: str | None = None, *, unit: str | None = None
    ) -> dict[Sensor, datetime]:
        """See :meth:`ShardingSystem.get_sensors`."""
        return self._wait(self._system.get_sensors(location, sensor_type, unit=unit))

    def query_location_data(
        self,
        location: str | None,
        sensor_type: str | None,
        start: Time,
        end: Time | None = None,
        *,
        sensor_ids: int | Sequence[int] | None = None,
        agg: str | None = None,
        bucket: timedelta | float | str | None = None,
    ) -> Readings:
        """See :meth:`ShardingSystem.query_location_data`."""
        return self._wait(
            self._system.query_location_data(
                location, sensor_type, start, end, sensor_ids=sensor_ids, agg=agg, bucket=bucket
            )
        )

    def query_by_unit_measure(
        self,
        unit: str,
        start: Time,
        end: Time | None = None,
        *,
        sensor_ids: int | Sequence[int] | None = None,
        agg: str | None = None,
        bucket: timedelta | float | str | None = None,
    ) -> Readings:
        """See :meth:`ShardingSystem.query_by_unit_measure`."""
        return self._wait(
            self._system.query_by_unit_measure(unit, start, end, sensor_ids=sensor_ids, agg=agg, bucket=bucket)
        )

    def stream_location_data(
        self,
        location: str | None,
        sensor_type: str | None,
        start: Time,
        end: Time | None = None,
        *,
        sensor_ids: int | Sequence[int] | None = None,
        agg: str | None = None,
        bucket: timedelta | float | str | None = None,
    ) -> Iterator[Readings]:
        """See :meth:`ShardingSystem.stream_location_data`."""
        return self._each(
            self._system.stream_location_data(
                location, sensor_type, start, end, sensor_ids=sensor_ids, agg=agg, bucket=bucket
            )
        )

    def stream_by_unit_measure(
        self,
        unit: str,
        start: Time,
        end: Time | None = None,
        *,
        sensor_ids: int | Sequence[int] | None = None,
        agg: str | None = None,
        bucket: timedelta | float | str | None = None,
    ) -> Iterator[Readings]:
        """See :meth:`ShardingSystem.stream_by_unit_measure`."""
        return self._each(
            self._system.stream_by_unit_measure(unit, start, end, sensor_ids=sensor_ids, agg=agg, bucket=bucket)
        )

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
