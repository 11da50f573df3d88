"""Pages of a series on their way from a shard into the archive, compared with what the log expects of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np

from iotd.archive.delivery import Delivery
from iotd.archive.expected import found
from iotd.archive.flow import POINT_BYTES, Flow
from iotd.model.batch import Times, Values
from iotd.model.errors import ShardError
from iotd.model.series import Series
from iotd.ops.turns import turn
from iotd.shards.reader import ShardReader
from iotd.stores.points import Points

Samples = tuple[Times, Values]

NOTHING: Samples = (np.empty(0, np.int64), np.empty(0, np.float64))
_MISSING = "key does not exist"
_FEW = 500
"""So many samples are parsed in no time; what is more takes turns."""
_SOME = 20_000
"""So many samples are parsed on the event loop; more in a thread."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What :meth:`Pages.move` did.

    Attributes:
        count: samples that the shard gave.
        doubtful: those of the expected readings that it did not give, or with another value.
    """

    count: int
    doubtful: Samples


class Pages:
    """Reads from one shard; at most one page is read ahead of what the archive takes."""

    def __init__(self, reader: ShardReader, delivery: Delivery) -> None:
        self._reader = reader
        self._delivery = delivery

    async def move(
        self, flow: Flow, series: Series, after: int, upto: int, *, mark: bool, expected: Samples = NOTHING
    ) -> Moved:
        """Hands all samples later than ``after`` and not later than ``upto`` (ms) over to be archived.

        Args:
            mark: whether the watermark follows them, up to the first doubtful reading.
            expected: what must be among them, in time order.

        Raises:
            ShardError, ArchiveError: not now.
        """
        times, values = expected
        done, count = 0, 0
        doubtful: list[Samples] = []
        while True:
            size = self._delivery.largest
            memory = await flow.reserve(size)
            used = 0
            try:
                got, resp = await self._page(series, after, upto, size)
                used = got * POINT_BYTES
                points = Points(series, resp, got) if got else None
                last = upto if points is None or got < size else points.last
                if done < len(times):
                    stop = int(times.searchsorted(last, "right"))
                    part = times[done:stop], values[done:stop]
                    there = await _arrays(points) if points else NOTHING
                    same = found(*part, *there)
                    if not same.all():
                        doubtful.append((part[0][~same], part[1][~same]))
                    done = stop
            except BaseException:
                flow.unused(memory)
                raise
            flow.unused(memory - used)
            if points is not None:
                await flow.put(points, used, mark=mark and not doubtful)
            count += got
            after = last
            if got < size:
                return Moved(count, _joined(doubtful))

    async def straight(self, flow: Flow, series: Series, times: Times, values: Values, *, mark: bool) -> None:
        """Hands readings of the log over to be archived, which the shard does not have.

        Raises:
            ArchiveError: not now.
        """
        size = self._delivery.largest
        for start in range(0, len(times), size):
            part = slice(start, start + size)
            memory = await flow.reserve(len(times[part]))
            try:
                await turn()
                points = Points.from_arrays(series, times[part], values[part])
            except BaseException:
                flow.unused(memory)
                raise
            await flow.put(points, memory, mark=mark)

    async def held(self, series: Series, first: int, last: int) -> Samples:
        """What the shard holds from ``first`` to ``last`` (ms, both included).

        Raises:
            ShardError: not now.
        """
        pieces: list[Samples] = []
        size, after = self._delivery.largest, first - 1
        while True:
            got, resp = await self._page(series, after, last, size)
            if got:
                points = Points(series, resp, got)
                pieces.append(await _arrays(points))
                after = points.last
            if got < size:
                return _joined(pieces)

    async def _page(self, series: Series, after: int, upto: int, size: int) -> tuple[int, bytes]:
        try:
            return await self._reader.pairs(series, after, upto, size)
        except ShardError as e:
            if _MISSING in str(e):
                return 0, b""  # the series has vanished, and its readings with it
            raise


async def _arrays(points: Points) -> Samples:
    if len(points) > _FEW:
        await turn()
    try:
        return points.arrays() if len(points) <= _SOME else await asyncio.to_thread(points.arrays)
    except ValueError as e:
        raise ShardError(f"{points.sensor.key}: {e}") from None


def _joined(pieces: list[Samples]) -> Samples:
    if not pieces:
        return NOTHING
    return np.concatenate([times for times, _ in pieces]), np.concatenate([values for _, values in pieces])
