"""From a real shard into the archive: everything once, whatever comes late, whatever fails meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from iotd.archive.archiver import Archiver
from iotd.archive.points import Points
from iotd.archive.sinks.embedded import EmbeddedSink
from iotd.archive.watermarks import Watermarks
from iotd.errors import ArchiveError, ArchiveRefused, ArchiveRejected, ArchiveUnavailable
from iotd.pipeline.budget import Budget
from iotd.pipeline.queue import Ticket
from iotd.sensors import Batch, Roster, Sensor
from iotd.settings import Address
from iotd.shards.fence import fence_key
from iotd.shards.reader import ShardReader
from iotd.shards.series import make_series
from iotd.wire import Packer
from tests.conftest import FreshSystem
from tests.servers.system import System

HOUR = 3_600_000
T0 = 1_790_000_000_000 // HOUR * HOUR
ROSTER = Roster.of("salon", ["temperature", "humidity"], 2)


class FaultySink(EmbeddedSink):
    """The embedded archive, which fails as told before it writes; the archiver's empty probe is let through."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.faults: list[ArchiveError] = []
        self.poison: int | None = None
        """A batch with this time in it is rejected."""

    async def write(self, batch: Sequence[Points]) -> None:
        if batch and self.faults:
            raise self.faults.pop(0)
        if any(time == self.poison for points in batch for time, _ in points.samples()):
            raise ArchiveRejected("poisoned")
        await super().write(batch)


