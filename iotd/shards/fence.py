"""The fence: what a node holds for certain.

``iotd:fence:{producer}`` is set to a sequence after all replies up to it were good, on the same server that gave
them. Replication and the append-only file are in order, so on whatever node the fence is found, everything up to it
is there too: replay begins behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Literal

import structlog

from iotd.config.tree import Tree
from iotd.config.values import Address
from iotd.model.errors import ShardError, ShardUnavailable
from iotd.ops.tasks import together
from iotd.pipeline.lane import Lane
from iotd.shards.connection import Connection, shard_error
from iotd.shards.watcher import Watcher

log = structlog.get_logger(__name__)

Late = Callable[[str, int, int], Awaitable[None]]
"""Told (location, first ms, last ms), before the fence passes them, of readings that came after newer ones."""

CONNECTIONS = 4
"""Fences that may be waited for at once: WAITAOF blocks its connection until both nodes have fsynced, about a second
with ``appendfsync everysec``, and what is written meanwhile need not wait until that is over."""

_APART_S = 0.3
"""Between a fence and the next one while the first is waited for."""
_WAIT_MS = 2_000
_AOF_PATIENCE_S = 10
"""So long in vain for the replica's fsync while it does receive: it is asked whether it keeps a file at all."""


def fence_key(producer: str) -> str:
    """The key at which a producer's fence stands."""
    return f"iotd:fence:{producer}"


