"""The bounded queue: where sources hand over, and where shards, archive and status find the lanes."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import time_ns

import numpy as np
import structlog
from numpy.typing import NDArray

from iotd.config.tree import Tree
from iotd.model.errors import StateError
from iotd.model.roster import Batch, Roster
from iotd.pipeline.budget import Budget
from iotd.pipeline.deadletter import DeadLetters
from iotd.pipeline.lane import Lane
from iotd.pipeline.spool import Spool
from iotd.sources.source import Span
from iotd.wire.commands import Packer

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ticket:
    """What was confirmed at a moment: a node whose fence of ``producer`` is at ``seq`` or beyond holds all of it."""

    producer: str
    seq: int


class Queue:
    """One capacity, a lane per location, the spool behind all of them."""

    def __init__(
        self,
        settings: Tree,
        state: Path,
        rosters: Iterable[Roster],
        now_ms: Callable[[], int] = lambda: time_ns() // 1_000_000,
    ) -> None:
        """Opens the spool in the state directory; call it with the event loop running.

        Raises:
            StateError: the spool can't be opened.
        """
        self.spool = Spool(state / "spool.sqlite", settings.spool.sync)
        self.budget = Budget(settings.queue.memory)
        self.dead_letters = DeadLetters(state / "dead-letters" / "readings.jsonl")
        self.lanes: dict[str, Lane] = {}
        self._settings = settings
        self._parked: dict[str, Lane] = {}
        self._packers: dict[str, Packer] = {}
        self._now_ms = now_ms
        self._tolerance = round(settings.queue.future_tolerance.total_seconds() * 1000)
        for roster in rosters:
            self.lanes[roster.location] = Lane(roster.location, self.spool, self.budget, settings.spool)

    async def open(self, location: str) -> None:
        """Opens the lane of a location that is added while we run; it goes on where it was.

        Raises:
            StateError: the spool can't be written.
        """
        lane = self._parked.pop(location, None)
        if lane is None:
            try:
                lane = await asyncio.to_thread(Lane, location, self.spool, self.budget, self._settings.spool)
            except sqlite3.Error as e:
                raise StateError(f"{self.spool.path}: no lane for {location} can be opened ({e})") from None
        await lane.reconfigure(self._settings.spool)
        self.lanes[location] = lane

    def park(self, location: str) -> None:
        """Takes a lane out of use, when nobody hands over or writes any more; the spool keeps what is not confirmed."""
        lane = self._parked[location] = self.lanes.pop(location)
        lane.unload()
        self._packers.pop(location, None)

    async def reconfigure(self, settings: Tree) -> None:
        """Goes by other limits from now on (all but ``spool.sync``)."""
        self._settings = settings
        self.budget.resize(settings.queue.memory)
        self._tolerance = round(settings.queue.future_tolerance.total_seconds() * 1000)
        for lane in self.lanes.values():
            await lane.reconfigure(settings.spool)

    async def put(self, batch: Batch) -> None:
        """Takes over a batch: when this returns it is in the spool, and iotd answers for it."""
        await (await self.take(batch))

    async def take(self, batch: Batch) -> asyncio.Future[None]:
        """Takes over a batch: when the future is done it is in the spool, and iotd answers for it.

        A reading from the future, or one whose value is not finite, goes to the dead-letter file instead: the first
        would make Redis expire all others of its series, the second no store can hold.
        """
        batch = await self._sound(batch)
        if len(batch):
            return await self.lanes[batch.location].take(self._packer(batch.roster).pack(batch))
        nothing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        nothing.set_result(None)
        return nothing

    def position(self, location: str) -> Span | None:
        """First and last time (ms) handed over for a location so far; None when there is none."""
        return self.lanes[location].span

    def ticket(self, location: str) -> Ticket:
        """What the archiver shows again, in :meth:`archived`, when it has archived all that is confirmed now."""
        return Ticket(self.spool.producer, self.lanes[location].confirmed)

    def archived(self, location: str, ticket: Ticket) -> None:
        """The archive holds all that was confirmed when the ticket was given: the spool need not keep it longer."""
        self.lanes[location].archive(ticket.seq)

    async def written(self, location: str, limit: float) -> None:
        """Returns when all that was handed over before is with the shard, or after ``limit`` seconds.

        So the archiver waits its turn behind the readings that came before it asks.
        """
        lane = self.lanes[location]
        if lane.applied < lane.handed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    await lane.wait_applied(lane.handed - 1)

    async def drained(self) -> None:
        """Returns when everything handed over until now is confirmed."""
        await asyncio.gather(*(lane.drained() for lane in self.lanes.values()))

    async def close(self) -> None:
        await self.spool.close()

    def _packer(self, roster: Roster) -> Packer:
        known = self._packers.get(roster.location)
        if known is None or (known.roster is not roster and known.roster != roster):
            known = self._packers[roster.location] = Packer(roster)
        return known

    async def _sound(self, batch: Batch) -> Batch:
        latest = self._now_ms() + self._tolerance
        batch = await self._without(batch, ~np.isfinite(batch.values), "not a finite number")
        future = batch.times > latest
        return await self._without(batch, future, f"more than {self._tolerance} ms in the future")

    async def _without(self, batch: Batch, bad: NDArray[np.bool_], reason: str) -> Batch:
        if not bad.any():
            return batch
        await self._refuse(batch.take(bad), reason)
        return batch.take(~bad)

    async def _refuse(self, batch: Batch, reason: str) -> None:
        letters = [
            {"location": batch.location, "key": batch.roster.keys[s].decode(), "time": t, "value": repr(v)}
            for s, t, v in zip(batch.series.tolist(), batch.times.tolist(), batch.values.tolist(), strict=True)
        ]
        await asyncio.to_thread(self.dead_letters.add, letters, reason)
        log.warning("readings_refused", shard=batch.location, count=len(letters), reason=reason)
