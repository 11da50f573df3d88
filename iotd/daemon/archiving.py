"""The archive as the daemon runs it: a store and its archiver, either of which a reload may make anew."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

from iotd.archive.archiver import Archiver, ArchiveStatus
from iotd.archive.state import ArchiveState
from iotd.config import Settings
from iotd.daemon.location import Location
from iotd.intake.catalogue import Catalogue
from iotd.log.base import Log
from iotd.log.budget import Budget
from iotd.log.positions import Position
from iotd.model.errors import IotdError
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.ops.loggers import get_logger
from iotd.ops.supervise import Tasks
from iotd.stores.base import Progress, Store, TakesOver

log = get_logger(__name__)


def required_positions(settings: Settings) -> frozenset[Position]:
    """The positions that truncation of the log waits for: a reading stays until the archive provably has it, or, where
    there is none, until master and replica have it on disk."""
    return frozenset({"durable"} if settings.archive.store == "none" else {"durable", "archived"})


class Archiving:
    """Archives the locations that there are, into nothing until :meth:`use`; what is counted goes on from one
    archiver to the next.

    Attributes:
        archiver: the one at work.
    """

    def __init__(
        self,
        settings: Settings,
        locations: Mapping[str, Location],
        *,
        marks: ArchiveState,
        durable: Log,
        budget: Budget,
        catalogue: Catalogue,
        state_dir: Path,
        progress: Progress,
    ) -> None:
        """
        Args:
            progress: told how far an archive in an older form is taken over.
        """
        self._locations = locations
        self._marks = marks
        self._log = durable
        self._progress = progress
        self._budget = budget
        self._catalogue = catalogue
        self._state_dir = state_dir
        self._store: Store | None = None
        self._before = ArchiveStatus(None)
        self.archiver = self._make_archiver(settings)

    async def know(self, store: Store) -> None:
        """Makes a store known, before it is used: what becomes dirty from now on is noted for it too.

        Raises:
            IotdError: that can't be written down now.
        """
        await asyncio.to_thread(self._marks.use, store.identity)

    def rename(self, location: str, name: str, again: Sequence[tuple[Series, int, int]]) -> None:
        """Gives what is known of a location to another name; (series, first, last) ms are archived again. Blocking.

        Raises:
            ArchiveUnavailable: the state can't be written.
        """
        self._marks.rename(location, name)
        self._marks.note_dirty(again)

    def use(self, settings: Settings, store: Store | None) -> None:
        """Archives into this store (None: nowhere), from the locations that there are now, when it is started."""
        self._before = self.status
        self._store = store
        self.archiver = self._make_archiver(settings)

    def start(self, tasks: Tasks) -> None:
        """Starts to archive, from the watermarks on."""
        tasks.start("archiver", self.archiver.run)
        if isinstance(store := cast(object, self._store), TakesOver):
            tasks.start("archive take-over", partial(store.take_over, self._progress))

    async def finish(self, locations: Collection[str]) -> None:
        """Archives what is there now of these locations; what keeps it from that is logged."""
        effect = "it is in the log, and is archived after the next start"
        try:
            await self.archiver.cycle(locations)
        except IotdError as e:
            log.warning("not_archived", reason=str(e), effect=effect)
        except asyncio.CancelledError:
            log.warning("not_archived", reason="the time for it was over", effect=effect)
            raise

    async def stop(self, tasks: Tasks) -> None:
        """Stops archiving, and closes the store."""
        await tasks.stop("archiver", "archive take-over")
        await self.close()

    async def close(self) -> None:
        """Closes the store; a second call does nothing."""
        if self._store is not None:
            store, self._store = self._store, None
            await store.close()

    async def series(self, what: Selection, first: int, last: int) -> list[Series]:
        """The series of which the archive holds readings in a range (ms, both ends included); none without an archive.

        Raises:
            ArchiveError: it can't answer.
        """
        return [] if self._store is None else list(await self._store.begins(what, first, last))

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
            store=self._store,
            state=self._marks,
            budget=self._budget,
            log=self._log,
            log_limit=settings.log.limit,
            catalogue=self._catalogue,
            services=self._locations,
            state_dir=self._state_dir,
        )
