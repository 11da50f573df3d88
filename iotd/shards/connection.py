"""One connection to one Redis or Sentinel: no pool, no hidden retries, errors of our own tree.

redis-py makes the connection (authentication, TLS) and hiredis parses the replies; what redis-py's clients do
beyond that, retrying and rediscovering inside a call, would hide a failover from the writer (redis-py #3874,
#3560), so none of it is used. RESP2, because its TS.RANGE replies carry values as the bytes that go into line
protocol unchanged.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self, cast

import hiredis
import redis.exceptions as rx
from redis.asyncio.connection import Connection as RedisConnection
from redis.asyncio.connection import SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from iotd.config.sections.servers import Credentials, Redis
from iotd.config.values import Address
from iotd.model.errors import IotdError, NotMaster, ShardError, ShardMisconfigured, ShardUnavailable
from iotd.ops.tls import tls_context

Argument = bytes | str | int | float

_READ = 1024 * 1024
"""Bytes of a long reply taken from the stream at once."""
_NEWLINE = ord("\n")
_NOT_MASTER = ("READONLY", "UNBLOCKED", "MASTERDOWN", "You can't write against a read only replica")
_PASSING = ("LOADING", "OOM", "NOREPLICAS", "MISCONF", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "max number of clients")
_OURS_TO_MEND = ("NOAUTH", "NOPERM", "WRONGPASS", "unknown command", "Authentication")

_LINK_ERRORS = (rx.ConnectionError, rx.TimeoutError, OSError, TimeoutError, RuntimeError)
_BROKEN = (rx.RedisError, OSError, RuntimeError)
"""What a link raises when it is broken; RuntimeError is uvloop's word for a transport that was closed meanwhile."""


def shard_error(error: BaseException, where: str) -> IotdError:
    """The leaf of our tree that an error reply or a broken connection stands for.

    Args:
        error: what redis-py raised, or returned as an element of a reply.
        where: the node and what it was asked, for the message.
    """
    text = str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
    # redis-py strips some codes from the text and puts them into the type
    if isinstance(error, rx.ReadOnlyError) or any(mark in text for mark in _NOT_MASTER):
        return NotMaster(f"{where}: {text}")
    if isinstance(error, rx.AuthenticationError | rx.NoPermissionError) or any(mark in text for mark in _OURS_TO_MEND):
        return ShardMisconfigured(f"{where}: {text}; check the user, its rights and that TimeSeries is loaded")
    if (
        isinstance(error, (*_LINK_ERRORS, rx.OutOfMemoryError))
        or any(mark in text for mark in _PASSING)
    ):  # fmt: skip
        return ShardUnavailable(f"{where}: {text}")
    return ShardError(f"{where}: {text}")


