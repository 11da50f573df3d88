"""Whatever a real InfluxDB, or what stands before it, does meanwhile: everything is in it once, with its value."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from iotd.archive.archiver import Archiver
from iotd.model.errors import ArchiveError, ArchiveUnavailable, ArchiveUnverifiable
from iotd.sources.simulator.source import Span
from iotd.stack.binaries import RedisBinaries
from iotd.stores.influxdb.store import InfluxStore
from iotd.stores.points import Points
from tests.servers.archives import InfluxWitness
from tests.servers.archiving import HOUR, LIMIT, SERIES, T0, Rig, held, verified, wanted
from tests.servers.disk import Disk, small_disk
from tests.servers.influxdb import InfluxServer, running_influxdb
from tests.servers.influxproxy import (
    QUERY,
    WRITE,
    Answer,
    CutAnswer,
    CutRequest,
    Endless,
    Fault,
    InfluxProxy,
    Mute,
    running_proxy,
)
from tests.servers.ports import port_block
from tests.servers.system import System, make_settings, start_system, stop_system, until

COUNT = 1500
ALL = Span(T0, T0 + 6 * HOUR - 1)


class ProxiedRig(Rig):
    """With a real InfluxDB behind a proxy."""

    proxy: InfluxProxy
    seen: InfluxWitness
    influx: InfluxServer
    bucket: str

    async def all_there(self, first: int = T0, count: int = COUNT) -> None:
        """Asserts that InfluxDB has what was loaded, as others see it."""
        for series in SERIES:
            assert await held(self.seen, series, ALL) == wanted(first, count)
        assert self.budget.used == 0


@pytest.fixture(scope="module")
def shard(redis_binaries: RedisBinaries, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One real shard for all tests of this file; each begins with an empty one."""
    with port_block() as first:
        folder = tmp_path_factory.mktemp("shard")
        settings = make_settings(folder, first, ["salon"], stack={"redis_dir": redis_binaries.server.parent})
        system = start_system(settings)
        try:
            yield system
        finally:
            stop_system(system)


MakeRig = Callable[..., Awaitable[ProxiedRig]]


@pytest.fixture
async def make_rig(shard: System, influxdb: InfluxServer, tmp_path: Path) -> AsyncIterator[MakeRig]:
    made: list[ProxiedRig] = []
    proxies: list[Any] = []

    async def make(server: InfluxServer = influxdb, **influx: Any) -> ProxiedRig:
        proxy = running_proxy(server.url)
        proxies.append(proxy)
        through = await proxy.__aenter__()
        bucket = server.make_bucket(f"b{uuid.uuid4().hex}")
        token = tmp_path / "token"
        token.write_text(server.token)
        table = {"url": through.url, "org": server.org, "bucket": bucket, "token_file": str(token), "timeout": "2s"}
        settings = make_settings(
            tmp_path / "iotd",
            12_000,
            ["salon"],
            influxdb={**table, **influx},
            archive={"batch": 500, "interval": "1h", "store": "influxdb:"},
            redis={"retention": "2h"},
        )
        rig = ProxiedRig(shard, settings, InfluxStore(settings, through.url), tmp_path)
        rig.proxy, rig.influx, rig.bucket = through, server, bucket
        rig.seen = InfluxWitness(server.url, org=server.org, bucket=bucket, token=server.token)
        rig.open()
        made.append(rig)
        await rig.empty()
        return rig

    yield make
    for rig in made:
        await rig.close()
    for proxy in proxies:
        await proxy.__aexit__(None, None, None)


@asynccontextmanager
async def archiving(rig: ProxiedRig) -> AsyncIterator[Archiver]:
    async with rig.archiver() as archiver:
        yield archiver


async def archived(archiver: Archiver) -> None:
    """Waits until a pass over all has come to its end, whatever those before it met."""

    async def whole() -> bool:
        try:
            await archiver.cycle()
        except ArchiveError:
            return False
        return True

    await until(whole, 60, "a pass comes to its end")


@pytest.mark.parametrize(
    "fault",
    [
        Answer(429, headers={"Retry-After": "0"}),
        Answer(503, headers={"Retry-After": "1"}),
        Answer(503),
        Answer(500),
        Answer(502, message="<html>bad gateway</html>"),
        Answer(400),
        Answer(422),
        Answer(413),
        Answer(200),
        CutRequest(0),
        CutRequest(5_000),
        CutAnswer(0),
        CutAnswer(30),
        Mute(),
        Endless(),
        Endless(chunk=65_536, pause=0.0),
    ],
    ids=str,
)
async def test_a_write_that_fails_a_few_times_leaves_nothing_out_and_nothing_refused(
    make_rig: MakeRig, fault: Fault
) -> None:
    rig = await make_rig()
    await rig.load(T0, COUNT)
    async with archiving(rig) as archiver:
        rig.proxy.inject(fault, times=3, path=WRITE)
        await archived(archiver)
        assert rig.proxy.faults_left == 0
        assert archiver.status.rejected == 0
        assert archiver.status.trouble is None
    await rig.all_there()


