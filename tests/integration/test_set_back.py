"""An archive that was set back, or in which rows were deleted or altered: what queries, passes and verification say."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from iotd.archive.archiver import Archiver
from iotd.archive.vanished import Vanished
from iotd.model.aggregate import Aggregation
from iotd.model.batch import Batch
from iotd.model.errors import ArchiveRejected, ArchiveUnverifiable
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.query import stream
from iotd.query.engine import Query
from iotd.query.join import Range
from iotd.query.marks import Marks, read_marks
from iotd.query.result import Readings, concatenate
from iotd.query.shard import ShardSource
from iotd.stack.binaries import RedisBinaries
from iotd.stores.base import Store
from iotd.stores.embedded.store import EmbeddedStore
from iotd.stores.embedded.writer import ArchiveWriter
from iotd.stores.influxdb.store import InfluxStore
from iotd.stores.points import Points
from iotd.stores.renamed import Former, RenamedStore
from tests.contract.makers import influx_store
from tests.servers.archiving import HOUR, MASTER, SERIES, T0, Rig, wanted
from tests.servers.influxdb import InfluxServer
from tests.servers.ports import port_block
from tests.servers.system import System, make_settings, start_system, stop_system, until

STEP = 10_000
AN_HOUR = HOUR // STEP
"""Readings of a series in an hour."""
MINUTE = 60_000


@pytest.fixture(scope="module")
def shard(redis_binaries: RedisBinaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One real shard for all tests of this file; each begins with an empty one."""
    with port_block() as first:
        folder = tmp_path_factory.mktemp("shard")
        stack = {"redis_dir": redis_binaries.server.parent}
        system = start_system(make_settings(folder, first, ["salon"], stack=stack))
        try:
            yield system
        finally:
            stop_system(system)


