"""One location's way into the archive: passes over its shard, again and again."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

import structlog

from iotd.archive.delivery import Delivery
from iotd.archive.flow import POINT_BYTES, Flow
from iotd.archive.points import Points
from iotd.archive.verify import Verdict, verify
from iotd.archive.watermarks import Watermarks
from iotd.errors import ArchiveRefused, ArchiveUnavailable, IotdError
from iotd.ops.outage import Outage
from iotd.pipeline.budget import Budget
from iotd.sensors import Sensor
from iotd.settings.tree import Archive as ArchiveSettings
from iotd.shards.reader import ShardReader

log = structlog.get_logger(__name__)

_FIRST_S, _LONGEST_S = 0.5, 60.0
_REFUSED_S = 30.0


class Keeper(Protocol):
    """Who keeps confirmed readings until the archive has them."""

    def ticket(self, location: str) -> int:
        """What is confirmed now."""

    def archived(self, location: str, ticket: int) -> None:
        """All that was confirmed when the ticket was given is archived."""


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
        verdict: what the last verification found.
    """

    def __init__(
        self,
        reader: ShardReader,
        *,
        delivery: Delivery,
        watermarks: Watermarks,
        budget: Budget,
        keeper: Keeper,
        settings: ArchiveSettings,
    ) -> None:
        self.location = reader.location
        self.watermark: int | None = None
        self.outage = Outage()
        self.verdict: Verdict | None = None
        self._reader = reader
        self._delivery = delivery
        self._watermarks = watermarks
        self._budget = budget
        self._keeper = keeper
        self._settings = settings
        self._turn = asyncio.Lock()
        self._asked = asyncio.Event()
        self._answers: list[asyncio.Future[Pass]] = []

    async def run(self) -> None:
        """Passes until cancelled.

        Raises:
            IotdError: one that is not retriable.
        """
        failures = 0
        verified: float | None = None
        try:
            while True:
                began = monotonic()
                self._asked.clear()
                answers, self._answers = self._answers, []
                try:
                    done = await self._pass()
                    if verified is None or monotonic() - verified >= self._settings.verify_interval.total_seconds():
                        await self.verify(deep=False, repair=True)
                        verified = monotonic() if self.verdict and self.verdict.compared else None
                except IotdError as e:
                    _answer(answers, e)
                    if not e.retriable:
                        raise
                    failures += 1
                    self._note_trouble(e)
                    pause = _pause(e, failures)
                except BaseException:
                    _answer(answers, ArchiveUnavailable(f"{self.location}: the archiver was interrupted"))
                    raise
                else:
                    _answer(answers, done)
                    failures = 0
                    self._note_well(done)
                    pause = max(0.0, self._settings.interval.total_seconds() - (monotonic() - began))
                await self._wait(pause)
        finally:
            _answer(self._answers, ArchiveUnavailable(f"{self.location}: the archiver has ended"))
            self._answers = []
            await self._reader.close()

    async def cycle(self) -> Pass:
        """A pass that begins from now on, and what it did.

        Raises:
            IotdError: why it did not come to its end.
        """
        answer: asyncio.Future[Pass] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        self._asked.set()
        return await answer

    async def verify(self, *, deep: bool, repair: bool) -> Verdict:
        """Compares the shard with the archive, and has the gaps archived again if that is wanted.

        Raises:
            IotdError: shard or archive can't be asked.
        """
        async with self._turn:
            verdict = await verify(self._reader, self._delivery.sink, self._watermarks, deep=deep)
            if verdict.gaps and repair:
                log.warning(
                    "archive_gaps",
                    shard=self.location,
                    gaps=len(verdict.gaps),
                    first=str(verdict.gaps[0]),
                    effect="repairing",
                )
                for gap in verdict.gaps:
                    await asyncio.to_thread(self._watermarks.mark_dirty, self.location, gap.first, gap.last)
        if verdict.gaps and repair:
            await self._pass()
            async with self._turn:
                after = await verify(self._reader, self._delivery.sink, self._watermarks, deep=deep)
            verdict = Verdict(after.compared, after.gaps, len(verdict.gaps) - len(after.gaps))
        self.verdict = verdict
        return verdict

    # ── a pass ──

    async def _pass(self) -> Pass:
        async with self._turn:
            identity = self._delivery.sink.identity
            ticket = self._keeper.ticket(self.location)
            sensors = await self._reader.series()
            marks = await asyncio.to_thread(self._watermarks.marks, identity, sensors)
            dirty = await asyncio.to_thread(self._watermarks.dirty, identity, self.location)
            async with self._flow() as flow:
                for stain in dirty:
                    for sensor in sensors:
                        if marks.get(sensor, -1) >= stain.first:
                            await self._move(flow, sensor, stain.first - 1, min(stain.last, marks[sensor]), mark=False)
                await flow.finish()
                again = flow.count
                await asyncio.to_thread(self._watermarks.cleaned, dirty)
                for sensor in sensors:
                    await self._move(flow, sensor, marks.get(sensor, -1), None, mark=True)
            self._keeper.archived(self.location, ticket)
            marks = await asyncio.to_thread(self._watermarks.marks, identity, sensors)
            self.watermark = max(marks.values(), default=None)
            return Pass(flow.count - again, again)

    def _flow(self) -> Flow:
        s = self._settings
        return Flow(self._delivery, self._watermarks, self._budget, batch=s.batch, in_flight=s.in_flight)

    async def _move(self, flow: Flow, sensor: Sensor, after: int, upto: int | None, *, mark: bool) -> None:
        page = self._settings.batch
        while True:
            memory = await flow.reserve(page)
            try:
                samples = await self._reader.page(sensor, after, upto, page)
            except BaseException:
                flow.unused(memory)
                raise
            used = len(samples) * POINT_BYTES
            flow.unused(memory - used)
            if samples:
                await flow.put(Points(sensor, samples), used, mark=mark)
            if len(samples) < page:
                return
            after = samples[-1][0]

    # ── between passes ──

    async def _wait(self, pause: float) -> None:
        try:
            async with asyncio.timeout(pause):
                await self._asked.wait()
        except TimeoutError:
            pass

    def _note_trouble(self, error: IotdError) -> None:
        if self.outage.begins(str(error)) and self._delivery.outage.reason is None:
            log.warning("archiving_interrupted", shard=self.location, reason=str(error))

    def _note_well(self, done: Pass) -> None:
        if (over := self.outage.ends()) is not None:
            log.info("archiving_resumed", shard=self.location, was=over[0], after_s=over[1])
        if done.new or done.again:
            log.info("archived", shard=self.location, points=done.new, again=done.again)


def _pause(error: IotdError, failures: int) -> float:
    if isinstance(error, ArchiveUnavailable) and error.retry_after is not None:
        return error.retry_after + random.uniform(0, 1)
    if isinstance(error, ArchiveRefused):
        return _REFUSED_S
    longest: float = min(_LONGEST_S, _FIRST_S * 2 ** min(failures - 1, 10))
    return longest * random.uniform(0.5, 1.0)


def _answer(answers: list[asyncio.Future[Pass]], outcome: Pass | IotdError) -> None:
    for answer in answers:
        if answer.done():
            continue
        if isinstance(outcome, IotdError):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)
