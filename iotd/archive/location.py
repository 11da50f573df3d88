"""One location's way into the archive: passes over its shard, again and again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

import structlog

from iotd.archive.comparer import Comparer
from iotd.archive.delivery import Delivery
from iotd.archive.flow import POINT_BYTES, Flow
from iotd.archive.horizon import Horizon
from iotd.archive.points import Points
from iotd.archive.verifier import Verifier
from iotd.archive.watermarks import Dirty, Watermarks
from iotd.config import Settings
from iotd.model.errors import ArchiveError, ArchiveUnavailable, IotdError
from iotd.model.series import Series
from iotd.ops.outage import Outage
from iotd.ops.tasks import together
from iotd.pipeline.budget import Budget
from iotd.pipeline.queue import Ticket
from iotd.shards.reader import ShardReader

log = structlog.get_logger(__name__)

_FIRST_S, _LONGEST_S = 0.5, 60.0
_LOOK_S = 1.0
"""Between two looks whether what the archive refused us for has been mended."""
_POLITE_S = 5.0
"""The pages of a pass wait so long, all together, for the readings that were handed over before them."""
_SLICE_MS = 6 * 3_600_000
"""A dirty range is archived again in parts of this length, each of which is done with when it is acknowledged."""


class Keeper(Protocol):
    """Who keeps confirmed readings until the archive has them."""

    def ticket(self, location: str) -> Ticket:
        """What is confirmed now."""

    def archived(self, location: str, ticket: Ticket) -> None:
        """All that was confirmed when the ticket was given is archived."""

    async def written(self, location: str, limit: float) -> None:
        """Returns when all that was handed over before is with the shard, or after ``limit`` seconds."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass did: points archived anew, points archived again because their range was dirty."""

    new: int
    again: int


