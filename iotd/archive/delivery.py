"""Handing batches to the sink: what each refusal means for the batch; so many at once; health, told once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from iotd.archive.points import Points, halves, lines
from iotd.archive.sinks.base import Sink
from iotd.archive.watermarks import Watermarks
from iotd.errors import ArchiveError, ArchiveRejected, ArchiveTooLarge, ArchiveUnavailable
from iotd.ops.outage import Outage
from iotd.pipeline.deadletter import DeadLetters

log = structlog.get_logger(__name__)


class Delivery:
    """Writes batches, a bounded number at once; what the sink rejects for good goes to the dead-letter file.

    Attributes:
        archived: points acknowledged so far.
        failures: writes that the sink did not take, and that are tried again.
        outage: why the sink takes nothing at present.
    """

    def __init__(self, sink: Sink, dead_letters: DeadLetters, watermarks: Watermarks, in_flight: int) -> None:
        self.sink = sink
        self.archived = 0
        self.failures = 0
        self.outage = Outage()
        self._dead_letters = dead_letters
        self._watermarks = watermarks
        self._slots = asyncio.Semaphore(in_flight)

    @property
    def rejected(self) -> int:
        """Points in the dead-letter file since the start."""
        return self._dead_letters.count

    async def probe(self) -> None:
        """Finds out, with a batch of nothing, whether the sink would take one; :attr:`outage` says it."""
        try:
            await self.sink.write([])
        except ArchiveError as e:
            self._fails(str(e))

    async def deliver(self, batch: Sequence[Points]) -> None:
        """Returns when every point of the batch is acknowledged, or in the dead-letter file.

        Raises:
            ArchiveUnavailable, ArchiveRefused: the whole batch is to be delivered again later.
        """
        try:
            async with self._slots:
                await self.sink.write(batch)
        except ArchiveRejected as e:
            await self._apart(batch, e, e.dropped)
        except ArchiveTooLarge as e:
            await self._apart(batch, e, None)
        except ArchiveError as e:
            self._fails(str(e))
            raise
        else:
            self._works()
            self.archived += sum(map(len, batch))

    async def _apart(self, batch: Sequence[Points], error: ArchiveError, dropped: int | None) -> None:
        count = sum(map(len, batch))
        if count in (1, dropped):
            if isinstance(error, ArchiveTooLarge):
                raise ArchiveUnavailable(f"{error}: even for a single point")
            await self._reject(batch, str(error))
            return
        for half in halves(batch):
            await self.deliver(half)

    async def _reject(self, batch: Sequence[Points], reason: str) -> None:
        try:
            count = await asyncio.to_thread(self._bury, batch, reason)
        except OSError as e:
            raise ArchiveUnavailable(f"{self._dead_letters.path}: can't be written ({e.strerror})") from None
        if count:
            kept = str(self._dead_letters.path)
            log.warning("archive_rejected", sink=self.sink.identity, count=count, reason=reason, kept=kept)

    def _bury(self, batch: Sequence[Points], reason: str) -> int:
        # a range that is archived again meets the same points again: each is one letter
        sink, count = self.sink.identity, 0
        for points in batch:
            times = [time for time, _ in points.samples]
            known = self._watermarks.rejected(sink, points.sensor, times[0], times[-1])
            new = [sample for sample in points.samples if sample[0] not in known]
            if new:
                text = lines([Points(points.sensor, new)]).decode()
                count += self._dead_letters.add([{"sink": sink, "line": line} for line in text.split("\n")], reason)
                self._watermarks.reject(sink, [(points.sensor, time) for time, _ in new])
        return count

    def _fails(self, reason: str) -> None:
        self.failures += 1
        if self.outage.begins(reason):
            log.error(
                "archive_failing",
                sink=self.sink.identity,
                reason=reason,
                effect="the shards hold the readings meanwhile",
            )

    def _works(self) -> None:
        if (over := self.outage.ends()) is not None:
            log.info("archive_recovered", sink=self.sink.identity, was=over[0], after_s=over[1])
