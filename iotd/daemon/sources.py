"""The sources as the daemon runs them: a task each, made of the configuration, and made anew by a reload."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from iotd.config import Settings
from iotd.config.sections.mqtt import source_of
from iotd.health.state import SilentSource, SourceState
from iotd.intake.intake import Intake
from iotd.intake.summaries import SummaryStore
from iotd.ops.supervise import Tasks
from iotd.sources.base import Context, Source, Telling
from iotd.sources.clock import Clock
from iotd.sources.local import LocalServer
from iotd.sources.registry import make_source
from iotd.sources.simulator.source import Simulator, source_name

Progress = Callable[[str, int, int], None]
"""Told (what, done, total)."""

_SILENT_S, _SILENT_INTERVALS = 8.0, 5
"""A simulator is silent when it has missed so many of its intervals, and so many seconds."""


_LOCAL, _IMPORT, _IMPORT_SHARE = "local", "import", 0.5
"""An import can wait: half of the log is left to those that can't."""
_AT_TIMES = (_LOCAL, _IMPORT)
"""They are there for programs of this machine, which may never come."""


class Sources:
    """All sources: a simulator per location where there are any, programs of this machine, HTTP, and those of
    ``[sources]``.

    Attributes:
        simulators: by location.
    """

    def __init__(
        self,
        settings: Settings,
        intake: Intake,
        clock: Clock,
        state: Path,
        summaries: SummaryStore,
        *,
        history: bool,
    ) -> None:
        """
        Args:
            history: a location that never had readings begins ``simulator.history_days`` ago rather than now.
        """
        self.simulators: dict[str, Simulator] = {}
        self._intake = intake
        self._clock = clock
        self._state = state
        self._summaries = summaries
        self._history = history
        self._others: list[Source] = []
        self._loaded: dict[str, asyncio.Event] = {}
        self._started: dict[str, float] = {}
        self._use(settings)

    @property
    def by_name(self) -> Mapping[str, Source]:
        """Those that run, but for the simulated sensors."""
        return {source.name: source for source in self._others}

    def start(self, tasks: Tasks, progress: Progress) -> None:
        """Starts all sources."""
        for source in self._others:
            self._started[source.name] = monotonic()
            tasks.start(_task(source.name), partial(self._run, source))
        for location in self.simulators:
            self.start_simulator(location, tasks, progress)

    async def _run(self, source: Source) -> None:
        await source.run(self._intake.of(source.name, _IMPORT_SHARE if source.name == _IMPORT else 1.0))

    def start_simulator(self, location: str, tasks: Tasks, progress: Progress) -> None:
        """Starts the simulated sensors of a location, if it has any; history first, where it is due."""
        if (simulator := self.simulators.get(location)) is None:
            return
        loaded = self._loaded.setdefault(location, asyncio.Event())

        async def feed() -> None:
            if self._history and not loaded.is_set():
                await simulator.history(
                    self._settings.simulator.history_days,
                    lambda done, total: progress(f"history {location}", done, total),
                )
            loaded.set()
            await simulator.run(self._intake.of(simulator.name))

        self._started[simulator.name] = monotonic()
        tasks.start(_task(simulator.name), feed)

    @property
    def states(self) -> list[SourceState]:
        """What each has said; of those that a program may use at any time only the ones that have spoken."""
        places: dict[str, str | None] = {source.name: None for source in self._others if source.name not in _AT_TIMES}
        places |= {simulator.name: location for location, simulator in self.simulators.items()}
        spoke, now = self._intake.spoke, monotonic()
        others = self.by_name
        names = (*places, *(name for name in spoke if name not in places))
        return [
            SourceState(
                name,
                places.get(name),
                *((said := self._intake.counts[name]).taken, said.held, said.nothing, said.timeless, said.ambiguous),
                quiet_s=round(now - spoke[name], 1) if name in spoke else None,
                **_told(others.get(name)),
            )
            for name in names
        ]

    @property
    def silent(self) -> list[SilentSource]:
        """Those that should have handed something over by now, and have not."""
        settings = self._settings
        expected: list[tuple[str, str | None, float]] = [
            (name, None, table.silent_after.total_seconds())
            for name, table in settings.sources.items()
            if table.silent_after is not None
        ]
        expected += [
            (source_of(name), None, broker.silent_after.total_seconds())
            for name, broker in settings.mqtt.items()
            if broker.silent_after is not None
        ]
        limit = max(_SILENT_S, _SILENT_INTERVALS * settings.sensors.interval.total_seconds())
        expected += [(simulator.name, location, limit) for location, simulator in self.simulators.items()]
        now = monotonic()
        found = []
        for name, location, limit in expected:
            if (started := self._started.get(name)) is None:
                continue  # it was stopped
            last = max(started, self._intake.spoke.get(name, 0.0))
            if now - last > limit:
                found.append(SilentSource(name, location, now - last))
        return found

    async def loaded(self) -> None:
        """Returns when the history of all locations was handed over."""
        for location in list(self.simulators):
            event = self._loaded.get(location)
            while event is not None and location in self.simulators and not event.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):  # it may be removed meanwhile
                        await event.wait()

    async def stop(self, tasks: Tasks) -> None:
        """No new readings; what was handed over may still come into the log."""
        await tasks.stop(*(_task(source.name) for source in self._others))
        for location in list(self.simulators):
            await self.stop_simulator(location, tasks)

    async def stop_simulator(self, location: str, tasks: Tasks) -> None:
        """Ends the simulated sensors of a location."""
        self._started.pop(source_name(location), None)
        await tasks.stop(_task(source_name(location)))

    async def replace(self, settings: Settings, tasks: Tasks, progress: Progress) -> None:
        """Goes by other settings: all sources are made anew, and go on behind what they had handed over.

        Raises:
            ConfigError: a source can't be made of them; then nothing was changed.
        """
        others = self._make(settings)
        await self.stop(tasks)
        for location in settings.served:
            if location not in self._settings.served:
                self._loaded.setdefault(location, asyncio.Event()).set()  # one that is added begins now
        await self._intake.settled()  # a position that is under way must be there before it is read
        self._others = others
        self._use_simulators(settings)
        self.start(tasks, progress)

    def check(self, settings: Settings) -> None:
        """Makes the sources of other settings, to see whether it can be done.

        Raises:
            ConfigError: it can't.
        """
        self._make(settings)

    def _use(self, settings: Settings) -> None:
        self._others = self._make(settings)
        self._use_simulators(settings)

    def _use_simulators(self, settings: Settings) -> None:
        self._settings = settings
        names = settings.served if settings.simulates else ()
        self.simulators = {name: self._simulator(settings, name) for name in names}

    def _simulator(self, settings: Settings, location: str) -> Simulator:
        return Simulator(settings, location, self._intake.of(source_name(location)), self._clock)

    async def _summarize(self, said: list[Any]) -> list[tuple[int, str]]:
        world = self._intake.world
        return await self._summaries.take(said, world.resolver, world.types)

    def _make(self, settings: Settings) -> list[Source]:
        context = Context(self._clock, settings.served, settings.known_types, self._state)
        made: list[Source] = [
            LocalServer(_LOCAL, self._state / "intake.sock"),
            LocalServer(_IMPORT, self._state / "import.sock", self._summarize),
        ]
        if settings.ingest.listen is not None:
            from iotd.sources.http.server import IngestServer  # noqa: PLC0415  # only where it listens

            made.append(IngestServer(settings.ingest))
        if settings.mqtt:
            from iotd.sources.mqtt.source import MqttSource  # noqa: PLC0415  # only where there is a broker

            made += [MqttSource(source_of(name), broker, context) for name, broker in settings.mqtt.items()]
        made += [make_source(name, table.kind, table.options, context) for name, table in settings.sources.items()]
        return made


def _told(source: object) -> dict[str, Any]:
    if not isinstance(source, Telling):
        return {}
    return {"messages": dict(source.counts), "troubles": list(source.troubles())}


def _task(name: str) -> str:
    return f"source {name}"
