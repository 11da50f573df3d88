"""One shard as queries read it: from its master, or from a replica while there is none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np

from iotd.config.topology import Shard
from iotd.config.tree import Tree
from iotd.config.values import Address
from iotd.model.batch import Times, Values
from iotd.model.errors import IotdError, ShardError, ShardUnavailable
from iotd.model.series import Series
from iotd.query.aggregate import Aggregation
from iotd.query.buckets import Run
from iotd.query.names import Selection
from iotd.shards.connection import Argument, Connection, shard_error
from iotd.shards.look import look_at
from iotd.wire.pairs import arrays

T = TypeVar("T")

PAGE = 20_000
"""Samples in one reply at most: some 10 ms of a Redis, a few MB here."""

_AT_ONCE = 500
"""Commands in one round trip."""

_FEW = 100
"""So many series are asked for one after the other, each reply read without an object per reading. Of more series each
has so little in a window that the round trip is what costs."""

Role = Literal["master", "replica"]

_NOT_THERE = "key does not exist"


@dataclass(frozen=True, slots=True)
class Held:
    """What a shard gave of one series: times (int64 ms, rising), values, and its first time just after, ms."""

    times: Times
    values: Values
    begins: int | None


class ShardSource:
    """Reads one location's readings; a node that fails is replaced by the one that answers then.

    Attributes:
        node: the name of the node that answers.
        role: ``master`` when the Sentinels say so too, else ``replica``: it stands in for one.
        why: why no node answers; None while one does.
    """

    def __init__(self, shard: Shard, settings: Tree) -> None:
        self.location = shard.location
        self.node: str | None = None
        self.role: Role | None = None
        self.why: str | None = None
        self._shard = shard
        self._settings = settings
        self._connection: Connection | None = None

    async def find(self) -> None:
        """Finds the node to read from: the master, else a replica that answers; one that hangs costs half a second,
        and a shard of which nobody answers ``redis.response_timeout`` more.

        Raises:
            ShardUnavailable: no node answers.
        """
        await self.close()
        view = await look_at(self._settings, self._shard)
        if all(node.role is None for node in view.nodes):
            # a dead node refuses at once again; one that is only slow, on a busy machine, is not taken for dead
            view = await look_at(self._settings, self._shard, self._settings.redis.response_timeout.total_seconds())
        candidates: list[tuple[str, Role]] = [(view.master, "master")] if view.master else []
        # one that was promoted, and is not published yet, says master already: it stands in as a replica does
        standing_in = sorted((node for node in view.nodes if node.role), key=lambda node: node.role != "master")
        candidates += [(node.name, "replica") for node in standing_in if node.name != view.master]
        said = [f"{node.name}: {node.problem}" for node in view.nodes if node.problem]
        for name, role in candidates:
            node = next((n for n in self._shard.redis if n.name == name), None)
            address = node.address if node else Address.parse(name)
            try:
                self._connection = await Connection.open(
                    address,
                    self._settings.redis,
                    connect_timeout=self._settings.redis.connect_timeout.total_seconds(),
                    response_timeout=self._settings.redis.response_timeout.total_seconds(),
                )
            except IotdError as e:
                said.append(str(e))
                continue
            self.node, self.role, self.why = name, role, None
            return
        self.node = self.role = None
        self.why = "; ".join(said) or "its nodes answer, and none of them is master or replica"
        raise ShardUnavailable(f"{self.location}: {self.why}")

    async def series(self, what: Selection) -> list[Series]:
        """The sensors of the selection that have a series here.

        Raises:
            ShardError: no answer.
        """
        types = what.types[0] if len(what.types) == 1 else f"({','.join(what.types)})"
        (keys,) = await self._ask([("TS.QUERYINDEX", f"location={self.location}", f"type={types}")])
        found, table = [], self._settings.known_types
        for key in keys:
            with suppress(ValueError):  # a key of someone else's with labels like ours
                if (sensor := Series.from_key(key.decode(), table)) in what:
                    found.append(sensor)
        return sorted(found)

    async def begins(self, sensors: Sequence[Series]) -> dict[Series, int]:
        """The first time (ms) of each series that holds a reading.

        Raises:
            ShardError: no answer.
        """
        replies = await self._ask([("TS.INFO", sensor.key) for sensor in sensors])
        found = {sensor: _begins(reply) for sensor, reply in zip(sensors, replies, strict=True)}
        return {sensor: begins for sensor, begins in found.items() if begins is not None}

    async def samples(self, wanted: Sequence[tuple[Series, int, int]]) -> list[Held]:
        """The readings of each (sensor, first ms, last ms), both ends included.

        Raises:
            ShardError: no answer.
        """
        if len(wanted) > _FEW:
            found = await self._short(wanted)
        else:
            found = [await self._long(sensor, first, last) for sensor, first, last in wanted]
        # their first times are asked for after the readings, so that what expired until then does not go unnoticed
        infos = await self._ask([("TS.INFO", sensor.key) for sensor, _, _ in wanted])
        return [Held(times, values, _begins(info)) for (times, values), info in zip(found, infos, strict=True)]

    async def _short(self, wanted: Sequence[tuple[Series, int, int]]) -> list[tuple[Times, Values]]:
        replies = await self._ask([_range(sensor, first, last) for sensor, first, last in wanted])
        found = []
        for (sensor, _, last), reply in zip(wanted, replies, strict=True):
            samples = _arrays(reply or [])
            if len(samples[0]) == PAGE:
                samples = _joined([samples, await self._long(sensor, int(samples[0][-1]) + 1, last)])
            found.append(samples)
        return found

    async def _long(self, sensor: Series, first: int, last: int) -> tuple[Times, Values]:
        pages: list[tuple[Times, Values]] = []
        while not pages or len(pages[-1][0]) == PAGE:
            after = first if not pages else int(pages[-1][0][-1]) + 1
            pages.append(arrays(await self._retried(partial(self._pairs, _range(sensor, after, last)))))
        return _joined(pages)

    async def buckets(self, wanted: Sequence[tuple[Series, Aggregation, Run, int, int]]) -> list[tuple[Times, Values]]:
        """The aggregation of each sensor's readings from a first to a last ms of a run, by start of the bucket.

        Raises:
            ShardError: no answer.
        """
        commands = [
            ("TS.RANGE", s.key, max(0, first), last, "ALIGN", run.first % run.width, "AGGREGATION", what, run.width)
            for s, what, run, first, last in wanted
        ]
        found = []
        for (_, what, *_), reply in zip(wanted, await self._ask(commands), strict=True):
            times, values = _arrays(reply or [])
            if what == "std.p":
                # of values all alike: their variance rounds to a little less than nothing (RedisTimeSeries 1.12.2)
                values = np.nan_to_num(values, nan=0.0)
            found.append((times, values))
        return found

    async def close(self) -> None:
        """Lets go of the connection."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    async def _ask(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        replies: list[Any] = []
        for start in range(0, len(commands), _AT_ONCE):
            some = commands[start : start + _AT_ONCE]
            replies += await self._retried(partial(self._ask_node, some))
        return replies

    async def _retried(self, ask: Callable[[], Awaitable[T]]) -> T:
        try:
            return await ask()
        except ShardError:
            await self.find()
            return await ask()

    async def _ask_node(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        connection = self._connected()
        where = f"{connection.address}: {commands[0][0]!s}"
        try:
            replies = await connection.call_many(commands)
        except BaseException:
            await self.close()  # also when cancelled: replies may be under way
            raise
        for i, reply in enumerate(replies):
            if isinstance(reply, BaseException):
                if _NOT_THERE not in str(reply):
                    raise shard_error(reply, where)
                replies[i] = None
        return replies

    async def _pairs(self, command: Sequence[Argument]) -> bytes:
        try:
            return (await self._connected().call_pairs(*command))[1]
        except BaseException as e:
            if isinstance(e, ShardError) and _NOT_THERE in str(e):
                return b""
            await self.close()
            raise

    def _connected(self) -> Connection:
        if self._connection is None:
            raise ShardUnavailable(f"{self.location}: {self.why or 'not connected'}")
        return self._connection


def _range(sensor: Series, first: int, last: int) -> tuple[Argument, ...]:
    return ("TS.RANGE", sensor.key, max(0, first), max(0, last), "COUNT", PAGE)


def _joined(pages: Sequence[tuple[Times, Values]]) -> tuple[Times, Values]:
    if len(pages) == 1:
        return pages[0]
    return np.concatenate([times for times, _ in pages]), np.concatenate([values for _, values in pages])


def _begins(info: Any) -> int | None:
    if info is None:
        return None
    said = dict(zip(info[::2], info[1::2], strict=True))
    return int(said[b"firstTimestamp"]) if said[b"totalSamples"] else None


def _arrays(points: list[Any]) -> tuple[Times, Values]:
    count = len(points)
    times = np.fromiter((point[0] for point in points), np.int64, count)
    return times, np.fromiter((float(point[1]) for point in points), np.float64, count)
