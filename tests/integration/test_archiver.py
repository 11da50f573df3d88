"""From a real shard and log into the archive: everything once, whatever comes late, whatever fails meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from iotd.model.batch import Batch
from iotd.model.errors import ArchiveError, ArchiveRefused, ArchiveRejected, ArchiveUnavailable, ShardUnavailable
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.stack.binaries import RedisBinaries
from iotd.stores.base import Found
from iotd.stores.embedded.reader import ArchiveReader
from iotd.stores.embedded.store import EmbeddedStore
from iotd.stores.embedded.writer import ArchiveWriter
from iotd.stores.points import Points
from tests.servers.archiving import SERIES, T0, Rig, verified, wanted
from tests.servers.ports import port_block
from tests.servers.system import System, make_settings, start_system, stop_system, until


class FaultyStore(EmbeddedStore):
    """The embedded archive, which fails as told before it writes; the archiver's empty probe is let through."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.faults: list[ArchiveError] = []
        self.poison: int | None = None
        """A batch with this time in it is rejected."""
        self.writes = 0
        self.answered: Callable[[], Awaitable[object]] | None = None
        """Called once, when samples were asked for, before whoever asked has them."""

    async def samples(self, what: Selection, first: int, last: int) -> Found:
        found = await super().samples(what, first, last)
        if (told := self.answered) is not None:
            self.answered = None
            await told()
        return found

    async def write(self, batch: Sequence[Points]) -> None:
        self.writes += bool(batch)
        if batch and self.faults:
            raise self.faults.pop(0)
        if any(time == self.poison for points in batch for time, _ in points.samples()):
            raise ArchiveRejected("poisoned")
        await super().write(batch)


class FaultyRig(Rig):
    """With a store that fails as told."""

    store: FaultyStore


