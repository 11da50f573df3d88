"""What the parts of a running daemon share: the daemon makes it, reload changes it, the control socket reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import Histogram

from iotd import __version__
from iotd.config import Settings
from iotd.daemon.archiving import Archiving
from iotd.daemon.location import Location
from iotd.daemon.sources import Sources
from iotd.intake.catalogue import Catalogue
from iotd.intake.intake import Intake
from iotd.log.budget import Budget
from iotd.log.embedded import EmbeddedLog
from iotd.model.errors import UsageError
from iotd.ops.deadletters import DeadLetters
from iotd.ops.loggers import get_logger
from iotd.ops.looplag import LoopLag
from iotd.ops.supervise import Supervisor, Tasks
from iotd.shards.failovers import Failover
from iotd.shards.reader import ShardReader
from iotd.sources.clock import Clock
from iotd.web.state import DaemonState, ReloadState

log = get_logger(__name__)

Progress = Callable[[str, int, int], None]
"""Told (what, done, total) while history is loaded and archived."""


@dataclass(slots=True)
class Runtime:
    """The parts, and what there is to say of them (:class:`iotd.web.state.Watched`)."""

    settings: Settings
    state_dir: Path
    clock: Clock
    budget: Budget
    log: EmbeddedLog
    catalogue: Catalogue
    dead_letters: DeadLetters
    intake: Intake
    sources: Sources
    locations: dict[str, Location]
    archiving: Archiving
    progress: Progress
    loop_lag: LoopLag = field(default_factory=LoopLag)
    supervisor: Supervisor = field(default_factory=Supervisor)
    reload: ReloadState = field(default_factory=ReloadState)
    phase: str = "starting"
    page: Callable[[], str | None] = lambda: None
    """Where the HTTP server listens; None when it does not."""
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    tasks: Tasks = field(init=False)

    def make_location(self, name: str) -> Location:
        """A location as the settings have it now, not started yet."""
        return Location(
            name,
            self.settings,
            log=self.log,
            catalogue=self.catalogue,
            intake=self.intake,
            dead_letters=self.dead_letters,
            state_dir=self.state_dir,
        )

    async def drain(self, names: Sequence[str]) -> None:
        """Waits within the limit until all that was taken of these locations is durable and archived."""
        limit = self.settings.shutdown.drain.total_seconds()
        log.info("draining", locations=list(names), limit_s=limit)
        await self.intake.settled()
        try:
            async with asyncio.timeout(limit):
                for name in names:
                    await self.locations[name].durable()
                if self.tasks.runs("archiver"):
                    await self.archiving.finish()
        except TimeoutError:
            left = sum(self.locations[name].partition.depth("durable").batches for name in names)
            if left:
                effect = "they are in the log, and are written when it goes on"
                log.warning("not_drained", batches=left, effect=effect)

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
            memory_used=self.budget.used,
            memory_limit=self.budget.capacity,
            log_failing=self.log.outage.reason,
            damage=len(self.log.damage),
            reload=self.reload,
            page=self.page(),
        )

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
            raise UsageError(f"this daemon does not serve {name!r}")
        return self.locations[name]
