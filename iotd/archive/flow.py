"""Batches on their way into the store, several at once, whose watermarks move in order."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from iotd.archive.delivery import Delivery
from iotd.archive.state import ArchiveState
from iotd.log.budget import Budget
from iotd.model.series import Series
from iotd.stores.points import Points

POINT_BYTES = 128
"""Memory of a point on its way: about 32 bytes as Redis returned it, and 80 more as a line while that is sent."""


@dataclass(slots=True)
class _Batch:
    points: list[Points] = field(default_factory=list)
    marks: dict[Series, int] = field(default_factory=dict)
    count: int = 0
    memory: int = 0
    delivery: asyncio.Task[None] | None = None


class Flow:
    """Collects points into batches and delivers them; within it, memory is taken from the shared budget.

    Used as a context: leaving it without an error delivers the rest and moves the watermarks; with one, whatever
    was acknowledged in order has been marked, and the rest will be read again.
    """

    def __init__(self, delivery: Delivery, state: ArchiveState, budget: Budget, *, epoch: int, in_flight: int) -> None:
        """
        Args:
            epoch: of the state, when what is read now was decided upon.
        """
        self.count = 0
        """Points acknowledged in this flow."""
        self._delivery = delivery
        self._state = state
        self._budget = budget
        self._epoch = epoch
        self._in_flight = in_flight
        self._open = _Batch()
        self._sent: deque[_Batch] = deque()

    async def reserve(self, points: int) -> int:
        """Takes memory for so many points from the budget, before they are read; returns how many bytes."""
        size = points * POINT_BYTES
        if not self._budget.try_acquire(size):
            await self.finish()  # what waits must hold nothing that others wait for
            await self._budget.acquire(size)
        return size

    def unused(self, size: int) -> None:
        """Gives back reserved memory that no points came for."""
        self._budget.release(size)

    async def put(self, points: Points, memory: int, *, mark: bool) -> None:
        """Adds points to the open batch, and sends it when it is large enough.

        Args:
            memory: bytes reserved for them, which are ours to release from now on.
            mark: whether the series' watermark moves to the last of them once they are acknowledged.
        """
        batch = self._open
        batch.points.append(points)
        batch.count += len(points)
        batch.memory += memory
        if mark:
            batch.marks[points.sensor] = points.last
        if batch.count >= self._delivery.size.now:
            await self._send()

    async def finish(self) -> None:
        """Sends what is open, and returns when all is acknowledged and marked."""
        await self._send()
        while self._sent:
            await self._settle()

    async def __aenter__(self) -> Flow:
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                await self.finish()
        finally:
            await self._abandon()

    async def _send(self) -> None:
        if not self._open.count:
            return
        while len(self._sent) >= self._in_flight:
            await self._settle()
        batch, self._open = self._open, _Batch()
        batch.delivery = asyncio.create_task(self._delivery.deliver(batch.points))
        self._sent.append(batch)

    async def _settle(self) -> None:
        head = self._sent[0].delivery
        assert head is not None
        await asyncio.shield(head)
        # with it, all that follow and are acknowledged too: one write to the disk for all of them
        done: list[_Batch] = []
        while self._sent and (task := self._sent[0].delivery) is not None and task.done() and not task.exception():
            done.append(self._sent.popleft())
        marks = {sensor: ms for batch in done for sensor, ms in batch.marks.items()}
        try:
            if marks:
                await asyncio.to_thread(self._state.move, self._delivery.store.identity, marks, self._epoch)
        finally:
            for batch in done:
                self._budget.release(batch.memory)
        self.count += sum(batch.count for batch in done)

    async def _abandon(self) -> None:
        tasks = [batch.delivery for batch in self._sent if batch.delivery is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for batch in (*self._sent, self._open):
            self._budget.release(batch.memory)
        self._sent.clear()
        self._open = _Batch()
