"""Queries over real shards and archives give what the simulator's function says: hot, archived, joined, in trouble."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iotd import ShardingSystem
from iotd.archive.state import ArchiveState
from iotd.config import Settings, load
from iotd.model.aggregate import AGGREGATIONS, piece
from iotd.model.errors import UsageError
from iotd.model.series import Series
from iotd.ops.control import request
from iotd.query.result import Readings, concatenate
from iotd.shards import reader
from iotd.sources.simulator.signal import values
from iotd.sources.simulator.source import Span
from iotd.stores.embedded.store import EmbeddedStore
from iotd.stores.registry import open_store
from tests.conftest import FreshSystem
from tests.servers.checker import handed_over
from tests.servers.daemon import Daemon, iotd, running_daemon
from tests.servers.influxdb import InfluxServer
from tests.servers.system import System, until

HOUR = 3_600_000
HOURS = 0.1
"""Of history, at the full rate: 8,640 readings of each sensor."""


@dataclass
class Building:
    """A system with its daemon, an hour or two of readings, and an archive that has most of them."""

    system: System
    daemon: Daemon

    @property
    def settings(self) -> Settings:
        return self.system.settings

    def span(self, location: str = "salon") -> Span:
        return handed_over(self.settings, location)

    async def archive(self) -> int:
        """Archives all there is; returns the lowest watermark of the salon."""
        await request(self.settings.state, "POST", "/archive/now")
        sink = open_store(self.settings)
        assert sink is not None
        state = ArchiveState(self.settings.state / "watermarks.sqlite")
        try:
            known = state.watermarks(sink.identity, "salon")
        finally:
            state.close()
            await sink.close()
        assert len(known) == len(self.sensors())
        return min(known.values())

    async def verify(self) -> None:
        """Shard and archive are compared, and are alike."""
        found = await request(self.settings.state, "POST", "/archive/verify", {})
        assert not any(one["gaps"] for one in found.values())

    def sensors(self) -> list[Series]:
        types, per_type = self.settings.sensors.types, self.settings.sensors.per_type
        return [Series(t, "salon", str(i)) for t in types for i in range(1, per_type + 1)]

    async def goes_on(self, upto: int) -> None:
        """Waits until readings later than this (ms) were handed over and written."""

        async def later() -> bool:
            return self.span().last > upto

        await until(later, 60, f"readings after {upto}")
        await request(self.settings.state, "POST", "/check", {"location": "salon"})

    async def forget(self, before: int) -> None:
        """Takes what is older from the salon's shard, as retention does."""
        master = await self.system.master("salon")
        async with self.system.connection(master.name) as redis:
            for sensor in self.sensors():
                await redis.call("TS.DEL", sensor.key, 0, before)

    def expect(self, found: Readings, first: int, stop: int, location: str | None = None) -> None:
        """Every reading due from first to stop (there) is there, once, with its value; and nothing else."""
        sensors = [sensor for sensor in found.sensors if location in (None, sensor.location)]
        assert sensors
        grid = np.arange(-(-first // 1000) * 1000, stop, 1000, dtype=np.int64)
        by_sensor = found.by_sensor()
        for sensor in sensors:
            times, got = by_sensor[sensor]
            np.testing.assert_array_equal(times, grid, err_msg=sensor.key)
            np.testing.assert_array_equal(got, values(self.settings.simulator.seed, sensor, grid), err_msg=sensor.key)
        assert (np.diff(found.times) >= 0).all()


@asynccontextmanager
async def building(
    fresh_system: FreshSystem, sink: str, request_: pytest.FixtureRequest, locations: tuple[str, ...] = ("salon",)
) -> AsyncIterator[Building]:
    overrides: dict[str, Any] = {"archive": {"store": f"{sink}:", "interval": "1h", "restore": "0s"}}
    if sink == "influxdb":
        server: InfluxServer = request_.getfixturevalue("influxdb")
        bucket = server.make_bucket(f"q{uuid.uuid4().hex}")
        overrides["influxdb"] = {"url": server.url, "org": server.org, "token": server.token, "bucket": bucket}
    system = fresh_system(
        locations,
        simulator={"history_step": "1s", "history_days": HOURS, "catch_up": "3h"},
        sensors={"per_type": 2},
        **overrides,
    )
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        await request(system.settings.state, "POST", "/history", {"days": str(HOURS)})
        for location in locations:  # which waits until all that was handed over is in the shard
            await request(system.settings.state, "POST", "/check", {"location": location})
        yield Building(system, daemon)


@pytest.mark.parametrize("sink", ["embedded", "influxdb"])
async def test_hot_archived_and_joined_before_during_and_after_a_failover(
    fresh_system: FreshSystem, request: pytest.FixtureRequest, sink: str
) -> None:
    async with building(fresh_system, sink, request) as house, ShardingSystem.connect(house.system.config) as system:
        mark = await house.archive()
        await house.forget(mark - 1_800_000)  # the shard holds the last half hour, and what comes
        await house.goes_on(mark + 5000)
        await every_range_is_right(house, system, mark)
        every = await ask(system, house.span().first, mark + 3000)
        for what in AGGREGATIONS:
            for bucket in ("1m", "1h"):
                expect_buckets(await ask(system, every.start, every.stop, agg=what, bucket=bucket), every, what)

        before, master = house.span().last, await house.system.master("salon")
        house.system.stack.backend.kill(master)
        found = await ask(system, mark - 60_000, before - 1000)
        house.expect(found, mark - 60_000, before - 1000)
        assert found.complete
        (answer,) = found.answers
        assert answer.node != master.name
        if answer.role == "replica":  # as it is until a Sentinel has promoted it
            assert "its master is away" in found.problems[0]

        async def over() -> bool:
            status = await system.get_shards_status()
            return status.shard("salon").master not in (None, master.name)

        await until(over, 30, "the replica is master")
        await house.daemon.writes("salon")  # what was handed over meanwhile goes first
        await every_range_is_right(house, system, mark)
        assert (await ask(system, mark, mark + 5000)).answers[0].role == "master"


async def test_whoever_is_left_answers_for_a_shard_and_the_archive_as_far_as_it_goes(
    fresh_system: FreshSystem, request: pytest.FixtureRequest
) -> None:
    async with (
        building(fresh_system, "embedded", request) as house,
        ShardingSystem.connect(house.system.config) as system,
    ):
        mark = await house.archive()
        shard, backend = house.system.topology.shard("salon"), house.system.stack.backend
        # a replica that was promoted while no Sentinel can say so stands in
        for sentinel in shard.sentinels:
            backend.pause(sentinel)
        backend.kill(shard.master)
        assert await house.system.ask(shard.replica.name, "REPLICAOF", "NO", "ONE") == b"OK"
        found = await ask(system, mark - 60_000, mark + 1)
        house.expect(found, mark - 60_000, mark + 1)
        assert (found.answers[0].node, found.answers[0].role) == (shard.replica.name, "replica")
        assert "its master is away" in found.problems[0]

        backend.kill(shard.replica)
        found = await ask(system, mark - 60_000, mark + 60_000)
        house.expect(found, mark - 60_000, mark + 1)
        (answer,) = found.answers
        assert answer.node is None
        assert [hole.last for hole in answer.missing] == [mark + 59_999]
        assert mark < answer.missing[0].first <= mark + 1001
        assert found.problems[0].startswith("salon: readings may be missing from")
        counted = await ask(system, mark - 120_000, mark + 60_000, agg="count", bucket="1m")
        assert not counted.complete
        assert counted.values.sum() == len(await ask(system, mark - 120_000, mark + 60_000))
        whole = await ask(system, mark - 120_000, mark - 60_000)
        assert whole.complete
        house.expect(whole, mark - 120_000, mark - 60_000)
        assert (await system.get_shards_status())[0].state == "dead"
        assert (await system.get_shard_distribution_metrics()).unknown == ("salon",)


async def ask(system: ShardingSystem, first: int, stop: int, **how: Any) -> Readings:
    """All that the salon has from first to stop, ms."""
    return await system.query_location_data("salon", "all", first / 1000, stop / 1000, **how)


async def every_range_is_right(house: Building, system: ShardingSystem, mark: int) -> None:
    """Archived, hot and joined ranges are what the simulator's function says, and so are their means."""
    first, now = house.span().first, house.span().last - 2000
    ranges = {
        "archived": (first, mark - 3_600_000),
        "hot and archived": (mark - 600_000, mark - 300_000),
        "hot": (mark + 1, now),
        "joined": (mark - 5000, now),
        "all": (first, now),
    }
    for name, (start, stop) in ranges.items():
        found = await ask(system, start, stop)
        assert found.complete, (name, found)
        assert len(found.sensors) == 6, name
        house.expect(found, start, stop)
    every = await ask(system, first, now)
    for bucket in ("7s", "1d"):
        expect_buckets(await ask(system, first, now, agg="avg", bucket=bucket), every, "avg")


def expect_buckets(found: Readings, every: Readings, what: str) -> None:
    """The aggregations are those of the readings themselves."""
    raw = every.by_sensor()
    for sensor, (starts, got) in found.by_sensor().items():
        times, its = raw[sensor]
        assert times[0] >= starts[0]
        shares = np.split(its, np.searchsorted(times, starts[1:]))
        assert all(len(share) for share in shares), (what, sensor)
        wanted = [float(np.ptp(share)) if what == "range" else piece(share)[what] for share in shares]
        # Redis computes it from the sum of squares, which leaves some six digits
        exact = 1e-5 if what == "std.p" else 1e-9
        np.testing.assert_allclose(got, wanted, rtol=exact, atol=exact, err_msg=f"{what} {sensor.key}")


async def test_late_readings_are_found_before_they_are_archived_again_and_an_emptied_shard_leaves_no_hole(
    fresh_system: FreshSystem, request: pytest.FixtureRequest
) -> None:
    async with building(fresh_system, "embedded", request) as house, ShardingSystem.connect(house.system.config) as s:
        mark = await house.archive()
        await house.forget(mark - 1_800_000)
        sensor = Series("temperature", "salon", "1")
        late = [mark - 600_500, mark - 60_500]
        async with house.system.connection((await house.system.master("salon")).name) as redis:
            for time in late:
                await redis.call("TS.ADD", sensor.key, time, 99)
            await redis.call("TS.ADD", sensor.key, mark - 30_000, 98)  # another value for one that is archived
        state = ArchiveState(house.settings.state / "watermarks.sqlite")
        state.note_dirty([(sensor, late[0], mark - 30_000)])
        state.close()
        span = ((mark - 3_000_000) / 1000, (mark + 1) / 1000)
        found = await s.query_location_data("salon", "temperature", *span, sensor_ids=1)
        times, got = found.by_sensor()[sensor]
        assert len(np.unique(times)) == len(times) == 3001 + 2
        assert got[np.isin(times, late)].tolist() == [99.0, 99.0]
        assert got[times == mark - 30_000].tolist() == [98.0]
        for bucket in ("1m", "1h"):
            for what in AGGREGATIONS:
                bucketed = await s.query_location_data(
                    "salon", "temperature", *span, sensor_ids=1, agg=what, bucket=bucket
                )
                expect_buckets(bucketed, found, what)

        # the shard comes back with what is not archived, and then with nothing at all
        first = house.span().first
        await house.goes_on(mark + 2000)
        await house.forget(mark)
        stop = house.span().last - 1000
        house.expect(await s.query_location_data("salon", "humidity", first / 1000, stop / 1000), first, stop)
        await house.forget(stop + 10_000_000)
        house.expect(await s.query_location_data("salon", "humidity", first / 1000, mark / 1000), first, mark)


async def test_without_the_state_directory_the_shards_first_reading_is_the_boundary_also_while_it_moves(
    fresh_system: FreshSystem, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with building(fresh_system, "influxdb", request) as house:
        mark = await house.archive()
        await house.forget(mark - 600_000)
        await house.goes_on(mark + 2000)
        first, stop = house.span().first, house.span().last - 1000
        async with ShardingSystem(load(house.system.config, state_dir=tmp_path / "elsewhere")) as system:
            found = await ask(system, first, stop)
            house.expect(found, first, stop)
            for what in ("avg", "first", "std.p"):
                expect_buckets(await ask(system, first, stop, agg=what, bucket="13m"), found, what)
            # retention takes from the shard what a query that streams has not read yet
            monkeypatch.setattr("iotd.query.stream.WINDOW", 300)
            chunks = []
            async for chunk in system.stream_location_data("salon", "all", (mark - 900_000) / 1000, mark / 1000):
                chunks.append(chunk)
                await house.forget(mark - 600_000 + 70_000 * len(chunks))
            assert len(chunks) > 5
        house.expect(concatenate(chunks), mark - 900_000, mark)
        assert not (tmp_path / "elsewhere").exists()


async def test_an_archive_that_is_away_is_named_only_where_it_is_needed(
    fresh_system: FreshSystem, request: pytest.FixtureRequest
) -> None:
    async with building(fresh_system, "embedded", request) as house:
        mark = await house.archive()
        await house.forget(mark - 600_000)
        assert await house.daemon.stop() == 0  # which would make a new one
        (house.settings.state / "archive.sqlite").rename(house.settings.state / "away")
        async with ShardingSystem.connect(house.system.config) as system:
            found = await system.query_location_data("salon", "all", (mark - 500_000) / 1000, mark / 1000)
            assert found.complete
            house.expect(found, mark - 500_000, mark)
            found = await system.query_location_data("salon", "all", (mark - 900_000) / 1000, mark / 1000)
            assert not found.complete
            house.expect(found, mark - 600_000 + 1, mark)
            (hole,) = found.answers[0].missing
            assert hole.first == mark - 900_000
            assert mark - 600_000 <= hole.last < mark - 598_000
            assert "the archive does not answer" in found.problems[0]
        # a new one in its place, of which the watermarks know nothing: the shard's first reading is the boundary
        fresh = EmbeddedStore(house.settings.state / "archive.sqlite")
        await fresh.incarnation()
        await fresh.close()
        async with ShardingSystem.connect(house.system.config) as system:
            house.expect(await ask(system, mark - 500_000, mark), mark - 500_000, mark)


async def test_rows_deleted_in_influxdb_are_told_by_library_command_and_status(
    fresh_system: FreshSystem, request: pytest.FixtureRequest
) -> None:
    server: InfluxServer = request.getfixturevalue("influxdb")
    async with building(fresh_system, "influxdb", request) as house, ShardingSystem.connect(house.system.config) as s:
        mark, bucket = await house.archive(), house.settings.influxdb.bucket
        hour = (house.span().first // HOUR + 1) * HOUR
        assert hour + HOUR <= mark
        await house.verify()
        whole = await ask(s, hour, hour + HOUR)
        assert not whole.problems
        assert (await iotd("archive", "status", config=house.system.config)).code == 0
        await server.delete_rows(bucket, hour, hour + HOUR // 2 - 1, 'sensor_id="1"')
        found = await ask(s, hour, hour + HOUR)
        house.expect(found, hour, hour + HOUR)
        assert "fewer readings than when it was last verified, 5,400 of 10,800" in found.problems[0]
        await house.forget(hour + HOUR)
        found = await ask(s, hour, hour + HOUR)
        assert [(hole.first, hole.last) for hole in found.answers[0].missing] == [(hour, hour + HOUR - 1)]
        told = await ask(s, hour, hour + HOUR, agg="avg", bucket="10m")
        assert told.answers[0].missing == found.answers[0].missing
        span = [str(hour / 1000), str((hour + HOUR) / 1000)]
        ended = await iotd(
            "query",
            "location",
            "salon",
            "temperature",
            "--start",
            span[0],
            "--end",
            span[1],
            config=house.system.config,
        )
        assert ended.code == 1
        assert "rows were deleted there" in ended.err
        # and the newest, of which status asks
        await server.delete_rows(bucket, mark - 60_000, mark + 60_000)
        ended = await iotd("archive", "status", config=house.system.config)
        assert ended.code == 1
        assert "lacks the newest readings of 6 series" in ended.out
        await house.archive()
        assert "lacks" not in (await iotd("archive", "status", config=house.system.config)).out
        house.expect(await ask(s, mark - 120_000, mark), mark - 120_000, mark)


async def test_all_shards_at_once_and_a_dead_one_is_named(
    fresh_system: FreshSystem, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    locations = ("salon", "cuisine")
    async with (
        building(fresh_system, "embedded", request, locations) as house,
        ShardingSystem.connect(house.system.config) as system,
    ):
        stop = min(house.span(name).last for name in locations) - 1000
        first = stop - 900_000
        found = await system.query_by_unit_measure("celsius", first / 1000, stop / 1000)
        assert found.complete
        assert [s.key for s in found.sensors] == [
            *(f"sensor:temperature:{name}:{i}" for name in ("cuisine", "salon") for i in (1, 2)),
        ]
        house.expect(found, first, stop)
        with monkeypatch.context() as small:
            small.setattr(reader, "PAGE", 100)
            found = await system.query_by_unit_measure("celsius", first / 1000, stop / 1000)
            house.expect(found, first, stop)
            small.setattr(reader, "_FEW", 1)
            found = await system.query_by_unit_measure("celsius", first / 1000, stop / 1000)
            house.expect(found, first, stop)
        for node in house.system.topology.shard("cuisine").redis:
            house.system.stack.backend.pause(node)
        found = await system.query_by_unit_measure("°C", first / 1000, stop / 1000)
        assert not found.complete
        assert [a.location for a in found.answers if not a.complete] == ["cuisine"]
        house.expect(found, first, stop, "salon")  # and of the other one what is archived already

        async def told() -> bool:
            return [one.state for one in await system.get_shards_status()] == ["ok", "dead"]

        await until(told, 30, "the status says which shard is dead")
        status = await system.get_shards_status()
        assert status.shard("salon").series == 6
        assert status.shard("salon").writes_per_second == pytest.approx(6, rel=0.5)
        distribution = await system.get_shard_distribution_metrics()
        assert distribution.unknown == ("cuisine",)
        assert distribution.shards[0].share == 1.0
        for node in house.system.topology.shard("cuisine").redis:
            house.system.stack.backend.resume(node)
        found = await system.query_by_unit_measure("celsius", first / 1000, stop / 1000)
        assert found.complete


async def test_the_blocking_system_streams_and_converts(
    fresh_system: FreshSystem, request: pytest.FixtureRequest
) -> None:
    async with building(fresh_system, "embedded", request) as house:
        stop = house.span().last - 1000

        def work() -> None:
            with ShardingSystem.connect_sync(house.system.config) as system:
                found = system.query_location_data("salon", "temperature", (stop - 60_000) / 1000, stop / 1000)
                house.expect(found, stop - 60_000, stop)
                frame = found.to_pandas()
                assert frame.shape == (120, 6)
                assert frame["value"].tolist() == found.values.tolist()
                assert found.to_arrow().num_rows == 120
                assert found[0].sensor == Series("temperature", "salon", "1")
                assert len(found[10:20]) == 10
                assert "120 readings of 2 sensors" in repr(found)
                assert "<table>" in found._repr_html_()
                chunks = list(system.stream_by_unit_measure("celsius", (stop - 60_000) / 1000, stop / 1000))
                assert sum(map(len, chunks)) == 120
                assert list(system.get_sensors("salon", "humidity")) == [
                    Series("humidity", "salon", "1"),
                    Series("humidity", "salon", "2"),
                ]
                status = system.get_shards_status()
                assert "salon" in repr(status)
                assert status.to_pandas().loc["salon", "series"] == 6
                assert "fullest shard 1.00" in repr(system.get_shard_distribution_metrics())
                with pytest.raises(UsageError, match="did you mean 'salon'"):
                    system.query_location_data("sallon", None, "-1h")
            system.close()  # a second time does nothing

        await asyncio.to_thread(work)


@pytest.mark.parametrize(
    ("module", "brought"),
    [
        ("iotd", []),
        ("iotd.cli.status", ["aiohttp", "pydantic", "redis"]),
        ("iotd.daemon.process", ["aiohttp", "numpy", "pydantic", "redis"]),
    ],
)
def test_what_is_asked_for_often_brings_no_more_than_it_needs(module: str, brought: list[str]) -> None:
    import subprocess
    import sys

    heavy = ("numpy", "redis", "aiohttp", "pydantic", "rich", "influxdb_client", "pcodec", "docker")
    code = f"import sys, {module}; print(sorted(m for m in {heavy} if m in sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == f"{brought}\n"
