"""Reload: a changed configuration is taken over into the running daemon, part by part, without touching a reading."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

from iotd.config import Settings
from iotd.config.diff import Change, Difference, Part, Snapshot, difference
from iotd.config.topology import topology
from iotd.daemon.archiving import required_positions
from iotd.daemon.runtime import Runtime
from iotd.daemon.sensors import forget_unsimulated
from iotd.health.state import ReloadState
from iotd.intake.world import world_of
from iotd.model.errors import IotdError
from iotd.ops.loggers import get_logger
from iotd.shards.failovers import note_places
from iotd.stores.base import Store
from iotd.stores.registry import open_store

log = get_logger(__name__)


class Reloader:
    """Compares the configuration with what the daemon goes by, and makes anew what differs."""

    def __init__(
        self,
        runtime: Runtime,
        reread: Callable[[], Settings],
        relog: Callable[[Settings], None],
        reopen_web: Callable[[], Awaitable[None]],
    ) -> None:
        """
        Args:
            reread: gives the settings; raises ConfigError when they can't be used.
            relog: sets logging up anew.
            reopen_web: listens where the settings say now.
        """
        self._runtime = runtime
        self._reread = reread
        self._relog = relog
        self._reopen_web = reopen_web
        self._first = self._snapshot = Snapshot.of(runtime.settings)

    def plan(self) -> tuple[Snapshot, Difference]:
        """What a reload would do now; changes nothing; blocking.

        Raises:
            ConfigError: the configuration can't be used.
        """
        # the state directory is held until the end; what it would be is told by the difference to the first settings
        read = Snapshot.of(self._reread())
        waits = difference(self._first, read).restart
        here = read.settings.model_copy(update={"state_dir": self._runtime.state_dir})
        after = replace(read, settings=here.knowing())
        return after, difference(self._snapshot, after).waiting(waits)

    async def apply(self) -> list[Change]:
        """Takes over what differs, and returns it.

        Raises:
            IotdError: why it can't be taken over; then nothing was changed.
        """
        runtime = self._runtime
        after, differs = await asyncio.to_thread(self.plan)
        settings, parts = after.settings, differs.parts
        removed = [name for name in runtime.locations if name not in settings.served]
        added = [name for name in settings.served if name not in runtime.locations]
        rearchive = bool(Part.ARCHIVE in parts or removed or added)
        resource = bool(parts & {Part.SOURCES, Part.INGEST} or removed or added)
        log.info("reloading", changes=[change.name for change in differs.changes], added=added, removed=removed)

        # what may fail comes first, and changes nothing
        world = world_of(settings, runtime.assignments.all)
        if resource:
            runtime.sources.check(settings)
        await asyncio.to_thread(note_places, settings, topology(settings).shards)
        store = await self._open_store(settings) if rearchive else None

        runtime.settings, self._snapshot = settings, after
        runtime.intake.use(world)
        if Part.LOGGING in parts:
            self._relog(settings)
        if Part.INTAKE in parts or rearchive:
            self._limit(settings)
        if resource:
            await runtime.stop_sources(removed)
        if rearchive:
            await runtime.archiving.stop(runtime.tasks)
        await self._change_locations(settings, differs, removed, added)
        if rearchive:
            runtime.archiving.use(settings, store)
            runtime.archiving.start(runtime.tasks)
        if resource:
            await runtime.sources.replace(settings, runtime.tasks, runtime.progress)
            forget_unsimulated(runtime)
        if Part.HTTP in parts:
            await self._reopen_web()

        restart = tuple(change.name for change in differs.restart)
        before = runtime.reload
        runtime.reload = ReloadState(_now(), None, restart, before.count + 1, before.failures)
        if restart:
            log.warning("restart_needed", settings=list(restart))
        log.info("reloaded")
        return differs.changes

    async def _change_locations(
        self, settings: Settings, differs: Difference, removed: list[str], added: list[str]
    ) -> None:
        runtime = self._runtime
        for name in removed:
            await runtime.locations.pop(name).stop(runtime.tasks)
            left = runtime.log.partition(name).depth("durable").batches
            log.info("location_removed", shard=name, batches_left_in_log=left)
        for name, location in runtime.locations.items():
            location.use(settings)
            if Part.SHARDS in differs.parts or name in differs.moved:
                await location.replace_shard(settings, runtime.tasks)
        for name in added:
            location = runtime.locations[name] = runtime.make_location(name)
            location.start(runtime.tasks)
            log.info("location_added", shard=name)

    def refuse(self, error: IotdError) -> None:
        """Notes that the configuration was refused."""
        before = self._runtime.reload
        self._runtime.reload = replace(before, at=_now(), refused=str(error), failures=before.failures + 1)
        log.error("reload_refused", reason=str(error), effect="nothing was changed")

    def _limit(self, settings: Settings) -> None:
        runtime = self._runtime
        runtime.budget.resize(settings.log.memory)
        runtime.log.reconfigure(
            limit=settings.log.limit,
            required=required_positions(settings),
            keep_s=settings.log.keep.total_seconds(),
        )
        accumulator = runtime.intake.accumulator
        accumulator.linger_s = settings.intake.linger.total_seconds()
        accumulator.answer_s = settings.intake.answer_within.total_seconds()

    async def _open_store(self, settings: Settings) -> Store | None:
        store = await asyncio.to_thread(open_store, settings)  # it may have to import a client
        if store is not None:
            try:
                await self._runtime.archiving.know(store)
            except IotdError:
                await store.close()
                raise
        return store


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
