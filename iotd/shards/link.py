"""A connection to whichever node is to be read from, made anew as that changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from iotd.config.sections.servers import Redis
from iotd.config.values import Address
from iotd.model.batch import Times, Values
from iotd.model.errors import ShardError
from iotd.shards.connection import Argument, Connection, shard_error
from iotd.wire.pairs import each

_Call = Callable[[Connection, Sequence[Sequence[Argument]]], Awaitable[Sequence[Any]]]

_AT_ONCE = 500
"""Commands in one round trip."""

_NOT_THERE = "key does not exist"


class Link:
    """Asks a node; a call that finds another one than before connects anew.

    Attributes:
        opened: connections made so far: while it is the same, all was read from one run of one node.
    """

    def __init__(
        self, location: str, settings: Redis, node: Callable[[], Awaitable[Address]], failed: Callable[[], bool]
    ) -> None:
        """
        Args:
            node: the node to read from now, by whatever strategy; raises ShardUnavailable while there is none.
            failed: told that the node failed; True: ``node`` names one that may be asked the same at once.
        """
        self.opened = 0
        self._location = location
        self._settings = settings
        self._node = node
        self._failed = failed
        self._connection: Connection | None = None

    async def ask(self, *commands: Sequence[Argument], lenient: bool = False) -> list[Any]:
        """Replies to commands, in their order.

        Args:
            lenient: a series that is not there gives None.

        Raises:
            ShardError: no node, no answer, or an error reply.
        """
        found: list[Any] = []
        for start in range(0, len(commands), _AT_ONCE):
            found += await self._retried(Connection.call_many, commands[start : start + _AT_ONCE], lenient)
        return found

    async def pairs(self, commands: Sequence[Sequence[Argument]]) -> list[tuple[int, bytes]]:
        """What each TS.RANGE gives, unparsed (:meth:`Connection.call_pairs`); nothing where there is no such
        series.

        Raises:
            ShardError: no node, no answer, or another error reply.
        """
        found: list[tuple[int, bytes]] = []
        for start in range(0, len(commands), _AT_ONCE):
            found += await self._pairs(commands[start : start + _AT_ONCE])
        return found

    async def arrays(self, commands: Sequence[Sequence[Argument]]) -> list[tuple[Times, Values]]:
        """The samples that each TS.RANGE gives, in their order; none where there is no such series.

        Raises:
            ShardError: no node, no answer, or another error reply.
        """
        found: list[tuple[Times, Values]] = []
        for start in range(0, len(commands), _AT_ONCE):
            found += each(await self._pairs(commands[start : start + _AT_ONCE]))
        return found

    async def _pairs(self, commands: Sequence[Sequence[Argument]]) -> list[tuple[int, bytes]]:
        replies = await self._retried(Connection.call_pairs, commands, True)
        return [reply or (0, b"") for reply in replies]

    async def close(self) -> None:
        """Lets go of the connection."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    async def _retried(self, call: _Call, commands: Sequence[Sequence[Argument]], lenient: bool) -> list[Any]:
        try:
            return await self._once(call, commands, lenient)
        except ShardError:
            if not self._failed():
                raise
            return await self._once(call, commands, lenient)

    async def _once(self, call: _Call, commands: Sequence[Sequence[Argument]], lenient: bool) -> list[Any]:
        connection = await self._connected()
        try:
            replies = list(await call(connection, commands))
        except BaseException:
            await self.close()  # also when cancelled: replies may be under way
            raise
        for at, reply in enumerate(replies):
            if isinstance(reply, BaseException):
                if not (lenient and _NOT_THERE in str(reply)):
                    raise shard_error(reply, f"{connection.address}: {commands[0][0]!s}")
                replies[at] = None
        return replies

    async def _connected(self) -> Connection:
        address = await self._node()
        if self._connection is not None and (self._connection.address != address or self._connection.ended):
            await self.close()
        if self._connection is None:
            self.opened += 1
            self._connection = await Connection.to_node(address, self._settings)
        return self._connection
