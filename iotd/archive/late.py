"""The late data of a location: a consumer of the log that notes, per series, which ranges have become dirty.

A reading is late when it is not later than one of its own series before it in the log: the archive may have passed its
time. What other series or sensors have sent does not matter. Ranges are noted once the shard has the readings, so that
a query that finds a range dirty finds its readings in the shard; and a pass of the archiver first has all that it is
going to prove noted, so that it may call clean what it has archived again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np

from iotd.archive.base import Catalogue, Partition
from iotd.archive.expected import Numbers, late
from iotd.archive.state import ArchiveState
from iotd.log.base import Record
from iotd.model.batch import Times
from iotd.model.errors import IotdError
from iotd.model.instants import NEVER
from iotd.model.series import Series
from iotd.ops.loggers import get_logger
from iotd.ops.outage import Outage
from iotd.ops.turns import turn

log = get_logger(__name__)

GAP_MS = 60_000
"""Late readings that lie at most so far apart make one range."""
_READ = 1024 * 1024
_SLICE = 8_192
"""So many readings are compared in one turn on the event loop, in well under a millisecond."""
_RETRY_S = 5.0


class LateScanner:
    """One location's; see the module.

    Attributes:
        scanned: the sequence up to which late readings are noted.
    """

    def __init__(self, location: str, partition: Partition, catalogue: Catalogue, state: ArchiveState) -> None:
        self.location = location
        self.scanned = partition.positions.archived
        self._partition = partition
        self._catalogue = catalogue
        self._state = state
        self._newest: Times = np.empty(0, np.int64)
        self._turn = asyncio.Lock()
        self._outage = Outage()

    def begin(self, after: int, marks: Mapping[Series, int]) -> None:
        """Up to ``after`` all is archived, and each series up to its watermark (ms)."""
        self.scanned = max(self.scanned, after)
        self.passed(marks)

    def passed(self, marks: Mapping[Series, int]) -> None:
        """The archive has passed these times (ms): what is not later than them is late, whatever came before."""
        for series, ms in marks.items():
            number = self._catalogue.number_of(series)
            if number is not None:
                self._reach(number)
                self._newest[number] = max(self._newest[number], ms)

    async def run(self) -> None:
        """Notes what is late, as soon as the shard has it, until cancelled."""
        while True:
            upto = await self._partition.positions.wait("acknowledged", self.scanned)
            try:
                await self.reach(upto)
            except IotdError as e:
                # passes prove late readings all the same; only queries do not know of them meanwhile
                if self._outage.begins(str(e)):
                    log.warning("late_data_not_noted", shard=self.location, reason=str(e))
                await asyncio.sleep(_RETRY_S)
            else:
                self._outage.ends()

    async def reach(self, upto: int) -> None:
        """Returns when late readings up to a sequence are noted, durably.

        Raises:
            IotdError: the log can't be read, or the state not written.
        """
        async with self._turn:
            while self.scanned < upto:
                records = [r for r in await self._partition.read(self.scanned, _READ) if r.sequence <= upto]
                if not records:
                    self.scanned = upto
                    return
                await self._scan(records)

    async def _scan(self, records: Sequence[Record]) -> None:
        series = np.concatenate([r.series for r in records])
        times = np.concatenate([r.times for r in records])
        if len(series):
            self._reach(int(series.max()))
            newest = self._newest.copy()  # it counts only once the ranges are noted
            found: list[tuple[int, int, int]] = []
            for first in range(0, len(series), _SLICE):
                if first:
                    await turn()
                part = slice(first, first + _SLICE)
                found += _ranges(newest, series[part], times[part])
            if found:
                named = [(self._catalogue.series(number), first, last) for number, first, last in found]
                await asyncio.to_thread(self._state.note_dirty, named)
                log.debug("late_data", shard=self.location, ranges=len(named))
            known = self._newest[: len(newest)]  # it may have grown meanwhile
            np.maximum(known, newest, out=known)
        self.scanned = records[-1].sequence

    def _reach(self, number: int) -> None:
        if number >= len(self._newest):
            grown = np.full(max(64, 2 * number), NEVER, np.int64)
            grown[: len(self._newest)] = self._newest
            self._newest = grown


def _ranges(newest: Times, series: Numbers, times: Times) -> list[tuple[int, int, int]]:
    """(number, first, last) of what is late; ``newest`` moves forward."""
    which = late(newest, series, times)
    if not which.any():
        return []
    series, times = series[which], times[which]
    order = np.lexsort((times, series))
    series, times = series[order], times[order]
    apart = np.flatnonzero((series[1:] != series[:-1]) | (np.diff(times) > GAP_MS))
    begins, ends = np.append(0, apart + 1), np.append(apart, len(series) - 1)
    return list(zip(series[begins].tolist(), times[begins].tolist(), times[ends].tolist(), strict=True))
