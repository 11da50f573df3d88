"""The core in this process: intake, log and shard services as the daemon has them, on files of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from iotd.config import Settings
from iotd.config.topology import Topology
from iotd.intake.accumulator import Accumulator
from iotd.intake.catalogue import Catalogue
from iotd.intake.held import HeldStore
from iotd.intake.intake import Intake
from iotd.intake.requests import Requests
from iotd.intake.world import world_of
from iotd.log.budget import Budget
from iotd.log.embedded import EmbeddedLog
from iotd.model.series import Series
from iotd.shards.service import ShardService
from iotd.sources.clock import Clock
from iotd.sources.simulator.signal import sensors
from tests.clocks import SystemClock

SYSTEM = "benchmark"
"""Whose the shards are."""


def simulated(settings: Settings, location: str) -> list[Series]:
    """The simulated sensors of a location."""
    return sensors(location, settings.sensors.types, settings.sensors.per_type, settings.known_types)


class Core:
    """From a source's hand to the masters. Nothing archives: the log truncates what is durable."""

    def __init__(self, settings: Settings, folder: Path, locations: Sequence[str], clock: Clock | None = None) -> None:
        self._settings = settings
        self._folder = folder
        self.catalogue = Catalogue(folder / "catalogue.sqlite")
        self.log = EmbeddedLog(
            folder / "log",
            self.catalogue,
            budget=Budget(settings.log.memory),
            limit=settings.log.limit,
            required=["durable"],
            segment_size=settings.log.segment,
        )
        self.intake = Intake(
            self.log,
            self.catalogue,
            HeldStore(folder / "held.sqlite", lambda: settings.intake.held_limit),
            Requests(folder / "requests.sqlite"),
            accumulator=Accumulator(
                self.log,
                linger_s=settings.intake.linger.total_seconds(),
                answer_s=settings.intake.answer_within.total_seconds(),
            ),
            world=world_of(settings, {}),
            now_ms=(clock or SystemClock()).now,
        )
        self.intake.locations.update(locations)

    @asynccontextmanager
    async def writers(self, topology: Topology) -> AsyncIterator[None]:
        """The shard services run."""
        services = [
            ShardService(
                shard,
                self.log,
                self.catalogue,
                system=SYSTEM,
                refuse=partial(self.intake.refuse, f"shard {shard.location}"),
                settings=self._settings,
                state=self._folder,
            )
            for shard in topology.shards
        ]
        tasks = [asyncio.create_task(service.run()) for service in services]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def acknowledged(self) -> None:
        """Returns when the masters have answered for all that is in the log."""
        await self._reached("acknowledged")

    async def durable(self) -> None:
        """Returns when all that is in the log is on the disks of masters and replicas."""
        await self._reached("durable")

    async def _reached(self, position: str) -> None:
        await self.intake.settled()
        for location in self.intake.locations:
            partition = self.log.partition(location)
            await partition.positions.wait(position, partition.end - 1)

    async def close(self) -> None:
        """Closes log and catalogue."""
        await self.log.close()
        self.catalogue.close()
