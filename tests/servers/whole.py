"""Log, shard writer and archiver of one location in the test's own process, stopped and started again at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from iotd.archive.archiver import Archiver
from iotd.archive.state import ArchiveState
from iotd.config import Address
from iotd.log.budget import Budget
from iotd.log.embedded import EmbeddedLog
from iotd.model.errors import ArchiveUnavailable, IotdError
from iotd.model.series import Series
from iotd.shards.reader import ShardReader
from iotd.shards.service import ShardService
from iotd.stores.base import Store, samples_of
from tests.servers.shards import SYSTEM_ID, MemoryCatalogue, Refused
from tests.servers.system import System, until

HOUR = 3_600_000
T0 = 1_790_000_000_000 // HOUR * HOUR
SERIES = [Series(kind, "salon", str(n)) for kind in ("temperature", "humidity") for n in (1, 2)]
_LIMIT = 64 * 1024 * 1024

Samples = list[tuple[int, float]]


class Moody:
    """A store that does not delete while it is told so: before it has, or after it has.

    Attributes:
        before, after: how often each was refused.
    """

    def __init__(self, store: Store) -> None:
        self.identity = store.identity
        self.refuses: str | None = None
        self.before = self.after = 0
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def delete(self, series: Series, first: int, last: int) -> None:
        if self.refuses == "before":
            self.before += 1
            raise ArchiveUnavailable("not now", retry_after=0.1)
        await self._store.delete(series, first, last)
        if self.refuses == "after":
            self.after += 1
            raise ArchiveUnavailable("who knows", retry_after=0.1)


class Whole:
    """The location ``salon`` from its log on; :meth:`append` is what the intake does. Use :meth:`running`."""

    log: EmbeddedLog
    service: ShardService
    archiver: Archiver

    def __init__(self, system: System, store: Store, folder: Path) -> None:
        self.system = system
        self.store = Moody(store)
        self.folder = folder
        self.catalogue = MemoryCatalogue(SERIES)
        self.wanted: dict[Series, dict[int, float]] = {series: {} for series in SERIES}
        """What shard and archive must hold in the end."""

    @asynccontextmanager
    async def running(
        self, *, writes: bool = True, store: Store | None = None, keep_s: float = 0
    ) -> AsyncIterator[None]:
        """Until the end of the context, which comes as suddenly as a kill: nothing is drained.

        Args:
            writes: whether the shard is written to.
            keep_s: how long the log keeps what nobody needs any more.
        """
        settings = self.system.settings
        self.log = EmbeddedLog(self.folder / "log", self.catalogue, budget=Budget(_LIMIT), limit=_LIMIT, keep_s=keep_s)
        shard = self.system.topology.shard("salon")
        self.service = ShardService(
            shard,
            self.log,
            self.catalogue,
            system=SYSTEM_ID,
            refuse=Refused(),
            settings=settings,
            state=self.folder,
        )
        state = self._state = ArchiveState(self.folder / "watermarks.sqlite")

        async def master() -> Address:
            return (await self.service.watcher.accepting()).address

        self.archiver = Archiver(
            settings,
            readers={"salon": ShardReader("salon", settings, master)},
            store=store or self.store,
            state=state,
            budget=Budget(_LIMIT),
            log=self.log,
            log_limit=_LIMIT,
            catalogue=self.catalogue,
            services={"salon": self.service},
            state_dir=self.folder,
        )
        tasks = [asyncio.create_task(self.archiver.run())]
        if writes:
            tasks.append(asyncio.create_task(self.service.run()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            await self.log.close()
            state.close()
        for one in ended:
            if not isinstance(one, asyncio.CancelledError):
                raise AssertionError("a part ended") from one

    async def append(self, series: Series, times: Iterable[int], value: float = 20.0) -> None:
        """One record of readings of one value; on disk in the log when this returns."""
        stamps = np.array(list(times), np.int64)
        numbers = np.full(len(stamps), SERIES.index(series), np.int32)
        await self.log.append("salon", numbers, stamps, np.full(len(stamps), value))
        np.maximum.at(self.catalogue.newest, numbers, stamps)
        self.wanted[series] |= dict.fromkeys(stamps.tolist(), value)

    async def load(self, first: int = T0, count: int = 600, step: int = 1000) -> None:
        """Readings of all series."""
        for n, series in enumerate(SERIES):
            await self.append(series, range(first, first + count * step, step), 20.0 + n)

    async def delete(self, series: Iterable[Series], first: int, last: int) -> int:
        """Deletes a range; in the log when this returns."""
        some = list(series)
        numbers = np.array([SERIES.index(one) for one in some], np.int32)
        for one in some:
            self.wanted[one] = {t: v for t, v in self.wanted[one].items() if not first <= t <= last}
        return await self.log.delete("salon", numbers, first, last)

    def note_dirty(self, series: Series, first: int, last: int) -> None:
        """Has a range archived again from the shard, as a verification does that finds a gap."""
        self._state.note_dirty([(series, first, last)])

    async def reached(self, position: str) -> None:
        """Waits until a position is at the end of the log."""
        partition = self.log.partition("salon")
        end = partition.end

        async def there() -> bool:
            return partition.positions.of(position) >= end

        await until(there, 60, f"{position} is {end}; it is {vars(partition.positions)}")

    async def all_archived(self) -> None:
        """Asks for passes until all that the log has is archived."""
        await self.reached("durable")

        async def archived() -> bool:
            try:
                await self.archiver.cycle()
            except IotdError:
                return False
            positions = self.log.partition("salon").positions
            return positions.archived >= positions.end

        await until(archived, 60, "all is archived")

    async def held(self, series: Series, node: str = "redis-salon-master") -> Samples:
        """What a node holds."""
        found = await self.system.ask(node, "TS.RANGE", series.key, "-", "+")
        return [(int(time), float(value)) for time, value in found]

    async def archived(self, series: Series, store: Store | None = None) -> Samples:
        """What the archive holds."""
        times, values = await samples_of(store or self.store, series, 0, 2**43)
        return list(zip(times.tolist(), values.tolist(), strict=True))

    async def all_as_wanted(self, *nodes: str, since: int = 0) -> None:
        """Asserts that the nodes (from a time on) and the archive hold what they must, and nothing else."""
        for series in SERIES:
            wanted = sorted(self.wanted[series].items())
            assert await self.archived(series) == wanted, f"archive: {series.key}"
            for node in nodes or ("redis-salon-master",):
                assert await self.held(series, node) == [s for s in wanted if s[0] >= since], f"{node}: {series.key}"
