"""The intake: where all sources hand over, and what stands between them and the log."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from time import monotonic
from types import MappingProxyType

import numpy as np
import orjson

from iotd.intake.accumulator import Accumulator
from iotd.intake.arrivals import Arrivals
from iotd.intake.catalogue import Catalogue
from iotd.intake.guards import Ranges, guard
from iotd.intake.held import HeldStore
from iotd.intake.observer import Counts, Observer, Room
from iotd.intake.requests import Requests
from iotd.intake.superseded import REASON as SUPERSEDED
from iotd.intake.superseded import superseded
from iotd.intake.world import World
from iotd.log.base import Log
from iotd.model.batch import Batch, Numbers
from iotd.model.errors import LogFull, StateUnwritable, UsageError
from iotd.model.held import Held
from iotd.model.observation import Message, Names
from iotd.model.series import Series

_LARGE = 1_024
"""Readings of a batch that is worth a record of its own: it is not copied to be joined with others."""

READING = "json"
"""The form of a reading that a guard or a shard has refused: it is held as one of `POST /readings` would be."""


async def _at_once() -> None:
    pass


class Intake:
    """Guards readings, registers their series, and appends them to the log.

    Attributes:
        locations: whose readings are taken.
        readings: taken into the log since the start, by location; those that linger are not among them yet.
        refused: not taken since then, and held, by location.
        spoke: when each source last handed something over, monotonic seconds.
        counts: what each source said since the start.
    """

    def __init__(
        self,
        log: Log,
        catalogue: Catalogue,
        held: HeldStore,
        requests: Requests,
        *,
        accumulator: Accumulator,
        world: World,
        now_ms: Callable[[], int],
        certain: Callable[[], Awaitable[None]] = _at_once,
    ) -> None:
        """
        Args:
            now_ms: our clock.
            certain: returns when that may be stamped upon a reading.
        """
        self.locations: set[str] = set()
        self.readings = accumulator.appended
        self.refused: Counter[str] = Counter()
        self.spoke: dict[str, float] = {}
        self.counts: defaultdict[str, Counts] = defaultdict(Counts)
        self.accumulator = accumulator
        self.held = held
        self.requests = requests
        self._log = log
        self._catalogue = catalogue
        self._now_ms = now_ms
        self._certain = certain
        self._arrivals: dict[str, Arrivals] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.use(world)

    def of(self, source: str, share: float = 1.0) -> SourceIntake:
        """The intake that a source is given.

        Args:
            share: of the log's limit that this source may fill: less than 1 for one that can wait, as an import can.
        """
        return SourceIntake(self, source, Room(share))

    @property
    def world(self) -> World:
        """What readings are held against."""
        return self._world

    def use(self, world: World) -> None:
        """Holds readings against this from now on."""
        self._world = world
        self._ranges = Ranges(self._catalogue.series, world.types)

    # ── series and positions ──

    async def register(
        self, series: Sequence[Series], source: str, originals: Mapping[Series, str] = MappingProxyType({})
    ) -> Numbers:
        """See :meth:`iotd.intake.catalogue.Catalogue.register`."""
        return await self._catalogue.register(series, source, originals)

    def number_of(self, series: Series) -> int | None:
        """The number of a series; None: it was never seen."""
        return self._catalogue.number_of(series)

    def allowance(self, source: str) -> int:
        """How many more series a source may make."""
        return max(0, self.world.series_limit - self._catalogue.made_by(source))

    def position(self, source: str) -> bytes | None:
        """See :meth:`iotd.sources.base.Intake.position`."""
        return self._log.source_position(source)

    def newest(self, location: str) -> int | None:
        """The newest time (ms) taken for a location; None when it has none."""
        numbers = self._catalogue.of_location(location)
        newest = int(self._catalogue.newest[numbers].max()) if numbers else -1
        return newest if newest >= 0 else None

    async def arrivals(self, source: str) -> Arrivals:
        """See :meth:`iotd.intake.observer.Intake.arrivals`."""
        if (found := self._arrivals.get(source)) is None:
            try:
                held = await self.held.newest_arrival(source, but_for=SUPERSEDED)
            except StateUnwritable:  # who has nothing to be held goes on
                held = 0
            found = self._arrivals.setdefault(source, Arrivals(self._newest_of, held))
        return found

    def _newest_of(self, number: int) -> int:
        return int(self._catalogue.newest[number])

    async def arrival(self) -> int:
        """Our clock, ms, once it may be stamped upon a reading."""
        await self._certain()
        return self._now_ms()

    # ── readings ──

    async def take(
        self, source: str, batches: Sequence[Batch], positions: Mapping[str, bytes], *, waits: bool, room: Room
    ) -> asyncio.Future[None]:
        """Takes batches, one a location at most; the future is done when all of them and the positions are on disk.

        They get there together, or none of them does. Waits while a partition has no room for this source.

        Raises:
            UsageError: a location is not served here.
            StateError: the log is closed, or what is to be held can't be; nothing is taken.
            LogFull: there was no room for as long as the source waits; likewise.
        """
        sound = [await self._guarded(source, batch) for batch in batches]
        try:
            async with asyncio.timeout(room.patience_s):
                for location in (waiting := [batch.location for batch in sound]):
                    await self._log.room(location, room.share)
        except TimeoutError:
            full = next((name for name in waiting if self._log.partition(name).full), location)
            raise LogFull(f"{full}: the log is full: its shard or its archive takes nothing") from None
        async with AsyncExitStack() as turns:  # what supersedes what is asked by one after the other
            for location in sorted(waiting):  # in one order, so that no two wait for each other
                await turns.enter_async_context(self._turns[location])
            for batch in sound:
                if len(earlier := superseded(batch, self._catalogue.newest, self._catalogue.values)):
                    await self._hold_superseded(source, earlier)
            for batch in sound:
                self.counts[source].taken += len(batch)
                self._catalogue.note(batch.series, batch.times, batch.values)
            if sum(map(len, sound)) < _LARGE:
                return self.accumulator.add_batches(sound, positions, waits=waits)
            return self.accumulator.append(sound, positions)

    async def _guarded(self, source: str, batch: Batch) -> Batch:
        location = batch.location
        self._require(location)
        batch, refused = guard(batch, self._now_ms(), self._world.limits, self._ranges)
        for some, reason in refused:
            await self.refuse(source, some, [reason] * len(some))
            self.refused[location] += len(some)
            self.counts[source].held += len(some)
        return batch

    def offer(self, location: str, number: int, time: int, value: float) -> asyncio.Future[None] | None:
        """Takes one sound reading at once; None when it is not sound, or the log is full: then :meth:`take` it.

        Ten thousand a second cost little.
        """
        limits, ranges = self._world.limits, self._ranges
        now = self._now_ms()
        ranges.upto(number)
        if (
            location not in self.locations
            or not ranges.low[number] <= value <= ranges.high[number]
            or not 0 <= time <= now + limits.future
            or (limits.past is not None and time < now - limits.past)
            or time == self._catalogue.newest[number]
            or self._turns[location].locked()
            or self._log.partition(location).full
        ):
            return None
        self._catalogue.note_one(number, time, value)
        return self.accumulator.add(location, number, time, value)

    def note(self, positions: Mapping[str, bytes]) -> Awaitable[object]:
        """Notes positions behind all that was taken; what it returns is done when they are on disk."""
        self.accumulator.flush()
        return self._log.append_many([], list(positions.items()))

    async def settled(self) -> None:
        """Returns when all that was taken until now is on disk, also of a caller who was cancelled."""
        self.accumulator.flush()
        await self._log.append_many([])

    async def refuse(self, source: str, batch: Batch, reasons: Sequence[str]) -> None:
        """Holds readings that can't be taken, each with its reason; returns when they are on disk.

        Raises:
            StateUnwritable: they can't be held now.
        """
        arrived = self._now_ms()
        rows = zip(batch.series.tolist(), batch.times.tolist(), batch.values.tolist(), reasons, strict=True)
        await self.held.add(
            Held(source, READING, "", _as_json(self._catalogue.series(number), time, value), arrived, reason)
            for number, time, value, reason in rows
        )

    async def _hold_superseded(self, source: str, earlier: Batch) -> None:
        rows = zip(earlier.series.tolist(), earlier.times.tolist(), earlier.values.tolist(), strict=True)
        # as if they had arrived at their own times: what is sent again is held once
        await self.held.add(
            Held(source, READING, "", _as_json(self._catalogue.series(number), time, value), time, SUPERSEDED)
            for number, time, value in rows
        )
        self.counts[source].held += len(earlier)

    def _require(self, location: str) -> None:
        if location not in self.locations:
            raise UsageError(f"this daemon does not serve {location!r}; it serves {', '.join(sorted(self.locations))}")


class SourceIntake:
    """The intake as one source has it: :class:`iotd.sources.base.Intake`."""

    def __init__(self, intake: Intake, source: str, room: Room) -> None:
        self._intake = intake
        self._source = source
        self._room = room
        self._counts = intake.counts[source]
        self._observer = Observer(source, intake, room, self._counts)

    def patient(self, seconds: float) -> SourceIntake:
        return SourceIntake(self._intake, self._source, replace(self._room, patience_s=seconds))

    async def register(self, series: Sequence[Series]) -> Numbers:
        return await self._intake.register(series, self._source)

    async def put(self, batch: Batch, position: bytes | None = None) -> None:
        await (await self.take(batch, position))

    async def take(self, batch: Batch, position: bytes | None = None, *, waits: bool = True) -> Awaitable[None]:
        positions = {} if position is None else {self._source: position}
        self._intake.spoke[self._source] = monotonic()
        return await self._intake.take(self._source, [batch], positions, waits=waits, room=self._room)

    async def add(self, location: str, number: int, time: int, value: float) -> Awaitable[None]:
        self._intake.spoke[self._source] = monotonic()
        taken = self._intake.offer(location, number, time, value)
        if taken is None:
            one = Batch(location, np.array([number], np.int32), np.array([time]), np.array([value], np.float64))
            return await self.take(one)
        self._counts.taken += 1
        return taken

    async def observe(
        self,
        messages: Sequence[Message],
        position: bytes | None = None,
        *,
        key: str | None = None,
        arrived: int | None = None,
        backlog: bool = False,
        ahead: bytes | None = None,
    ) -> Awaitable[list[Held]]:
        self._intake.spoke[self._source] = monotonic()
        return await self._observer.observe(messages, position, key=key, arrived=arrived, backlog=backlog, ahead=ahead)

    async def again(self, messages: Sequence[Message], arrived: int) -> Awaitable[list[Held]]:
        """As :meth:`observe`, of what is held since it arrived (ms): that the source speaks is not said by it."""
        return await self._observer.observe(messages, arrived=arrived, held=True)

    def hurry(self) -> None:
        self._intake.accumulator.flush()

    @property
    def names(self) -> Names:
        return self._intake.world.resolver

    def position(self) -> bytes | None:
        return self._intake.position(self._source)


def _as_json(series: Series, time: int, value: float) -> bytes:
    finite = value - value == 0.0
    said = {
        "type": series.type,
        "location": series.location,
        "sensor": series.sensor_id,
        "value": value if finite else repr(value),  # JSON has no word for it
        "time": time,
    }
    return orjson.dumps(said)
