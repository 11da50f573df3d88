"""One location's way into the archive: passes, again and again, and what follows on each."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic

from iotd.archive.base import Catalogue, Log, Shard
from iotd.archive.compare import Comparer
from iotd.archive.deletions import Deletions
from iotd.archive.delivery import Delivery
from iotd.archive.late import LateScanner
from iotd.archive.pages import Pages
from iotd.archive.pass_ import LocationPass, Pass
from iotd.archive.restore import Restorer
from iotd.archive.retention import Retention
from iotd.archive.state import ArchiveState
from iotd.archive.verify import Verifier
from iotd.config import Settings
from iotd.log.budget import Budget
from iotd.model.errors import ArchiveError, ArchiveUnavailable, IotdError
from iotd.model.series import Series
from iotd.ops.backoff import Backoff
from iotd.ops.loggers import get_logger
from iotd.ops.outage import Outage
from iotd.ops.tasks import together
from iotd.shards.reader import ShardReader

log = get_logger(__name__)

_FIRST_S, _LONGEST_S = 0.5, 60.0
_CHECK_S = 1.0
"""Between two checks of whether the log fills up, something is to be deleted, or a refusal's cause is gone."""
_EARLY = 3
"""A pass begins early when a part of the log's limit, one in so many, is not archived yet."""
_EARLY_S = 5.0
"""Passes begin early at most so often."""


