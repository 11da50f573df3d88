"""Handing batches to the store: when it is tried again, and what each refusal means for the batch."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from time import monotonic

from iotd.archive.batchsize import BatchSize
from iotd.archive.rejects import Rejects
from iotd.model.errors import ArchiveError, ArchiveRefused, ArchiveRejected, ArchiveTooLarge, ArchiveUnavailable
from iotd.model.series import Series
from iotd.ops.backoff import Backoff
from iotd.ops.loggers import get_logger
from iotd.ops.outage import Outage
from iotd.stores.base import Store
from iotd.stores.points import Points, halves

log = get_logger(__name__)

_FIRST_S, _LONGEST_S = 0.25, 8.0
_REFUSED_S = 8.0
"""One try at a time, each some seconds after the one before, burdens no server; and that it works again is told within
ten seconds. A server that wants to be left in peace for longer says so (Retry-After)."""
_PATIENCE_S = 2.0
"""A pause up to this is waited for with the batch in hand; for a longer one the batch is read again from the shard."""


class Delivery:
    """Writes batches, a bounded number at once; while the store takes none, one at a time tries, each in its time.

    Attributes:
        archived: points acknowledged so far.
        retries: writes that were not taken, and were or will be tried again.
        outage: why the store takes nothing at present.
        recoveries: outages that are over.
        size: how many points the store takes at once, as far as is known.
        batch: how many it is to be handed at once.
    """

    def __init__(self, store: Store, rejects: Rejects, *, in_flight: int, batch: int) -> None:
        self.store = store
        self.rejects = rejects
        self.archived = 0
        self.retries = 0
        self.outage = Outage()
        self.recoveries = 0
        self.size = BatchSize(batch)
        self.batch = batch
        self._slots = asyncio.Semaphore(in_flight)
        self._trial = asyncio.Lock()
        self._failures = 0
        self._backoff = Backoff(_FIRST_S, _LONGEST_S)
        self._failed_at = 0.0
        self._until = 0.0
        self._takes_nothing = False

    @property
    def pause(self) -> float:
        """Seconds until the store is tried again; 0 while it takes what it gets."""
        return max(0.0, self._until - monotonic()) if self._failures else 0.0

    def hope(self) -> None:
        """What the store refused us for may be mended: the next one that asks tries at once."""
        self._until = monotonic()

    async def started(self) -> str:
        """Which run of the store's server it is; where that can't be told, the end of an outage begins another one.

        Raises:
            ArchiveUnavailable, ArchiveRefused: it can't be asked now.
        """
        started = await self.store.started()
        return f"unknown, after {self.recoveries} outages" if started is None else started

    async def probe(self) -> None:
        """Finds out, with a batch of nothing, whether the store would take one; `outage` says it.

        Does nothing while the store wants to be left in peace.
        """
        if self.pause:
            return
        try:
            await self.store.write([])
            self._takes_nothing = True
            self._works()
        except ArchiveRejected:
            pass  # it takes no empty body, which is all that this says
        except ArchiveError as e:
            self._fails(e, monotonic())
            self._tell(str(e))

    async def deliver(self, batch: Sequence[Points]) -> None:
        """Returns when every point of the batch is acknowledged, or in the dead-letter file.

        Raises:
            ArchiveUnavailable, ArchiveRefused: the whole batch is to be delivered again later.
        """
        count = sum(map(len, batch))
        if count > self.size.now:
            await self._deliver_halves(batch)
            return
        try:
            await self._write(batch)
            self.archived += count
            self.size.taken(count)
        except ArchiveTooLarge as e:
            await self._cut(batch, e)
        except ArchiveRejected as e:
            await self._sift(batch, e)

    async def _deliver_halves(self, batch: Sequence[Points]) -> None:
        for half in halves(batch):
            await self.deliver(half)

    async def delete(self, series: Series, first: int, last: int) -> None:
        """Returns when the store has deleted a range (ms, both ends included), and no dead letter is of it.

        Raises:
            ArchiveUnavailable, ArchiveRefused: not now; it may or may not have deleted some.
        """
        await self.rejects.forget(series, first, last)
        async with self._slots, self._turn():
            began = monotonic()
            try:
                await self.store.delete(series, first, last)
            except ArchiveError as e:
                self._fails(e, began)
                self._tell(str(e))
                raise
            self._works()

    # ── when ──

    async def _write(self, batch: Sequence[Points]) -> None:
        while True:
            async with self._slots, self._turn():
                began = monotonic()
                try:
                    await self.store.write(batch)
                except (ArchiveRejected, ArchiveTooLarge):
                    raise  # about the batch, not about the store
                except ArchiveError as e:
                    self._fails(e, began)
                    if self.pause > _PATIENCE_S:
                        self._tell(str(e))
                        raise
                else:
                    self._works()
                    return

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._failures:
            async with self._trial:
                if self._failures:
                    if (pause := self.pause) > _PATIENCE_S:
                        raise ArchiveUnavailable(
                            self.outage.reason or f"{self.store.identity} is not tried for {pause:.0f} s"
                        )
                    await asyncio.sleep(pause)
                    yield
                    return
        yield

    def _fails(self, error: ArchiveError, began: float) -> None:
        self.retries += 1
        if began < self._failed_at:
            return  # it was under way when another one failed: the same failure
        self._failures += 1
        self._failed_at = monotonic()
        named = error.retry_after if isinstance(error, ArchiveUnavailable) else None
        if isinstance(error, ArchiveRefused):
            pause = _REFUSED_S
        elif named is not None:
            pause = named + random.uniform(0, min(1.0, named))
        else:
            pause = self._backoff.next()
        self._until = self._failed_at + pause

    def _works(self) -> None:
        self._failures = 0
        self._backoff.reset()
        if (over := self.outage.ends()) is not None:
            self.recoveries += 1
            log.info("archive_recovered", store=self.store.identity, was=over[0], after_s=over[1])

    def _tell(self, reason: str) -> None:
        if self.outage.begins(reason):
            log.error(
                "archive_failing",
                store=self.store.identity,
                reason=reason,
                effect="the log keeps the readings meanwhile",
            )

    # ── what it refuses ──

    async def _cut(self, batch: Sequence[Points], error: ArchiveTooLarge) -> None:
        count = sum(map(len, batch))
        if count == 1:
            self.size.unknown()
            unavailable = ArchiveUnavailable(f"{error}: even for a single point")
            self._fails(unavailable, monotonic())
            self._tell(str(unavailable))
            raise unavailable
        if self.size.too_large(count):
            log.warning("batch_too_large", store=self.store.identity, points=count, from_now_on=self.size.now)
        await self._deliver_halves(batch)

    async def _sift(self, batch: Sequence[Points], error: ArchiveRejected) -> None:
        count = sum(map(len, batch))
        if count not in (1, error.dropped):
            await self._deliver_halves(batch)
            return
        # a server, or a proxy before it, that refuses everything says nothing about these points: between two refusals
        # of them it must have taken another write
        for _ in range(2):
            await self._refuses_not_everything(error)
            try:
                await self._write(batch)
            except ArchiveRejected as e:
                error = e
            else:
                self.archived += count
                return
        await self._refuses_not_everything(error)
        await self.rejects.add(batch, str(error))

    async def _refuses_not_everything(self, error: ArchiveRejected) -> None:
        try:
            await self._write([])
            self._takes_nothing = True
        except (ArchiveRejected, ArchiveTooLarge) as e:
            if self._takes_nothing:
                unavailable = ArchiveUnavailable(f"{e}; it refuses everything at present")
                self._fails(unavailable, monotonic())
                self._tell(str(unavailable))
                raise unavailable from error
