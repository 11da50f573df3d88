"""Reading one location's shard, for the archive and for queries, over a connection of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from iotd.config.tree import Tree
from iotd.config.values import Address
from iotd.model.arrays import concatenated
from iotd.model.batch import Times, Values
from iotd.model.series import Series
from iotd.ops.loggers import get_logger
from iotd.shards.connection import Argument, shard_error
from iotd.shards.link import Link

log = get_logger(__name__)

PAGE = 20_000
"""Samples in one reply at most: some 10 ms of a Redis, a few MB here."""

_ALL_TIME = 10**15
"""Milliseconds: all times there are, in one bucket."""

_FEW = 100
"""So many series are asked for one after the other; of more, each has so little in a window that the round trip is what
costs."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a series holds after a time: first and last time (ms), and how many samples."""

    first: int
    last: int
    count: int


@dataclass(frozen=True, slots=True)
class Held:
    """What a shard gave of one series: times (int64 ms, rising), values, and its first time just after, ms."""

    times: Times
    values: Values
    begins: int | None


class ShardReader:
    """Reads from whichever node is named to it; a call that finds another one than before connects anew."""

    def __init__(
        self,
        location: str,
        settings: Tree,
        node: Callable[[], Awaitable[Address]],
        *,
        failed: Callable[[], bool] = lambda: False,
    ) -> None:
        """
        Args:
            node: the node to read from now, by whatever strategy; raises ShardUnavailable while there is none.
            failed: told that the node failed; True: ``node`` names one that may be asked the same at once.
        """
        self.location = location
        self._settings = settings
        self._node = node
        self._failed = failed
        self._link = Link(location, settings.redis, node, failed)
        self._unknown: set[bytes] = set()

    @property
    def opened(self) -> int:
        """Connections made so far: while it is the same, all was read from one run of one node."""
        return self._link.opened

    async def close(self) -> None:
        """Lets go of the connection."""
        await self._link.close()

    def another(self) -> ShardReader:
        """One more of the kind, with a connection of its own: a reader does one thing at a time."""
        return ShardReader(self.location, self._settings, self._node, failed=self._failed)

    async def series(self, types: Sequence[str] = ()) -> list[Series]:
        """The series that are here, of these types or of all, also those that the configuration no longer names.

        Raises:
            ShardError: no node, or no answer.
        """
        of_types = [f"type={types[0] if len(types) == 1 else '(' + ','.join(types) + ')'}"] if types else []
        (keys,) = await self._link.ask(("TS.QUERYINDEX", f"location={self.location}", *of_types))
        found = []
        for key in keys:
            try:
                found.append(Series.from_key(key.decode(), self._settings.known_types))
            except ValueError:
                if key not in self._unknown:
                    self._unknown.add(key)
                    log.warning("series_unknown", shard=self.location, key=key.decode(errors="replace"))
        return sorted(found)

    async def begins(self, series: Sequence[Series]) -> dict[Series, int]:
        """The first time (ms) of each series that holds a sample.

        Raises:
            ShardError: no node, or no answer.
        """
        infos = await self._link.ask(*(("TS.INFO", one.key) for one in series), lenient=True)
        found = {one: _begins(info) for one, info in zip(series, infos, strict=True)}
        return {one: begins for one, begins in found.items() if begins is not None}

    async def samples(self, wanted: Sequence[tuple[Series, int, int]]) -> list[Held]:
        """The samples of each (series, first ms, last ms), both ends included; a series that is not here has none.

        Raises:
            ShardError: no node, or no answer.
        """
        if len(wanted) > _FEW:
            found = await self._short(wanted)
        else:
            found = [await self._long(one, first, last) for one, first, last in wanted]
        # their first times are asked for after the samples, so that what expired until then does not go unnoticed
        infos = await self._link.ask(*(("TS.INFO", one.key) for one, _, _ in wanted), lenient=True)
        return [Held(times, values, _begins(info)) for (times, values), info in zip(found, infos, strict=True)]

    async def _short(self, wanted: Sequence[tuple[Series, int, int]]) -> list[tuple[Times, Values]]:
        found = await self._link.arrays([_range(one, first - 1, last, PAGE) for one, first, last in wanted])
        for at, (one, _, last) in enumerate(wanted):
            times = found[at][0]
            if len(times) == PAGE:
                found[at] = concatenated([found[at], await self._long(one, int(times[-1]) + 1, last)])
        return found

    async def _long(self, series: Series, first: int, last: int) -> tuple[Times, Values]:
        pages: list[tuple[Times, Values]] = []
        while not pages or len(pages[-1][0]) == PAGE:
            after = first - 1 if not pages else int(pages[-1][0][-1])
            pages += await self._link.arrays([_range(series, after, last, PAGE)])
        return concatenated(pages)

    async def buckets(self, wanted: Sequence[tuple[Series, str, int, int, int, int]]) -> list[tuple[Times, Values]]:
        """The server's aggregation of each (series, aggregation, align ms, width ms, first ms, last ms), by start of
        the bucket.

        Raises:
            ShardError: no node, or no answer.
        """
        return await self._link.arrays(
            [
                ("TS.RANGE", one.key, max(0, first), last, "ALIGN", align, "AGGREGATION", what, width)
                for one, what, align, width, first, last in wanted
            ]
        )

    async def pairs(self, wanted: Sequence[tuple[Series, int, int, int]]) -> list[tuple[int, bytes]]:
        """Of each (series, after ms, upto ms, count) at most so many samples later than ``after`` and not later than
        ``upto``, in order and unparsed: how many they are, and their bytes (:meth:`Connection.call_pairs`).

        A series that is not here has none. The next page begins after the last time of this one (RedisTimeSeries
        #1630).

        Raises:
            ShardError: no node, or no answer.
        """
        return await self._link.pairs([_range(*one) for one in wanted])

    async def counts(self, sensor: Series, first: int, last: int, bucket: int) -> dict[int, int]:
        """How many samples a series holds from ``first`` to ``last`` (ms, both included), by start of the bucket.

        A series at a time, so that no command holds up the shard for long (100 million samples a second).

        Raises:
            ShardError: no node, or no answer.
        """
        (reply,) = await self._link.ask(_count(sensor, first, last, bucket))
        return {int(start): int(float(count)) for start, count in reply}

    async def count(self, sensor: Series, first: int, last: int) -> int:
        """How many samples a series holds from ``first`` to ``last`` (ms, both included).

        Raises:
            ShardError: no node, or no answer.
        """
        return sum((await self.counts(sensor, first, last, _ALL_TIME)).values())

    async def waiting(self, after: Mapping[Series, int]) -> dict[Series, Waiting]:
        """What each series holds later than a time (ms) of its own; one that holds nothing then is not there.

        Raises:
            ShardError: no node, or no answer.
        """
        found = {}
        for sensor, mark in after.items():
            # in one transaction: what comes, or is dropped, in between would be counted on one side only
            *_, replies = await self._link.ask(
                ("MULTI",),
                _range(sensor, mark, None, 1),
                ("TS.GET", sensor.key),
                _count(sensor, max(0, mark + 1), "+", _ALL_TIME),
                ("EXEC",),
            )
            for reply in replies:
                if isinstance(reply, BaseException):
                    raise shard_error(reply, f"{self.location}: {sensor.key}")
            first, last, counted = replies
            if first and counted:
                found[sensor] = Waiting(int(first[0][0]), int(last[0]), sum(int(float(n)) for _, n in counted))
        return found

    async def ends(self) -> dict[Series, tuple[int, int]]:
        """First and last time (ms) of each series that holds samples.

        Raises:
            ShardError: no node, or no answer.
        """
        sensors = await self.series()
        replies = await self._link.ask(*(("TS.INFO", s.key) for s in sensors))
        found = {}
        for sensor, reply in zip(sensors, replies, strict=True):
            said = dict(zip(reply[::2], reply[1::2], strict=True))
            if said[b"totalSamples"]:
                found[sensor] = (int(said[b"firstTimestamp"]), int(said[b"lastTimestamp"]))
        return found

    async def latest(self) -> dict[Series, tuple[int, float]]:
        """The newest sample of each series: time (ms) and value.

        Raises:
            ShardError: no node, or no answer.
        """
        (reply,) = await self._link.ask(("TS.MGET", "FILTER", f"location={self.location}"))
        found = {}
        for key, _, sample in reply:
            with suppress(ValueError):  # a key that is no sensor's
                if sample:
                    found[Series.from_key(key.decode(), self._settings.known_types)] = (
                        int(sample[0]),
                        float(sample[1]),
                    )
        return found


def _begins(info: Any) -> int | None:
    if info is None:
        return None
    said = dict(zip(info[::2], info[1::2], strict=True))
    return int(said[b"firstTimestamp"]) if said[b"totalSamples"] else None


def _count(sensor: Series, first: int, last: int | str, bucket: int) -> tuple[Argument, ...]:
    return ("TS.RANGE", sensor.key, first, last, "ALIGN", 0, "AGGREGATION", "count", bucket)


def _range(sensor: Series, after: int, upto: int | None, count: int) -> tuple[Argument, ...]:
    return ("TS.RANGE", sensor.key, max(0, after + 1), "+" if upto is None else upto, "COUNT", count)
