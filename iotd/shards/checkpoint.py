"""The checkpoint: how much of the log a node holds for certain.

``iotd:checkpoint:{log}:{location}`` is set to ``{epoch}:{sequence}`` after all replies up to that sequence were good,
on the same server that gave them. Replication and the append-only file are in order, so on whatever node the checkpoint
is found, everything up to it is there too: replay begins behind it. What it proves in the log as it is now, the log
says (:meth:`iotd.log.base.Log.position_of`): sequences of another history are not comparable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal

from iotd.config.tree import Tree
from iotd.config.values import Address
from iotd.log.base import Log, Partition
from iotd.model.errors import ShardError, ShardUnavailable
from iotd.ops.loggers import get_logger
from iotd.ops.tasks import together
from iotd.shards.connection import Connection, shard_error
from iotd.shards.watcher import Watcher

log = get_logger(__name__)

CONNECTIONS = 4
"""Checkpoints that may be waited for at once: WAITAOF blocks its connection until both nodes have fsynced, about a
second with ``appendfsync everysec``, and what is written meanwhile need not wait until that is over."""

_APART_S = 0.3
"""Between a checkpoint and the next one while the first is waited for."""
_WAIT_MS = 2_000
_AOF_PATIENCE_S = 10
"""So long in vain for the replica's fsync while it does receive: it is asked whether it keeps a file at all."""
_ASK_FOR_FILES_S = 30
"""Between two questions whether both keep a file again."""


