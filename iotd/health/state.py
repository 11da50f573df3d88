"""What a running daemon says of itself: for `iotd status`, the metrics, the health and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from prometheus_client import Histogram

from iotd.archive.archiver import ArchiveStatus
from iotd.config import Settings
from iotd.health.clock import ClockState
from iotd.health.conditions import Condition
from iotd.health.silence import Catalogue, SilentSensor
from iotd.log.base import Damage
from iotd.model.calibration import Calibrations
from iotd.model.held import Holdings
from iotd.ops.looplag import LoopLag
from iotd.shards.failovers import Failover
from iotd.shards.look import ShardLook
from iotd.shards.service import ShardState
from iotd.sources.base import Trouble


@dataclass(frozen=True, slots=True)
class ReloadState:
    """What became of the last reload.

    Attributes:
        at: when, ISO 8601 UTC; None when there was none.
        refused: why the configuration was refused then, None when it was taken.
        restart: settings that differ from the file and wait for a restart.
        count: reloads that were taken since the start.
        failures: reloads that were refused since then.
    """

    at: str | None = None
    refused: str | None = None
    restart: tuple[str, ...] = ()
    count: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class SilentSource:
    """A source that should have handed something over, and has not for so many seconds."""

    name: str
    location: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class SourceState:
    """What a source has said since the daemon's start.

    Attributes:
        location: of a source that has only one, as a simulator.
        taken: readings that are in the log.
        held: readings or messages that can't be taken as they came.
        nothing: messages that said that there is no value.
        timeless: readings, of those taken, that got the time of their arrival.
        ambiguous: readings, of those taken, with a local time that there was twice, and that got the first.
        quiet_s: seconds since it last said something; None: it has not yet.
        messages: of a source that counts them, how many, by what they were.
        troubles: what it has met.
    """

    name: str
    location: str | None
    taken: int
    held: int
    nothing: int
    timeless: int
    ambiguous: int
    quiet_s: float | None
    messages: Mapping[str, int] = field(default_factory=dict)
    troubles: Sequence[Trouble] = ()


@dataclass(frozen=True, slots=True)
class DaemonState:
    """The daemon now.

    Attributes:
        phase: ``starting``, ``running``, ``draining``, ``stopped``.
        restarts: by task, how often it died and was started again.
        failing: by task, why those died that have not run steadily since.
        held: what is held of each source, and can't be taken as it is.
        held_limit: bytes that may be held of each.
        sources: what each source has said; those that may speak, and have not, are among them.
        silent_sources: sources that hand nothing over, though they should.
        sensors: how many are known, by location.
        silent_sensors: sensors that say nothing for longer than they used to.
        held_up_s: the longest that the event loop was held up within the last two minutes (0: under a second).
        memory_used: bytes of readings in memory, of ``memory_limit``.
        log_failing: why nothing can be written into the log at present.
        log_files_replaced: files of the log that were removed or replaced, and written anew, within the last hour.
        damage: places of the log that could not be read when it was opened, or since.
        page: where the HTTP server listens, None when it does not.
        page_failing: why it can't, though it should.
        conditions: what a person should know of, errors first, as it was found within the last second.
        past: conditions that are over, latest first.
    """

    version: str
    started: str
    phase: str
    shards: list[ShardState]
    archive: ArchiveStatus
    restarts: Mapping[str, int]
    failing: Mapping[str, str]
    held: Mapping[str, Holdings]
    held_limit: int
    sources: list[SourceState]
    silent_sources: list[SilentSource]
    sensors: Mapping[str, int]
    silent_sensors: list[SilentSensor]
    held_up_s: float
    memory_used: int
    memory_limit: int
    log_failing: str | None
    log_files_replaced: int
    damage: Sequence[Damage]
    clock: ClockState
    reload: ReloadState
    page: str | None
    page_failing: str | None
    conditions: list[Condition]
    past: list[Condition]

    @property
    def errors(self) -> list[Condition]:
        """The conditions because of which status, probes and page are red."""
        return [condition for condition in self.conditions if condition.severity == "error"]


class Watched(Protocol):
    """A daemon as those see it who show it."""

    settings: Settings
    loop_lag: LoopLag

    @property
    def catalogue(self) -> Catalogue:
        """The series that were seen."""

    def names(self) -> Mapping[str, str]:
        """What people call sensors, by their ids."""

    def calibrations(self) -> Calibrations:
        """How series are calibrated."""

    def state(self) -> DaemonState:
        """The daemon now."""

    def latencies(self) -> dict[str, Histogram]:
        """Seconds from sending a batch to its last reply, by location."""

    def newest(self) -> dict[str, int]:
        """Time (ms) of the newest reading taken, by location; one that has none is not in it."""

    def failovers(self) -> dict[str, Sequence[Failover]]:
        """What is remembered of each location's failovers, oldest first."""

    def now_ms(self) -> int:
        """The time by the clock that sources go by."""

    def look(self, location: str) -> ShardLook:
        """Looks into a location's shard, for the caller to close.

        Raises:
            UsageError: this daemon does not serve it.
        """
