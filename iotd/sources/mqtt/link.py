"""What a connection to a broker is before anything is said: bytes, which come only when they are asked for."""

from __future__ import annotations

from typing import Protocol

from iotd.model.errors import IotdError

CHUNK = 1 << 15
"""Bytes that are read at once, and handed over at once: some ms of the event loop. Twice as many wait in memory, and
more in the broker."""


class BrokerAway(IotdError):
    """The broker can't be reached, or the connection broke: it is tried again."""

    retriable = True
    exit_code = 69


class BrokerEnds(BrokerAway):
    """The broker, or what is between, has ended the connection in good order."""


class BrokerRefuses(IotdError):
    """The broker does not let us in, or its certificate is not trusted: nothing but a person mends it."""

    retriable = True
    exit_code = 69


class Link(Protocol):
    """A connection, before anything is said."""

    async def read(self) -> bytes:
        """What has come; empty when the other side has ended it.

        Raises:
            OSError: it broke.
        """

    def write(self, data: bytes) -> None:
        """Sends, in the order of the calls; once the connection is broken nothing, and who reads is told."""

    async def close(self) -> None:
        """Ends it, once all was sent, or at once where that takes long."""
