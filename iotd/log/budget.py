"""The one capacity in bytes that ingest and archive share."""

from __future__ import annotations

import asyncio
from collections import deque


class Budget:
    """Counts bytes held in memory against one capacity.

    Ingest takes what is free and never waits: what does not fit is read from the log. The archiver waits, and may hold
    at most half, so that an archive of all history never takes the room of live readings.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        self._archive = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def resize(self, capacity: int) -> None:
        """Changes the capacity; what is held beyond a smaller one is given back in its time."""
        self.capacity = capacity
        self._wake()

    def take(self, size: int) -> bool:
        """Takes ``size`` bytes for ingest if they are free; False otherwise."""
        if self.used + size > self.capacity:
            return False
        self.used += size
        return True

    def give(self, size: int) -> None:
        """Gives back bytes that :meth:`take` took."""
        self.used -= size
        self._wake()

    def try_acquire(self, size: int) -> bool:
        """Takes ``size`` bytes for the archiver if they are free and nobody waits; False otherwise."""
        if self._waiting or not self._fits(size):
            return False
        self._hold(size)
        return True

    async def acquire(self, size: int) -> None:
        """Takes ``size`` bytes for the archiver, waiting in order until they are free.

        One request larger than the archiver's half is let through alone, or it would wait for ever. Who waits must
        hold nothing that is released only after the wait, or two would wait for each other.
        """
        if self.try_acquire(size):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(size)
            raise

    def release(self, size: int) -> None:
        """Gives back bytes that :meth:`acquire` or :meth:`try_acquire` took."""
        self._archive -= size
        self.used -= size
        self._wake()

    def _fits(self, size: int) -> bool:
        if self._archive == 0:
            return self.used + min(size, self.capacity // 2) <= self.capacity
        return self._archive + size <= self.capacity // 2 and self.used + size <= self.capacity

    def _hold(self, size: int) -> None:
        self._archive += size
        self.used += size

    def _wake(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if not turn.cancelled():
                if not self._fits(size):
                    return
                self._hold(size)
                turn.set_result(None)
            self._waiting.popleft()