async def test_a_server_that_refuses_everything_gets_nothing_into_the_dead_letters(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.load(T0, COUNT)
    async with archiving(rig) as archiver:
        await archiver.cycle()
        await rig.load(T0 + COUNT * 1000, COUNT)
        rig.proxy.inject(Answer(400), path=WRITE)
        with pytest.raises(ArchiveUnavailable, match="refuses everything"):
            await archiver.cycle()
        assert (archiver.status.rejected, rig.budget.used) == (0, 0)
        rig.proxy.heal()
        await archived(archiver)
    await rig.all_there(count=2 * COUNT)
    assert not (rig.folder / "dead-letters").exists()


async def test_one_point_that_is_refused_is_kept_aside_and_sent_again_on_demand(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.load(T0, COUNT)
    poison = T0 + 123_000
    letters = rig.folder / "dead-letters" / "archive.jsonl"
    rig.proxy.inject(Answer(400, message="no such luck"), path=WRITE, holding=str(poison).encode())
    async with archiving(rig) as archiver:
        await archived(archiver)
        assert archiver.status.rejected == len(SERIES)
        assert [pair for pair in wanted(T0, COUNT) if pair[0] != poison] == await held(rig.seen, SERIES[0], ALL)
        assert letters.read_text().count("no such luck") == len(SERIES)
        assert (await archiver.verify(deep=True, repair=False))["salon"].gaps == []

        still = await archiver.retry_rejected()
        assert (still.accepted, still.refused) == (0, len(SERIES))
        rig.proxy.heal()
        with letters.open("a") as f:
            f.write('{"sink": "another", "key": "sensor:humidity:salon:1", "time": 1, "value": "1"}\n')
        now = await archiver.retry_rejected()
        assert (now.accepted, now.refused, now.foreign) == (len(SERIES), 0, 1)
        await archiver.cycle()
    assert letters.read_text().count("\n") == 1
    await rig.all_there()


async def test_a_server_that_takes_less_at_once_gets_smaller_writes_from_then_on(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.load(T0, COUNT)
    sizes: list[int] = []
    rig.proxy.watch = lambda request: sizes.append(request.body.count(b"\n")) if request.path == WRITE else None
    rig.proxy.inject(Answer(413), path=WRITE, over=10_000)
    async with archiving(rig) as archiver:
        await archived(archiver)
    assert sum(size > 130 for size in sizes) < len(sizes) // 4  # a line has 77 bytes, about
    await rig.all_there()


async def test_a_server_that_refused_every_size_for_a_while_gets_large_writes_again(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.load(T0, COUNT)
    sizes: list[int] = []
    rig.proxy.watch = lambda request: sizes.append(request.body.count(b"\n")) if request.path == WRITE else None
    rig.proxy.inject(Answer(413), path=WRITE)
    async with archiving(rig) as archiver:
        with pytest.raises(ArchiveUnavailable, match="even for a single point"):
            await archiver.cycle()
        rig.proxy.heal()
        sizes.clear()
        await archived(archiver)
    assert len(sizes) < 2 * COUNT * len(SERIES) // 499 + 20
    await rig.all_there()


async def test_retry_after_holds_for_every_write_until_someone_asks(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.load(T0, COUNT)
    rig.proxy.inject(Answer(429, headers={"Retry-After": "600"}), path=WRITE, times=1)
    async with archiving(rig) as archiver:

        async def waits() -> bool:
            here = archiver.status.locations["salon"]
            return "answered 429" in (here.trouble or "") and here.waiting == COUNT * len(SERIES)

        await until(waits, 20, "the 429 is met, and a pass has seen that it holds")
        assert rig.proxy.passed[WRITE] == 0
        await archived(archiver)
    await rig.all_there()


async def test_an_expired_token_is_told_once_and_the_new_one_is_taken_up_from_the_file(make_rig: MakeRig) -> None:
    rig = await make_rig()
    token = rig.folder / "token"
    good = token.read_text()
    await rig.load(T0, COUNT)
    with capture_logs() as logs:
        async with archiving(rig) as archiver:
            await archiver.cycle()
            token.write_text("expired")
            await rig.load(T0 + COUNT * 1000, 10)
            for _ in range(3):
                with pytest.raises(ArchiveError, match="wrong or has expired"):
                    await archiver.cycle()
            token.write_text(good)

            async def recovered() -> bool:
                return archiver.status.trouble is None

            await until(recovered, 30, "the token is taken up by itself")
            await archiver.cycle()
    assert [line["event"] for line in logs if line["event"].startswith("archive_")] == [
        "archive_failing",
        "archive_recovered",
    ]
    await rig.all_there(count=COUNT + 10)


async def test_a_bucket_that_was_deleted_is_made_again_and_gets_everything_the_shard_holds(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.load(T0, COUNT)
    async with archiving(rig) as archiver:
        await archiver.cycle()
        rig.influx.drop_bucket(rig.bucket)
        await rig.load(T0 + COUNT * 1000, 10)
        await archived(archiver)
        await archived(archiver)
    await rig.all_there(count=COUNT + 10)


async def test_without_flux_it_archives_and_says_that_it_can_not_verify(make_rig: MakeRig) -> None:
    rig = await make_rig()
    rig.proxy.inject(Answer(404, message="path not found"), path=QUERY)
    rig.proxy.inject(Answer(404, message="path not found"), path="/api/v2/buckets")
    await rig.load(T0, COUNT)
    with capture_logs() as logs:
        async with archiving(rig) as archiver:
            await archiver.cycle()

            async def said() -> bool:
                return "answers no Flux" in (archiver.status.locations["salon"].unverified or "")

            await until(said, 20, "verification is off")
            await archiver.cycle()
            with pytest.raises(ArchiveUnverifiable):
                await archiver.verify(deep=False, repair=False)
    assert [line["event"] for line in logs].count("verification_off") == 1
    await rig.all_there()


async def test_a_verification_that_fails_is_told_once_and_does_not_stop_the_archiving(make_rig: MakeRig) -> None:
    rig = await make_rig()
    for status in (400, 500, 503):
        rig.proxy.inject(Answer(status), path=QUERY, times=1)
    await rig.load(T0, COUNT)
    reasons = set()
    with capture_logs() as logs:
        async with archiving(rig) as archiver:

            async def compared() -> bool:
                await archiver.cycle()
                salon = archiver.status.locations["salon"]
                reasons.add(salon.unverified)
                return salon.compared == COUNT * len(SERIES) and salon.unverified is None

            await until(compared, 20, "it is verified all the same")
    told = [line["event"] for line in logs if line["event"].startswith("verification")]
    assert told == ["verification_failed", "verification_resumed"]
    assert any("503" in reason for reason in reasons if reason), "status goes on saying why"
    await rig.all_there()


async def test_a_gap_is_found_and_repaired_and_told(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.to_shard(rig.batch(T0, COUNT))
    rig.state.use(rig.store.identity)
    rig.state.move(rig.store.identity, {SERIES[0]: T0 + 700_000})  # as if it had been archived
    await rig.store.write([Points.of(SERIES[0], [(T0 + 700_000, b"0")])])
    with capture_logs() as logs:
        async with archiving(rig) as archiver:
            await archiver.cycle()
            await verified(archiver)
            assert archiver.status.locations["salon"].repaired == 1
    assert {"archive_gaps", "archive_repaired"} <= {line["event"] for line in logs}
    await rig.all_there()


async def test_a_watermark_that_was_not_written_after_the_answer_is_made_up_for(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = await make_rig()
    await rig.load(T0, COUNT)
    move, failures = rig.state.move, iter(range(3))

    def full(*args: Any) -> None:
        if next(failures, None) is not None:
            raise ArchiveUnavailable("disk full")
        move(*args)

    monkeypatch.setattr(rig.state, "move", full)
    async with archiving(rig) as archiver:
        await archived(archiver)
    await rig.all_there()


@pytest.mark.parametrize("harm", ["cut", "empty", "garbage", "torn"])
async def test_a_damaged_watermark_file_is_begun_anew_and_everything_archived_again(
    make_rig: MakeRig, harm: str
) -> None:
    rig = await make_rig()
    await rig.load(T0, COUNT)
    async with archiving(rig) as archiver:
        await archiver.cycle()
    rig.state.close()
    path = rig.state.path
    whole = path.read_bytes()
    harmed = {
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "garbage": b"\xff" * len(whole),
        "torn": whole[:4096] + b"\0" * 4096 + whole[8192:],
    }
    path.write_bytes(harmed[harm])
    rig.state.__init__(path)  # type: ignore[misc]  # as the next daemon opens it
    await rig.load(T0 + COUNT * 1000, 10)
    async with archiving(rig) as archiver:
        done = await archiver.cycle()
        assert done["salon"].new == (COUNT + 10) * len(SERIES)
    await rig.all_there(count=COUNT + 10)


async def test_an_outage_longer_than_retention_loses_nothing(make_rig: MakeRig) -> None:
    rig = await make_rig()  # the shard keeps two hours
    await rig.load(T0, 60, step=60_000)
    with capture_logs() as logs:
        async with archiving(rig) as archiver:
            await archiver.cycle()
            rig.proxy.inject(Answer(503), path=WRITE)
            for hour in range(1, 5):
                await rig.load(T0 + hour * HOUR, 60, step=60_000)
                with pytest.raises(ArchiveUnavailable):
                    await archiver.cycle()
            assert rig.partition.positions.truncated < rig.partition.end
        rig.proxy.heal()
        async with archiving(rig) as archiver:
            await archived(archiver)
            assert archiver.status.locations["salon"].lost == []
            assert archiver.status.locations["salon"].repaired_in_shard == 0
    assert {"readings_lost", "shard_lost_readings"}.isdisjoint(line["event"] for line in logs)
    assert rig.partition.positions.truncated == rig.partition.end
    for series in SERIES:
        assert await held(rig.seen, series, ALL) == wanted(T0, 300, 60_000)


async def test_an_influxd_that_is_killed_or_hangs_loses_nothing_and_is_written_to_again(
    make_rig: MakeRig, tmp_path: Path
) -> None:
    with running_influxdb(tmp_path / "own") as server:
        rig = await make_rig(server)
        async with archiving(rig) as archiver:
            for n, (harm, mend) in enumerate(((server.kill, server.start), (server.pause, server.resume))):
                await rig.load(T0 + n * COUNT * 1000, COUNT)
                harm()
                with pytest.raises(ArchiveError):
                    await archiver.cycle()
                if (mending := mend()) is not None:
                    await mending
                await archived(archiver)
        await rig.all_there(count=2 * COUNT)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Where the influxd of :func:`influxdb_on_it` keeps everything."""
    with small_disk(tmp_path / "influxdb" / "state" / "nodes" / "influxdb", megabytes=200) as disk:
        yield disk


@pytest.fixture
def influxdb_on_it(disk: Disk, tmp_path: Path) -> Iterator[InfluxServer]:
    with running_influxdb(tmp_path / "influxdb") as server:
        yield server


async def too_much(rig: ProxiedRig) -> None:
    """Sends InfluxDB a write for which it has no room: an entry of its write-ahead log is written in part."""
    lines = "\n".join(f"filler value={random.random()} {T0 + n}" for n in range(5000))
    assert await rig.influx.write(rig.bucket, lines) == 500


async def about_to_lose(rig: ProxiedRig, archiver: Archiver, disk: Disk) -> None:
    """Archives 600 readings of each series, of which InfluxDB is going to lose the second half when it starts again."""
    await rig.load(T0, 300)
    await archived(archiver)
    with disk.full():
        await too_much(rig)
    rig.influx.kill()
    await rig.influx.start()
    await rig.load(T0 + 300_000, 300)
    await archived(archiver)
    assert rig.partition.positions.archived == rig.partition.end
    await rig.all_there(count=600)


async def loses(rig: ProxiedRig) -> None:
    """InfluxDB starts again, and has lost what it had acknowledged."""
    rig.influx.kill()
    await rig.influx.start()
    assert await held(rig.seen, SERIES[0], ALL) == wanted(T0, 300)


async def test_what_influxdb_acknowledged_and_lost_at_its_next_start_is_archived_again_though_the_shard_lost_it_too(
    make_rig: MakeRig, influxdb_on_it: InfluxServer, disk: Disk
) -> None:
    rig = await make_rig(influxdb_on_it)
    rig.log.reconfigure(limit=LIMIT, required=["durable", "archived"], keep_s=3600)
    with capture_logs() as logs:
        async with rig.archiver() as archiver:
            await about_to_lose(rig, archiver, disk)
            await rig.empty()
            await loses(rig)
            await archived(archiver)
            await rig.all_there(count=600)
            for series in SERIES:
                assert await rig.held(series) == wanted(T0, 600)
    told = [line["again"] for line in logs if line["event"] == "archive_started_again"]
    assert told == [300 * len(SERIES), 600 * len(SERIES)]


async def test_what_influxdb_lost_and_the_log_no_longer_has_is_found_in_the_shard_as_soon_as_it_has_started_again(
    make_rig: MakeRig, influxdb_on_it: InfluxServer, disk: Disk
) -> None:
    rig = await make_rig(influxdb_on_it)
    async with rig.archiver() as archiver:
        await about_to_lose(rig, archiver, disk)
        assert rig.partition.empty
        await loses(rig)
        await archived(archiver)  # the next verification that is due by itself would be in an hour

        async def whole() -> bool:
            return [await rig.archived(series) for series in SERIES] == [wanted(T0, 600)] * len(SERIES)

        await until(whole, 30, "what was lost is archived again")
        await rig.all_there(count=600)
