"""What was sent to a master and is not answered yet."""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic

from iotd.pipeline.journal import Entry


class Window:
    """Batches sent and not yet answered, bounded in bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._sent: deque[tuple[Entry, float]] = deque()
        self._room = asyncio.Event()
        self._some = asyncio.Event()

    async def push(self, entries: list[Entry]) -> None:
        """Waits for room, then counts the entries as sent."""
        while self._sent and self._size >= self._limit:
            self._room.clear()
            await self._room.wait()
        now = monotonic()
        self._sent.extend((entry, now) for entry in entries)
        self._size += sum(len(e.packed.payload) for e in entries)
        self._some.set()

    async def oldest(self) -> Entry:
        """The entry whose replies come next; waits until there is one."""
        while not self._sent:
            self._some.clear()
            await self._some.wait()
        return self._sent[0][0]

    def pop(self) -> float:
        """Takes the oldest out, and returns for how many seconds it was under way."""
        entry, sent = self._sent.popleft()
        self._size -= len(entry.packed.payload)
        self._room.set()
        return monotonic() - sent
