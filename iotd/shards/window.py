"""What was sent to a master and is not answered yet."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from time import monotonic

from iotd.shards.madd import Commands


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """Readings on their way.

    Attributes:
        commands: as they were sent.
        upto: the sequence that is acknowledged once they are; None while more of the same record follows.
        expired: readings of the same part of the log that were not sent: the shard keeps nothing so old.
    """

    commands: Commands
    upto: int | None
    expired: int


class Window:
    """What was sent and not yet answered, bounded in bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._sent: deque[tuple[Sent, float]] = deque()
        self._room = asyncio.Event()
        self._some = asyncio.Event()

    async def push(self, sent: Sent) -> None:
        """Waits for room, then counts it as sent."""
        while self._sent and self._size >= self._limit:
            self._room.clear()
            await self._room.wait()
        self._sent.append((sent, monotonic()))
        self._size += len(sent.commands.payload)
        self._some.set()

    async def empty(self) -> None:
        """Returns when nothing is under way."""
        while self._sent:
            self._room.clear()
            await self._room.wait()

    async def oldest(self) -> Sent:
        """That whose replies come next; waits until there is one."""
        while not self._sent:
            self._some.clear()
            await self._some.wait()
        return self._sent[0][0]

    def pop(self) -> float:
        """Takes the oldest out, and returns for how many seconds it was under way."""
        sent, at = self._sent.popleft()
        self._size -= len(sent.commands.payload)
        self._room.set()
        return monotonic() - at