class House(Rig):
    """The shard of salon with log and archiver, and queries over it, as the library makes them."""

    influx: InfluxServer | None = None
    bucket = ""

    async def fill(self, first: int, minutes: int) -> None:
        """Readings of every series, each 10 seconds, into log and shard."""
        await self.load(first, minutes * MINUTE // STEP, STEP)

    async def find(
        self, first: int, last: int, how: tuple[Aggregation, int] | None = None, archive: Store | None = None
    ) -> Readings:
        """A query of the salon's temperatures from ``first`` to ``last`` (ms, both included)."""
        query = self.query(first, last, archive)
        try:
            chunks = stream.readings(query) if how is None else stream.aggregated(query, *how)
            return concatenate([chunk async for chunk in chunks])
        finally:
            await query.close()

    def query(self, first: int, last: int, archive: Store | None = None) -> Query:
        archive = archive or self.store
        return Query(
            Selection(("salon",), ("temperature",)),
            first,
            last + 1,
            shards={"salon": ShardSource(self.system.topology.shard("salon"), self.system.settings)},
            archive=archive,
            marks=lambda: read_marks(self.folder, archive.identity) or Marks(),
        )

    async def delete(self, series: Series, first: int, last: int) -> None:
        """Takes readings out of the archive, as somebody does by hand."""
        if self.influx is not None:
            tags = f'_measurement="{series.type}" AND location="salon" AND sensor_id="{series.sensor_id}"'
            await self.influx.delete_rows(self.bucket, first, last, tags)
            return
        assert isinstance(self.store, EmbeddedStore)
        with closing(ArchiveWriter(self.store.path)) as archive:
            archive.delete(series, first, last)

    async def forget(self, before: int) -> None:
        """Takes what is older from the shard, as retention does."""
        for series in SERIES:
            await self.ask("TS.DEL", series.key, 0, before)


Build = Callable[..., House]


@pytest.fixture
async def build(shard: System, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Build]:
    made: list[House] = []
    await shard.ask(MASTER, "FLUSHALL")

    def make(kind: str, **archive: Any) -> House:
        settings = make_settings(
            tmp_path / "iotd",
            12_000,
            ["salon"],
            archive={"batch": 1000, "interval": "1h", "restore": "0s", **archive},
            redis={"retention": "3650d"},
        )
        if kind == "influxdb":
            server: InfluxServer = request.getfixturevalue("influxdb")
            bucket = server.make_bucket(f"s{uuid.uuid4().hex}")
            house = House(shard, settings, influx_store(server, tmp_path / "influx", bucket=bucket), tmp_path)
            house.influx, house.bucket = server, bucket
        else:
            house = House(shard, settings, EmbeddedStore(tmp_path / "archive.sqlite"), tmp_path)
        house.open()
        made.append(house)
        return house

    yield make
    for house in made:
        await house.close()


@pytest.fixture(params=["embedded", "influxdb"])
async def house(request: pytest.FixtureRequest, build: Build) -> House:
    return build(request.param)


async def settled(archiver: Archiver) -> None:
    """A pass and a verification without a gap are over."""
    await archiver.cycle()
    assert (await archiver.verify(deep=False, repair=False))["salon"].gaps == []


def said(found: Readings) -> str:
    return found.answers[0].why or ""


SENSOR = SERIES[0]
HOW: list[tuple[Aggregation, int] | None] = [None, ("avg", 10 * MINUTE), ("count", HOUR), ("std.p", 45_000)]


async def test_rows_deleted_in_a_verified_hour_are_taken_from_the_shard_or_named_as_missing(house: House) -> None:
    await house.fill(T0, 200)
    async with house.archiver() as archiver:
        await settled(archiver)
    whole = [await house.find(T0, T0 + 3 * HOUR - 1, how) for how in HOW]
    assert all(found.complete and not found.problems for found in whole)
    await house.delete(SENSOR, T0 + HOUR, T0 + HOUR + 30 * MINUTE - 1)
    for how, before in zip(HOW, whole, strict=True):
        found = await house.find(T0, T0 + 3 * HOUR - 1, how)
        assert found.complete
        assert "180 of 360" in said(found)
        assert "what is here of them is from the shard" in found.problems[0]
        assert np.array_equal(found.times, before.times)
        assert np.allclose(found.values, before.values)
        # also where only a part of the hour was asked for, in which nothing is missing
        part = await house.find(T0 + HOUR + 40 * MINUTE, T0 + HOUR + 50 * MINUTE - 1, how)
        assert part.complete
        assert said(part)
        assert not (await house.find(T0, T0 + HOUR - 1, how)).problems
    await house.forget(T0 + 2 * HOUR - 1)
    for how in HOW:
        found = await house.find(T0, T0 + 3 * HOUR - 1, how)
        assert found.answers[0].missing == (Range(T0 + HOUR, T0 + 2 * HOUR - 1),)
        assert "180 of 360" in said(found)
        assert "rows were deleted there" in found.problems[0]
        assert "PARTIAL" in found.summary


async def test_a_series_of_which_nothing_is_left_is_known_to_be_missing(house: House) -> None:
    await house.fill(T0, 130)
    async with house.archiver() as archiver:
        await settled(archiver)
    await house.forget(T0 + 2 * HOUR)
    for series in SERIES:
        await house.delete(series, T0, T0 + 90 * MINUTE)
    for how in HOW:
        found = await house.find(T0 - HOUR, T0 + HOUR - 1, how)
        assert len(found) == 0
        assert found.answers[0].missing == (Range(T0, T0 + HOUR - 1),)
        assert "0 of 720" in said(found)


async def test_what_shard_and_archive_have_both_lost_is_named_until_it_is_back_or_a_person_knows(house: House) -> None:
    await house.fill(T0, 200)
    async with house.archiver() as archiver:
        await settled(archiver)
        assert archiver.status.locations["salon"].vanished == []
        await house.forget(T0 + HOUR - 1)
        await house.delete(SENSOR, T0 + 20 * MINUTE, T0 + 30 * MINUTE - 1)  # older than the shard
        await house.ask("TS.DEL", SENSOR.key, T0 + HOUR, T0 + 2 * HOUR - 1)
        await house.delete(SENSOR, T0 + HOUR, T0 + 2 * HOUR - 1)  # and an hour of both
        gone = [Vanished(SENSOR.key, T0, T0 + 2 * HOUR - 1, 60 + AN_HOUR)]
        for deep in (False, True):
            found = (await archiver.verify(deep=deep, repair=True))["salon"]
            assert (found.vanished, found.gaps) == (gone, [])
        assert archiver.status.locations["salon"].vanished == gone
        assert not (await house.find(T0, T0 + HOUR - 1)).complete
        await archiver.forget_vanished("salon")
        assert archiver.status.locations["salon"].vanished == []
        assert (await archiver.verify(deep=False, repair=False))["salon"].vanished == []
        assert (await house.find(T0, T0 + HOUR - 1)).complete


async def set_back(house: House, minutes: int, *, verify: bool = False) -> None:
    """Archives so many minutes more, and then loses them: an older copy of the file is put back."""
    assert isinstance(house.store, EmbeddedStore)
    path = house.store.path
    await house.store.close()
    copy = path.with_suffix(".copy")
    shutil.copy(path, copy)
    house.store = EmbeddedStore(path)
    async with house.archiver() as archiver:
        await house.fill(T0 + 200 * MINUTE, minutes)
        await archiver.cycle()
        if verify:
            await settled(archiver)
    await house.store.close()
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    copy.replace(path)
    house.store = EmbeddedStore(path)


async def test_an_archive_set_back_by_minutes_is_noticed_by_queries_and_by_the_next_pass(build: Build) -> None:
    house = build("embedded")
    await house.fill(T0, 200)
    async with house.archiver() as archiver:
        await settled(archiver)
    await set_back(house, 20)
    first, last = T0 + 201 * MINUTE, T0 + 215 * MINUTE - 1
    for how in HOW:
        found = await house.find(first, last, how)
        assert found.complete
        assert len(found)
        assert "no longer the newest readings" in said(found)
        assert not (await house.find(T0, T0 + 2 * HOUR, how)).problems  # verified, and still there
    assert len(await house.find(first, last)) == 2 * 14 * 6
    await house.ask("FLUSHALL")
    for how in HOW:
        found = await house.find(first, last, how)
        assert found.answers[0].missing == (Range(first, last),)
        assert "no longer the newest readings" in found.problems[0]
    # what the log keeps is enough for the next pass, which tells it and has it verified
    await house.to_shard(house.batch(T0, 1320, STEP))
    with capture_logs() as logs:
        async with house.archiver() as archiver:
            await house.fill(T0 + 220 * MINUTE, 1)
            await archiver.cycle()
            (told,) = [line for line in logs if line["event"] == "archive_set_back"]
            assert (told["shard"], told["series"]) == ("salon", len(SERIES))
            await archiver.cycle()
            assert [line for line in logs if line["event"] == "archive_set_back"] == [told]
    assert await house.archived(SENSOR) == wanted(T0, 221 * 6, STEP)
    assert not (await house.find(first, last)).problems


async def test_an_archive_set_back_by_hours_is_whole_again_soon_after_the_next_pass(build: Build) -> None:
    house = build("embedded")
    await house.fill(T0, 200)
    async with house.archiver() as archiver:
        await settled(archiver)
    await set_back(house, 200, verify=True)
    everything = [await house.find(T0, T0 + 400 * MINUTE - 1, how) for how in HOW]
    for found in everything:
        assert found.complete
        assert "fewer readings" in said(found)
        assert "no longer the newest" in said(found)
    assert len(everything[0]) == 2 * 400 * 6

    async def whole() -> bool:
        return await house.archived(SENSOR) == wanted(T0, 400 * 6, STEP)

    async with house.archiver() as archiver:
        await archiver.cycle()
        await until(whole, 30, "the verification that follows has brought back what was lost")
        assert (await archiver.verify(deep=True, repair=False))["salon"].gaps == []
    for how, before in zip(HOW, everything, strict=True):
        found = await house.find(T0, T0 + 400 * MINUTE - 1, how)
        assert not found.problems
        assert np.allclose(found.values, before.values)


async def test_an_archive_made_anew_or_another_one_says_what_only_the_former_held(build: Build, tmp_path: Path) -> None:
    house = build("embedded")
    await house.fill(T0, 130)
    async with house.archiver() as archiver:
        await settled(archiver)
    await house.forget(T0 + HOUR - 1)
    assert isinstance(house.store, EmbeddedStore)
    with closing(ArchiveWriter(tmp_path / "other.sqlite")) as made:
        made.incarnation()
    other = EmbeddedStore(tmp_path / "other.sqlite", read_only=True)
    found = await house.find(T0, T0 + 2 * HOUR - 1, archive=other)
    assert found.answers[0].missing == (Range(T0, T0 + HOUR - 1),)
    assert house.store.identity in said(found)
    await other.close()

    path = house.store.path
    await house.store.close()
    shutil.move(tmp_path / "other.sqlite", path)
    house.store = EmbeddedStore(path)
    for how in HOW:
        found = await house.find(T0, T0 + 2 * HOUR - 1, how)
        assert found.answers[0].missing == (Range(T0, T0 + HOUR - 1),)
        assert "another archive" in said(found)
        assert (await house.find(T0 + HOUR, T0 + 2 * HOUR - 1, how)).complete


async def test_one_altered_value_and_a_pair_that_leaves_the_sum_are_found_without_deep(house: House) -> None:
    await house.fill(T0, 130)
    at = T0 + 30 * MINUTE
    held = dict(wanted(T0, 130 * 6, STEP))
    alterations = [
        {at: held[at] + 0.01},
        {at: held[at] + 0.01, at + STEP: held[at + STEP] - 0.01},
        {at: held[at] + 1e-6},
    ]
    async with house.archiver() as archiver:
        await settled(archiver)
        for altered in alterations:
            assert 0 < min(altered.values()) < max(altered.values()) + 1 < 90
            await house.store.write([Points.of(SENSOR, [(t, repr(v).encode()) for t, v in sorted(altered.items())])])
            (gap,) = (await archiver.verify(deep=False, repair=False))["salon"].gaps
            assert (gap.sensor, gap.first, gap.differing) == (SENSOR.key, T0, len(altered))
            assert (await archiver.verify(deep=False, repair=True))["salon"].gaps == []
            assert await house.archived(SENSOR) == wanted(T0, 130 * 6, STEP)


async def test_the_hourly_verification_comes_to_the_squares_of_older_days_in_turns(build: Build) -> None:
    house = build("embedded")
    await house.load(T0, 3 * 24 * 60, MINUTE)
    async with house.archiver() as archiver:
        await settled(archiver)
        pair = [(T0 + 330 * MINUTE, b"0.5"), (T0 + 331 * MINUTE, b"59.5")]
        before = dict(wanted(T0, 360, MINUTE))
        assert [before[time] for time, _ in pair] == [0.0, 60.0]
        await house.store.write([Points.of(SENSOR, pair)])
        verifier = archiver._locations["salon"].verifier
        found = [await verifier.verify(deep=False, repair=False, thorough=False) for _ in range(7)]
        assert sorted(len(one.gaps) for one in found) == [0] * 6 + [1]
        assert len((await archiver.verify(deep=False, repair=False))["salon"].gaps) == 1


async def test_values_of_any_size_are_no_false_alarm(house: House) -> None:
    """Also where sums or squares are beyond float64, or a variance is nothing but rounding."""
    rng = np.random.default_rng(3)
    n = 2 * AN_HOUR
    shapes = [
        rng.integers(0, 2**64, n, np.uint64).view(np.float64),
        1e12 + rng.normal(0, 1e-3, n),
        rng.choice([1.7e308, -1.7e308], n),
        rng.choice([5e-324, 1e-310, -1e-170], n),
    ]
    for number, values in enumerate(shapes):
        values[~np.isfinite(values)] = 0.0
        number_of = np.full(n, house.catalogue.register(Series("temperature", "salon", f"odd{number}")), np.int32)
        batch = Batch("salon", number_of, T0 + STEP * np.arange(n, dtype=np.int64), values)
        await house.to_log(batch)
        await house.to_shard(batch)
    house.acknowledge()
    async with house.archiver() as archiver:
        await settled(archiver)


# ── no doubt in the normal life ──


async def test_late_readings_refused_ones_repaired_gaps_and_retention_raise_no_doubt(house: House) -> None:
    await house.fill(T0, 200)
    everything = (T0, T0 + 210 * MINUTE)

    async def calm(count: int) -> None:
        for how in HOW:
            found = await house.find(*everything, how)
            assert found.complete, found
            assert not found.problems
        assert len(await house.find(*everything)) == count

    async with house.archiver() as archiver:
        await settled(archiver)
        await calm(2400)
        # late, before and after they are archived, and before and after they are verified
        late = house.batch(T0 + HOUR + 5000, 50, STEP)
        await house.to_log(late)
        await house.to_shard(late)
        house.acknowledge()
        await archiver.cycle()
        await calm(2500)
        await settled(archiver)
        await calm(2500)
        # a gap that is repaired
        await house.delete(SENSOR, T0 + HOUR, T0 + HOUR + 5 * MINUTE)
        assert (await archiver.verify(deep=False, repair=True))["salon"].gaps == []
        await calm(2500)
        # deleted on purpose, the newest among them, here and in the shard
        for first, last in ((T0, T0 + 5 * MINUTE - 1), (T0 + 199 * MINUTE, T0 + 200 * MINUTE)):
            house.state.forget_verified(SENSOR, first, last)
            await house.delete(SENSOR, first, last)
            await house.ask("TS.DEL", SENSOR.key, first, last)
        await calm(2500 - 30 - 6)
        assert (await archiver.verify(deep=False, repair=False))["salon"].gaps == []
        await calm(2500 - 30 - 6)
        # retention in the shard
        await house.forget(T0 + 2 * HOUR)
        await calm(2500 - 30 - 6)
        with capture_logs() as logs:
            await house.fill(T0 + 200 * MINUTE, 1)
            await archiver.cycle()
        assert not [line for line in logs if line["event"] == "archive_set_back"]
        await calm(2500 - 30 - 6 + 12)


async def test_refused_readings_are_no_loss_the_newest_among_them(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = build("embedded")
    poison = {T0 + 30 * MINUTE, T0 + 130 * MINUTE - STEP}
    write = EmbeddedStore.write

    async def refusing(self: EmbeddedStore, batch: Sequence[Points]) -> None:
        if poison & {time for points in batch for time, _ in points.samples()}:
            raise ArchiveRejected("poisoned")
        await write(self, batch)

    monkeypatch.setattr(EmbeddedStore, "write", refusing)
    await house.fill(T0, 130)
    async with house.archiver() as archiver:
        with capture_logs() as logs:
            await settled(archiver)
            await settled(archiver)
        assert "archive_rejected" in {line["event"] for line in logs}
        assert "archive_set_back" not in {line["event"] for line in logs}
        for how in HOW:
            assert not (await house.find(T0, T0 + 3 * HOUR, how)).problems
        poison.clear()
        await archiver.retry_rejected()
        await settled(archiver)
        for how in HOW:
            assert not (await house.find(T0, T0 + 3 * HOUR, how)).problems
    assert await house.archived(SENSOR) == wanted(T0, 130 * 6, STEP)


async def test_a_query_while_passes_and_verifications_go_on_has_no_doubt(house: House) -> None:
    await house.fill(T0, 100)
    async with house.archiver() as archiver:
        await settled(archiver)
        for n in range(4):
            await house.fill(T0 + (100 + 10 * n) * MINUTE, 10)
            await house.fill(T0 + 30 * MINUTE + 1000 * (n + 1), 5)  # late
            query = house.query(T0, T0 + 3 * HOUR)
            chunks = stream.readings(query)
            await query.learn()
            await archiver.cycle()
            await archiver.verify(deep=False, repair=True)
            found = concatenate([chunk async for chunk in chunks])
            await query.close()
            assert not found.problems
            assert not (await house.find(T0, T0 + 3 * HOUR, ("count", HOUR))).problems


async def test_a_renamed_location_has_the_counts_of_its_former_name(build: Build) -> None:
    house = build("embedded")
    await house.fill(T0, 190)
    renamed = RenamedStore(house.store, {"salon": [Former("parlour", T0 + HOUR - 1)]})
    house.store = renamed
    async with house.archiver() as archiver:
        await settled(archiver)
    await house.forget(T0 + 2 * HOUR)
    for how in HOW:
        assert not (await house.find(T0, T0 + 3 * HOUR, how)).problems
    with closing(ArchiveWriter(house.folder / "archive.sqlite")) as archive:
        archive.delete(replace(SENSOR, location="parlour"), T0, T0 + 10 * MINUTE)
    found = await house.find(T0, T0 + 3 * HOUR)
    assert found.answers[0].missing == (Range(T0, T0 + HOUR - 1),)


async def test_what_the_archive_lets_go_by_itself_is_no_loss(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    house = build("influxdb")
    await house.fill(T0, 130)
    async with house.archiver() as archiver:
        await settled(archiver)
    await house.forget(T0 + 90 * MINUTE)
    await house.delete(SENSOR, T0, T0 + HOUR)
    assert not (await house.find(T0, T0 + 2 * HOUR)).complete

    async def keeps(self: InfluxStore) -> int:
        return HOUR

    monkeypatch.setattr(InfluxStore, "keeps", keeps)
    assert not (await house.find(T0, T0 + 2 * HOUR)).problems


async def test_an_archive_that_can_only_be_written_is_archived_into_all_the_same(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = build("embedded")
    await house.fill(T0, 10)

    async def samples(self: EmbeddedStore, *_: object) -> None:
        raise ArchiveUnverifiable("no reading here")

    async with house.archiver() as archiver:
        await archiver.cycle()
        with monkeypatch.context() as patch, suppress(ArchiveUnverifiable):
            patch.setattr(EmbeddedStore, "samples", samples)
            await house.fill(T0 + 10 * MINUTE, 10)
            await archiver.cycle()
    assert await house.archived(SENSOR) == wanted(T0, 120, STEP)
