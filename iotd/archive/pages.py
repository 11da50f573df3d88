"""Pages of a series on their way from a shard into the archive, compared with what the log expects of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from iotd.archive.delivery import Delivery
from iotd.archive.expected import found
from iotd.archive.flow import POINT_BYTES, Flow
from iotd.model.arrays import concatenated
from iotd.model.batch import Times, Values
from iotd.model.errors import ShardError
from iotd.model.series import Series
from iotd.ops.turns import turn
from iotd.shards.reader import ShardReader
from iotd.stores.points import Points
from iotd.wire.pairs import each

Samples = tuple[Times, Values]

NOTHING: Samples = concatenated([])
_MORE = 32
"""So many samples beyond the expected ones are asked for at once."""
_AT_ONCE = 256
"""Series in one round trip."""
_FEW = 500
"""So many samples are parsed in no time; what is more takes turns."""
_SOME = 20_000
"""So many samples are parsed on the event loop; more in a thread."""


@dataclass(slots=True)
class Move:
    """What the shard holds of a series later than ``after`` and not later than ``upto`` (ms), and is to be archived.

    Attributes:
        after: moves forward with it.
        mark: whether the watermark follows it, up to the first doubtful reading.
        expected: what must be among the samples beyond ``after``, in time order.
        count: samples that the shard gave.
        doubtful: those of the expected readings that it did not give, or with another value.
    """

    series: Series
    after: int
    upto: int
    mark: bool
    expected: Samples = NOTHING
    count: int = 0
    doubtful: list[Samples] = field(default_factory=list)

    def page(self, largest: int) -> int:
        """How many samples to ask for at once: where the shard holds more than was expected, as many as may be."""
        expected = len(self.expected[0])
        return min(expected + _MORE, largest) if expected and not self.count else largest

    def compared(self, there: Samples, last: int) -> None:
        """The shard gave these samples where some were expected, and holds no others up to ``last``."""
        times, values = self.expected
        if stop := int(times.searchsorted(last, "right")):
            part = times[:stop], values[:stop]
            same = found(*part, *there)
            if not same.all():
                self.doubtful.append((part[0][~same], part[1][~same]))
            self.expected = times[stop:], values[stop:]
        self.after = last


class Pages:
    """Reads from one shard; at most one page is read ahead of what the archive takes.

    A page is one series' samples, or those of many series that have little each: a round trip for each of ten thousand
    series would take longer than all else.
    """

    def __init__(self, reader: ShardReader, delivery: Delivery) -> None:
        self._reader = reader
        self._delivery = delivery

    async def move(self, flow: Flow, moves: Iterable[Move]) -> None:
        """Hands all samples of these moves over to be archived.

        Raises:
            ShardError, ArchiveError: not now.
        """
        waiting = deque(moves)
        while waiting:
            room = size = self._delivery.batch
            page: list[tuple[Move, int]] = []
            while waiting and len(page) < _AT_ONCE:
                count = waiting[0].page(size)
                if page and count > room:
                    break
                room -= count
                page.append((waiting.popleft(), count))
            waiting.extendleft(await self._page(flow, page))

    async def _page(self, flow: Flow, page: list[tuple[Move, int]]) -> list[Move]:
        """Moves at most so many samples of each; returns those of which there may be more."""
        memory = await flow.reserve(sum(count for _, count in page))
        more: list[Move] = []
        try:
            replies = await self._reader.pairs([(m.series, m.after, m.upto, count) for m, count in page])
            # what nothing is expected of is not parsed
            compares = any(len(move.expected[0]) for move, _ in page)
            there = await _parsed([m.series for m, _ in page], replies) if compares else [NOTHING] * len(page)
            for (move, count), (got, resp), samples in zip(page, replies, there, strict=True):
                points = Points(move.series, resp, got)
                full = got == count
                move.compared(samples, points.last if full else move.upto)
                move.count += got
                if full and move.after < move.upto:
                    more.append(move)
                if got:
                    used = got * POINT_BYTES
                    memory -= used  # the flow's from now on
                    await flow.put(points, used, mark=move.mark and not move.doubtful)
        finally:
            flow.unused(memory)
        return more

    async def straight(self, flow: Flow, series: Series, times: Times, values: Values, *, mark: bool) -> None:
        """Hands readings of the log over to be archived, which the shard does not have.

        Raises:
            ArchiveError: not now.
        """
        size = self._delivery.batch
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
        size, after = self._delivery.batch, first - 1
        while True:
            ((got, resp),) = await self._reader.pairs([(series, after, last, size)])
            if got:
                pieces += await _parsed([series], [(got, resp)])
                after = int(pieces[-1][0][-1])
            if got < size:
                return concatenated(pieces)


async def _parsed(series: list[Series], replies: list[tuple[int, bytes]]) -> list[Samples]:
    """The samples of each series; raises ShardError when a value is no number."""
    count = sum(got for got, _ in replies)
    if count > _FEW:
        await turn()
    try:
        return each(replies) if count <= _SOME else await asyncio.to_thread(each, replies)
    except ValueError as e:
        keys = series[0].key + (f" to {series[-1].key}" if len(series) > 1 else "")
        raise ShardError(f"{keys}: {e}") from None
