"""Reading one location's shard for the archive and for queries, over a connection of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from iotd.config.tree import Tree
from iotd.config.values import Address
from iotd.model.series import Series
from iotd.shards.connection import Argument, Connection, shard_error
from iotd.shards.fence import fence_key

log = structlog.get_logger(__name__)

_ALL_TIME = 10**15
"""Milliseconds: all times there are, in one bucket."""

Samples = list[tuple[int, bytes]]
"""(time in ms, value as the bytes that Redis returned), in time order."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a series holds after a time: first and last time (ms), and how many samples."""

    first: int
    last: int
    count: int


class ShardReader:
    """Reads from whichever node ``master`` names; a call that finds another one than before connects anew."""

    def __init__(self, location: str, settings: Tree, master: Callable[[], Awaitable[Address]]) -> None:
        """
        Args:
            master: the node to read from now; raises ShardUnavailable while there is none.
        """
        self.location = location
        self.opened = 0
        """Connections made so far: while it is the same, all was read from one run of one node."""
        self._tree = settings
        self._settings = settings.redis
        self._master = master
        self._connection: Connection | None = None
        self._unknown: set[bytes] = set()

    def another(self) -> ShardReader:
        """One more of the kind, with a connection of its own: a reader does one thing at a time."""
        return ShardReader(self.location, self._tree, self._master)

    async def series(self) -> list[Series]:
        """The sensors that have a series here, also those that the configuration no longer names.

        Raises:
            ShardError: no master, or no answer.
        """
        (keys,) = await self._ask(("TS.QUERYINDEX", f"location={self.location}"))
        found, types = [], self._tree.known_types
        for key in keys:
            try:
                found.append(Series.from_key(key.decode(), types))
            except ValueError:
                if key not in self._unknown:
                    self._unknown.add(key)
                    log.warning("series_unknown", shard=self.location, key=key.decode(errors="replace"))
        return sorted(found)

    async def fence(self, producer: str) -> int:
        """The producer's last sequence up to which this node holds everything; 0 when it has no fence of it.

        Raises:
            ShardError: no master, or no answer.
        """
        (said,) = await self._ask(("GET", fence_key(producer)))
        return 0 if said is None else int(said)

    async def page(self, sensor: Series, after: int, upto: int | None, count: int) -> Samples:
        """At most ``count`` samples later than ``after`` (ms) and not later than ``upto``, in order.

        The next page begins after the last time of this one (RedisTimeSeries #1630).

        Raises:
            ShardError: no master, or no answer.
        """
        (reply,) = await self._ask(_range(sensor, after, upto, count))
        samples: Samples = reply
        return samples

    async def pairs(self, sensor: Series, after: int, upto: int | None, count: int) -> tuple[int, bytes]:
        """As :meth:`page`, but unparsed: how many samples, and their bytes (:meth:`Connection.call_pairs`).

        Raises:
            ShardError: no master, or no answer.
        """
        connection = await self._connected()
        try:
            return await connection.call_pairs(*_range(sensor, after, upto, count))
        except BaseException:
            await self.close()  # also when cancelled: a reply may be under way
            raise

    async def counts(self, sensor: Series, first: int, last: int, bucket: int) -> dict[int, int]:
        """How many samples a series holds from ``first`` to ``last`` (ms, both included), by start of the bucket.

        A series at a time, so that no command holds up the shard for long (100 million samples a second).

        Raises:
            ShardError: no master, or no answer.
        """
        (reply,) = await self._ask(_count(sensor, first, last, bucket))
        return {int(start): int(float(count)) for start, count in reply}

    async def count(self, sensor: Series, first: int, last: int) -> int:
        """How many samples a series holds from ``first`` to ``last`` (ms, both included).

        Raises:
            ShardError: no master, or no answer.
        """
        return sum((await self.counts(sensor, first, last, _ALL_TIME)).values())

    async def waiting(self, after: Mapping[Series, int]) -> dict[Series, Waiting]:
        """What each series holds later than a time (ms) of its own; one that holds nothing then is not there.

        Raises:
            ShardError: no master, or no answer.
        """
        found = {}
        for sensor, mark in after.items():
            # in one transaction: what comes, or is dropped, in between would be counted on one side only
            *_, replies = await self._ask(
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
            ShardError: no master, or no answer.
        """
        sensors = await self.series()
        replies = await self._ask(*(("TS.INFO", s.key) for s in sensors))
        found = {}
        for sensor, reply in zip(sensors, replies, strict=True):
            said = dict(zip(reply[::2], reply[1::2], strict=True))
            if said[b"totalSamples"]:
                found[sensor] = (int(said[b"firstTimestamp"]), int(said[b"lastTimestamp"]))
        return found

    async def latest(self) -> dict[Series, tuple[int, float]]:
        """The newest sample of each series: time (ms) and value.

        Raises:
            ShardError: no master, or no answer.
        """
        (reply,) = await self._ask(("TS.MGET", "FILTER", f"location={self.location}"))
        found, types = {}, self._tree.known_types
        for key, _, sample in reply:
            with suppress(ValueError):  # a key that is no sensor's
                if sample:
                    found[Series.from_key(key.decode(), types)] = (int(sample[0]), float(sample[1]))
        return found

    async def by_type(self, first: int, bucket: int) -> dict[str, list[tuple[int, float, float, float]]]:
        """Mean, smallest and largest of all sensors of a type, per bucket (ms) from ``first`` (ms) on.

        Returns:
            by type, in time order: start of the bucket (ms), mean, smallest, largest. The server computes them.

        Raises:
            ShardError: no master, or no answer.
        """
        replies = await self._ask(
            *(
                (
                    *("TS.MRANGE", first, "+", "ALIGN", 0, "AGGREGATION", how, bucket),
                    *("FILTER", f"location={self.location}", "GROUPBY", "type", "REDUCE", how),
                )
                for how in ("avg", "min", "max")
            )
        )
        mean, low, high = ({group.decode().removeprefix("type="): points for group, _, points in r} for r in replies)
        return {
            kind: [
                (int(time), float(value), float(least), float(most))
                for (time, value), (_, least), (_, most) in zip(points, low[kind], high[kind], strict=False)
            ]
            for kind, points in mean.items()
            if kind in low and kind in high
        }

    async def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    async def _ask(self, *commands: tuple[Argument, ...]) -> list[Any]:
        connection = await self._connected()
        try:
            replies = await connection.call_many(commands)
        except BaseException:
            await self.close()  # also when cancelled: replies may be under way
            raise
        for reply in replies:
            if isinstance(reply, BaseException):
                raise shard_error(reply, f"{connection.address}: {commands[0][0]!s}")
        return replies

    async def _connected(self) -> Connection:
        address = await self._master()
        if self._connection is not None and (self._connection.address != address or self._connection.ended):
            await self.close()
        if self._connection is None:
            self.opened += 1
            self._connection = await Connection.open(
                address,
                self._settings,
                connect_timeout=self._settings.connect_timeout.total_seconds(),
                response_timeout=self._settings.response_timeout.total_seconds(),
            )
        return self._connection


def _count(sensor: Series, first: int, last: int | str, bucket: int) -> tuple[Argument, ...]:
    return ("TS.RANGE", sensor.key, first, last, "ALIGN", 0, "AGGREGATION", "count", bucket)


def _range(sensor: Series, after: int, upto: int | None, count: int) -> tuple[Argument, ...]:
    return ("TS.RANGE", sensor.key, max(0, after + 1), "+" if upto is None else upto, "COUNT", count)
