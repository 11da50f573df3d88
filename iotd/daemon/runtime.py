"""What the parts of a running daemon share: the daemon makes it, reload changes it, the control socket reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import Histogram

from iotd import __version__
from iotd.config import Settings
from iotd.daemon.archiving import Archiving
from iotd.daemon.location import Location
from iotd.daemon.sources import Sources
from iotd.daemon.system import system_of
from iotd.health.clock import CheckedClock
from iotd.health.conditions import Conditions
from iotd.health.judge import judge
from iotd.health.silence import Silence, SilentSensor
from iotd.health.state import DaemonState, ReloadState
from iotd.intake.assignments import Assignments
from iotd.intake.catalogue import Catalogue
from iotd.intake.held import HeldStore
from iotd.intake.intake import Intake
from iotd.intake.summaries import SummaryStore
from iotd.log.budget import Budget
from iotd.log.embedded import EmbeddedLog
from iotd.model.calibration import Calibrations
from iotd.model.errors import UsageError
from iotd.model.held import Holdings
from iotd.ops.lately import Lately
from iotd.ops.loggers import get_logger
from iotd.ops.looplag import LoopLag
from iotd.ops.supervise import Supervisor, Tasks
from iotd.shards.failovers import Failover
from iotd.shards.look import ShardLook
from iotd.shards.reader import ShardReader
from iotd.web.server import WebServer

log = get_logger(__name__)

_LATELY_S = 3600.0

Progress = Callable[[str, int, int], None]
"""Told (what, done, total) while history is loaded and archived."""


@dataclass(slots=True)
class Runtime:
    """The parts, and what there is to say of them (:class:`iotd.health.state.Watched`)."""

    settings: Settings
    state_dir: Path
    clock: CheckedClock
    conditions: Conditions
    budget: Budget
    log: EmbeddedLog
    catalogue: Catalogue
    held: HeldStore
    summaries: SummaryStore
    assignments: Assignments
    silence: Silence
    intake: Intake
    sources: Sources
    locations: dict[str, Location]
    archiving: Archiving
    progress: Progress
    loop_lag: LoopLag = field(default_factory=LoopLag)
    supervisor: Supervisor = field(default_factory=Supervisor)
    reload: ReloadState = field(default_factory=ReloadState)
    holdings: Mapping[str, Holdings] = field(default_factory=dict)
    """What is held of each source, as of the last second."""
    silent: list[SilentSensor] = field(default_factory=list)
    """Sensors that say nothing, as of the last seconds."""
    phase: str = "starting"
    web: WebServer | None = None
    """None until it is made."""
    replaced: Lately = field(default_factory=lambda: Lately(_LATELY_S))
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    tasks: Tasks = field(init=False)

    @property
    def system(self) -> str:
        """The id that all shards of this system carry: of the log that it began with, or of the system it adopted."""
        return system_of(self.log)

    def make_location(self, name: str) -> Location:
        """A location as the settings have it now, not started yet."""
        return Location(
            name,
            self.settings,
            system=lambda: self.system,
            log=self.log,
            catalogue=self.catalogue,
            intake=self.intake,
            state_dir=self.state_dir,
            heard=self.clock.heard,
        )

    async def stop_sources(self, leaving: Sequence[str]) -> None:
        """Stops all sources, once these locations are drained; the others' go on until then.

        A drain may take its whole limit, as when the shard is away: no other location's readings wait for that.
        """
        for name in leaving:
            await self.sources.stop_simulator(name, self.tasks)
        drained = await self.drain(leaving) if leaving else False
        await self.sources.stop(self.tasks)
        if drained:
            await self.drain(leaving)  # of what these have handed over meanwhile

    async def drain(self, names: Sequence[str]) -> bool:
        """Waits within the limit until all that was taken of these locations is durable and archived.

        Returns:
            whether all is; the log keeps what is not.
        """
        limit = self.settings.shutdown.drain.total_seconds()
        log.info("draining", locations=list(names), limit_s=limit)
        await self.intake.settled()
        try:
            async with asyncio.timeout(limit):
                for name in names:
                    await self.locations[name].durable()
                if self.tasks.runs("archiver"):
                    await self.archiving.finish(names)
            return True
        except TimeoutError:
            left = sum(self.locations[name].partition.depth("durable").batches for name in names)
            if left:
                effect = "they are in the log, and are written when it goes on"
                log.warning("not_drained", batches=left, effect=effect)
            return False

    # ── what there is to say ──

    def state(self) -> DaemonState:
        """The daemon now."""
        return DaemonState(
            version=__version__,
            started=self.started,
            phase=self.phase,
            shards=[location.state() for location in self.locations.values()],
            archive=self.archiving.status,
            restarts=dict(self.supervisor.restarts),
            failing=dict(self.supervisor.failing),
            held=self.holdings,
            held_limit=self.settings.intake.held_limit,
            sources=self.sources.states,
            silent_sources=self.sources.silent,
            sensors={name: self.catalogue.sensors(name) for name in self.locations},
            silent_sensors=self.silent,
            held_up_s=self.loop_lag.lately,
            memory_used=self.budget.used,
            memory_limit=self.budget.capacity,
            log_failing=self.log.failing,
            log_files_replaced=self.replaced.of(self.log.replaced),
            damage=self.log.damage,
            clock=self.clock.state,
            reload=self.reload,
            page=self.web.url if self.web else None,
            page_failing=self.web.failing if self.web else None,
            conditions=self.conditions.present,
            past=self.conditions.past,
        )

    def judge(self) -> None:
        """Finds the conditions that there are now."""
        self.conditions.update(judge(self.state(), self.settings))

    def enter(self, phase: str) -> None:
        """The daemon is in another phase from now on."""
        self.phase = phase
        self.judge()

    def latencies(self) -> dict[str, Histogram]:
        """Seconds from sending a batch to its last reply, by location."""
        return {name: location.shard.writer.stats.latency for name, location in self.locations.items()}

    def newest(self) -> dict[str, int]:
        """Time (ms) of the newest reading taken, by location; one that has none is not in it."""
        found = {name: self.intake.newest(name) for name in self.locations}
        return {name: newest for name, newest in found.items() if newest is not None}

    def failovers(self) -> dict[str, Sequence[Failover]]:
        """What is remembered of each location's failovers, oldest first."""
        return {name: location.shard.metadata.failovers for name, location in self.locations.items()}

    def now_ms(self) -> int:
        """The time by the clock that sources go by."""
        return self.clock.now()

    def names(self) -> dict[str, str]:
        """What people call sensors, by their ids."""
        return {sensor: one.name for sensor, one in self.assignments.all.items() if one.name}

    def calibrations(self) -> Calibrations:
        """How series are calibrated."""
        return self.assignments.calibrations

    def look(self, location: str) -> ShardLook:
        """Looks into a location's shard, for the caller to close.

        Raises:
            UsageError: this daemon does not serve it.
        """
        return self.location(location).look()

    def reader(self, location: str) -> ShardReader:
        """A reader of a location's shard, for the caller to close.

        Raises:
            UsageError: this daemon does not serve it.
        """
        return self.location(location).reader()

    def location(self, name: str) -> Location:
        """A location that this daemon serves.

        Raises:
            UsageError: it does not.
        """
        if name not in self.locations:
            raise UsageError(f"this daemon does not serve {name!r}; it serves {', '.join(self.locations)}")
        return self.locations[name]