class Keeper:
    """Notes the tickets that come back."""

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
    """A shard with its archiver."""

    def __init__(self, system: System, folder: Path) -> None:
        self.system = system
        self.sink = FaultySink(folder / "archive.sqlite")
        self.marks = Watermarks(folder / "watermarks.sqlite")
        self.budget = Budget(64 * 1024 * 1024)
        self.keeper = Keeper()
        self.folder = folder

    async def load(self, first: int, count: int, step: int = 1000) -> None:
        """Readings of all sensors into the shard: value = seconds since T0, modulo 100."""
        times = np.repeat(first + np.arange(count, dtype=np.int64) * step, len(ROSTER))
        values = ((times - T0) // 1000 % 100).astype(np.float64)
        batch = Batch(ROSTER, np.tile(np.arange(len(ROSTER), dtype=np.int32), count), times, values)
        packed = Packer(ROSTER).pack(batch)
        async with self.system.connection("redis-salon-master") as redis:
            await make_series(redis, ROSTER, self.system.settings.redis)
            await redis.send([packed.payload])
            for _ in range(packed.commands):
                assert all(type(said) is int for said in await redis.receive())

    async def fence(self, seq: int) -> None:
        """The shard holds all up to this sequence."""
        await self.system.ask("redis-salon-master", "SET", fence_key("rig"), seq)

    async def archived(self, sensor: Sensor) -> list[tuple[int, float]]:
        return await self.sink.read(sensor, 0, 2**53)

    @asynccontextmanager
    async def archiver(self) -> AsyncIterator[Archiver]:
        async def master() -> Address:
            return self.system.topology.shard("salon").master.address

        reader = ShardReader("salon", self.system.settings, master)
        archiver = Archiver(
            self.system.settings,
            readers={"salon": reader},
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


@pytest.fixture
async def rig(fresh_system: FreshSystem, tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(fresh_system(archive={"batch": 1000, "interval": "1h"}, redis={"retention": "3650d"}), tmp_path)
    yield made
    await made.sink.close()
    made.marks.close()


def wanted(first: int, count: int) -> list[tuple[int, float]]:
    return [(first + 1000 * i, float(((first - T0) // 1000 + i) % 100)) for i in range(count)]


async def test_first_all_history_and_then_only_what_is_new(rig: Rig) -> None:
    await rig.load(T0, 2500)  # more than two pages
    async with rig.archiver() as archiver:
        await archiver.cycle()
        for sensor in ROSTER:
            assert await rig.archived(sensor) == wanted(T0, 2500)
        await rig.load(T0 + 2_500_000, 10)
        done = await archiver.cycle()
        assert (done["salon"].new, done["salon"].again) == (40, 0)
        for sensor in ROSTER:
            assert await rig.archived(sensor) == wanted(T0, 2510)
    assert rig.budget.used == 0


async def test_a_restart_goes_on_at_the_watermarks(rig: Rig) -> None:
    await rig.load(T0, 100)
    async with rig.archiver() as archiver:
        await archiver.cycle()
    await rig.load(T0 + 100_000, 5)
    async with rig.archiver() as archiver:
        await archiver.cycle()
        assert archiver.status.archived == 20
    assert await rig.archived(ROSTER[0]) == wanted(T0, 105)


async def test_late_readings_are_archived_once_their_range_is_dirty(rig: Rig) -> None:
    await rig.load(T0, 50)
    await rig.load(T0 + 100_000, 50)
    async with rig.archiver() as archiver:
        await archiver.cycle()
        await rig.load(T0 + 50_000, 50)
        rig.marks.mark_dirty("salon", T0 + 50_000, T0 + 99_000)
        done = await archiver.cycle()
        assert (done["salon"].new, done["salon"].again) == (0, 200)
        assert await rig.archived(ROSTER[3]) == wanted(T0, 150)
        assert (await archiver.cycle())["salon"].again == 0


async def test_an_archive_that_fails_holds_the_watermarks_and_goes_on_by_itself(rig: Rig) -> None:
    await rig.load(T0, 1500)
    rig.sink.faults = [
        ArchiveUnavailable("down"),
        ArchiveUnavailable("wait", retry_after=0.0),
        ArchiveUnavailable("no"),
    ]
    async with rig.archiver() as archiver:
        while rig.sink.faults:
            try:
                await archiver.cycle()
            except ArchiveUnavailable:
                assert archiver.status.trouble is not None
        await archiver.cycle()
        assert archiver.status.trouble is None
        assert archiver.status.locations["salon"].trouble is None
    for sensor in ROSTER:
        assert await rig.archived(sensor) == wanted(T0, 1500)
    assert rig.budget.used == 0


async def test_a_ticket_comes_back_only_after_a_whole_pass(rig: Rig) -> None:
    await rig.load(T0, 10)
    await rig.fence(1_000)
    rig.sink.faults = [ArchiveRefused("no token")]
    async with rig.archiver() as archiver:
        with pytest.raises(ArchiveRefused):
            await archiver.cycle()
        assert rig.keeper.returned == []
        await archiver.cycle()
    assert rig.keeper.returned[-1] == rig.keeper.given


async def test_a_ticket_stays_while_the_node_holds_less_than_was_confirmed(rig: Rig) -> None:
    async with rig.archiver() as archiver:
        await archiver.cycle()  # a node that was restarted empty: nothing to archive, and nothing is let go for it
        assert rig.keeper.returned == []
        await rig.fence(1)
        await archiver.cycle()
        assert rig.keeper.given > 1
        assert rig.keeper.returned == []
        await rig.fence(1_000)
        await archiver.cycle()
    assert rig.keeper.returned == [rig.keeper.given]


async def test_a_point_that_is_refused_for_good_goes_to_the_dead_letters_and_the_rest_on(rig: Rig) -> None:
    await rig.load(T0, 300)
    rig.sink.poison = T0 + 123_000
    async with rig.archiver() as archiver:
        await archiver.cycle()
        assert archiver.status.rejected == len(ROSTER)
    letters = (rig.folder / "dead-letters" / "archive.jsonl").read_text()
    assert letters.count(str(T0 + 123_000)) == len(ROSTER)
    expected = [pair for pair in wanted(T0, 300) if pair[0] != T0 + 123_000]
    assert await rig.archived(ROSTER[0]) == expected


async def test_verification_finds_what_the_archive_lost_and_repair_brings_it_back(rig: Rig) -> None:
    await rig.load(T0 + 60_000, 5000)
    async with rig.archiver() as archiver:
        await archiver.cycle()
        await archiver.cycle()  # the verification that follows on the first pass is over
        clean = await archiver.verify(deep=True, repair=False)
        assert clean["salon"].gaps == []
        assert clean["salon"].compared == 5000 * len(ROSTER)
        with sqlite3.connect(rig.sink.path) as db:
            db.execute("DELETE FROM samples WHERE series = 1 AND time = ?", (T0 + 99_000,))
        (gap,) = (await archiver.verify(deep=False, repair=False))["salon"].gaps
        assert (gap.held - gap.archived, gap.first) == (1, T0 + 60_000)
        repaired = (await archiver.verify(deep=False, repair=True))["salon"]
        assert (repaired.gaps, repaired.repaired) == ([], 1)
    db.close()
    assert await rig.archived(ROSTER[0]) == wanted(T0 + 60_000, 5000)


async def test_deep_verification_finds_a_value_that_differs(rig: Rig) -> None:
    await rig.load(T0, 5000)
    async with rig.archiver() as archiver:
        await archiver.cycle()
        await archiver.cycle()  # the verification that follows on the first pass is over
        with sqlite3.connect(rig.sink.path) as db:
            db.execute("UPDATE samples SET value = 999 WHERE series = 2 AND time = ?", (T0 + 4_000_000,))
        db.close()
        assert (await archiver.verify(deep=False, repair=False))["salon"].gaps == []
        (gap,) = (await archiver.verify(deep=True, repair=False))["salon"].gaps
        assert gap.differing == 1
        assert (await archiver.verify(deep=True, repair=True))["salon"].gaps == []


async def test_a_series_that_appears_later_gets_its_history(rig: Rig) -> None:
    await rig.load(T0, 100)
    new = Sensor("air_quality", "salon", 9)
    async with rig.archiver() as archiver:
        await archiver.cycle()
        async with rig.system.connection("redis-salon-master") as redis:
            await make_series(redis, [new], rig.system.settings.redis)
            await redis.call("TS.ADD", new.key, T0 - 1000, 40)
        await archiver.cycle()
    assert await rig.archived(new) == [(T0 - 1000, 40.0)]