class Fence:
    """Sets the fence of one producer on one master, over connections of its own, and waits until it holds."""

    def __init__(
        self,
        connections: Sequence[Connection],
        producer: str,
        lane: Lane,
        *,
        watcher: Watcher,
        late: Late,
        settings: Tree,
    ) -> None:
        """
        Args:
            connections: to the same run of the same master; as many fences are waited for at once.
        """
        self._connections = connections
        self._address = connections[0].address
        self._key = fence_key(producer)
        self._lane = lane
        self._watcher = watcher
        self._late = late
        self._redis = settings.redis
        self._response_timeout = settings.redis.response_timeout.total_seconds()
        self._on_full = settings.spool.on_full
        self._by: Literal["waitaof", "wait"] = "wait" if settings.writer.confirm == "wait" else "waitaof"
        self._may_fall_back = settings.writer.confirm == "auto"
        self._standing: int | None = None
        self._history: bytes | None = None
        self._turn = asyncio.Lock()
        self._under_way = 0
        self._none_under_way = asyncio.Event()
        self._none_under_way.set()
        self._latest = 0
        self._set_at = 0.0
        self._fsynced_at = monotonic()
        self._warned_full = False

    async def read(self) -> int | None:
        """The last sequence up to which this node holds everything, or None when it has no fence of ours."""
        info, said = await self._all(self._connections[0], [("INFO", "replication"), ("GET", self._key)])
        self._history = _replid(info)
        self._standing = None if said is None else int(said)
        return self._standing

    async def keep_confirming(self) -> None:
        """Confirms what is applied, for ever.

        Raises:
            ShardUnavailable: no answer, or the data was exchanged under us (FLUSHALL, an older dump).
            NotMaster: the node was demoted.
        """
        self._latest = self._lane.confirmed  # a fence that stands here was perhaps never waited for
        async with together() as group:
            for connection in self._connections:
                group.create_task(self._keep_confirming_over(connection))

    async def _keep_confirming_over(self, connection: Connection) -> None:
        while True:
            async with self._turn:
                seq = await self._next()
                await self._watcher.settled(self._address)
                await self._pass_on_late()
                await self._set(connection, seq)
            self._under_way += 1
            self._none_under_way.clear()
            while not await self._holds(connection):
                if self._lane.full and self._on_full == "confirm_on_master" and await self._holds_on_master(connection):
                    self._warn_full()
                    break
                await self._watcher.settled(self._address)
            await self._lane.confirm(seq)
            self._under_way -= 1
            if not self._under_way:
                self._none_under_way.set()

    async def _next(self) -> int:
        await self._lane.wait_applied(self._latest)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._set_at + _APART_S):
                await self._none_under_way.wait()
        self._set_at = asyncio.get_running_loop().time()
        self._latest = self._lane.applied
        return self._latest

    async def _pass_on_late(self) -> None:
        if (late := self._lane.take_late()) is not None:
            try:
                await self._late(self._lane.location, late.first, late.last)
            except BaseException:
                self._lane.note_late(late.first, late.last)  # it stays to be told
                raise

    async def _set(self, connection: Connection, seq: int) -> None:
        # WATCH, so that a fence never comes to stand over data that was exchanged between looking and setting; and the
        # replication id, because a node that was a replica for a moment may hold another's data under the same fence
        look: list[tuple[str | int, ...]] = [("WATCH", self._key), ("INFO", "replication"), ("GET", self._key)]
        _, info, before = await self._all(connection, look)
        if (None if before is None else int(before)) != self._standing or _replid(info) != self._history:
            raise ShardUnavailable(
                f"{self._address}: our fence stood at {self._standing} and is {before!r} now, "
                f"of replication id {_replid(info)!r} after {self._history!r}: this node's data was exchanged"
            )
        *_, done = await self._all(connection, [("MULTI",), ("SET", self._key, seq), ("EXEC",)])
        if done is None:
            raise ShardUnavailable(f"{self._address}: this node's data was exchanged")
        self._standing = seq

    async def _all(self, connection: Connection, commands: list[tuple[str | int, ...]]) -> list[Any]:
        replies = await connection.call_many(commands)
        for reply in replies:
            if isinstance(reply, BaseException):
                raise shard_error(reply, f"{self._address}: setting the fence")
        return replies

    async def _holds(self, connection: Connection) -> bool:
        if self._by == "wait":
            return await self._wait(connection, "WAIT", 1) >= 1
        reply = await self._ask(connection, "WAITAOF", 1, 1)
        if isinstance(reply, BaseException):
            if "appendonly is disabled" in str(reply) and self._may_fall_back:
                self._fall_back("the master keeps no append-only file")
                return False
            raise shard_error(reply, f"{self._address}: WAITAOF")
        if reply[0] >= 1 and reply[1] >= 1:
            self._fsynced_at = monotonic()
            return True
        in_vain = self._may_fall_back and reply[0] >= 1 and monotonic() - self._fsynced_at > _AOF_PATIENCE_S
        if in_vain and await self._receives_without_a_file(connection):
            self._fall_back("the replica keeps no append-only file")
        return False

    async def _receives_without_a_file(self, connection: Connection) -> bool:
        return await self._wait(connection, "WAIT", 1, ms=100) >= 1 and await self._no_replica_keeps_one()

    async def _no_replica_keeps_one(self) -> bool:
        # one that does may be slow, or still write its first file after a full copy: that is waited for
        replicas = self._watcher.lags.get(self._address, {})
        try:
            return bool(replicas) and not any([await self._keeps_file(address) for address in replicas])
        except ShardError:
            return False

    async def _keeps_file(self, address: Address) -> bool:
        redis = self._redis
        connection = await Connection.open(
            address,
            redis,
            connect_timeout=redis.connect_timeout.total_seconds(),
            response_timeout=redis.response_timeout.total_seconds(),
        )
        try:
            return b"aof_enabled:1" in await connection.call("INFO", "persistence")
        finally:
            await connection.close()

    async def _holds_on_master(self, connection: Connection) -> bool:
        reply = await self._ask(connection, "WAITAOF", 1, 0)
        return isinstance(reply, list) and reply[0] >= 1

    async def _wait(self, connection: Connection, command: str, replicas: int, ms: int = _WAIT_MS) -> int:
        said = await connection.call(command, replicas, ms, timeout=ms / 1000 + self._response_timeout)
        return int(said)

    async def _ask(self, connection: Connection, *command: str | int) -> Any:
        (reply,) = await connection.call_many([(*command, _WAIT_MS)], timeout=_WAIT_MS / 1000 + self._response_timeout)
        return reply

    def _fall_back(self, why: str) -> None:
        if self._by == "wait":
            return
        self._by = "wait"
        log.warning("confirming_by_wait", shard=self._lane.location, reason=why)

    def _warn_full(self) -> None:
        if not self._warned_full:
            self._warned_full = True
            log.warning(
                "confirmed_on_master_only",
                shard=self._lane.location,
                reason="the spool is at its limit and no replica is connected (spool.on_full)",
            )


def _replid(info: bytes) -> bytes:
    return next(line for line in info.split(b"\r\n") if line.startswith(b"master_replid:")).partition(b":")[2]


def fence_lost(found: int | None, lane: Lane, address: Address) -> int:
    """How many batches that were confirmed, and let go since, a node does not hold: they are in the archive, or gone.

    0 when the node's fence shows that it holds all that can't be sent again.
    """
    missing = max(0, lane.forgotten - (found or 0))
    if missing:
        log.warning(
            "shard_lost_its_past",
            shard=lane.location,
            node=str(address),
            batches=missing,
            archived=lane.archived >= lane.forgotten,
            hint="the archive holds what was archived; what is in the spool is written again now",
        )
    return missing
