"""From a real shard into the archive: everything once, whatever comes late, whatever fails meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from iotd.archive.points import Points
from iotd.archive.sinks.embedded import EmbeddedSink
from iotd.model.errors import ArchiveError, ArchiveRefused, ArchiveRejected, ArchiveUnavailable
from iotd.model.series import Series
from iotd.shards.series import make_series
from tests.conftest import FreshSystem
from tests.servers.archiving import ROSTER, T0, Rig, verified, wanted
from tests.servers.system import until


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


class FaultyRig(Rig):
    """With a sink that fails as told."""

    sink: FaultySink


@pytest.fixture
async def rig(fresh_system: FreshSystem, tmp_path: Path) -> AsyncIterator[FaultyRig]:
    system = fresh_system(archive={"batch": 1000, "interval": "1h"}, redis={"retention": "3650d"})
    made = FaultyRig(system, system.settings, FaultySink(tmp_path / "archive.sqlite"), tmp_path)
    yield made
    await made.close()


async def test_first_all_history_and_then_only_what_is_new(rig: FaultyRig) -> None:
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


async def test_a_restart_goes_on_at_the_watermarks(rig: FaultyRig) -> None:
    await rig.load(T0, 100)
    async with rig.archiver() as archiver:
        await archiver.cycle()
    await rig.load(T0 + 100_000, 5)
    async with rig.archiver() as archiver:
        await archiver.cycle()
        assert archiver.status.archived == 20
    assert await rig.archived(ROSTER[0]) == wanted(T0, 105)


async def test_late_readings_are_archived_once_their_range_is_dirty(rig: FaultyRig) -> None:
    await rig.load(T0, 50)
    await rig.load(T0 + 100_000, 50)
    async with rig.archiver() as archiver:
        await archiver.cycle()
        await verified(archiver)  # or it would find, and repair, what comes late
        await rig.load(T0 + 50_000, 50)
        rig.marks.mark_dirty("salon", T0 + 50_000, T0 + 99_000)
        done = await archiver.cycle()
        assert (done["salon"].new, done["salon"].again) == (0, 200)
        assert await rig.archived(ROSTER[3]) == wanted(T0, 150)
        assert (await archiver.cycle())["salon"].again == 0


async def test_an_archive_that_fails_holds_the_watermarks_and_goes_on_by_itself(rig: FaultyRig) -> None:
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


async def test_a_ticket_comes_back_only_after_a_whole_pass(rig: FaultyRig) -> None:
    await rig.load(T0, 10)
    await rig.fence(1_000)
    rig.sink.faults = [ArchiveRefused("no token")]
    async with rig.archiver() as archiver:
        with pytest.raises(ArchiveRefused):
            await archiver.cycle()
        assert rig.keeper.returned == []
        await archiver.cycle()
    assert rig.keeper.returned[-1] == rig.keeper.given


async def test_a_ticket_stays_while_the_node_holds_less_than_was_confirmed(rig: FaultyRig) -> None:
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


async def test_a_point_that_is_refused_for_good_goes_to_the_dead_letters_and_the_rest_on(rig: FaultyRig) -> None:
    await rig.load(T0, 300)
    rig.sink.poison = T0 + 123_000
    async with rig.archiver() as archiver:
        await archiver.cycle()
        assert archiver.status.rejected == len(ROSTER)
    letters = (rig.folder / "dead-letters" / "archive.jsonl").read_text()
    assert letters.count(str(T0 + 123_000)) == len(ROSTER)
    expected = [pair for pair in wanted(T0, 300) if pair[0] != T0 + 123_000]
    assert await rig.archived(ROSTER[0]) == expected


async def test_verification_finds_what_the_archive_lost_and_repair_brings_it_back(rig: FaultyRig) -> None:
    await rig.load(T0 + 60_000, 5000)
    async with rig.archiver() as archiver:
        await archiver.cycle()
        await verified(archiver)
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


async def test_deep_verification_finds_a_value_that_differs(rig: FaultyRig) -> None:
    await rig.load(T0, 5000)
    async with rig.archiver() as archiver:
        await archiver.cycle()
        await verified(archiver)
        with sqlite3.connect(rig.sink.path) as db:
            db.execute("UPDATE samples SET value = 999 WHERE series = 2 AND time = ?", (T0 + 4_000_000,))
        db.close()
        assert (await archiver.verify(deep=False, repair=False))["salon"].gaps == []
        (gap,) = (await archiver.verify(deep=True, repair=False))["salon"].gaps
        assert gap.differing == 1
        assert (await archiver.verify(deep=True, repair=True))["salon"].gaps == []


async def test_a_series_that_appears_later_gets_its_history(rig: FaultyRig) -> None:
    await rig.load(T0, 100)
    new = Series("air_quality", "salon", "9")
    async with rig.archiver() as archiver:
        await archiver.cycle()
        async with rig.system.connection("redis-salon-master") as redis:
            await make_series(redis, [new], rig.system.settings.redis)
            await redis.call("TS.ADD", new.key, T0 - 1000, 40)
        await archiver.cycle()
    assert await rig.archived(new) == [(T0 - 1000, 40.0)]


async def test_a_damaged_embedded_archive_is_told_and_once_it_is_moved_away_all_is_archived_into_a_new_one(
    rig: FaultyRig,
) -> None:
    await rig.load(T0, 5000)
    path = rig.sink.path
    async with rig.archiver() as archiver:
        await archiver.cycle()
        await verified(archiver)
    await rig.sink.close()
    with path.open("r+b") as f:  # the pages in the middle
        f.seek(path.stat().st_size // 4)
        f.write(b"\x5a" * (path.stat().st_size // 2))
    rig.sink = FaultySink(path)
    await rig.load(T0 + 5_000_000, 5000)
    async with rig.archiver() as archiver:
        with pytest.raises(ArchiveRefused, match=r"the file is damaged .* move it away"):
            await archiver.cycle()
        assert "damaged" in (archiver.status.trouble or "")
        for file in path.parent.glob(f"{path.name}*"):
            with suppress(FileNotFoundError):  # SQLite's own, gone if the archiver has just tried and let go of it
                file.rename(file.with_name(f"aside-{file.name}"))

        async def recovered() -> bool:
            return archiver.status.trouble is None and archiver.status.locations["salon"].trouble is None

        await until(recovered, 30, "the archive is begun anew by itself")
        await archiver.cycle()
    for sensor in ROSTER:
        assert await rig.archived(sensor) == wanted(T0, 10_000)
