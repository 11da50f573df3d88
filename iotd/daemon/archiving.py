"""The archive as the daemon runs it: a sink and its archiver, either of which a reload may make anew."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import structlog

from iotd.archive.archiver import Archiver, ArchiveStatus
from iotd.archive.sinks.base import Sink
from iotd.config import Settings
from iotd.daemon.location import Common, Location
from iotd.model.errors import IotdError
from iotd.ops.supervise import Tasks

log = structlog.get_logger(__name__)


class Archiving:
    """Archives the locations that there are, into nothing until :meth:`use`; what is counted goes on from one
    archiver to the next.

    Attributes:
        archiver: the one at work.
    """

    def __init__(self, settings: Settings, locations: Mapping[str, Location], common: Common) -> None:
        self._locations = locations
        self._common = common
        self._sink: Sink | None = None
        self._before = ArchiveStatus(None)
        self.archiver = self._make_archiver(settings)

    def use(self, settings: Settings, sink: Sink | None) -> None:
        """Archives into this sink (None: nowhere), from the locations that there are now, when it is started."""
        self._before = self.status
        self._sink = sink
        self.archiver = self._make_archiver(settings)

    def start(self, tasks: Tasks) -> None:
        """Starts to archive, from the watermarks on."""
        tasks.start("archiver", self.archiver.run)

    async def finish(self) -> None:
        """Archives what is there now; what keeps it from that is logged."""
        effect = "the shards hold what it lacks, and it is archived after the next start"
        try:
            await self.archiver.cycle()
        except IotdError as e:
            log.warning("not_archived", reason=str(e), effect=effect)
        except asyncio.CancelledError:
            log.warning("not_archived", reason="the time for it was over", effect=effect)
            raise

    async def stop(self, tasks: Tasks) -> None:
        """Stops archiving, and closes the sink."""
        await tasks.stop("archiver")
        await self.close()

    async def close(self) -> None:
        """Closes the sink; a second call does nothing."""
        if self._sink is not None:
            sink, self._sink = self._sink, None
            await sink.close()

    @property
    def status(self) -> ArchiveStatus:
        """How the archive is, and what was counted since the start of the daemon."""
        now, before = self.archiver.status, self._before
        return replace(
            now,
            archived=now.archived + before.archived,
            rejected=now.rejected + before.rejected,
            retries=now.retries + before.retries,
        )

    def _make_archiver(self, settings: Settings) -> Archiver:
        return Archiver(
            settings,
            readers={name: location.reader() for name, location in self._locations.items()},
            sink=self._sink,
            watermarks=self._common.marks,
            budget=self._common.queue.budget,
            keeper=self._common.queue,
            state=self._common.state,
        )