class Connection:
    """A connection that is used until it breaks, then closed for good; open another."""

    def __init__(self, address: Address, link: RedisConnection, response_timeout: float) -> None:
        self.address = address
        self._link = link
        self._response_timeout = response_timeout

    @classmethod
    async def open(
        cls, address: Address, credentials: Credentials, *, connect_timeout: float, response_timeout: float
    ) -> Connection:
        """Connects and authenticates.

        Args:
            connect_timeout: seconds, for connecting and authenticating together.
            response_timeout: seconds that :meth:`call` and :meth:`call_many` wait for a reply.

        Raises:
            ShardUnavailable: no connection within the time, or the node is loading.
            ShardMisconfigured: the node refuses our credentials, or our password file can't be read now.
        """
        try:
            password = credentials.read_password()
        except OSError as e:
            raise ShardMisconfigured(
                f"{address}: {credentials.password_file} can't be read ({e.strerror}); fix password_file"
            ) from None
        options: dict[str, Any] = {
            "host": address.host,
            "port": address.port,
            "username": credentials.username,
            "password": password,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": None,
            "socket_connect_timeout": connect_timeout,
            "driver_info": None,
        }
        link = (SSLConnection if credentials.tls else RedisConnection)(**options)
        try:
            if isinstance(link, SSLConnection):
                link.ssl_context.context = await tls_context(credentials)
            async with asyncio.timeout(connect_timeout):
                await link.connect()  # type: ignore[no-untyped-call]
        except (*_BROKEN, TimeoutError) as e:
            _cut(link)
            await link.disconnect(nowait=True)
            raise shard_error(e, f"{address}: can't connect") from None
        return cls(address, link, response_timeout)

    @classmethod
    async def to_node(cls, address: Address, redis: Redis) -> Connection:
        """Opens one to a node with the limits that are configured for all nodes; raises as :meth:`open` does."""
        return await cls.open(
            address,
            redis,
            connect_timeout=redis.connect_timeout.total_seconds(),
            response_timeout=redis.response_timeout.total_seconds(),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def ended(self) -> bool:
        """Whether it was closed, by us or by the other side, as far as is known: a node that restarts ends it."""
        reader = self._link._reader
        return reader is None or reader.at_eof()

    async def call(self, *args: Argument, timeout: float | None = None) -> Any:
        """One command and its reply; bulk strings are bytes.

        Args:
            timeout: seconds to wait for the reply; None: the connection's ``response_timeout``.

        Raises:
            ShardError: a leaf of it, for an error reply, a broken connection or no reply in time; after the
                latter two the connection is closed.
        """
        (reply,) = await self.call_many((args,), timeout=timeout)
        if isinstance(reply, BaseException):
            raise shard_error(reply, f"{self.address}: {_name(args)}")
        return reply

    async def call_many(self, commands: Sequence[Sequence[Argument]], *, timeout: float | None = None) -> list[Any]:
        """Commands in one round trip, and their replies in order; error replies are in the list as exceptions.

        Raises:
            ShardUnavailable: the connection broke, or not all replies came in time; it is closed then.
        """
        if not commands:
            return []
        where = f"{self.address}: {_name(commands[0])}"
        try:
            self._require_open()
            async with asyncio.timeout(self._response_timeout if timeout is None else timeout):
                await self._link.send_packed_command([pack(c) for c in commands], False)
                return [await self._reply() for _ in commands]
        except (*_BROKEN, TimeoutError) as e:
            self.abort()
            raise shard_error(e, where) from None

    async def call_pairs(self, commands: Sequence[Sequence[Argument]]) -> list[tuple[int, bytes] | rx.ResponseError]:
        """Commands in one round trip, each of which is answered with (integer, simple string) pairs, as TS.RANGE is.

        Returns:
            in their order how many pairs, and their bytes unparsed: for each ``*2 :integer +string``. Error replies are
            in the list as exceptions.

        Raises:
            ShardUnavailable: the connection broke, or not all replies came in time; it is closed then, also when a
                reply has another form.
        """
        if not commands:
            return []
        where = f"{self.address}: {_name(commands[0])}"
        try:
            self._require_open()
            async with asyncio.timeout(self._response_timeout):
                await self._link.send_packed_command([pack(c) for c in commands], False)
                # hiredis has nothing of these replies: it was given whole replies only, and none is under way
                replies = _PairReplies(cast(asyncio.StreamReader, self._link._reader))
                return [await replies.next() for _ in commands]
        except (*_BROKEN, TimeoutError) as e:
            self.abort()
            raise shard_error(e, where) from None

    async def send(self, commands: Iterable[bytes]) -> None:
        """Commands already in RESP, handed to the socket; returns when the socket's buffer has room again.

        Raises:
            ShardUnavailable: the connection is broken; it is closed then.
        """
        try:
            self._require_open()
            await self._link.send_packed_command(commands, False)
        except _BROKEN as e:
            self.abort()
            raise shard_error(e, f"{self.address}: sending") from None

    async def receive(self) -> Any:
        """The next reply, however long it takes; an error reply is returned as an exception.

        Raises:
            ShardUnavailable: the connection is broken; it is closed then.
        """
        try:
            return await self._reply()
        except _BROKEN as e:
            self.abort()
            raise shard_error(e, f"{self.address}: receiving") from None

    def _require_open(self) -> None:
        # redis-py would silently connect anew: to whom, and with which replies outstanding, nobody would know
        if not self._link.is_connected:
            raise rx.ConnectionError("the connection was closed")

    async def _reply(self) -> Any:
        try:
            return await self._link.read_response(disable_decoding=True, timeout=math.inf)
        except rx.ResponseError as e:
            return e

    def abort(self) -> None:
        """Closes the connection at once; what was not sent is gone, a call under way fails."""
        _cut(self._link)

    async def close(self) -> None:
        """Closes the connection; it may be broken already."""
        _cut(self._link)
        await self._link.disconnect(nowait=True)


class _PairReplies:
    """Replies of pairs, one after the other, out of a stream."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self._stream = stream
        self._rest = b""

    async def next(self) -> tuple[int, bytes] | rx.ResponseError:
        while (end := self._rest.find(b"\n") + 1) == 0:
            self._rest += await self._more()
        head, self._rest = self._rest[:end], self._rest[end:]
        if head.startswith(b"-"):
            return rx.ResponseError(head[1:-2].decode(errors="replace"))
        if not head.startswith(b"*"):
            raise rx.InvalidResponse(f"an array was expected, not {head!r}")
        count = int(head[1:])
        pairs = await self._lines(3 * count)
        if pairs.count(b"*2\r\n:") != count or pairs.count(b"\r\n+") != count:
            raise rx.InvalidResponse(f"pairs of integer and simple string were expected, not {pairs[:60]!r}")
        return count, pairs

    async def _lines(self, left: int) -> bytes:
        parts: list[bytes] = []
        while left > 0:
            some = self._rest or await self._more()
            if (lines := some.count(b"\n")) >= left:
                import numpy as np  # noqa: PLC0415  # `iotd status` asks for nothing so long, and need not wait for it

                end = int(np.flatnonzero(np.frombuffer(some, np.uint8) == _NEWLINE)[left - 1]) + 1
                some, self._rest = some[:end], some[end:]
            else:
                self._rest = b""
            parts.append(some)
            left -= lines
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _more(self) -> bytes:
        if not (part := await self._stream.read(_READ)):
            raise rx.ConnectionError("closed by the server")
        return part


def _cut(link: RedisConnection) -> None:
    # redis-py only closes, and TLS then says goodbye first: to a node that hangs for half a minute, longer than the
    # event loop may live
    if link._writer is not None:
        link._writer.transport.abort()
        link._close()  # type: ignore[no-untyped-call]


def pack(command: Sequence[Argument]) -> bytes:
    """A command in RESP, as bytes for :meth:`Connection.send`."""
    encoded: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]  # its stub knows one kind only
    return encoded


def _name(command: Sequence[Argument]) -> str:
    return " ".join(p.decode() if isinstance(p, bytes) else str(p) for p in command[:1])
