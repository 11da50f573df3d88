"""Writing back into a shard what only the archive still has, so that there are two copies again; bounded per pass."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from iotd.archive.base import Catalogue, Shard
from iotd.archive.pages import Pages
from iotd.config import Settings
from iotd.model.arrays import among
from iotd.model.instants import milliseconds
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.ops.loggers import get_logger
from iotd.stores.base import Store, samples_of

log = get_logger(__name__)

_WINDOW_MS = 6 * 3_600_000
"""Time asked of the archive at once."""
_AT_ONCE = 5_000
"""Readings written at once."""
PER_PASS = 500_000
"""Readings of the archive that are looked for in the shard after one pass; the rest follows after the next."""


@dataclass(slots=True)
class _Task:
    series: Series
    first: int
    last: int
    begun: bool = False
    written: int = 0


class Restorer:
    """One location's. What is left to be done is not kept on disk: a verification finds it again.

    Attributes:
        restored: readings written back so far.
        back_ms: how far back from a series' newest reading; None: no limit; 0: nothing is written back.
    """

    def __init__(
        self, location: str, store: Store, pages: Pages, *, shard: Shard, catalogue: Catalogue, settings: Settings
    ) -> None:
        self.location = location
        self.restored = 0
        kept = milliseconds(settings.redis.retention) or None
        wanted = settings.archive.restore
        back = kept if wanted is None else milliseconds(wanted)
        self.back_ms = back if kept is None or back is None else min(back, kept)
        self._store = store
        self._pages = pages
        self._shard = shard
        self._catalogue = catalogue
        self._tasks: deque[_Task] = deque()

    def begin(self, newest: int) -> int:
        """The time (ms) from which on a series is written back whose newest reading is at ``newest``."""
        return 0 if self.back_ms is None else max(0, newest - self.back_ms)

    def add(self, series: Series, first: int, last: int) -> None:
        """What the archive has of a range (ms, both ends included) is to be written back."""
        if self.back_ms != 0:
            self._tasks.append(_Task(series, first, last))

    async def run(self, marks: dict[Series, int]) -> int:
        """Writes back what there is to do, up to :data:`PER_PASS` readings; returns how many the shard lacked.

        Args:
            marks: the watermarks (ms); what lies beyond them the log still has.

        Raises:
            ShardError, ArchiveError: not now; the next call goes on from there.
        """
        self._take(marks)
        offered = written = 0
        while self._tasks and offered < PER_PASS:
            task = self._tasks[0]
            if not task.begun:
                begins = await self._store.begins(Selection.of(task.series), task.first, task.last)
                task.first, task.begun = begins.get(task.series, task.last + 1), True
            # the newest first: at each moment the shard is whole from its first reading on, as queries take it to be
            while task.first <= task.last and offered < PER_PASS:
                first = max(task.first, task.last - _WINDOW_MS + 1)
                times, values = await samples_of(self._store, task.series, first, task.last)
                offered += len(times)
                held, _ = await self._pages.held(task.series, first, task.last)
                missing = ~among(times, held)
                times, values = times[missing][::-1], values[missing][::-1]
                for start in range(0, len(times), _AT_ONCE):
                    part = slice(start, start + _AT_ONCE)
                    count = await self._shard.restore(task.series, times[part], values[part])
                    task.written += count
                    written += count
                    self.restored += count
                task.last = first - 1
            if task.first > task.last:
                self._tasks.popleft()
                if task.written:
                    log.warning(
                        "shard_restored",
                        shard=self.location,
                        series=task.series.key,
                        readings=task.written,
                        reason="only the archive had them",
                    )
        return written

    def _take(self, marks: dict[Series, int]) -> None:
        while self._shard.lost_series:
            series = self._catalogue.series(self._shard.lost_series.pop())
            if series in marks:
                self.add(series, self.begin(marks[series]), marks[series])
