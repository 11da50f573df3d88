"""A shard with its archiver, in the test's own process, for what happens between the two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from iotd.archive.archiver import Archiver
from iotd.archive.sinks.base import Sink
from iotd.archive.watermarks import Watermarks
from iotd.config import Address, Settings
from iotd.model.roster import Batch, Roster
from iotd.model.series import Series
from iotd.pipeline.budget import Budget
from iotd.pipeline.queue import Ticket
from iotd.shards.fence import fence_key
from iotd.shards.reader import ShardReader
from iotd.shards.series import make_series
from iotd.sources.source import Span
from iotd.wire.commands import Packer
from tests.servers.checker import Store
from tests.servers.system import System, until

HOUR = 3_600_000
T0 = 1_790_000_000_000 // HOUR * HOUR
ROSTER = Roster.of("salon", ["temperature", "humidity"], 2)


class Keeper:
    """Stands for the queue: notes the tickets that come back, and has nothing that would go first."""

    def __init__(self) -> None:
        self.given = 0
        self.returned: list[int] = []

    def ticket(self, location: str) -> Ticket:
        self.given += 1
        return Ticket("rig", self.given)

    def archived(self, location: str, ticket: Ticket) -> None:
        self.returned.append(ticket.seq)

    async def written(self, location: str, limit: float) -> None:
        pass


class Rig:
    """The shard of ``salon`` with its archiver."""

    def __init__(self, system: System, settings: Settings, sink: Sink, folder: Path) -> None:
        self.system = system
        self.settings = settings
        self.sink = sink
        self.folder = folder
        self.marks = Watermarks(folder / "watermarks.sqlite")
        self.budget = Budget(settings.queue.memory)
        self.keeper = Keeper()

    async def load(self, first: int, count: int, step: int = 1000) -> None:
        """Readings of all sensors into the shard: value = seconds since T0, modulo 100."""
        times = np.repeat(first + np.arange(count, dtype=np.int64) * step, len(ROSTER))
        values = ((times - T0) // 1000 % 100).astype(np.float64)
        batch = Batch(ROSTER, np.tile(np.arange(len(ROSTER), dtype=np.int32), count), times, values)
        packed = Packer(ROSTER).pack(batch)
        async with self.system.connection("redis-salon-master") as redis:
            await make_series(redis, ROSTER, self.settings.redis)
            await redis.send([packed.payload])
            for _ in range(packed.commands):
                assert all(type(said) is int for said in await redis.receive())

    async def fence(self, seq: int) -> None:
        """The shard holds all up to this sequence."""
        await self.system.ask("redis-salon-master", "SET", fence_key("rig"), seq)

    async def empty(self) -> None:
        """Empties the shard."""
        await self.system.ask("redis-salon-master", "FLUSHALL")

    async def archived(self, sensor: Series) -> list[tuple[int, float]]:
        """What the sink says that it holds of a sensor."""
        return await self.sink.read(sensor, 0, 2**43)

    @asynccontextmanager
    async def archiver(self) -> AsyncIterator[Archiver]:
        async def master() -> Address:
            return self.system.topology.shard("salon").master.address

        archiver = Archiver(
            self.settings,
            readers={"salon": ShardReader("salon", self.settings, master)},
            sink=self.sink,
            watermarks=self.marks,
            budget=self.budget,
            keeper=self.keeper,
            state=self.folder,
        )
        task = asyncio.create_task(archiver.run())
        try:
            yield archiver
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        await self.sink.close()
        self.marks.close()


def wanted(first: int, count: int) -> list[tuple[int, float]]:
    """What :meth:`Rig.load` puts into each series."""
    return [(first + 1000 * i, float(((first - T0) // 1000 + i) % 100)) for i in range(count)]


async def verified(archiver: Archiver) -> None:
    """Waits until the verification that follows on the first pass is over."""

    async def compared() -> bool:
        return archiver.status.locations["salon"].compared is not None

    await until(compared, 30, "the archive was verified")


async def held(store: Store, sensor: Series, span: Span) -> list[tuple[int, float]]:
    """What a store holds of a sensor, as others see it."""
    return [sample async for sample in store.samples(sensor, span)]