class LocationArchive:
    """Archives one location: everything at first, then at each interval, and when asked.

    Attributes:
        watermark: the highest of its series' watermarks after the last whole pass, ms; None before that.
        outage: why passes do not come to their end.
        horizon: what waits, and what retention took.
        verifier: whether shard and archive are the same.
    """

    def __init__(
        self,
        reader: ShardReader,
        *,
        delivery: Delivery,
        watermarks: Watermarks,
        budget: Budget,
        keeper: Keeper,
        settings: Settings,
    ) -> None:
        self.location = reader.location
        self.watermark: int | None = None
        self.outage = Outage()
        self._retention_s = settings.redis.retention.total_seconds()
        self._sink = delivery.sink
        self.horizon = Horizon(self.location, self._sink.identity, watermarks, round(self._retention_s * 1000))
        self._reader = reader
        self._delivery = delivery
        self._watermarks = watermarks
        self._budget = budget
        self._keeper = keeper
        self._settings = settings.archive
        self._polite = 0.0
        self._turn = asyncio.Lock()
        self._asked = asyncio.Event()
        self._answers: list[asyncio.Future[Pass]] = []
        self.verifier = Verifier(
            self.location,
            Comparer(reader.another(), self._sink, watermarks),
            watermarks,
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
                group.create_task(self.verifier.run())
        finally:
            _answer(self._answers, ArchiveUnavailable(f"{self.location}: the archiver has ended"))
            self._answers = []
            await self._reader.close()
            await self.verifier.close()

    async def cycle(self) -> Pass:
        """A pass that begins from now on, and what it did.

        Raises:
            IotdError: why it did not come to its end.
        """
        answer: asyncio.Future[Pass] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        self._delivery.hope()
        self._asked.set()
        return await answer

    # ── a pass ──

    async def _keep_archiving(self) -> None:
        failures = 0
        while True:
            began = monotonic()
            self._asked.clear()
            answers, self._answers = self._answers, []
            try:
                done = await self._pass()
            except IotdError as e:
                _answer(answers, e)
                if not e.retriable:
                    raise
                failures += 1
                self._note_trouble(e)
                pause = self._pause(e, failures)
            except BaseException:
                _answer(answers, ArchiveUnavailable(f"{self.location}: the archiver was interrupted"))
                raise
            else:
                _answer(answers, done)
                failures = 0
                self._note_well(done)
                self.verifier.passed()
                pause = max(0.0, self._settings.interval.total_seconds() - (monotonic() - began))
            await self._wait(pause)

    async def _pass(self) -> Pass:
        async with self._turn:
            self._polite = _POLITE_S
            ticket = self._keeper.ticket(self.location)
            await self._recognise()
            epoch, identity = self._watermarks.epoch, self._sink.identity
            sensors = await self._reader.series()
            opened = self._reader.opened
            marks = await asyncio.to_thread(self._watermarks.marks, identity, sensors)
            dirty = await asyncio.to_thread(self._watermarks.dirty, identity, self.location)
            await self.horizon.look(self._reader, marks, sensors)
            async with self._flow(epoch) as flow:
                for stain in dirty:
                    await self._clean(flow, stain, marks, epoch)
                again = flow.count
                for sensor in sensors:
                    await self._move(flow, sensor, marks.get(sensor, -1), None, mark=True)
            # a node that was restarted empty, or emptied meanwhile, has shown us less than was confirmed
            if await self._reader.fence(ticket.producer) >= ticket.seq and self._reader.opened == opened:
                self._keeper.archived(self.location, ticket)
            self.horizon.well()
            marks = await asyncio.to_thread(self._watermarks.marks, identity, sensors)
            self.watermark = max(marks.values(), default=None)
            if not flow.count and self._delivery.outage.reason is not None:
                await self._delivery.probe()  # nothing was written that would show that it is over
            return Pass(flow.count - again, again)

    async def _recognise(self) -> None:
        incarnation = await self._sink.incarnation()
        if incarnation is not None and await asyncio.to_thread(
            self._watermarks.incarnate, self._sink.identity, incarnation
        ):
            log.warning(
                "archive_made_anew",
                sink=self._sink.identity,
                effect="all that the shards hold is archived again; what only the former one held is gone",
            )

    async def _clean(self, flow: Flow, stain: Dirty, marks: Mapping[Series, int], epoch: int) -> None:
        newest = max(marks.values(), default=stain.first)
        for first in range(stain.first, max(stain.first, min(stain.last, newest)) + 1, _SLICE_MS):
            last = min(first + _SLICE_MS - 1, stain.last)
            for sensor, mark in marks.items():
                if mark >= first:
                    await self._move(flow, sensor, first - 1, min(last, mark), mark=False)
            await flow.finish()
            await asyncio.to_thread(self._watermarks.cleaned, stain, last, epoch)
        # what lies beyond all watermarks is archived from there
        await asyncio.to_thread(self._watermarks.cleaned, stain, stain.last, epoch)

    def _flow(self, epoch: int) -> Flow:
        in_flight = self._settings.in_flight
        return Flow(self._delivery, self._watermarks, self._budget, epoch=epoch, in_flight=in_flight)

    async def _move(self, flow: Flow, sensor: Series, after: int, upto: int | None, *, mark: bool) -> None:
        fresh = mark
        while True:
            await self._let_pass()
            page = self._delivery.largest
            memory = await flow.reserve(page)
            try:
                count, resp = await self._reader.pairs(sensor, after, upto, page)
            except BaseException:
                flow.unused(memory)
                raise
            used = count * POINT_BYTES
            flow.unused(memory - used)
            if count:
                points = Points(sensor, resp, count)
                if fresh:
                    await self._begins(flow, points, used)
                    fresh = False
                await flow.put(points, used, mark=mark)
                after = points.last
            if count < page:
                return

    async def _let_pass(self) -> None:
        if self._polite > 0:
            began = monotonic()
            await self._keeper.written(self.location, self._polite)
            self._polite -= monotonic() - began

    async def _begins(self, flow: Flow, points: Points, used: int) -> None:
        try:
            await self.horizon.begins(self._reader, points.sensor, points.first)
        except BaseException:
            flow.unused(used)
            raise

    # ── between passes ──

    async def _wait(self, pause: float) -> None:
        until = monotonic() + pause
        while (left := until - monotonic()) > 0:
            try:
                async with asyncio.timeout(min(left, _LOOK_S)):
                    await self._asked.wait()
                return
            except TimeoutError:
                if self.outage.reason is not None and self._sink.mended():
                    self._delivery.hope()
                    return

    def _pause(self, error: IotdError, failures: int) -> float:
        if isinstance(error, ArchiveError) and self._delivery.pause:
            pause = self._delivery.pause
        else:
            pause = min(_LONGEST_S, _FIRST_S * 2 ** min(failures - 1, 10)) * random.uniform(0.5, 1.0)
        # what waits is looked at often enough that retention does not overtake us unseen
        return min(pause, self._retention_s / 20) if self._retention_s else pause

    def _note_trouble(self, error: IotdError) -> None:
        if self.outage.begins(str(error)) and self._delivery.outage.reason is None:
            log.warning("archiving_interrupted", shard=self.location, reason=str(error))
        self.horizon.warn()

    def _note_well(self, done: Pass) -> None:
        if (over := self.outage.ends()) is not None:
            log.info("archiving_resumed", shard=self.location, was=over[0], after_s=over[1])
        if done.new or done.again:
            log.info("archived", shard=self.location, points=done.new, again=done.again)


def _answer(answers: list[asyncio.Future[Pass]], outcome: Pass | IotdError) -> None:
    for answer in answers:
        if answer.done():
            continue
        if isinstance(outcome, IotdError):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)
