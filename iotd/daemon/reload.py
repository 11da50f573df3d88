"""Reload: a changed configuration is taken over into the running daemon, part by part, without touching a reading."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from iotd.archive.sinks.base import Sink
from iotd.archive.sinks.choose import make_sink
from iotd.config import Settings
from iotd.config.diff import Change, Difference, Part, Snapshot, difference
from iotd.daemon.location import Location
from iotd.model.errors import IotdError
from iotd.web.state import ReloadState

if TYPE_CHECKING:
    from iotd.daemon.daemon import Daemon

log = structlog.get_logger(__name__)


class Reloader:
    """Compares the configuration with what the daemon goes by, and makes anew what differs.

    Attributes:
        state: what became of the last reload.
    """

    def __init__(self, daemon: Daemon, reread: Callable[[], Settings], relog: Callable[[Settings], None]) -> None:
        """
        Args:
            reread: gives the settings; raises ConfigError when they can't be used.
            relog: sets logging up anew.
        """
        self.state = ReloadState()
        self._daemon = daemon
        self._reread = reread
        self._relog = relog
        self._first = self._snapshot = Snapshot.of(daemon.settings)

    def plan(self) -> tuple[Snapshot, Difference]:
        """What a reload would do now; changes nothing; blocking.

        Raises:
            ConfigError: the configuration can't be used.
        """
        # the state directory is held until the end; what it would be is told by the difference to the first settings
        read = Snapshot.of(self._reread())
        waits = difference(self._first, read).restart
        after = replace(read, settings=read.settings.model_copy(update={"state_dir": self._daemon.common.state}))
        return after, difference(self._snapshot, after).waiting(waits)

    async def apply(self) -> list[Change]:
        """Takes over what differs, and returns it.

        Raises:
            IotdError: why it can't be taken over; then nothing was changed.
        """
        daemon = self._daemon
        after, differs = await asyncio.to_thread(self.plan)
        settings, parts = after.settings, differs.parts
        removed = [name for name in daemon.locations if name not in settings.served]
        added = [name for name in settings.served if name not in daemon.locations]
        rearchive = bool(Part.ARCHIVE in parts or removed or added)
        log.info("reloading", changes=[change.name for change in differs.changes], added=added, removed=removed)

        # what may fail comes first, and changes nothing
        sink = await self._prepare(settings, added) if rearchive else None

        daemon.settings, self._snapshot = settings, after
        if Part.LOGGING in parts:
            self._relog(settings)
        if Part.QUEUE in parts:
            await daemon.queue.reconfigure(settings)
        if removed:
            await daemon.drain([daemon.locations[name] for name in removed])
        if rearchive:
            await daemon.archive.stop(daemon.tasks)
        await self._remove(removed)
        for name, location in daemon.locations.items():
            shard = Part.SHARDS in parts or name in differs.moved
            await location.rebuild(settings, daemon.tasks, source=Part.SOURCES in parts, shard=shard)
        self._add(added)
        if rearchive:
            daemon.archive.use(settings, sink)
            daemon.archive.start(daemon.tasks)
        if Part.HTTP in parts:
            await daemon.reopen_web()

        restart = tuple(change.name for change in differs.restart)
        self.state = ReloadState(_now(), None, restart, self.state.count + 1, self.state.failures)
        if restart:
            log.warning("restart_needed", settings=list(restart))
        log.info("reloaded")
        return differs.changes

    def refuse(self, error: IotdError) -> None:
        """Notes that the configuration was refused."""
        self.state = replace(self.state, at=_now(), refused=str(error), failures=self.state.failures + 1)
        log.error("reload_refused", reason=str(error), effect="nothing was changed")

    async def _prepare(self, settings: Settings, added: list[str]) -> Sink | None:
        queue, opened = self._daemon.queue, []
        sink = await asyncio.to_thread(make_sink, settings)  # it may have to import a client
        try:
            if sink is not None:
                await asyncio.to_thread(self._daemon.marks.use, sink.identity)
            for name in added:
                await queue.open(name)
                opened.append(name)
        except IotdError:
            for name in opened:
                queue.park(name)
            if sink is not None:
                await sink.close()
            raise
        return sink

    async def _remove(self, names: list[str]) -> None:
        daemon = self._daemon
        for name in names:
            location = daemon.locations[name]
            await location.stop_shard(daemon.tasks)
            left = location.lane.depth().batches
            daemon.queue.park(name)
            location.loaded.set()  # nobody need wait for it any more
            del daemon.locations[name]
            log.info("location_removed", shard=name, batches_left_in_spool=left)

    def _add(self, names: list[str]) -> None:
        daemon = self._daemon
        for name in names:
            location = daemon.locations[name] = Location(name, daemon.settings, daemon.common)
            location.start(daemon.tasks)
            log.info("location_added", shard=name)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
