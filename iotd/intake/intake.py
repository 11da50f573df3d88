"""The intake: where all sources hand over, and what stands between them and the log."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import Any

import numpy as np

from iotd.intake.accumulator import Accumulator
from iotd.intake.catalogue import Catalogue
from iotd.intake.guards import Limits, guard
from iotd.log.base import Log
from iotd.model.batch import Batch, Numbers
from iotd.model.errors import StateUnwritable, UsageError
from iotd.model.series import Series
from iotd.ops.deadletters import DeadLetters
from iotd.ops.loggers import get_logger
from iotd.ops.systemerrors import said

log = get_logger(__name__)

_LARGE = 1_024
"""Readings of a batch that is worth a record of its own: it is not copied to be joined with others."""


class Intake:
    """Guards readings, registers their series, and appends them to the log.

    Attributes:
        locations: whose readings are taken.
        readings: taken into the log since the start, by location; those that linger are not among them yet.
        held: not taken since then, by location.
        spoke: when each source last handed something over, monotonic seconds.
    """

    def __init__(
        self,
        log: Log,
        catalogue: Catalogue,
        dead_letters: DeadLetters,
        *,
        accumulator: Accumulator,
        limits: Limits,
        now_ms: Callable[[], int],
    ) -> None:
        self.locations: set[str] = set()
        self.readings = accumulator.appended
        self.held: Counter[str] = Counter()
        self.spoke: dict[str, float] = {}
        self.limits = limits
        self.accumulator = accumulator
        self._log = log
        self._catalogue = catalogue
        self._dead_letters = dead_letters
        self._now_ms = now_ms

    def of(self, source: str, share: float = 1.0) -> SourceIntake:
        """The intake that a source is given.

        Args:
            share: of the log's limit that this source may fill: less than 1 for one that can wait, as an import can.
        """
        return SourceIntake(self, source, share)

    async def register(self, series: Sequence[Series], source: str) -> Numbers:
        """See :meth:`iotd.sources.base.Intake.register`."""
        return await self._catalogue.register(series, source)

    def position(self, source: str) -> bytes | None:
        """See :meth:`iotd.sources.base.Intake.position`."""
        return self._log.source_position(source)

    def newest(self, location: str) -> int | None:
        """The newest time (ms) taken for a location; None when it has none."""
        numbers = self._catalogue.of_location(location)
        newest = int(self._catalogue.newest[numbers].max()) if numbers else -1
        return newest if newest >= 0 else None

    async def take(
        self, batch: Batch, positions: Mapping[str, bytes], *, waits: bool, share: float
    ) -> asyncio.Future[None]:
        """Takes a batch; the future is done when it is on disk. Waits while the partition holds ``share`` of its limit.

        Raises:
            UsageError: its location is not served here.
            StateError: the log is closed, or what is to be held can't be.
        """
        location = batch.location
        self._require(location)
        batch, refused = guard(batch, self._now_ms(), self.limits)
        for some, reason in refused:
            await self._hold_readings(some, reason)
        await self._log.room(location, share)
        self._catalogue.note(batch.series, batch.times)
        if len(batch) < _LARGE:
            return self.accumulator.add_batch(batch, positions, waits=waits)
        return self.accumulator.append(batch, positions)

    def offer(self, location: str, number: int, time: int, value: float) -> asyncio.Future[None] | None:
        """Takes one sound reading at once; None when it is not sound, or the log is full: then :meth:`take` it.

        Ten thousand a second cost little.
        """
        limits = self.limits
        now = self._now_ms()
        if (
            location not in self.locations
            or value - value != 0.0
            or not 0 <= time <= now + limits.future
            or (limits.past is not None and time < now - limits.past)
            or self._log.partition(location).full
        ):
            return None
        newest = self._catalogue.newest
        newest[number] = max(newest[number], time)
        return self.accumulator.add(location, number, time, value)

    async def settled(self) -> None:
        """Returns when all that was taken until now is on disk, also of a caller who was cancelled."""
        self.accumulator.flush()
        await self._log.append_many([])

    async def hold(self, location: str, letters: Sequence[Mapping[str, Any]], reason: str) -> None:
        """See :meth:`iotd.sources.base.Intake.hold`.

        Raises:
            StateUnwritable: the file can't be written, so nothing is held.
        """
        try:
            await asyncio.to_thread(self._dead_letters.add, letters, reason)
        except OSError as e:
            raise StateUnwritable(f"{self._dead_letters.path}: can't be written ({said(e)})") from None
        self.held[location] += len(letters)
        log.warning("readings_held", shard=location, count=len(letters), reason=reason)

    async def _hold_readings(self, batch: Batch, reason: str) -> None:
        letters = [
            {"location": batch.location, "key": self._catalogue.keys[s].decode(), "time": t, "value": repr(v)}
            for s, t, v in zip(batch.series.tolist(), batch.times.tolist(), batch.values.tolist(), strict=True)
        ]
        await self.hold(batch.location, letters, reason)

    def _require(self, location: str) -> None:
        if location not in self.locations:
            raise UsageError(f"this daemon does not serve {location!r}; it serves {', '.join(sorted(self.locations))}")


class SourceIntake:
    """The intake as one source has it: :class:`iotd.sources.base.Intake`."""

    def __init__(self, intake: Intake, source: str, share: float) -> None:
        self._intake = intake
        self._source = source
        self._share = share

    async def register(self, series: Sequence[Series]) -> Numbers:
        return await self._intake.register(series, self._source)

    async def put(self, batch: Batch, position: bytes | None = None) -> None:
        await (await self.take(batch, position))

    async def take(self, batch: Batch, position: bytes | None = None, *, waits: bool = True) -> Awaitable[None]:
        positions = {} if position is None else {self._source: position}
        self._intake.spoke[self._source] = monotonic()
        return await self._intake.take(batch, positions, waits=waits, share=self._share)

    async def add(self, location: str, number: int, time: int, value: float) -> Awaitable[None]:
        self._intake.spoke[self._source] = monotonic()
        taken = self._intake.offer(location, number, time, value)
        if taken is None:
            one = Batch(location, np.array([number], np.int32), np.array([time]), np.array([value], np.float64))
            return await self.take(one)
        return taken

    async def hold(self, location: str, letters: Sequence[Mapping[str, Any]], reason: str) -> None:
        await self._intake.hold(location, letters, reason)

    def position(self) -> bytes | None:
        return self._intake.position(self._source)
