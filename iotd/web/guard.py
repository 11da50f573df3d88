"""What stands between a socket and the HTTP server: so many connections, so much time, then the door.

One connection carries one request. A client that is slow to ask, or to read, holds a place for ten seconds at most;
and when all places are taken, whoever has not asked yet goes first, so that an honest request always gets in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

_PLACES = 64
_ASK_S = 5.0
"""Until a request is complete."""
_ALL_S = 10.0
"""Until its answer has been read."""


class Guard:
    """Makes the protocols of a listening socket; knows every connection by its transport."""

    def __init__(self, make: Callable[[], asyncio.Protocol]) -> None:
        """
        Args:
            make: the protocol that speaks HTTP, one for each connection.
        """
        self._make = make
        self._asking: dict[asyncio.BaseTransport, asyncio.TimerHandle] = {}
        self._answered: dict[asyncio.BaseTransport, asyncio.TimerHandle | None] = {}

    def __call__(self) -> asyncio.Protocol:
        return _Guarded(self._make(), self)

    def asked(self, transport: asyncio.BaseTransport | None, *, stream: bool = False) -> None:
        """A request is complete; its answer may take its time, and a stream as long as it likes."""
        if transport is not None and (timer := self._asking.pop(transport, None)) is not None:
            timer.cancel()
            self._answered[transport] = None if stream else self._limit(transport, _ALL_S)

    def entered(self, transport: asyncio.BaseTransport) -> None:
        """A connection was made."""
        self._asking[transport] = self._limit(transport, _ASK_S)
        if len(self._asking) + len(self._answered) > _PLACES:
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

    def __init__(self, inner: asyncio.Protocol, guard: Guard) -> None:
        self._inner = inner
        self._guard = guard
        self._transport: asyncio.BaseTransport | None = None
        self.data_received = inner.data_received  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._inner.connection_made(transport)
        self._guard.entered(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is not None:
            self._guard.left(self._transport)
        self._inner.connection_lost(error)


def _abort(transport: asyncio.BaseTransport) -> None:
    cast(asyncio.Transport, transport).abort()  # uvloop's is none by its type
