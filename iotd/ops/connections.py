"""What stands between a socket and an HTTP server: so many connections, so much time, then the door.

A client that is slow to ask, or to read, holds a place for a bounded time; and when all places are taken, whoever has
asked nothing at present goes first, so that an honest request always gets in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast


@dataclass(frozen=True, slots=True)
class Bounds:
    """What connections may take.

    Attributes:
        places: connections at once.
        ask_s: until a request is complete, or its head where the server itself bounds its body.
        answer_s: until the answer has been read; None: the server bounds that.
        idle_s: between an answer and the next request of the same connection; 0: there is none.
    """

    places: int
    ask_s: float
    answer_s: float | None
    idle_s: float = 0.0


class Connections:
    """Makes the protocols of a listening socket; knows every connection by its transport."""

    def __init__(self, make: Callable[[], asyncio.Protocol], bounds: Bounds) -> None:
        """
        Args:
            make: the protocol that speaks HTTP, one for each connection.
        """
        self._make = make
        self._bounds = bounds
        self._asking: dict[asyncio.BaseTransport, asyncio.TimerHandle] = {}
        self._answered: dict[asyncio.BaseTransport, asyncio.TimerHandle | None] = {}

    def __call__(self) -> asyncio.Protocol:
        return _Guarded(self._make(), self)

    def asked(self, transport: asyncio.BaseTransport | None, *, stream: bool = False) -> None:
        """A request is complete; its answer may take its time, and a stream as long as it likes."""
        if transport is not None and (timer := self._asking.pop(transport, None)) is not None:
            timer.cancel()
            limit = None if stream else self._bounds.answer_s
            self._answered[transport] = None if limit is None else self._limit(transport, limit)

    def answered(self, transport: asyncio.BaseTransport | None) -> None:
        """The answer is written; the connection may ask again."""
        if transport is not None and transport in self._answered:
            if (timer := self._answered.pop(transport)) is not None:
                timer.cancel()
            self._asking[transport] = self._limit(transport, self._bounds.idle_s)

    def entered(self, transport: asyncio.BaseTransport) -> None:
        """A connection was made."""
        self._asking[transport] = self._limit(transport, self._bounds.ask_s)
        if len(self._asking) + len(self._answered) > self._bounds.places:
            # oldest first; this one has asked nothing yet, so there is always one
            _abort(next(iter(self._asking)))

    def left(self, transport: asyncio.BaseTransport) -> None:
        """A connection is gone."""
        timer = self._asking.pop(transport, None) or self._answered.pop(transport, None)
        self._answered.pop(transport, None)
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        """Ends every connection at once."""
        for transport in (*self._asking, *self._answered):
            _abort(transport)

    def _limit(self, transport: asyncio.BaseTransport, seconds: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, _abort, transport)


class _Guarded(asyncio.Protocol):
    """Passes all on to the protocol that speaks HTTP."""

    def __init__(self, inner: asyncio.Protocol, connections: Connections) -> None:
        self._inner = inner
        self._connections = connections
        self._transport: asyncio.BaseTransport | None = None
        self.data_received = inner.data_received  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._inner.connection_made(transport)
        self._connections.entered(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is not None:
            self._connections.left(self._transport)
        self._inner.connection_lost(error)


def _abort(transport: asyncio.BaseTransport) -> None:
    cast(asyncio.Transport, transport).abort()  # uvloop's is none by its type