@pytest.fixture(scope="module")
def shard(redis_binaries: RedisBinaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One real shard for all tests of this file; each begins with an empty one."""
    with port_block() as first:
        folder = tmp_path_factory.mktemp("shard")
        system = start_system(
            make_settings(folder, first, ["salon"], stack={"redis_dir": redis_binaries.server.parent})
        )
        try:
            yield system
        finally:
            stop_system(system)


MakeRig = Callable[..., FaultyRig]


@pytest.fixture
async def make_rig(shard: System, tmp_path: Path) -> AsyncIterator[MakeRig]:
    made: list[FaultyRig] = []
    await shard.ask("redis-salon-master", "FLUSHALL")

    def make(retention: str = "3650d", **archive: Any) -> FaultyRig:
        settings = make_settings(
            tmp_path / "iotd",
            12_000,
            ["salon"],
            archive={"batch": 1000, "interval": "1h", **archive},
            redis={"retention": retention},
        )
        rig = FaultyRig(shard, settings, FaultyStore(tmp_path / "archive.sqlite"), tmp_path)
        rig.open()
        made.append(rig)
        return rig

    yield make
    for rig in made:
        await rig.close()


@pytest.fixture
async def rig(make_rig: MakeRig) -> FaultyRig:
    return make_rig()


def names(logs: list[Any]) -> list[str]:
    return [line["event"] for line in logs]


# ── what is new, and what is late ──


async def test_first_all_history_and_then_only_what_is_new(rig: FaultyRig) -> None:
    await rig.load(T0, 2500)  # more than two pages
    async with rig.archiver() as archiver:
        await archiver.cycle()
        for series in SERIES:
            assert await rig.archived(series) == wanted(T0, 2500)
        await rig.load(T0 + 2_500_000, 10)
        done = (await archiver.cycle())["salon"]
        assert (done.new, done.again, done.proven, done.repaired, done.expired) == (40, 0, 40, 0, 0)
        for series in SERIES:
            assert await rig.archived(series) == wanted(T0, 2510)
        assert archiver.status.locations["salon"].proven == 2510 * len(SERIES)
    assert rig.partition.positions.truncated == rig.partition.end
    assert rig.budget.used == 0


async def test_what_the_shard_holds_from_before_the_log_is_archived_too(rig: FaultyRig) -> None:
    await rig.to_shard(rig.batch(T0, 1500))
    await rig.load(T0 + 1_500_000, 10, series=SERIES[:2])
    async with rig.archiver() as archiver:
        done = (await archiver.cycle())["salon"]
        assert (done.new, done.proven) == (1500 * len(SERIES) + 20, 20)
        assert (await archiver.cycle())["salon"].new == 0
        await rig.to_shard(rig.batch(T0 + 2_000_000, 3))  # nobody told the log
        assert (await archiver.cycle())["salon"].new == 12
    assert await rig.archived(SERIES[0]) == wanted(T0, 1510) + wanted(T0 + 2_000_000, 3)
    assert await rig.archived(SERIES[3]) == wanted(T0, 1500) + wanted(T0 + 2_000_000, 3)


async def test_a_restart_goes_on_where_the_log_was_proven(rig: FaultyRig) -> None:
    await rig.load(T0, 100)
    rig.partition.positions.rewind(0)
    rig.partition.positions.advance("acknowledged", rig.partition.end)  # the replica is away: nothing is truncated
    async with rig.archiver() as archiver:
        await archiver.cycle()
    assert rig.partition.positions.truncated == 0
    await rig.log.close()
    rig.open()
    await rig.load(T0 + 100_000, 5)
    async with rig.archiver() as archiver:
        done = (await archiver.cycle())["salon"]
        assert (done.new, done.again) == (20, 0)
    assert rig.partition.positions.truncated == rig.partition.end
    assert await rig.archived(SERIES[0]) == wanted(T0, 105)


async def test_late_readings_make_their_own_ranges_dirty_and_only_these_are_archived_again(rig: FaultyRig) -> None:
    await rig.load(T0 + 86_400_000, 50)
    async with rig.archiver() as archiver:
        await archiver.cycle()
        await verified(archiver)
        await rig.load(T0, 24, step=3_600_000, series=SERIES[:1])  # a day of backlog of one sensor

        async def noted() -> bool:
            return len(rig.state.dirty(rig.store.identity, "salon")) == 24

        await until(noted, 10, "queries know of the dirty ranges")
        assert {d.series for d in rig.state.dirty(rig.store.identity, "salon")} == {SERIES[0]}
        done = (await archiver.cycle())["salon"]
        assert (done.new, done.again, done.proven) == (0, 24, 24)
        assert rig.state.dirty(rig.store.identity, "salon") == []
        assert (await archiver.cycle())["salon"].again == 0
    assert await rig.archived(SERIES[0]) == wanted(T0, 24, 3_600_000) + wanted(T0 + 86_400_000, 50)
    assert await rig.archived(SERIES[1]) == wanted(T0 + 86_400_000, 50)


async def test_one_sensor_whose_clock_is_ahead_makes_nothing_late(rig: FaultyRig) -> None:
    await rig.load(T0 - 1000, 1)
    async with rig.archiver() as archiver:
        await archiver.cycle()
        for second in range(0, 40, 4):
            for n in range(4):
                at = T0 + (second + n) * 1000
                await rig.to_log(rig.batch(at + 2000, 1, series=SERIES[:1]))
                await rig.to_log(rig.batch(at, 1, series=SERIES[1:]))
                await rig.to_shard(rig.batch(at + 2000, 1, series=SERIES[:1]))
                await rig.to_shard(rig.batch(at, 1, series=SERIES[1:]))
            rig.acknowledge()
            done = (await archiver.cycle())["salon"]
            assert (done.new, done.again, done.proven) == (16, 0, 16)
            assert rig.state.dirty(rig.store.identity, "salon") == []
    assert await rig.archived(SERIES[0]) == wanted(T0 - 1000, 1) + wanted(T0 + 2000, 40)


async def test_the_later_of_two_values_stands_and_neither_counts_as_lost(rig: FaultyRig) -> None:
    first = rig.batch(T0, 100)
    later = Batch("salon", first.series[:40], first.times[:40], first.values[:40] + 0.25)
    await rig.to_log(first)
    await rig.to_shard(first)
    rig.acknowledge()
    await rig.to_log(later)
    await rig.to_shard(later)  # written, and not acknowledged yet
    with capture_logs() as logs:
        async with rig.archiver() as archiver:
            done = (await archiver.cycle())["salon"]
            assert (done.proven, done.repaired) == (400, 0)
            rig.acknowledge()
            done = (await archiver.cycle())["salon"]
            assert (done.proven, done.again, done.repaired) == (40, 40, 0)
    assert "shard_lost_readings" not in names(logs)
    expected = [(t, v + 0.25 if i < 10 else v) for i, (t, v) in enumerate(wanted(T0, 100))]
    assert await rig.archived(SERIES[0]) == await rig.held(SERIES[0]) == expected


# ── what the shard has lost ──


@pytest.mark.parametrize(
    ("harm", "readings", "altered"),
    [
        (lambda rig: rig.ask("DEL", SERIES[0].key), 900, 0),
        (lambda rig: rig.ask("TS.DEL", SERIES[0].key, T0 + 100_000, T0 + 171_000), 72, 0),
        (lambda rig: rig.ask("TS.ADD", SERIES[0].key, T0 + 55_000, "777", "ON_DUPLICATE", "LAST"), 1, 1),
        (lambda rig: rig.ask("TS.DEL", SERIES[0].key, T0 + 899_000, T0 + 899_000), 1, 0),
        (lambda rig: rig.empty(), 3600, 0),
    ],
    ids=["DEL", "TS.DEL of a range", "another value", "the newest", "FLUSHALL"],
)
async def test_what_the_shard_lost_before_the_pass_is_named_written_again_and_archived(
    rig: FaultyRig, harm: Any, readings: int, altered: int
) -> None:
    await rig.load(T0, 900)
    await harm(rig)
    with capture_logs() as logs:
        async with rig.archiver() as archiver:
            done = (await archiver.cycle())["salon"]
            assert (done.proven, done.repaired) == (3600, readings)
            assert archiver.status.locations["salon"].repaired_in_shard == rig.mender.again == readings
    (line,) = [line for line in logs if line["event"] == "shard_lost_readings"]
    assert (line["shard"], line["readings"], line["altered"]) == ("salon", readings, altered)
    assert line["example"] == SERIES[0].key
    for series in SERIES:
        assert await rig.archived(series) == await rig.held(series) == wanted(T0, 900)
    assert rig.partition.positions.truncated == rig.partition.end
    assert rig.state.watermarks(rig.store.identity, "salon") == dict.fromkeys(SERIES, T0 + 899_000)


async def test_late_readings_that_the_shard_lost_are_found_as_well(rig: FaultyRig) -> None:
    await rig.load(T0 + 500_000, 100)
    async with rig.archiver() as archiver:
        await archiver.cycle()
        await rig.load(T0, 100)
        await rig.ask("TS.DEL", SERIES[1].key, T0 + 10_000, T0 + 19_000)
        done = (await archiver.cycle())["salon"]
        assert (done.proven, done.repaired) == (400, 10)
    for series in SERIES:
        assert await rig.archived(series) == await rig.held(series) == wanted(T0, 100) + wanted(T0 + 500_000, 100)


async def test_nothing_is_truncated_while_the_shard_can_not_be_mended(rig: FaultyRig) -> None:
    await rig.load(T0, 100)
    await rig.ask("DEL", SERIES[0].key)
    rig.mender.down = True
    async with rig.archiver() as archiver:
        with pytest.raises(ShardUnavailable):
            await archiver.cycle()
        assert archiver.status.locations["salon"].waiting == 400
        assert rig.partition.positions.truncated == rig.partition.positions.archived == 0
        rig.mender.down = False
        await archiver.cycle()
        assert archiver.status.locations["salon"].waiting == 0
    assert rig.partition.positions.truncated == rig.partition.end
    assert await rig.archived(SERIES[0]) == await rig.held(SERIES[0]) == wanted(T0, 100)


async def test_a_shard_that_was_taken_up_anew_is_not_called_one_that_lost_readings(rig: FaultyRig) -> None:
    await rig.load(T0, 100)
    held = rig.partition.positions
    seen: list[int] = []

    async def rewinds(*_: object) -> object:  # a failover, just as the archiver asks for the newest readings
        if not seen:
            held.rewind(0)
        seen.append(1)
        return {}

    await rig.ask("DEL", SERIES[0].key)
    with capture_logs() as logs:
        async with rig.archiver() as archiver:
            archive = archiver._locations["salon"]
            latest = archive._reader.latest
            archive._reader.latest = rewinds  # type: ignore[method-assign, assignment]
            with pytest.raises(ShardUnavailable, match="taken up anew"):
                await archiver.cycle()
            archive._reader.latest = latest  # type: ignore[method-assign]
            assert held.archived == 0
            await rig.to_shard(rig.batch(T0, 100))  # the writer has written again
            rig.acknowledge()
            assert (await archiver.cycle())["salon"].repaired == 0
    assert "shard_lost_readings" not in names(logs)


# ── what retention takes ──


async def test_what_expired_before_the_pass_goes_from_the_log_straight_to_the_archive(make_rig: MakeRig) -> None:
    rig = make_rig(retention="10m", interval="5m")
    await rig.load(T0, 3600)
    with capture_logs() as logs:
        async with rig.archiver() as archiver:
            done = (await archiver.cycle())["salon"]
            assert done.proven == 3600 * len(SERIES)
            assert done.repaired == 0
            assert done.expired == (3600 - 601) * len(SERIES)
            # one that is far too old is refused by the shard, and is archived all the same
            await rig.load(T0 - 86_400_000, 1, series=SERIES[:1])
            done = (await archiver.cycle())["salon"]
            assert (done.expired, done.again, done.repaired) == (1, 1, 0)
            assert archiver.status.locations["salon"].lost == []
    assert {"shard_lost_readings", "readings_lost"}.isdisjoint(names(logs))
    assert await rig.archived(SERIES[0]) == wanted(T0 - 86_400_000, 1) + wanted(T0, 3600)
    assert await rig.archived(SERIES[1]) == wanted(T0, 3600)
    assert len(await rig.held(SERIES[0])) == 601
    assert rig.partition.positions.truncated == rig.partition.end


async def test_what_no_log_has_and_retention_takes_before_it_is_archived_is_lost_and_named(make_rig: MakeRig) -> None:
    rig = make_rig(retention="10m", interval="5m")
    await rig.to_shard(rig.batch(T0, 300, series=SERIES[:1]))  # as an older iotd left it
    rig.store.faults = [ArchiveUnavailable("down", retry_after=600)] * 20
    async with rig.archiver() as archiver:
        with pytest.raises(ArchiveUnavailable):
            await archiver.cycle()

        async def looked() -> bool:
            return archiver.status.locations["salon"].left_ms is not None

        await until(looked, 10, "what waits is noted")
    await rig.load(T0 + 700_000, 1, series=SERIES[:1])
    rig.store.faults = []
    with capture_logs() as logs:
        async with rig.archiver() as archiver:
            await archiver.cycle()
            (loss,) = archiver.status.locations["salon"].lost
            assert (loss.sensor, loss.first, loss.until, loss.count) == (SERIES[0].key, T0, T0 + 100_000, 100)
    assert names(logs).count("readings_lost") == 1
    assert await rig.archived(SERIES[0]) == [*wanted(T0 + 100000, 200), (T0 + 700000, 0.0)]


# ── what only the archive has ──


async def test_an_emptied_shard_gets_back_from_the_archive_what_the_log_no_longer_has(rig: FaultyRig) -> None:
    await rig.load(T0, 3600)
    async with rig.archiver() as archiver:
        await archiver.cycle()
        await verified(archiver)
        assert rig.partition.positions.truncated == rig.partition.end
        await rig.empty()
        await rig.load(T0 + 3_600_000, 10)
        rig.mender.lost_series.update(range(len(SERIES)))
        await archiver.cycle()
        assert archiver.status.locations["salon"].restored == 3600 * len(SERIES)
        assert rig.mender.lost_series == set()
    for series in SERIES:
        assert await rig.held(series) == await rig.archived(series) == wanted(T0, 3610)


async def test_verification_finds_what_only_the_archive_has_and_it_is_written_back(rig: FaultyRig) -> None:
    await rig.load(T0, 9000)
    async with rig.archiver() as archiver:
        await archiver.cycle()
        await verified(archiver)
        await rig.ask("TS.DEL", SERIES[2].key, T0 + 1_000_000, T0 + 1_499_000)
        await rig.ask("DEL", SERIES[3].key)
        found = (await archiver.verify(deep=False, repair=False))["salon"].gaps
        assert sum(gap.surplus for gap in found) == 500 + 9000
        repaired = (await archiver.verify(deep=False, repair=True))["salon"]
        assert repaired.gaps == []
    assert await rig.held(SERIES[2]) == await rig.held(SERIES[3]) == wanted(T0, 9000)


@pytest.mark.parametrize("deep", [False, True])
async def test_the_newest_reading_of_each_series_is_compared_though_others_spoke_long_before_or_after(
    rig: FaultyRig, deep: bool
) -> None:
    # real sensors speak at moments of their own: some minutes apart, some hours
    counts = dict(zip(SERIES, (9000, 8100, 5000, 600), strict=True))
    async with rig.archiver() as archiver:
        for series, count in counts.items():
            await rig.to_log(batch := rig.batch(T0, count, series=[series]))
            await rig.to_shard(batch)
        rig.acknowledge()
        await archiver.cycle()
        assert (await archiver.verify(deep=deep, repair=False))["salon"].compared == sum(counts.values())
        for series, count in counts.items():
            newest = T0 + (count - 1) * 1000
            await rig.ask("TS.DEL", series.key, newest, newest)
        found = (await archiver.verify(deep=deep, repair=False))["salon"].gaps
        assert sorted((gap.sensor, gap.surplus) for gap in found) == sorted((one.key, 1) for one in SERIES)
        assert (await archiver.verify(deep=deep, repair=True))["salon"].gaps == []
    for series, count in counts.items():
        assert await rig.held(series) == wanted(T0, count)


async def test_what_only_the_archive_has_is_found_in_a_range_that_is_dirty_too(rig: FaultyRig) -> None:
    await rig.load(T0, 9000)
    async with rig.archiver() as archiver:
        await archiver.cycle()
        await verified(archiver)
        rig.state.note_dirty([(SERIES[2], T0 + 1_200_000, T0 + 1_200_000)])  # a late reading, no pass after it
        await rig.ask("TS.DEL", SERIES[2].key, T0 + 1_000_000, T0 + 1_499_000)
        found = (await archiver.verify(deep=False, repair=False))["salon"].gaps
        assert [(gap.sensor, gap.surplus) for gap in found] == [(SERIES[2].key, 500)]
        assert (await archiver.verify(deep=False, repair=True))["salon"].gaps == []
    assert await rig.held(SERIES[2]) == wanted(T0, 9000)


async def test_with_restoring_off_what_only_the_archive_has_is_no_gap(make_rig: MakeRig) -> None:
    rig = make_rig(restore="0s")
    await rig.load(T0, 9000)
    async with rig.archiver() as archiver:
        await archiver.cycle()
        await verified(archiver)
        await rig.ask("TS.DEL", SERIES[2].key, T0 + 1_000_000, T0 + 1_499_000)
        assert (await archiver.verify(deep=True, repair=True))["salon"].gaps == []
    assert len(await rig.held(SERIES[2])) == 8500


# ── an archive that fails ──


async def test_an_archive_that_fails_holds_the_watermarks_and_goes_on_by_itself(rig: FaultyRig) -> None:
    await rig.load(T0, 1500)
    rig.store.faults = [
        ArchiveUnavailable("down"),
        ArchiveUnavailable("wait", retry_after=0.0),
        ArchiveUnavailable("no"),
    ]
    async with rig.archiver() as archiver:
        while rig.store.faults:
            try:
                await archiver.cycle()
            except ArchiveUnavailable:
                assert archiver.status.trouble is not None
        await archiver.cycle()
        assert archiver.status.trouble is None
        assert archiver.status.locations["salon"].trouble is None
    for series in SERIES:
        assert await rig.archived(series) == wanted(T0, 1500)
    assert rig.budget.used == 0


async def test_an_archive_that_is_cut_off_in_the_middle_of_a_pass_moves_no_position(rig: FaultyRig) -> None:
    await rig.load(T0, 3000)

    async def refuse(batch: Sequence[Points]) -> None:
        if batch and rig.store.writes >= 6:
            raise ArchiveRefused("no token")
        rig.store.writes += bool(batch)
        await EmbeddedStore.write(rig.store, batch)

    rig.store.write = refuse  # type: ignore[method-assign]
    async with rig.archiver() as archiver:
        with pytest.raises(ArchiveRefused):
            await archiver.cycle()
        assert rig.partition.positions.archived == rig.partition.positions.truncated == 0
        assert rig.state.proven(rig.store.identity, rig.log.id, "salon") is None
        assert sum([len(await rig.archived(series)) for series in SERIES]) == 6000
        rig.store.writes = -1000
        await archiver.cycle()
    assert rig.partition.positions.truncated == rig.partition.end
    for series in SERIES:
        assert await rig.archived(series) == wanted(T0, 3000)


async def test_truncation_waits_for_what_was_not_acknowledged_and_not_durable(rig: FaultyRig) -> None:
    await rig.load(T0, 10)
    proven = rig.partition.end
    await rig.to_log(rig.batch(T0 + 10_000, 10))
    async with rig.archiver() as archiver:
        assert (await archiver.cycle())["salon"].proven == 40
        assert rig.partition.positions.archived == rig.partition.positions.truncated == proven
        await rig.to_shard(rig.batch(T0 + 10_000, 10))
        rig.partition.positions.advance("acknowledged", rig.partition.end)
        assert (await archiver.cycle())["salon"].proven == 40
        assert rig.partition.positions.archived == rig.partition.end
        assert rig.partition.positions.truncated == proven


async def test_a_pass_begins_early_when_the_log_fills_up(rig: FaultyRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iotd.archive.scheduler._EARLY_S", 0.1)
    monkeypatch.setattr("iotd.archive.scheduler._CHECK_S", 0.05)
    monkeypatch.setattr("tests.servers.archiving.LIMIT", 30_000)
    async with rig.archiver() as archiver:
        await archiver.cycle()
        await rig.load(T0, 20)
        assert rig.partition.positions.archived == 0  # 1,600 bytes
        await rig.load(T0 + 20_000, 200)

        async def archived() -> bool:
            return rig.partition.positions.archived == rig.partition.end

        await until(archived, 10, "a pass begins though the interval is an hour")


async def test_more_than_a_chunk_of_the_log_is_proven_piece_by_piece(
    rig: FaultyRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iotd.archive.pass_.CHUNK", 3000)
    for hour in range(4):
        for _ in range(2):  # every record twice: the second time it is late
            await rig.load(T0 + hour * 600_000, 600)
    async with rig.archiver() as archiver:
        done = (await archiver.cycle())["salon"]
        assert (done.new, done.again, done.repaired) == (9600, 9600, 0)
    for series in SERIES:
        assert await rig.archived(series) == wanted(T0, 2400)


async def test_a_point_that_is_refused_for_good_goes_to_the_dead_letters_and_the_rest_on(rig: FaultyRig) -> None:
    await rig.load(T0, 300)
    rig.store.poison = T0 + 123_000
    async with rig.archiver() as archiver:
        await archiver.cycle()
        assert archiver.status.rejected == len(SERIES)
    letters = (rig.folder / "dead-letters" / "archive.jsonl").read_text()
    assert letters.count(str(T0 + 123_000)) == len(SERIES)
    expected = [pair for pair in wanted(T0, 300) if pair[0] != T0 + 123_000]
    assert await rig.archived(SERIES[0]) == expected


async def test_without_a_store_there_is_nothing_to_do(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.log.reconfigure(limit=2**20, required=["durable"], keep_s=0)
    store, rig.store = rig.store, None  # type: ignore[assignment]
    async with rig.archiver() as archiver:
        assert archiver.status.store is None
        await rig.load(T0, 10)
    rig.store = store
    assert rig.partition.positions.truncated == rig.partition.end


# ── verification ──


async def test_verification_finds_what_the_archive_lost_and_repair_brings_it_back(rig: FaultyRig) -> None:
    await rig.load(T0 + 60_000, 5000)
    async with rig.archiver() as archiver:
        await archiver.cycle()
        await verified(archiver)
        clean = await archiver.verify(deep=True, repair=False)
        assert clean["salon"].gaps == []
        assert clean["salon"].compared == 5000 * len(SERIES)
        tampered(rig, lambda archive: archive.delete(SERIES[0], T0 + 99_000, T0 + 99_000))
        (gap,) = (await archiver.verify(deep=False, repair=False))["salon"].gaps
        assert (gap.held - gap.archived, gap.first) == (1, T0 + 60_000)
        repaired = (await archiver.verify(deep=False, repair=True))["salon"]
        assert (repaired.gaps, repaired.repaired) == ([], 1)
    assert await rig.archived(SERIES[0]) == wanted(T0 + 60_000, 5000)


async def test_what_comes_late_and_is_archived_while_verification_looks_is_no_gap(rig: FaultyRig) -> None:
    await rig.load(T0, 5000)
    async with rig.archiver() as archiver:
        await archiver.cycle()
        await verified(archiver)

        async def late() -> None:
            await rig.load(T0 + 500, 1)
            await archiver.cycle()

        rig.store.answered = late
        assert (await archiver.verify(deep=True, repair=False))["salon"].gaps == []
        assert rig.store.answered is None


async def test_verification_finds_a_value_that_differs(rig: FaultyRig) -> None:
    await rig.load(T0, 5000)
    async with rig.archiver() as archiver:
        await archiver.cycle()
        await verified(archiver)
        put(rig, SERIES[1], T0 + 4_000_000, 1.0)
        put(rig, SERIES[1], T0 + 4_060_000, -1.0)
        for deep in (False, True):
            (gap,) = (await archiver.verify(deep=deep, repair=False))["salon"].gaps if deep else [None]
            assert gap is None or gap.differing == 2
        assert (await archiver.verify(deep=True, repair=True))["salon"].gaps == []
        put(rig, SERIES[1], T0 + 4_000_000, 999.0)
        (gap,) = (await archiver.verify(deep=False, repair=False))["salon"].gaps
        assert gap.differing == 1
        assert (await archiver.verify(deep=False, repair=True))["salon"].gaps == []


async def test_a_series_that_appears_later_gets_its_history(rig: FaultyRig) -> None:
    await rig.load(T0, 100)
    new = Series("air_quality", "salon", "9")
    async with rig.archiver() as archiver:
        await archiver.cycle()
        number = np.array([rig.catalogue.register(new)], np.int32)
        await rig.to_shard(Batch("salon", number, np.array([T0 - 1000]), np.array([40.0])))
        await archiver.cycle()
    assert await rig.archived(new) == [(T0 - 1000, 40.0)]


async def test_a_damaged_embedded_archive_is_told_and_once_it_is_moved_away_all_is_archived_into_a_new_one(
    rig: FaultyRig,
) -> None:
    await rig.load(T0, 5000)
    path = rig.store.path
    async with rig.archiver() as archiver:
        await archiver.cycle()
        await verified(archiver)
    await rig.store.close()
    with path.open("r+b") as f:  # the pages in the middle
        f.seek(path.stat().st_size // 4)
        f.write(b"\x5a" * (path.stat().st_size // 2))
    rig.store = FaultyStore(path)
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
    for series in SERIES:
        assert await rig.archived(series) == wanted(T0, 10_000)


async def test_once_the_store_has_taken_readings_of_another_location_none_waits_for_its_own_pause(
    rig: FaultyRig,
) -> None:
    await rig.load(T0, 100)
    rig.store.faults = [ArchiveUnavailable("away", retry_after=3600) for _ in range(9)]
    async with rig.archiver() as archiver:
        while rig.store.faults:
            with pytest.raises(ArchiveUnavailable):
                await archiver.cycle()  # each time the pause grows
        assert archiver._delivery is not None
        archiver._delivery.hope()
        await archiver._delivery.probe()

        async def archived() -> bool:
            return archiver.status.locations["salon"].proven == 100 * len(SERIES)

        await until(archived, 15, "the location's pass is made")


async def test_a_store_that_takes_readings_again_is_no_trouble_any_more_though_the_shard_does_not_answer(
    rig: FaultyRig,
) -> None:
    await rig.load(T0, 100)
    rig.store.faults = [ArchiveUnavailable("away", retry_after=3)]
    nodes = rig.system.topology.shard("salon").redis
    async with rig.archiver() as archiver:
        with pytest.raises(ArchiveUnavailable):
            await archiver.cycle()
        assert archiver.status.trouble is not None
        for node in nodes:
            rig.system.stack.backend.pause(node)
        try:

            async def recovered() -> bool:
                return archiver.status.trouble is None

            await until(recovered, 20, "the store is said to take readings")
            assert archiver.status.locations["salon"].proven == 0
        finally:
            for node in nodes:
                rig.system.stack.backend.resume(node)

        async def archived() -> bool:
            return archiver.status.locations["salon"].proven == 100 * len(SERIES)

        await until(archived, 30, "the location's pass is made")


def tampered(rig: FaultyRig, change: Callable[[ArchiveWriter], object]) -> None:
    """Changes the archive behind everybody's back."""
    with closing(ArchiveWriter(rig.store.path)) as archive:
        change(archive)


def put(rig: FaultyRig, series: Series, time: int, more: float) -> None:
    """Makes one value of the archive another one, by so much more."""

    def change(archive: ArchiveWriter) -> None:
        reader = ArchiveReader(rig.store.path)
        with closing(reader):
            times, values = reader.samples(series, time, time)
        archive.write([(series, times, values + more)])

    tampered(rig, change)
