"""One location as the daemon runs it: its sensors and its shard, over a lane that outlives both."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from iotd.archive.watermarks import Watermarks
from iotd.config import Address, Settings
from iotd.config.topology import topology
from iotd.daemon.startup import tell_missing
from iotd.model.errors import ShardUnavailable
from iotd.model.roster import Roster
from iotd.ops.supervise import Tasks
from iotd.pipeline.lane import Lane
from iotd.pipeline.queue import Queue
from iotd.shards.reader import ShardReader
from iotd.shards.service import ShardService
from iotd.sources.clock import Clock
from iotd.sources.simulator import Progress, Simulator, ignore


@dataclass(frozen=True, slots=True)
class Common:
    """What all locations share.

    Attributes:
        history: a location that never had readings begins ``simulator.history_days`` ago rather than now.
    """

    queue: Queue
    marks: Watermarks
    state: Path
    clock: Clock
    history: bool


class Location:
    """The sensors and the shard of one location; either can be stopped and made anew while the other goes on.

    Attributes:
        loaded: its history, if any, was handed over.
        since_ms: from then on its sensors read at their present rate.
    """

    def __init__(self, name: str, settings: Settings, common: Common, progress: Progress = ignore) -> None:
        self.name = name
        self.loaded = asyncio.Event()
        self._settings = settings
        self._common = common
        self._progress = progress
        self.roster = self._make_roster()
        self.simulator = self._make_simulator()
        self.shard = self._make_shard()

    @property
    def lane(self) -> Lane:
        return self._common.queue.lanes[self.name]

    # ── running ──

    def start(self, tasks: Tasks) -> None:
        """Starts to write and to read the sensors."""
        tasks.start(self._shard_task, self.shard.run)
        tasks.start(self._source_task, self._feed)
        tasks.start(self._missing_task, lambda: tell_missing(self._settings.startup, self.name, self.shard))

    async def stop_source(self, tasks: Tasks) -> None:
        """No new readings; a batch that is being handed over may still come into the spool."""
        await tasks.stop(self._source_task)

    async def stop_shard(self, tasks: Tasks) -> None:
        """Stops writing; what is not confirmed stays in the spool."""
        await tasks.stop(self._shard_task, self._missing_task)

    async def rebuild(self, settings: Settings, tasks: Tasks, *, source: bool, shard: bool) -> None:
        """Goes by other settings: its sensors, its shard or both are made anew."""
        if source:
            await self.stop_source(tasks)
            await self.lane.committed()  # the next source goes on where this one has left off
        if shard:
            await self.stop_shard(tasks)
        self._settings = settings
        self.roster = self._make_roster()
        if shard:
            before, self.shard = self.shard, self._make_shard()
            self.shard.go_on_from(before)
            tasks.start(self._shard_task, self.shard.run)
        if source:
            self.simulator = self._make_simulator()
            tasks.start(self._source_task, self._feed)

    async def _feed(self) -> None:
        if self._common.history and not self.loaded.is_set():
            await self.simulator.history(self._settings.simulator.history_days, self._progress)
        self.loaded.set()
        await self.simulator.run()

    @property
    def _shard_task(self) -> str:
        return f"shard {self.name}"

    @property
    def _source_task(self) -> str:
        return f"source {self.name}"

    @property
    def _missing_task(self) -> str:
        return f"await {self.name}"

    # ── reading ──

    async def master(self) -> Address:
        """The node to read from now.

        Raises:
            ShardUnavailable: there is none within the time that a reply may take.
        """
        try:
            async with asyncio.timeout(self._settings.redis.response_timeout.total_seconds()):
                return (await self.shard.watcher.accepting()).address
        except TimeoutError:
            raise ShardUnavailable(f"{self.name}: no master at present") from None

    def reader(self) -> ShardReader:
        """A reader of this location's shard, for the caller to close."""
        return ShardReader(self.name, self._settings, self.master)

    # ── parts ──

    def _make_roster(self) -> Roster:
        sensors = self._settings.sensors
        return Roster.of(self.name, sensors.types, sensors.per_type, self._settings.known_types)

    def _make_simulator(self) -> Simulator:
        self.since_ms = self._common.clock.now()
        return Simulator(self._settings, self.roster, self._common.queue, self._common.clock)

    def _make_shard(self) -> ShardService:
        return ShardService(
            topology(self._settings).shard(self.name),
            self.roster,
            self._common.queue,
            self._settings,
            self._common.state,
            late=self._mark_dirty,
        )

    async def _mark_dirty(self, location: str, first: int, last: int) -> None:
        await asyncio.to_thread(self._common.marks.mark_dirty, location, first, last)
