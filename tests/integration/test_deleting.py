"""Readings that are deleted on purpose leave shard and archive, stay away whatever fails, and are no loss."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog

from iotd.archive.flow import Flow
from iotd.archive.pages import Move, Pages
from iotd.model.batch import Batch
from iotd.model.errors import ArchiveError, IotdError, ShardError
from iotd.shards import session
from iotd.shards.deleting import delete_range
from iotd.stores.base import Store
from iotd.stores.embedded.store import EmbeddedStore
from tests.conftest import FreshSystem
from tests.contract.makers import influx_store
from tests.servers.influxdb import InfluxServer
from tests.servers.system import until
from tests.servers.whole import HOUR, SERIES, T0, Whole

ONE, TWO, THREE, FOUR = SERIES
MASTER, REPLICA = "redis-salon-master", "redis-salon-replica"
FIRST, LAST = T0 + 100_000, T0 + 199_999
AGAIN = range(FIRST, LAST, 10_000)

Make = Callable[..., Awaitable[Whole]]


@pytest.fixture(params=["embedded", "influxdb"])
async def make(request: pytest.FixtureRequest, fresh_system: FreshSystem, tmp_path: Path) -> AsyncIterator[Make]:
    stores: list[Store] = []

    async def make(**overrides: Any) -> Whole:
        if request.param == "influxdb":
            server: InfluxServer = request.getfixturevalue("influxdb")
            store: Store = influx_store(server, tmp_path, bucket=server.make_bucket(f"b{uuid.uuid4().hex}"))
        else:
            store = EmbeddedStore(tmp_path / "archive.sqlite")
        stores.append(store)
        tables = {"archive": {"interval": "1h", "store": "embedded:"}, **overrides}
        return Whole(fresh_system(**tables), store, tmp_path)

    yield make
    for store in stores:
        await store.close()


def embedded(fresh_system: FreshSystem, folder: Path, **overrides: Any) -> Whole:
    tables = {"archive": {"interval": "1h", "store": "embedded:"}, **overrides}
    return Whole(fresh_system(**tables), EmbeddedStore(folder / "archive.sqlite"), folder)


def events(lines: list[Any], *names: str) -> list[Any]:
    return [line for line in lines if line["event"] in names]


async def nothing_to_mend(whole: Whole) -> None:
    """Every reading is compared, what differs would be mended, and nothing does; nor does a pass change anything."""
    for deep in (False, True):
        comparison = (await whole.archiver.verify(deep=deep, repair=True))["salon"]
        assert (comparison.gaps, comparison.repaired, comparison.vanished) == ([], 0, [])
    await whole.archiver.cycle()


async def test_deleted_readings_leave_shard_and_archive_and_nothing_else_does(make: Make) -> None:
    whole = await make()
    async with whole.running():
        await whole.load()
        await whole.all_archived()
        with structlog.testing.capture_logs() as lines:
            await whole.delete([ONE, THREE], FIRST, LAST)
            await whole.reached("archived")  # by itself, long before the next pass is due
            await whole.all_as_wanted(MASTER, REPLICA)
            await nothing_to_mend(whole)
            await whole.all_as_wanted(MASTER, REPLICA)
        assert not events(lines, "shard_lost_readings", "archive_gaps", "shard_restored", "readings_lost", "late_data")
        assert whole.log.partition("salon").depth("truncated").batches == 0
        await whole.append(ONE, [T0 + 700_000])
        await whole.all_archived()
        await whole.all_as_wanted(MASTER, REPLICA)


async def test_what_was_verified_and_then_deleted_has_not_vanished_the_newest_reading_neither(make: Make) -> None:
    whole = await make()
    begin = -(-T0 // HOUR) * HOUR
    newest = begin + 2 * HOUR + 600_000
    async with whole.running():
        for series in SERIES:
            await whole.append(series, range(begin, newest + 1, 60_000))
        await whole.all_archived()
        await nothing_to_mend(whole)
        with structlog.testing.capture_logs() as lines:
            await whole.delete([ONE], begin + 600_000, begin + 1_199_999)
            await whole.delete([TWO], newest, newest)
            await whole.reached("archived")
            await nothing_to_mend(whole)
            await whole.all_as_wanted(MASTER, REPLICA)
        assert not events(lines, "archive_set_back", "archive_lost_readings", "archive_gaps")


async def test_what_was_not_archived_yet_is_deleted_too(make: Make) -> None:
    whole = await make()
    async with whole.running(writes=False):
        await whole.load()
        await whole.delete([ONE], FIRST, LAST)
        await whole.append(ONE, AGAIN, 5.0)
        await whole.delete([TWO], 0, 2**42)
        await whole.append(TWO, range(T0, T0 + 5000, 1000), 6.0)
    with structlog.testing.capture_logs() as lines:
        async with whole.running():
            await whole.reached("archived")
            await whole.all_as_wanted(MASTER, REPLICA)
            await nothing_to_mend(whole)
    assert not events(lines, "shard_lost_readings", "archive_gaps", "shard_restored", "readings_lost")


async def test_however_much_is_under_way_the_shard_deletes_in_its_turn(
    fresh_system: FreshSystem, tmp_path: Path
) -> None:
    whole = embedded(fresh_system, tmp_path)
    async with whole.running(writes=False):
        await whole.append(ONE, range(T0, T0 + 60_000))
        await whole.delete([ONE], T0 + 20_000, T0 + 59_990)
        await whole.append(ONE, range(T0 + 59_000, T0 + 60_000), 9.0)
    async with whole.running():
        await whole.reached("durable")
        assert await whole.held(ONE) == sorted(whole.wanted[ONE].items())
        await whole.all_archived()
        assert await whole.archived(ONE) == sorted(whole.wanted[ONE].items())


@pytest.mark.parametrize("refuses", ["before", "after"])
async def test_while_the_archive_is_away_nothing_comes_back_and_then_it_is_done(make: Make, refuses: str) -> None:
    whole = await make()
    async with whole.running():
        await whole.load()
        await whole.all_archived()
        whole.store.refuses = refuses
        await whole.delete([ONE], FIRST, LAST)
        await whole.append(ONE, AGAIN, 5.0)
        await whole.reached("durable")

        async def refused() -> bool:
            return int(getattr(whole.store, refuses)) >= 2

        await until(refused, 30, "the archive was asked to delete")
        with structlog.testing.capture_logs() as lines:
            comparison = await whole.archiver._locations["salon"].verifier._comparer.compare(deep=True)
            assert comparison.gaps == []
            assert await whole.held(ONE) == sorted(whole.wanted[ONE].items())
            whole.store.refuses = None
            await whole.reached("archived")
            await whole.all_as_wanted(MASTER, REPLICA)
            await nothing_to_mend(whole)
        assert not events(lines, "shard_lost_readings", "archive_gaps", "shard_restored", "readings_lost")


@pytest.mark.parametrize("stops", ["recorded", "in the shard", "asked of the archive", "in the archive"])
async def test_stopped_at_any_step_it_goes_on_after_the_start(make: Make, stops: str) -> None:
    whole = await make()
    async with whole.running():
        await whole.load()
        await whole.all_archived()
    async with whole.running(writes=stops != "recorded"):
        whole.store.refuses = "after" if stops == "in the archive" else "before"
        await whole.delete([ONE, TWO], FIRST, LAST)
        await whole.append(ONE, AGAIN, 5.0)
        if stops == "in the shard":
            await whole.reached("acknowledged")
        elif stops != "recorded":

            async def asked() -> bool:
                return whole.store.before + whole.store.after > 0

            await until(asked, 30, "the archive was asked to delete")
    whole.store.refuses = None
    with structlog.testing.capture_logs() as lines:
        async with whole.running():
            await whole.reached("archived")
            await whole.all_as_wanted(MASTER, REPLICA)
            await nothing_to_mend(whole)
            await whole.all_as_wanted(MASTER, REPLICA)
    assert not events(lines, "shard_lost_readings", "archive_gaps", "shard_restored", "readings_lost")


@pytest.mark.parametrize("pending", [True, False])
@pytest.mark.parametrize("loss", [("DEL", ONE.key), ("FLUSHALL",)])
async def test_what_a_shard_lost_comes_back_without_what_was_deleted(
    make: Make, loss: tuple[str, ...], pending: bool
) -> None:
    whole = await make(archive={"interval": "1h", "store": "embedded:", "restore": "30d"})
    async with whole.running():
        await whole.load()
        await whole.all_archived()
        await whole.append(ONE, range(T0 + 600_000, T0 + 700_000, 1000))
        await whole.reached("durable")
        if pending:
            whole.store.refuses = "before"
        await whole.delete([ONE, TWO], FIRST, T0 + 650_000)
        await whole.reached("durable" if pending else "archived")
        with structlog.testing.capture_logs() as lines:
            await whole.system.ask(MASTER, *loss)
            await whole.append(ONE, [T0 + 800_000])

            async def seen() -> bool:
                return bool(events(lines, "series_vanished", "shard_lost_data", "writes_interrupted"))

            await until(seen, 30, "the loss is seen")
            await whole.append(ONE, [T0 + 801_000])
            await whole.reached("durable")
            assert not {t for t, _ in await whole.held(ONE)} & set(range(FIRST, T0 + 650_001))
            whole.store.refuses = None
            await whole.all_archived()
            await whole.archiver.verify(deep=True, repair=True)
            await whole.all_as_wanted(MASTER)
        assert not events(lines, "shard_lost_readings", "readings_lost")


async def test_a_shard_that_is_written_to_again_is_not_believed_before_it_has_deleted_again(
    fresh_system: FreshSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = embedded(fresh_system, tmp_path)
    async with whole.running(keep_s=3600):
        await whole.load()
        await whole.append(ONE, AGAIN, 4.0)  # late, so that the range is archived again from the shard
        await whole.delete([ONE], FIRST, LAST)
        await whole.all_archived()
        go_on = asyncio.Event()

        async def held_up(*args: Any) -> None:
            await go_on.wait()
            await delete_range(*args)

        monkeypatch.setattr(session, "delete_range", held_up)
        await whole.system.ask(MASTER, "FLUSHALL")
        await whole.append(TWO, [T0 + 700_000])

        async def back() -> bool:
            try:
                return len(await whole.held(ONE)) == 600
            except ShardError:
                return False  # the series is not made again yet

        await until(back, 30, "what was deleted is in the shard for a moment")
        whole.note_dirty(ONE, FIRST, LAST)
        with pytest.raises(IotdError, match="has not yet deleted again"):
            await whole.archiver.cycle()
        go_on.set()
        await whole.all_archived()
        await whole.all_as_wanted(MASTER)
        await nothing_to_mend(whole)
        await whole.all_as_wanted(MASTER)


async def test_after_a_failover_it_is_carried_out_again_in_its_place(fresh_system: FreshSystem, tmp_path: Path) -> None:
    whole = embedded(fresh_system, tmp_path)
    backend = whole.system.stack.backend
    replica = whole.system.topology.node(REPLICA)
    async with whole.running():
        await whole.load()
        await whole.all_archived()
        backend.pause(replica)
        await whole.append(ONE, range(FIRST, LAST, 500), 4.0)
        await whole.delete([ONE], FIRST, LAST)
        await whole.append(ONE, AGAIN, 5.0)
        await whole.reached("acknowledged")
        assert await whole.held(ONE) == sorted(whole.wanted[ONE].items())
        # the archive has not let go of anything that the replica may still bring back
        await whole.archiver.cycle()
        assert len(await whole.archived(ONE)) >= 600
        backend.kill(whole.system.topology.node(MASTER))
        backend.resume(replica)

        async def promoted() -> bool:
            return await whole.system.says_master(REPLICA)

        await until(promoted, 60, "the replica is promoted")
        backend.start_redis(whole.system.topology.node(MASTER), replica.address)
        await whole.all_archived()
        await whole.all_as_wanted(REPLICA)
        await nothing_to_mend(whole)
        await whole.all_as_wanted(REPLICA)


async def test_what_only_the_archive_keeps_is_deleted_there(make: Make) -> None:
    whole = await make(redis={"retention": "2h"})
    async with whole.running():
        await whole.load(T0 - 5 * HOUR, 600)
        await whole.load(T0, 600)
        await whole.all_archived()
        await whole.append(THREE, [T0 - 4 * HOUR], 7.0)  # goes from the log straight to the archive, but for this:
        await whole.delete(SERIES, T0 - 5 * HOUR + 100_000, T0 - 3 * HOUR)
        await whole.append(FOUR, [T0 - 4 * HOUR], 8.0)
        await whole.reached("archived")
        await whole.all_as_wanted(MASTER, REPLICA, since=T0)
        await nothing_to_mend(whole)
        await whole.all_as_wanted(MASTER, REPLICA, since=T0)


async def test_what_waited_for_the_archive_and_was_deleted_is_no_loss(
    fresh_system: FreshSystem, tmp_path: Path
) -> None:
    whole = embedded(fresh_system, tmp_path)
    async with whole.running():
        await whole.load()
        await whole.all_archived()
        whole.store.refuses = "before"
        await whole.delete([FOUR], FIRST, FIRST)
        await whole.append(ONE, range(T0 + 600_000, T0 + 700_000, 1000))
        await whole.reached("durable")
        with pytest.raises(ArchiveError):
            await whole.archiver.cycle()
        await whole.delete([ONE], T0 + 620_000, T0 + 650_000)
        await whole.reached("durable")
    whole.store.refuses = None
    async with whole.running():
        await whole.all_archived()
        assert whole.archiver.status.locations["salon"].lost == []
        await whole.all_as_wanted(MASTER, REPLICA)


async def test_what_is_deleted_while_a_pass_compares_it_is_not_called_lost(
    fresh_system: FreshSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = embedded(fresh_system, tmp_path)
    move = Pages.move
    meanwhile = False

    async def moved(pages: Pages, flow: Flow, moves: list[Move]) -> None:
        nonlocal meanwhile
        if not meanwhile and any(len(one.expected[0]) for one in moves):
            meanwhile = True
            await whole.delete([ONE], FIRST, LAST)
            await whole.reached("acknowledged")
        await move(pages, flow, moves)

    async with whole.running():
        await whole.load()
        await whole.reached("durable")
        monkeypatch.setattr(Pages, "move", moved)
        with structlog.testing.capture_logs() as lines:
            await whole.all_archived()
            assert meanwhile
            await whole.all_as_wanted(MASTER, REPLICA)
        assert not events(lines, "shard_lost_readings")


async def test_a_store_that_was_not_in_use_deletes_before_it_is_used_again(
    fresh_system: FreshSystem, tmp_path: Path
) -> None:
    whole = embedded(fresh_system, tmp_path)
    other = EmbeddedStore(tmp_path / "other.sqlite")
    try:
        async with whole.running():
            await whole.load()
            await whole.all_archived()
        async with whole.running(store=other):
            await whole.delete([ONE], FIRST, LAST)
            await whole.append(ONE, AGAIN, 5.0)
            await whole.reached("archived")
            assert await whole.archived(ONE, other) == sorted(whole.wanted[ONE].items())
            assert len(await whole.archived(ONE)) == 600
        async with whole.running():
            await whole.archiver.cycle()
            await whole.all_as_wanted(MASTER, REPLICA)
            await nothing_to_mend(whole)
    finally:
        await other.close()


async def test_whoever_writes_again_leaves_out_what_was_deleted_meanwhile(
    fresh_system: FreshSystem, tmp_path: Path
) -> None:
    whole = embedded(fresh_system, tmp_path)
    async with whole.running():
        await whole.load(count=10)
        whole.store.refuses = "before"
        upto = whole.log.partition("salon").end
        sequence = await whole.delete([ONE], T0 + 2000, T0 + 4000)
        await whole.reached("durable")
        times = np.arange(T0, T0 + 10_000, 1000)
        batch = Batch("salon", np.zeros(10, np.int32), times, np.full(10, 20.0))
        taken = await whole.service.write_again(batch, upto)
        assert taken.tolist() == [True, True, False, False, False, *[True] * 5]
        assert await whole.service.restore(ONE, times, np.full(10, 20.0)) == 7
        assert await whole.held(ONE) == sorted(whole.wanted[ONE].items())
        assert (await whole.service.write_again(batch, sequence)).all()
        assert len(await whole.held(ONE)) == 10


@pytest.mark.parametrize("seed", range(4))
async def test_in_any_order_shard_and_archive_hold_what_the_log_says(
    fresh_system: FreshSystem, tmp_path: Path, seed: int
) -> None:
    """Readings, late ones, deletions, passes, losses and restarts by chance, against a dictionary."""
    whole = embedded(fresh_system, tmp_path)
    rng = random.Random(seed)
    for _ in range(4):
        async with whole.running(writes=rng.random() < 0.8):
            whole.store.refuses = rng.choice([None, None, "before", "after"])
            for _ in range(rng.randrange(4, 12)):
                series = rng.choice(SERIES)
                begin = T0 + 1000 * rng.randrange(600)
                match rng.randrange(6):
                    case 0 | 1 | 2:
                        await whole.append(
                            series, range(begin, begin + rng.randrange(1000, 90_000), 1000), rng.random()
                        )
                    case 3 | 4:
                        some = rng.sample(SERIES, rng.randrange(1, 4))
                        await whole.delete(some, begin, begin + rng.randrange(300_000))
                    case 5 if whole.store.refuses is None and rng.random() < 0.5:
                        await whole.system.ask(MASTER, "DEL", series.key)
    whole.store.refuses = None
    async with whole.running():
        await whole.append(ONE, [T0 + HOUR])
        await whole.all_archived()
        await whole.archiver.verify(deep=True, repair=True)
        await whole.all_as_wanted(MASTER)
