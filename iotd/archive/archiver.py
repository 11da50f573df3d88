"""The archiver: every location's archive, and what there is to say of them together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from iotd.archive.base import Catalogue, Log, Shard
from iotd.archive.compare import Comparison
from iotd.archive.delivery import Delivery
from iotd.archive.pass_ import Pass
from iotd.archive.rejects import Rejects, Retried, dead_letters
from iotd.archive.retention import Loss
from iotd.archive.scheduler import LocationArchive
from iotd.archive.state import ArchiveState
from iotd.archive.vanished import Vanished
from iotd.config import Settings
from iotd.log.budget import Budget
from iotd.model.errors import UsageError
from iotd.ops.tasks import together
from iotd.shards.reader import ShardReader
from iotd.stores.base import Store

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LocationStatus:
    """How far one location is: of its :class:`LocationArchive`, its :class:`Comparison` and its :class:`Retention`.

    Attributes:
        unverified: why shard and archive can't be compared at present.
        waiting: readings of the log that are not archived yet, while passes fail.
        waiting_s: seconds since readings of the log were last archived, while some are not (0 when all are).
        left_ms: time until the shard drops the oldest of them; what the log has of them is archived all the same.
        vanished: what the archive had when it was last verified, and neither it nor the shard has any more.
        lost: what retention took before the archive had it, and no log has, ever.
        proven: readings of the log that were found in the archive since the daemon's start.
        repaired_in_shard: of those, how many the shard had lost or altered, and was given again.
        restored: readings that only the archive had, written back into the shard since then.
    """

    watermark: int | None
    trouble: str | None
    compared: int | None
    gaps: int | None
    repaired: int | None
    unverified: str | None
    waiting: int
    waiting_s: float
    left_ms: int | None
    lost: list[Loss]
    vanished: list[Vanished] = field(default_factory=list)
    proven: int = 0
    repaired_in_shard: int = 0
    restored: int = 0


@dataclass(frozen=True, slots=True)
class ArchiveStatus:
    """How the archive is.

    Attributes:
        store: which one it is, None when there is none.
        archived: points acknowledged since the daemon's start.
        rejected: points put into the dead-letter file since then.
        refused_points: those that are in it now.
        trouble: why the store takes nothing at present.
        retries: writes since then that were not taken, and were or will be tried again.
    """

    store: str | None
    archived: int = 0
    rejected: int = 0
    refused_points: int = 0
    trouble: str | None = None
    retries: int = 0
    locations: dict[str, LocationStatus] = field(default_factory=dict)


class Archiver:
    """Runs a :class:`LocationArchive` per location; they share the store, its slots and the memory."""

    def __init__(
        self,
        settings: Settings,
        *,
        readers: Mapping[str, ShardReader],
        store: Store | None,
        state: ArchiveState,
        budget: Budget,
        log: Log,
        log_limit: int,
        catalogue: Catalogue,
        services: Mapping[str, Shard],
        state_dir: Path,
    ) -> None:
        """Makes the store known to the state, so that from now on no late reading passes it unnoticed.

        Args:
            readers: by location, each of its own; the archiver closes them.
            store: None: nothing is archived.
            log_limit: bytes that a partition of the log may hold.
            services: by location, those of ``readers`` at least.

        Raises:
            ArchiveUnavailable: the state can't be written.
        """
        self._delivery: Delivery | None = None
        self._locations: dict[str, LocationArchive] = {}
        if store is None:
            return
        state.use(store.identity)
        self._delivery = Delivery(
            store,
            Rejects(store, dead_letters(state_dir), state),
            in_flight=settings.archive.in_flight,
            batch=settings.archive.batch,
        )
        self._locations = {
            location: LocationArchive(
                reader,
                log=log,
                log_limit=log_limit,
                catalogue=catalogue,
                shard=services[location],
                delivery=self._delivery,
                state=state,
                budget=budget,
                settings=settings,
            )
            for location, reader in readers.items()
        }

    async def run(self) -> None:
        """Archives until cancelled; returns at once when there is no store.

        Raises:
            IotdError: one that is not retriable.
        """
        if self._delivery is not None:
            await self._delivery.rejects.begin()
            await self._delivery.probe()  # a wrong token is said at once, not when the first reading comes
        async with together() as group:
            for location, archive in self._locations.items():
                group.create_task(archive.run(), name=f"archive {location}")

    async def cycle(self, locations: Collection[str] | None = None) -> dict[str, Pass]:
        """A pass over some locations from now on (None: all), and what it did to each.

        Raises:
            IotdError: why one did not come to its end; the others did, or go on.
        """
        return await self._each(lambda archive: archive.cycle(), locations)

    async def verify(self, *, deep: bool, repair: bool) -> dict[str, Comparison]:
        """Compares shards and archive, by location.

        Raises:
            IotdError: why one can't be compared.
        """
        return await self._each(lambda archive: archive.verifier.verify(deep=deep, repair=repair))

    async def lacking(self) -> dict[str, int]:
        """Asks the archive for its newest readings: how many series lack theirs, by location, where any does.

        Raises:
            ArchiveError: it can't be asked now.
        """
        found = await self._each(lambda archive: archive.lacking()) if self._locations else {}
        return {location: count for location, count in found.items() if count}

    async def forget_vanished(self, location: str | None) -> None:
        """See :meth:`Verifier.forget_vanished`; None: of all locations.

        Raises:
            ArchiveUnavailable: that can't be written down.
        """
        for name, archive in self._locations.items():
            if location in (None, name):
                await archive.verifier.forget_vanished()

    async def retry_rejected(self) -> Retried:
        """Sends what was refused for good again, see :meth:`Rejects.retry`.

        Raises:
            ArchiveError: not now.
        """
        if self._delivery is None:
            raise UsageError("there is no archive: archive.store is none")
        return await self._delivery.rejects.retry()

    async def _each(
        self, do: Callable[[LocationArchive], Awaitable[T]], locations: Collection[str] | None = None
    ) -> dict[str, T]:
        if not self._locations:
            raise UsageError("there is no archive: archive.store is none")
        tasks = {
            location: asyncio.ensure_future(do(archive))
            for location, archive in self._locations.items()
            if locations is None or location in locations
        }
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        return {location: task.result() for location, task in tasks.items()}

    @property
    def status(self) -> ArchiveStatus:
        """How the archive is now."""
        if self._delivery is None:
            return ArchiveStatus(None)
        return ArchiveStatus(
            store=self._delivery.store.identity,
            archived=self._delivery.archived,
            rejected=self._delivery.rejects.count,
            refused_points=self._delivery.rejects.standing,
            trouble=self._delivery.outage.reason,
            retries=self._delivery.retries,
            locations={location: _status(archive) for location, archive in self._locations.items()},
        )


def _status(archive: LocationArchive) -> LocationStatus:
    compared = archive.verifier.last
    return LocationStatus(
        watermark=archive.watermark,
        trouble=archive.outage.reason,
        compared=compared.compared if compared else None,
        gaps=len(compared.gaps) if compared else None,
        repaired=compared.repaired if compared else None,
        unverified=archive.verifier.outage.reason,
        waiting=archive.waiting,
        waiting_s=round(archive.waiting_s, 1),
        left_ms=archive.retention.left_ms if archive.outage.reason is not None else None,
        lost=archive.retention.lost,
        vanished=compared.vanished if compared else [],
        proven=archive.proven,
        repaired_in_shard=archive.repaired,
        restored=archive.restorer.restored,
    )