class LocationArchive:
    """Archives one location: everything at first, then at each interval; sooner when asked, when something is to be
    deleted, and when the log fills up.

    Attributes:
        watermark: the highest of its series' watermarks after the last whole pass, ms; None before that.
        outage: why passes do not come to their end.
        proven: readings of the log found in the archive so far, before they may be truncated.
        repaired: of those, how many the shard had lost or altered, and was given again.
        retention: what may expire, and what is lost.
        restorer: what is written back into the shard.
        verifier: whether shard and archive are the same.
    """

    def __init__(
        self,
        reader: ShardReader,
        *,
        log: Log,
        log_limit: int,
        catalogue: Catalogue,
        shard: Shard,
        delivery: Delivery,
        state: ArchiveState,
        budget: Budget,
        settings: Settings,
    ) -> None:
        """
        Args:
            log_limit: bytes that a partition of the log may hold.
        """
        self.location = reader.location
        self.watermark: int | None = None
        self.outage = Outage()
        self.proven = 0
        self.repaired = 0
        self._retention_s = settings.redis.retention.total_seconds()
        self._partition = log.partition(self.location)
        self._early_bytes = log_limit // _EARLY
        self._reader = reader
        self._delivery = delivery
        self._store = delivery.store
        self._state = state
        self._settings = settings.archive
        self._turn = asyncio.Lock()
        self._begun = asyncio.Event()
        self._asked = asyncio.Event()
        self._waiting: list[asyncio.Future[Pass]] = []
        self._restoring = Outage()
        self._late = LateScanner(self.location, self._partition, catalogue, state)
        self.retention = Retention(self.location, self._store, state, round(self._retention_s * 1000))
        self._deletions = Deletions(
            self.location, self._partition, catalogue, delivery=delivery, state=state, retention=self.retention
        )
        self._passes = LocationPass(
            reader,
            log=log,
            catalogue=catalogue,
            shard=shard,
            late=self._late,
            deletions=self._deletions,
            delivery=delivery,
            state=state,
            budget=budget,
            settings=settings,
        )
        self.restorer = Restorer(
            self.location,
            self._store,
            Pages(reader, delivery),
            shard=shard,
            catalogue=catalogue,
            settings=settings,
        )
        comparing = reader.another()
        self.verifier = Verifier(
            self.location,
            Comparer(
                comparing, Pages(comparing, delivery), self._store, state, self.restorer, deletions=self._deletions
            ),
            state,
            self.restorer,
            store=self._store.identity,
            archive=self._pass,
            interval_s=self._settings.verify_interval.total_seconds(),
        )

    async def run(self) -> None:
        """Passes until cancelled.

        Raises:
            IotdError: one that is not retriable.
        """
        try:
            async with together() as group:
                group.create_task(self._keep_archiving())
                group.create_task(self._note_late())
                group.create_task(self.verifier.run())
        finally:
            _settle(self._waiting, ArchiveUnavailable(f"{self.location}: the archiver has ended"))
            self._waiting = []
            await self._reader.close()
            await self.verifier.close()

    async def cycle(self) -> Pass:
        """A pass that begins from now on, and what it did.

        Raises:
            IotdError: why it did not come to its end.
        """
        done: asyncio.Future[Pass] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._delivery.hope()
        self._asked.set()
        return await done

    async def lacking(self) -> int:
        """Of how many series the archive lacks the newest reading that it had acknowledged.

        Raises:
            ArchiveError: it can't be asked now.
        """
        return len(await self._passes.standing.lacking())

    @property
    def waiting(self) -> int:
        """Readings of the log that are not archived yet, while passes fail; 0 while they do not."""
        return self._partition.depth("archived").readings if self.outage.reason is not None else 0

    @property
    def waiting_s(self) -> float:
        """Seconds since readings of the log were last archived, while some are not; 0 when all are."""
        return self._partition.positions.waiting("archived")

    # ── a pass ──

    async def _keep_archiving(self) -> None:
        backoff = Backoff(_FIRST_S, _LONGEST_S)
        while True:
            began, recoveries = monotonic(), self._delivery.recoveries
            self._asked.clear()
            waiting, self._waiting = self._waiting, []
            try:
                done = await self._pass()
            except IotdError as e:
                _settle(waiting, e)
                if not e.retriable:
                    raise
                await self._note_trouble(e)
                pause = self._pause(e, backoff)
            except BaseException:
                _settle(waiting, ArchiveUnavailable(f"{self.location}: the archiver was interrupted"))
                raise
            else:
                backoff.reset()
                self._note_well(done)
                _settle(waiting, done)
                self.verifier.passed(at_once=done.restarted)
                pause = max(0.0, self._settings.interval.total_seconds() - (monotonic() - began))
            await self._wait(pause, recoveries, early=not backoff.failures)

    async def _pass(self) -> Pass:
        async with self._turn:
            if not self._begun.is_set():
                await self._passes.begin()
                self._begun.set()
            done = await self._passes.run()
            self.proven += done.proven
            self.repaired += done.repaired
            marks = await asyncio.to_thread(self._state.watermarks, self._store.identity, self.location)
            self.watermark = max(marks.values(), default=None)
            await self._follow_up(marks)
            return done

    async def _follow_up(self, marks: dict[Series, int]) -> None:
        """What a pass may leave for later without having failed."""
        try:
            for deleted in await self._deletions.pending():
                await self.retention.deleted(*deleted)
            await self.retention.settle(self._reader)
            await self.restorer.run(marks)
        except IotdError as e:
            if self._restoring.begins(str(e)):
                log.warning("restoring_interrupted", shard=self.location, reason=str(e), effect="after the next pass")
        else:
            self._restoring.ends()

    async def _note_late(self) -> None:
        await self._begun.wait()
        await self._late.run()

    # ── between passes ──

    async def _wait(self, pause: float, recoveries: int, *, early: bool) -> None:
        """Returns after a pause, or sooner where something has changed since the last pass began."""
        began = monotonic()
        until = began + pause
        while (left := until - monotonic()) > 0:
            try:
                async with asyncio.timeout(min(left, _CHECK_S)):
                    await self._asked.wait()
                return
            except TimeoutError:
                if self.outage.reason is not None:
                    if self._delivery.recoveries != recoveries:
                        return  # another location has found that the store takes readings again
                    if self._store.mended():
                        self._delivery.hope()
                        return
                if early and (self._deletions.due or (monotonic() - began >= _EARLY_S and self._filling())):
                    return

    def _filling(self) -> bool:
        return self._partition.full or self._partition.depth("archived").bytes > self._early_bytes

    def _pause(self, error: IotdError, backoff: Backoff) -> float:
        pause = backoff.next()  # counted also where the archive has named a pause of its own
        if isinstance(error, ArchiveError) and self._delivery.pause:
            pause = self._delivery.pause
        # what waits is noted often enough that nothing which only the shard has is dropped unseen
        return min(pause, self._retention_s / 20) if self._retention_s else pause

    async def _note_trouble(self, error: IotdError) -> None:
        if self.outage.begins(str(error)) and self._delivery.outage.reason is None:
            log.warning("archiving_interrupted", shard=self.location, reason=str(error))
        with suppress(IotdError):
            marks = await asyncio.to_thread(self._state.watermarks, self._store.identity, self.location)
            await self.retention.note_waiting(self._reader, marks)

    def _note_well(self, done: Pass) -> None:
        if (over := self.outage.ends()) is not None:
            log.info("archiving_resumed", shard=self.location, was=over[0], after_s=over[1])
        if done.new or done.again:
            log.info(
                "archived",
                shard=self.location,
                points=done.new,
                again=done.again,
                proven=done.proven,
                expired=done.expired,
            )


def _settle(waiting: list[asyncio.Future[Pass]], outcome: Pass | IotdError) -> None:
    for one in waiting:
        if one.done():
            continue
        if isinstance(outcome, IotdError):
            one.set_exception(outcome)
        else:
            one.set_result(outcome)
