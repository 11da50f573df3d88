"""The verifier: has shard and archive compared again and again, and what differs archived again or written back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from time import monotonic

from iotd.archive.compare import Comparer, Comparison, Gap, restorable
from iotd.archive.restore import Restorer
from iotd.archive.state import ArchiveState
from iotd.model.errors import ArchiveUnverifiable, IotdError
from iotd.model.instants import iso
from iotd.model.series import Series
from iotd.ops.loggers import get_logger
from iotd.ops.outage import Outage

log = get_logger(__name__)


class Verifier:
    """One location's; no pass of its archiver waits for it.

    Attributes:
        last: what the last verification found.
        outage: why there is none at present.
    """

    def __init__(
        self,
        location: str,
        comparer: Comparer,
        state: ArchiveState,
        restorer: Restorer,
        *,
        store: str,
        archive: Callable[[], Awaitable[object]],
        interval_s: float,
    ) -> None:
        """
        Args:
            store: its identity.
            archive: archives what is noted as dirty, and writes back what there is to be written back.
        """
        self.location = location
        self.last: Comparison | None = None
        self.outage = Outage()
        self._comparer = comparer
        self._state = state
        self._store = store
        self._restorer = restorer
        self._archive = archive
        self._interval_s = interval_s
        self._at = -float("inf")
        self._passed = asyncio.Event()

    async def run(self) -> None:
        """Verifies after a pass, when it is time, until cancelled."""
        while True:
            await self._passed.wait()
            self._passed.clear()
            if monotonic() - self._at >= self._interval_s:
                await self._try()

    def passed(self, *, at_once: bool = False) -> None:
        """A pass has come to its end: there is something to be compared, when it is time or ``at_once``."""
        if at_once:
            self._at = -float("inf")
        self._passed.set()

    async def verify(self, *, deep: bool, repair: bool, thorough: bool = True) -> Comparison:
        """Compares the shard with the archive, and has the gaps mended if that is wanted; see :meth:`Comparer.compare`.

        Raises:
            IotdError: shard or archive can't be asked.
        """
        comparison = await self._comparer.compare(deep=deep, thorough=thorough)
        if comparison.gaps and repair:
            log.warning(
                "archive_gaps",
                shard=self.location,
                gaps=len(comparison.gaps),
                first=str(comparison.gaps[0]),
                effect="repairing",
            )
            dirty = [(Series.from_key(gap.sensor), gap.first, gap.last) for gap in comparison.gaps if _lacks(gap)]
            await asyncio.to_thread(self._state.note_dirty, dirty)
            if dirty:
                await asyncio.to_thread(self._state.doubt, self._store, self.location)
            for series, ranges in restorable(comparison.gaps).items():
                for first, last in ranges:
                    self._restorer.add(series, first, last)
            await self._archive()
            after = await self._comparer.compare(deep=deep, thorough=thorough)
            comparison = replace(after, repaired=len(comparison.gaps) - len(after.gaps))
            log.info("archive_repaired", shard=self.location, gaps=comparison.repaired, left=len(comparison.gaps))
        if comparison.vanished and (self.last is None or comparison.vanished != self.last.vanished):
            log.error(
                "archive_lost_readings",
                shard=self.location,
                readings=sum(one.count for one in comparison.vanished),
                series=len({one.sensor for one in comparison.vanished}),
                first=iso(min(one.first for one in comparison.vanished)),
                last=iso(max(one.last for one in comparison.vanished)),
                effect="queries say so; only a backup of the archive has them",
            )
        self.last = comparison
        if (over := self.outage.ends()) is not None:
            log.info("verification_resumed", shard=self.location, was=over[0], after_s=over[1])
        return comparison

    async def forget_vanished(self) -> None:
        """A person knows of the readings that have vanished: nobody is to wonder about them any more.

        Raises:
            ArchiveUnavailable: that can't be written down.
        """
        if self.last is not None:
            for one in self.last.vanished:
                series = Series.from_key(one.sensor)
                await asyncio.to_thread(self._state.forget_verified, series, one.first, one.last)
            self.last = replace(self.last, vanished=[])

    async def close(self) -> None:
        """Lets go of the shard's connection."""
        await self._comparer.close()

    async def _try(self) -> None:
        try:
            comparison = await self.verify(deep=False, repair=True, thorough=False)
        except ArchiveUnverifiable as e:
            if self.outage.begins(str(e)):
                log.warning("verification_off", shard=self.location, reason=str(e))
            self._at = monotonic()
        except IotdError as e:
            # it is tried again after the next pass
            if self.outage.begins(str(e)):
                log.warning("verification_failed", shard=self.location, reason=str(e))
        else:
            if comparison.compared:
                self._at = monotonic()


def _lacks(gap: Gap) -> bool:
    """Whether the archive is to be mended, not only the shard."""
    return gap.archived < gap.held or gap.differing > 0
