"""The archiver: every location's archive, and what there is to say of them together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from iotd.archive.comparer import Verdict
from iotd.archive.delivery import Delivery
from iotd.archive.horizon import Loss
from iotd.archive.location import Keeper, LocationArchive, Pass
from iotd.archive.rejects import Rejects, Retried, dead_letters
from iotd.archive.sinks.base import Sink
from iotd.archive.watermarks import Watermarks
from iotd.config import Settings
from iotd.model.errors import UsageError
from iotd.ops.tasks import together
from iotd.pipeline.budget import Budget
from iotd.shards.reader import ShardReader

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LocationStatus:
    """How far one location is: of its :class:`LocationArchive`, its :class:`Verdict` and its :class:`Horizon`.

    Attributes:
        unverified: why shard and archive can't be compared at present.
        waiting: readings that waited for the archive when the last pass began and are not all archived yet.
        left_ms: time until the shard drops the oldest of them.
        lost: what retention took before the archive had it, ever.
    """

    watermark: int | None
    trouble: str | None
    compared: int | None
    gaps: int | None
    repaired: int | None
    unverified: str | None
    waiting: int
    left_ms: int | None
    lost: list[Loss]


@dataclass(frozen=True, slots=True)
class ArchiveStatus:
    """How the archive is.

    Attributes:
        sink: which store, None when there is none.
        archived: points acknowledged since the daemon's start.
        rejected: points in the dead-letter file since then.
        trouble: why the sink takes nothing at present.
        retries: writes since then that were not taken, and were or will be tried again.
    """

    sink: str | None
    archived: int = 0
    rejected: int = 0
    trouble: str | None = None
    retries: int = 0
    locations: dict[str, LocationStatus] = field(default_factory=dict)


class Archiver:
    """Runs a :class:`LocationArchive` per location; they share the sink, its slots and the memory."""

    def __init__(
        self,
        settings: Settings,
        *,
        readers: Mapping[str, ShardReader],
        sink: Sink | None,
        watermarks: Watermarks,
        budget: Budget,
        keeper: Keeper,
        state: Path,
    ) -> None:
        """Makes the sink known to the watermarks, so that from now on no late reading passes it unnoticed."""
        self._delivery: Delivery | None = None
        self._locations: dict[str, LocationArchive] = {}
        if sink is None:
            return
        watermarks.use(sink.identity)
        self._delivery = Delivery(
            sink,
            Rejects(sink, dead_letters(state), watermarks),
            in_flight=settings.archive.in_flight,
            batch=settings.archive.batch,
        )
        self._locations = {
            location: LocationArchive(
                reader,
                delivery=self._delivery,
                watermarks=watermarks,
                budget=budget,
                keeper=keeper,
                settings=settings,
            )
            for location, reader in readers.items()
        }

    async def run(self) -> None:
        """Archives until cancelled; returns at once when there is no sink.

        Raises:
            IotdError: one that is not retriable.
        """
        if self._delivery is not None:
            await self._delivery.probe()  # a wrong token is said at once, not when the first reading comes
        async with together() as group:
            for location, archive in self._locations.items():
                group.create_task(archive.run(), name=f"archive {location}")

    async def cycle(self) -> dict[str, Pass]:
        """A pass over all locations from now on, and what it did to each.

        Raises:
            IotdError: why one did not come to its end; the others did, or go on.
        """
        return await self._each(lambda archive: archive.cycle())

    async def verify(self, *, deep: bool, repair: bool) -> dict[str, Verdict]:
        """Compares shards and archive, by location.

        Raises:
            IotdError: why one can't be compared.
        """
        return await self._each(lambda archive: archive.verifier.verify(deep=deep, repair=repair))

    async def retry_rejected(self) -> Retried:
        """Sends what was refused for good again, see :meth:`Rejects.retry`.

        Raises:
            ArchiveError: not now.
        """
        if self._delivery is None:
            raise UsageError("there is no archive: archive.sink is none")
        return await self._delivery.rejects.retry()

    async def _each(self, do: Callable[[LocationArchive], Awaitable[T]]) -> dict[str, T]:
        if not self._locations:
            raise UsageError("there is no archive: archive.sink is none")
        tasks = {location: asyncio.ensure_future(do(archive)) for location, archive in self._locations.items()}
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        return {location: task.result() for location, task in tasks.items()}

    @property
    def status(self) -> ArchiveStatus:
        """How the archive is now."""
        if self._delivery is None:
            return ArchiveStatus(None)
        return ArchiveStatus(
            sink=self._delivery.sink.identity,
            archived=self._delivery.archived,
            rejected=self._delivery.rejects.count,
            trouble=self._delivery.outage.reason,
            retries=self._delivery.retries,
            locations={
                location: LocationStatus(
                    watermark=archive.watermark,
                    trouble=archive.outage.reason,
                    compared=archive.verifier.verdict.compared if archive.verifier.verdict else None,
                    gaps=len(archive.verifier.verdict.gaps) if archive.verifier.verdict else None,
                    repaired=archive.verifier.verdict.repaired if archive.verifier.verdict else None,
                    unverified=archive.verifier.outage.reason,
                    waiting=archive.horizon.waiting,
                    left_ms=archive.horizon.left_ms,
                    lost=archive.horizon.lost,
                )
                for location, archive in self._locations.items()
            },
        )
