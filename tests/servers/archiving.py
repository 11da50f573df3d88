"""A shard, a log and an archiver between them, in the test's own process, for what happens between the three."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from iotd.archive.archiver import Archiver
from iotd.archive.state import ArchiveState
from iotd.config import Address, Settings
from iotd.log.budget import Budget
from iotd.log.embedded import EmbeddedLog
from iotd.log.partition import EmbeddedPartition
from iotd.model.batch import Batch, Times, Values
from iotd.model.errors import ShardUnavailable
from iotd.model.instants import NEVER
from iotd.model.series import Series
from iotd.shards.connection import Connection
from iotd.shards.reader import ShardReader
from iotd.sources.simulator.source import Span
from iotd.stores.base import Store, samples_of
from tests.servers.checker import Store as Seen
from tests.servers.system import System, until

HOUR = 3_600_000
T0 = 1_790_000_000_000 // HOUR * HOUR
SERIES = [Series(kind, "salon", str(n)) for kind in ("temperature", "humidity") for n in (1, 2)]
MASTER = "redis-salon-master"
LIMIT = 64 * 1024 * 1024

Samples = list[tuple[int, float]]


class Numbers:
    """Stands for the catalogue: numbers series in the order in which they are met."""

    def __init__(self) -> None:
        self._series: list[Series] = []
        self._numbers: dict[Series, int] = {}
        self.newest: Times = np.full(64, NEVER, np.int64)

    def register(self, series: Series) -> int:
        if series not in self._numbers:
            self._numbers[series] = len(self._series)
            self._series.append(series)
        return self._numbers[series]

    def series(self, number: int) -> Series:
        return self._series[number]

    def number_of(self, series: Series) -> int | None:
        return self._numbers.get(series)

    def describe(self, number: int) -> bytes:
        return self._series[number].key.encode()

    def number(self, description: bytes) -> int:
        return self.register(Series.from_key(description.decode()))

    def appended(self, batch: Batch) -> None:
        np.maximum.at(self.newest, batch.series, batch.times)


class Mender:
    """Stands for the shard's service: writes again and restores, over a connection of each call's own.

    Attributes:
        again: readings written again so far.
        down: nothing can be written.
    """

    def __init__(self, rig: Rig) -> None:
        self.lost_series: set[int] = set()
        self.again = 0
        self.down = False
        self._rig = rig

    async def write_again(self, batch: Batch, upto: int) -> None:
        if self.down:
            raise ShardUnavailable("salon: nothing can be written")
        await self._rig.to_shard(batch)
        self.again += len(batch)

    async def restore(self, series: Series, times: Times, values: Values) -> int:
        batch = Batch("salon", np.full(len(times), self._rig.catalogue.register(series), np.int32), times, values)
        await self._rig.to_shard(batch, duplicate="FIRST")
        return len(times)


class Rig:
    """The shard of ``salon`` with its log and archiver. Call :meth:`open` first."""

    log: EmbeddedLog
    partition: EmbeddedPartition

    def __init__(self, system: System, settings: Settings, store: Store, folder: Path) -> None:
        self.system = system
        self.settings = settings
        self.store = store
        self.folder = folder
        self.catalogue = Numbers()
        self.state = ArchiveState(folder / "watermarks.sqlite")
        self.budget = Budget(settings.log.memory)
        self.mender = Mender(self)

    def open(self) -> None:
        """Opens the log, within the running event loop; so that it can be closed and opened again."""
        self.log = EmbeddedLog(self.folder / "log", self.catalogue, budget=Budget(LIMIT), limit=LIMIT)
        self.partition = self.log.partition("salon")

    # ── readings ──

    def batch(self, first: int, count: int, step: int = 1000, series: Sequence[Series] = SERIES) -> Batch:
        """Readings of some series, tick by tick: value = seconds since T0, modulo 100."""
        numbers = np.array([self.catalogue.register(one) for one in series], np.int32)
        times = np.repeat(first + np.arange(count, dtype=np.int64) * step, len(series))
        return Batch("salon", np.tile(numbers, count), times, ((times - T0) // 1000 % 100).astype(np.float64))

    async def load(self, first: int, count: int, step: int = 1000, series: Sequence[Series] = SERIES) -> None:
        """Readings into log and shard, acknowledged and durable."""
        batch = self.batch(first, count, step, series)
        await self.to_log(batch)
        await self.to_shard(batch)
        self.acknowledge()

    async def to_log(self, batch: Batch) -> int:
        """Readings into the log alone, not acknowledged; a record of at most 10,000 each."""
        sequence = 0
        for start in range(0, len(batch), 10_000):
            some = batch.take(slice(start, start + 10_000))
            sequence = await self.log.append("salon", some.series, some.times, some.values)
        self.catalogue.appended(batch)
        return sequence

    def acknowledge(self) -> None:
        """The shard has all that the log has, on both disks."""
        self.partition.positions.advance("acknowledged", self.partition.end)
        self.partition.positions.advance("durable", self.partition.end)

    async def to_shard(self, batch: Batch, duplicate: str = "LAST") -> None:
        """Readings into the shard alone; those older than retention are refused by it."""
        async with self.system.connection(MASTER) as redis:
            series = [self.catalogue.series(number) for number in np.unique(batch.series).tolist()]
            for one in series:
                await self._make(redis, one)
            rows = list(zip(batch.series.tolist(), batch.times.tolist(), batch.values.tolist(), strict=True))
            keys = {number: self.catalogue.series(number).key for number in set(batch.series.tolist())}
            for start in range(0, len(rows), 2000):
                commands = [
                    ("TS.ADD", keys[n], t, repr(v), "ON_DUPLICATE", duplicate) for n, t, v in rows[start : start + 2000]
                ]
                for reply in await redis.call_many(commands):
                    assert type(reply) is int or "older than retention" in str(reply), reply

    async def _make(self, redis: Connection, series: Series) -> None:
        retention = round(self.settings.redis.retention.total_seconds() * 1000)
        labels = [text for pair in series.labels.items() for text in pair]
        options: list[str | int] = ["RETENTION", retention, "DUPLICATE_POLICY", "LAST", "LABELS", *labels]
        (said,) = await redis.call_many([("TS.CREATE", series.key, *options)])
        assert said == b"OK" or "already exists" in str(said), said

    async def empty(self) -> None:
        """Empties the shard."""
        await self.ask("FLUSHALL")

    async def ask(self, *command: str | int) -> object:
        """One command to the shard."""
        return await self.system.ask(MASTER, *command)

    async def held(self, series: Series) -> Samples:
        """What the shard holds of a series."""
        return [(t, float(v)) for t, v in await self.system.ask(MASTER, "TS.RANGE", series.key, "-", "+")]

    async def archived(self, series: Series) -> Samples:
        """What the store says that it holds of a series."""
        times, values = await samples_of(self.store, series, 0, 2**43)
        return list(zip(times.tolist(), values.tolist(), strict=True))

    # ── the archiver ──

    @asynccontextmanager
    async def archiver(self) -> AsyncIterator[Archiver]:
        async def master() -> Address:
            return self.system.topology.shard("salon").master.address

        archiver = Archiver(
            self.settings,
            readers={"salon": ShardReader("salon", self.settings, master)},
            store=self.store,
            state=self.state,
            budget=self.budget,
            log=self.log,
            log_limit=LIMIT,
            catalogue=self.catalogue,
            services={"salon": self.mender},
            state_dir=self.folder,
        )
        task = asyncio.create_task(archiver.run())
        try:
            yield archiver
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        await self.log.close()
        await self.store.close()
        self.state.close()


def wanted(first: int, count: int, step: int = 1000) -> Samples:
    """What :meth:`Rig.load` puts into each series."""
    return [(first + step * i, float((first + step * i - T0) // 1000 % 100)) for i in range(count)]


async def verified(archiver: Archiver) -> None:
    """Waits until the verification that follows on the first pass is over."""

    async def compared() -> bool:
        return archiver.status.locations["salon"].compared is not None

    await until(compared, 30, "the archive was verified")


async def held(store: Seen, series: Series, span: Span) -> Samples:
    """What a store holds of a series, as others see it."""
    return [sample async for sample in store.samples(series, span)]
