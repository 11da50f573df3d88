"""Observations into the log: what can be taken is on disk when it is acknowledged, and what can't is held."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from iotd.intake.arrivals import Arrivals, Thing
from iotd.intake.held import HeldStore
from iotd.intake.requests import Requests
from iotd.intake.translate import Readings, translate
from iotd.intake.world import World
from iotd.model.batch import Batch, Numbers
from iotd.model.errors import Refused, StateUnwritable, UsageError
from iotd.model.held import Held
from iotd.model.observation import Message, joined
from iotd.model.series import Series


@dataclass(slots=True)
class Counts:
    """What one source has said since the start.

    Attributes:
        taken: readings that are in the log.
        held: pieces, or parts of pieces, that are held.
        nothing: observations that said that there is no value.
        timeless: of those taken, readings that got the time of their arrival.
        ambiguous: of those taken, readings with a local time that there was twice, and that got the first.
    """

    taken: int = 0
    held: int = 0
    nothing: int = 0
    timeless: int = 0
    ambiguous: int = 0


@dataclass(frozen=True, slots=True)
class Room:
    """Which room of the log a source has.

    Attributes:
        share: of the log's limit that it may fill.
        patience_s: so many seconds it waits for room; None: as long as it takes.
    """

    share: float = 1.0
    patience_s: float | None = None


class Intake(Protocol):
    """What an observer needs of the intake."""

    held: HeldStore
    requests: Requests

    @property
    def world(self) -> World:
        """What observations are held against."""

    def allowance(self, source: str) -> int:
        """How many more series this source may make."""

    def number_of(self, series: Series) -> int | None:
        """Its number; None: it is a new one."""

    async def arrivals(self, source: str) -> Arrivals:
        """What has been given to a source's readings that had no time."""

    async def arrival(self) -> int:
        """Our clock, ms, once it may be stamped upon a reading."""

    async def register(self, series: Sequence[Series], source: str, originals: Mapping[Series, str] = ...) -> Numbers:
        """See :meth:`iotd.intake.catalogue.Catalogue.register`."""

    async def take(
        self, source: str, batches: Sequence[Batch], positions: Mapping[str, bytes], *, waits: bool, room: Room
    ) -> Awaitable[None]:
        """See :meth:`iotd.intake.intake.Intake.take`."""

    def note(self, positions: Mapping[str, bytes]) -> Awaitable[object]:
        """Notes positions behind what was taken."""


class Observer:
    """Takes the pieces of one source's messages."""

    def __init__(self, source: str, intake: Intake, room: Room, counts: Counts) -> None:
        """
        Args:
            counts: is kept up to date, but for what the intake itself takes and refuses.
        """
        self._source = source
        self._intake = intake
        self._room = room
        self._counts = counts

    async def observe(
        self,
        messages: Sequence[Message],
        position: bytes | None = None,
        *,
        key: str | None = None,
        arrived: int | None = None,
        backlog: bool = False,
        ahead: bytes | None = None,
        held: bool = False,
    ) -> Awaitable[list[Held]]:
        """See :meth:`iotd.sources.base.Intake.observe`.

        Args:
            held: it is held, and tried again: what of it is held still was counted before.
        """
        now = await self._intake.arrival()
        arrivals = await self._intake.arrivals(self._source)
        again = key is not None or (arrived is not None and ahead is None)
        if arrived is None:
            arrived = now if key is None else await self._intake.requests.arrival(f"{self._source} {key}", now)
        world = self._intake.world
        bounds = replace(
            world.bounds,
            future=world.bounds.future + max(0, now - arrived),
            past=None if backlog else world.bounds.past,
        )
        said = joined([one.columns() for one in messages])
        stamping = arrivals.stamping(messages, said, arrived, arrived + bounds.future, again=again)
        found = await translate(
            said,
            arrived,
            targets=world.targets,
            bounds=bounds,
            register=self._register,
            admit=self._admission(world.series_limit),
            stamp=stamping,
        )
        refused = [self._held(thing) for thing in stamping.things]
        if refused and ahead is not None:
            await self._intake.note({self._source: ahead})
        # what is held is on disk before the position that says so
        await self._intake.held.add(refused)
        positions = {} if position is None else {self._source: position}
        if not found.batches:
            written = self._intake.note(positions) if positions else None
        else:
            try:
                written = await self._intake.take(self._source, found.batches, positions, waits=True, room=self._room)
            except (
                UsageError
            ) as e:  # a reload takes its location away just now: it is understood anew when it comes again
                raise StateUnwritable(str(e)) from None
        return self._finish(written, found, refused, held=held)

    async def _register(self, series: Sequence[Series], originals: Mapping[Series, str]) -> Numbers:
        return await self._intake.register(series, self._source, originals)

    def _admission(self, limit: int) -> Callable[[Series], None]:
        new: set[Series] = set()
        allowance = self._intake.allowance(self._source)

        def admit(series: Series) -> None:
            if self._intake.number_of(series) is None and series not in new:
                if len(new) >= allowance:
                    raise Refused("too many series", f"{self._source} has made {limit} (intake.series_limit)")
                new.add(series)

        return admit

    async def _finish(
        self, written: Awaitable[object] | None, found: Readings, refused: list[Held], *, held: bool
    ) -> list[Held]:
        if written is not None:
            await written
        counts = self._counts
        counts.held += 0 if held else len(refused)
        counts.nothing += found.nothing
        counts.timeless += found.timeless
        counts.ambiguous += found.ambiguous
        return refused

    def _held(self, thing: Thing) -> Held:
        part, why = thing.part, thing.why
        return Held(
            self._source,
            part.form,
            part.topic,
            part.payload,
            thing.arrived,
            why.reason,
            why.detail,
            part.sensor,
            digest=part.digest,
            timed=thing.timed,
            known_by=part.known_by,
        )
