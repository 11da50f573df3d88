"""The verifier: has shard and archive compared again and again, and archived again what differs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

import structlog

from iotd.archive.comparer import Comparer, Verdict
from iotd.archive.watermarks import Watermarks
from iotd.model.errors import ArchiveUnverifiable, IotdError
from iotd.ops.outage import Outage

log = structlog.get_logger(__name__)


class Verifier:
    """One location's; no pass of its archiver waits for it.

    Attributes:
        verdict: what the last verification found.
        outage: why there is none at present.
    """

    def __init__(
        self,
        location: str,
        comparer: Comparer,
        watermarks: Watermarks,
        *,
        archive: Callable[[], Awaitable[object]],
        interval_s: float,
    ) -> None:
        """
        Args:
            archive: archives what is marked as dirty.
        """
        self.location = location
        self.verdict: Verdict | None = None
        self.outage = Outage()
        self._comparer = comparer
        self._watermarks = watermarks
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

    def passed(self) -> None:
        """A pass has come to its end: there is something to be compared."""
        self._passed.set()

    async def verify(self, *, deep: bool, repair: bool) -> Verdict:
        """Compares the shard with the archive, and has the gaps archived again if that is wanted.

        Raises:
            IotdError: shard or archive can't be asked.
        """
        verdict = await self._comparer.compare(deep=deep)
        if verdict.gaps and repair:
            log.warning(
                "archive_gaps",
                shard=self.location,
                gaps=len(verdict.gaps),
                first=str(verdict.gaps[0]),
                effect="repairing",
            )
            for gap in verdict.gaps:
                await asyncio.to_thread(self._watermarks.mark_dirty, self.location, gap.first, gap.last)
            await self._archive()
            after = await self._comparer.compare(deep=deep)
            verdict = Verdict(after.compared, after.gaps, len(verdict.gaps) - len(after.gaps))
            log.info("archive_repaired", shard=self.location, gaps=verdict.repaired, left=len(verdict.gaps))
        self.verdict = verdict
        if (over := self.outage.ends()) is not None:
            log.info("verification_resumed", shard=self.location, was=over[0], after_s=over[1])
        return verdict

    async def close(self) -> None:
        """Lets go of the shard's connection."""
        await self._comparer.close()

    async def _try(self) -> None:
        try:
            verdict = await self.verify(deep=False, repair=True)
        except ArchiveUnverifiable as e:
            if self.outage.begins(str(e)):
                log.warning("verification_off", shard=self.location, reason=str(e))
            self._at = monotonic()
        except IotdError as e:
            # it is tried again after the next pass
            if self.outage.begins(str(e)):
                log.warning("verification_failed", shard=self.location, reason=str(e))
        else:
            if verdict.compared:
                self._at = monotonic()
