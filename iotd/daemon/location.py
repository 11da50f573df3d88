"""One location as the daemon runs it: its partition of the log, and the shard that the partition is written to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

from iotd.config import Address, Settings
from iotd.config.topology import topology
from iotd.daemon.startup import tell_missing
from iotd.intake.catalogue import Catalogue
from iotd.intake.intake import Intake
from iotd.log.base import Log
from iotd.model.batch import Batch, Times, Values
from iotd.model.errors import ShardUnavailable
from iotd.model.series import Series
from iotd.ops.supervise import Tasks
from iotd.shards.look import ShardLook
from iotd.shards.reader import ShardReader
from iotd.shards.service import ShardService, ShardState


class Location:
    """The partition outlives the shard, which can be stopped and made anew while readings come in."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        *,
        system: Callable[[], str],
        log: Log,
        catalogue: Catalogue,
        intake: Intake,
        state_dir: Path,
        heard: Callable[[str, float], None],
    ) -> None:
        self.name = name
        self.partition = log.partition(name)
        self._settings = settings
        self._system = system
        self._log = log
        self._catalogue = catalogue
        self._intake = intake
        self._state_dir = state_dir
        self._heard = heard
        self.shard = self._make_shard()

    # ── running ──

    def start(self, tasks: Tasks) -> None:
        """Takes readings, and starts to write them."""
        self.partition.positions.begin()
        self._intake.locations.add(self.name)
        tasks.start(self._shard_task, self.shard.run)
        tasks.start(self._missing_task, lambda: tell_missing(self._settings.startup, self.name, self.shard))

    async def stop(self, tasks: Tasks) -> None:
        """Takes no more readings and stops writing; what is not durable stays in the log."""
        self._intake.locations.discard(self.name)
        await tasks.stop(self._shard_task, self._missing_task)

    async def replace_shard(self, settings: Settings, tasks: Tasks) -> None:
        """Writes on by other settings, over new connections."""
        await tasks.stop(self._shard_task)
        self.use(settings)
        before, self.shard = self.shard, self._make_shard()
        self.shard.go_on_from(before)
        tasks.start(self._shard_task, self.shard.run)

    def use(self, settings: Settings) -> None:
        """Goes by other settings, as far as they do not concern the shard."""
        self._settings = settings

    async def durable(self) -> None:
        """Returns when all that is in the log now is on the disks of master and replica."""
        if (end := self.partition.end) > self.partition.positions.durable:
            await self.partition.positions.wait("durable", end - 1)

    async def acknowledged(self) -> None:
        """Returns when the master has answered for all that is in the log now."""
        if (end := self.partition.end) > self.partition.positions.acknowledged:
            await self.partition.positions.wait("acknowledged", end - 1)

    @property
    def _shard_task(self) -> str:
        return f"shard {self.name}"

    @property
    def _missing_task(self) -> str:
        return f"await {self.name}"

    # ── mending, for the archiver ──

    @property
    def lost_series(self) -> set[int]:
        """See :attr:`ShardService.lost_series`."""
        return self.shard.lost_series

    async def write_again(self, batch: Batch, upto: int) -> None:
        """See :meth:`ShardService.write_again`; of the shard as it is now: a reload may have replaced it."""
        await self.shard.write_again(batch, upto)

    async def restore(self, series: Series, times: Times, values: Values) -> int:
        """See :meth:`ShardService.restore`."""
        return await self.shard.restore(series, times, values)

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

    def look(self) -> ShardLook:
        """Looks into this location's shard, for the caller to close."""
        return ShardLook(self.name, self._settings, self.master)

    def state(self) -> ShardState:
        """What there is to say of the location now."""
        return self.shard.state(taken=self._intake.readings[self.name], held=self._intake.refused[self.name])

    def _make_shard(self) -> ShardService:
        return ShardService(
            topology(self._settings).shard(self.name),
            self._log,
            self._catalogue,
            system=self._system(),
            refuse=partial(self._intake.refuse, f"shard {self.name}"),
            settings=self._settings,
            state=self._state_dir,
            heard=self._heard,
        )