def checkpoint_key(log_id: str, location: str) -> str:
    """The key at which the checkpoint of a log's partition stands."""
    return f"iotd:checkpoint:{log_id}:{location}"


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint as it was read.

    Attributes:
        value: its bytes; None where there is none.
        position: the sequence up to which the node has all of this log; None when nothing is proven.
    """

    value: bytes | None
    position: int | None


def proven(log_: Log, location: str, value: bytes | None) -> Found:
    """What the value of a checkpoint proves in a log; nothing when it is of an unknown epoch, or is none."""
    if value is None:
        return Found(None, None)
    epoch, _, sequence = value.decode(errors="replace").rpartition(":")
    if not epoch or not (sequence.isascii() and sequence.isdigit()):
        return Found(value, None)
    return Found(value, log_.position_of(location, epoch, int(sequence)))


class Checkpoint:
    """Sets the checkpoint of a partition on one master, over connections of its own, and waits until it is durable."""

    def __init__(
        self,
        connections: Sequence[Connection],
        log_: Log,
        partition: Partition,
        *,
        watcher: Watcher,
        settings: Tree,
        without_file: Callable[[str | None], None] = lambda why: None,
    ) -> None:
        """
        Args:
            connections: to the same run of the same master; as many checkpoints are waited for at once.
            without_file: told which of the nodes keeps no append-only file, and None when both do.
        """
        self._connections = connections
        self._address = connections[0].address
        self._log = log_
        self._partition = partition
        self._key = checkpoint_key(log_.id, partition.name)
        self._watcher = watcher
        self._redis = settings.redis
        self._response_timeout = settings.redis.response_timeout.total_seconds()
        self._by: Literal["waitaof", "wait"] = "wait" if settings.writer.confirm == "wait" else "waitaof"
        self._may_fall_back = settings.writer.confirm == "auto"
        self._without_file = without_file
        self._asked_for_files_at = 0.0
        self._standing: bytes | None = None
        self._history: bytes | None = None
        self._turn = asyncio.Lock()
        self._under_way = 0
        self._none_under_way = asyncio.Event()
        self._none_under_way.set()
        self._latest = 0
        self._set_at = 0.0
        self._fsynced_at = monotonic()

    async def read(self) -> Found:
        """The checkpoint on this node.

        Raises:
            ShardError: no answer.
        """
        info, self._standing = await self._all(
            self._connections[0], [("INFO", "replication"), ("GET", self._key)], "reading the checkpoint"
        )
        self._history = _replication_id(info)
        return proven(self._log, self._partition.name, self._standing)

    async def keep(self) -> None:
        """Makes durable what is acknowledged, for ever.

        Raises:
            ShardUnavailable: no answer, or the data was exchanged under us (FLUSHALL, an older dump).
            NotMaster: the node was demoted.
        """
        self._latest = self._partition.positions.durable  # one that stands here was perhaps never waited for
        async with together() as group:
            for connection in self._connections:
                group.create_task(self._keep_over(connection))

    async def _keep_over(self, connection: Connection) -> None:
        while True:
            async with self._turn:
                sequence = await self._next()
                await self._watcher.settled(self._address)
                await self._set(connection, sequence)
            self._under_way += 1
            self._none_under_way.clear()
            while not await self._is_durable(connection):
                await self._watcher.settled(self._address)
            self._partition.positions.advance("durable", sequence)
            self._under_way -= 1
            if not self._under_way:
                self._none_under_way.set()

    async def _next(self) -> int:
        await self._partition.positions.wait("acknowledged", self._latest)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._set_at + _APART_S):
                await self._none_under_way.wait()
        self._set_at = asyncio.get_running_loop().time()
        self._latest = self._partition.positions.acknowledged
        return self._latest

    async def _set(self, connection: Connection, sequence: int) -> None:
        # WATCH, so that a checkpoint never comes to stand over data that was exchanged between looking and setting; and
        # the replication id, because a node that was a replica for a moment may hold another's data under the same one
        where = "setting the checkpoint"
        _, info, before = await self._all(
            connection, [("WATCH", self._key), ("INFO", "replication"), ("GET", self._key)], where
        )
        if before != self._standing or _replication_id(info) != self._history:
            raise ShardUnavailable(
                f"{self._address}: the checkpoint was {self._standing!r} and is {before!r} now, "
                f"of replication id {_replication_id(info)!r} after {self._history!r}: this node's data was exchanged"
            )
        value = f"{self._log.epoch}:{sequence}".encode()
        *_, done = await self._all(connection, [("MULTI",), ("SET", self._key, value), ("EXEC",)], where)
        if done is None:
            raise ShardUnavailable(f"{self._address}: this node's data was exchanged")
        self._standing = value

    async def _all(self, connection: Connection, commands: list[tuple[str | bytes, ...]], where: str) -> list[Any]:
        replies = await connection.call_many(commands)
        for reply in replies:
            if isinstance(reply, BaseException):
                raise shard_error(reply, f"{self._address}: {where}")
        return replies

    async def _is_durable(self, connection: Connection) -> bool:
        if self._by == "wait" and not await self._files_again(connection):
            return await self._wait(connection, "WAIT", 1) >= 1
        timeout = _WAIT_MS / 1000 + self._response_timeout
        (reply,) = await connection.call_many([("WAITAOF", 1, 1, _WAIT_MS)], timeout=timeout)
        if isinstance(reply, BaseException):
            if "appendonly is disabled" in str(reply) and self._may_fall_back:
                self._fall_back("the master keeps no append-only file")
                return False
            raise shard_error(reply, f"{self._address}: WAITAOF")
        if reply[0] >= 1 and reply[1] >= 1:
            self._fsynced_at = monotonic()
            self._without_file(None)
            return True
        in_vain = self._may_fall_back and reply[0] >= 1 and monotonic() - self._fsynced_at > _AOF_PATIENCE_S
        if in_vain and await self._receives_without_a_file(connection):
            self._fall_back("the replica keeps no append-only file")
        return False

    async def _files_again(self, connection: Connection) -> bool:
        """Whether both nodes keep a file again, after one did not."""
        if not self._may_fall_back or monotonic() - self._asked_for_files_at < _ASK_FOR_FILES_S:
            return False
        self._asked_for_files_at = monotonic()
        if b"aof_enabled:1" not in await connection.call("INFO", "persistence") or await self._no_replica_keeps_one():
            return False
        self._by = "waitaof"
        self._fsynced_at = monotonic()
        log.info("confirming_by_waitaof", shard=self._partition.name)
        return True

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
        async with await Connection.to_node(address, self._redis) as connection:
            return b"aof_enabled:1" in await connection.call("INFO", "persistence")

    async def _wait(self, connection: Connection, command: str, replicas: int, ms: int = _WAIT_MS) -> int:
        said = await connection.call(command, replicas, ms, timeout=ms / 1000 + self._response_timeout)
        return int(said)

    def _fall_back(self, why: str) -> None:
        if self._by == "wait":
            return
        self._by = "wait"
        self._asked_for_files_at = monotonic()
        self._without_file(why)
        log.warning("confirming_by_wait", shard=self._partition.name, reason=why)


def _replication_id(info: bytes) -> bytes:
    return next(line for line in info.split(b"\r\n") if line.startswith(b"master_replid:")).partition(b":")[2]
