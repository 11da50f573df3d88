"""The writer of a shard, from its log into real servers: nothing is lost or altered, whatever fails."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog

from iotd.model.batch import Batch
from iotd.model.errors import ShardError
from iotd.model.series import Series
from iotd.shards.checkpoint import checkpoint_key
from iotd.shards.identity import Identity, write
from tests.conftest import FreshSystem
from tests.servers.shards import SYSTEM_ID, MemoryCatalogue, Writing, writing
from tests.servers.system import System, until

T0 = 1_790_000_000_000
SERIES = [Series(kind, "salon", str(n)) for kind in ("temperature", "humidity") for n in (1, 2)]
MASTER = "redis-salon-master"

Samples = list[tuple[int, float]]


async def held(system: System, node: str, series: Series) -> Samples:
    found = await system.ask(node, "TS.RANGE", series.key, "-", "+")
    return [(int(time), float(value)) for time, value in found]


async def load(rig: Writing, first: int, count: int, per_record: int = 100) -> dict[Series, Samples]:
    """Appends ``count`` readings of each series, a second apart; returns what must be there."""
    rng = np.random.default_rng(first)
    wanted: dict[Series, Samples] = {series: [] for series in SERIES}
    for start in range(first, first + count, per_record):
        seconds = np.arange(start, min(start + per_record, first + count))
        times = np.repeat(T0 + 1000 * seconds, len(SERIES))
        numbers = np.tile(np.arange(len(SERIES)), len(seconds))
        values = rng.normal(20, 3, len(times))
        await rig.append(numbers, times, values)
        for number, series in enumerate(SERIES):
            mine = numbers == number
            wanted[series] += zip(times[mine].tolist(), values[mine].tolist(), strict=True)
    return wanted


async def same(system: System, node: str, wanted: dict[Series, Samples]) -> None:
    for series, samples in wanted.items():
        assert await held(system, node, series) == samples


def joined(*parts: dict[Series, Samples]) -> dict[Series, Samples]:
    return {series: [sample for part in parts for sample in part[series]] for series in SERIES}


def kill(system: System, node: str) -> None:
    pid = int((system.settings.state / "nodes" / node / "pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)


def events(lines: list[Any], name: str) -> list[Any]:
    return [line for line in lines if line["event"] == name]


@pytest.fixture
def catalogue() -> MemoryCatalogue:
    return MemoryCatalogue(SERIES)


async def test_readings_become_durable_in_both_nodes_and_the_log_lets_them_go(
    fresh_system: FreshSystem, catalogue: MemoryCatalogue, tmp_path: Path
) -> None:
    system = fresh_system()
    async with writing(system, catalogue, tmp_path) as rig:
        wanted = await load(rig, 0, 20_000, 1000)
        await rig.reached("durable")
        await same(system, MASTER, wanted)
        await same(system, "redis-salon-replica", wanted)
        state = rig.service.state(taken=0, held=0)
        positions = rig.partition.positions
        assert rig.partition.end == positions.acknowledged == positions.durable == positions.truncated
        assert (state.acknowledged, state.waiting.readings, state.expired, state.held) == (80_000, 0, 0, 0)
        said = await system.ask(MASTER, "GET", checkpoint_key(rig.log.id, "salon"))
        assert said == f"{rig.log.epoch}:{rig.partition.end}".encode()
        info = await system.ask("redis-salon-replica", "TS.INFO", SERIES[0].key)
        about = dict(zip(info[::2], info[1::2], strict=True))
        assert about[b"retentionTime"] == 8 * 86_400_000
        assert [b"unit", b"celsius"] in about[b"labels"]


async def test_a_killed_master_costs_nothing(
    fresh_system: FreshSystem, catalogue: MemoryCatalogue, tmp_path: Path
) -> None:
    system = fresh_system()
    async with writing(system, catalogue, tmp_path) as rig:
        before = await load(rig, 0, 1000)
        await rig.reached("durable")
        feed = asyncio.create_task(load(rig, 1000, 30_000, 100))
        kill(system, MASTER)
        during = await feed
        after = await load(rig, 31_000, 1000)
        await rig.reached("acknowledged")
        await same(system, "redis-salon-replica", joined(before, during, after))
        assert rig.service.state(taken=0, held=0).failovers == 1
        assert rig.service.metadata.last is not None
        assert rig.service.metadata.last.target == "redis-salon-replica"
        await system.stack.start(MASTER)
        await rig.reached("durable", 40)
        await same(system, "redis-salon-replica", joined(before, during, after))


async def test_writing_resumes_behind_the_checkpoint_of_an_earlier_epoch(
    fresh_system: FreshSystem, catalogue: MemoryCatalogue, tmp_path: Path
) -> None:
    system = fresh_system()
    async with writing(system, catalogue, tmp_path) as rig:
        rig.partition.positions.require(["archived"])  # nothing is truncated
        before = await load(rig, 0, 1000)
        await rig.reached("durable")
        end, epoch = rig.partition.end, rig.log.epoch
    with structlog.testing.capture_logs() as lines:
        async with writing(system, catalogue, tmp_path) as rig:
            assert rig.log.epoch != epoch
            assert rig.partition.end == end
            await rig.reached("durable")
            after = await load(rig, 1000, 1000)
            await rig.reached("durable")
            await same(system, MASTER, joined(before, after))
    (event,) = events(lines, "writing")
    assert (event["checkpoint"], event["batches_to_replay"]) == (end, 0)
    assert not events(lines, "series_vanished")


@pytest.mark.parametrize("value", ["7-0123456789abcdef:3", "nonsense", ":4", "5", "\udcff:1"])
async def test_a_checkpoint_of_an_unknown_epoch_proves_nothing(
    fresh_system: FreshSystem, catalogue: MemoryCatalogue, tmp_path: Path, value: str
) -> None:
    system = fresh_system()
    async with writing(system, catalogue, tmp_path) as rig:
        rig.partition.positions.require(["archived"])
        wanted = await load(rig, 0, 1000)
        await rig.reached("durable")
        key = checkpoint_key(rig.log.id, "salon")
    async with system.connection(MASTER) as redis:
        await redis.call("SET", key, value.encode(errors="surrogateescape"))
        await redis.call("TS.DEL", SERIES[0].key, T0, T0 + 500_000)
    with structlog.testing.capture_logs() as lines:
        async with writing(system, catalogue, tmp_path) as rig:
            await rig.reached("durable")
            await same(system, MASTER, wanted)
    assert len(events(lines, "checkpoint_unknown")) == 1
    assert events(lines, "writing")[0]["batches_to_replay"] == 10
    assert not events(lines, "shard_lost_data")


async def test_a_series_that_vanished_is_written_again_from_the_log(
    fresh_system: FreshSystem, catalogue: MemoryCatalogue, tmp_path: Path
) -> None:
    system = fresh_system()
    async with writing(system, catalogue, tmp_path) as rig:
        rig.partition.positions.require(["archived"])
        before = await load(rig, 0, 1000)
        await rig.reached("durable")
        rig.partition.positions.advance("archived", 5)  # half of it is only in the archive
        assert rig.partition.positions.truncated == 5
        with structlog.testing.capture_logs() as lines:
            await system.ask(MASTER, "DEL", SERIES[1].key)
            after = await load(rig, 1000, 1000)
            await rig.reached("durable")
        wanted = joined(before, after)
        wanted[SERIES[1]] = wanted[SERIES[1]][500:]
        await same(system, MASTER, wanted)
        await same(system, "redis-salon-replica", wanted)
        assert rig.service.lost_series == {1}
        (event,) = events(lines, "series_vanished")
        assert (event["count"], event["key"]) == (1, SERIES[1].key)
        assert rig.service.state(taken=0, held=0).held == 0


async def test_a_series_that_vanished_while_the_daemon_was_away_is_written_again(
    fresh_system: FreshSystem, catalogue: MemoryCatalogue, tmp_path: Path
) -> None:
    system = fresh_system()
    async with writing(system, catalogue, tmp_path) as rig:
        rig.partition.positions.require(["archived"])
        wanted = await load(rig, 0, 1000)
        await rig.reached("durable")
    await system.ask(MASTER, "DEL", SERIES[2].key)
    async with writing(system, catalogue, tmp_path) as rig:
        await rig.reached("durable")
        await until(lambda: _there(system, SERIES[2], 1000), 10, "it is written again")
        await same(system, MASTER, wanted)
        assert rig.service.lost_series == set()


async def _there(system: System, series: Series, count: int) -> bool:
    return await system.ask(MASTER, "EXISTS", series.key) == 1 and len(await held(system, MASTER, series)) == count


async def test_an_emptied_shard_gets_what_the_log_has_and_says_what_it_lacks(
    fresh_system: FreshSystem, catalogue: MemoryCatalogue, tmp_path: Path
) -> None:
    system = fresh_system()
    async with writing(system, catalogue, tmp_path) as rig:
        rig.partition.positions.require(["archived"])
        before = await load(rig, 0, 1000)
        await rig.reached("durable")
        rig.partition.positions.advance("archived", 5)
        with structlog.testing.capture_logs() as lines:
            await system.ask(MASTER, "FLUSHALL")
            after = await load(rig, 1000, 1000)
            await rig.reached("durable")
        await same(system, MASTER, {s: samples[500:] for s, samples in joined(before, after).items()})
        assert rig.service.lost_series == {0, 1, 2, 3}
        assert events(lines, "shard_lost_data")


async def test_readings_older_than_the_shard_keeps_are_counted_and_never_held(
    fresh_system: FreshSystem, catalogue: MemoryCatalogue, tmp_path: Path
) -> None:
    system = fresh_system(redis={"retention": "1h"})
    hour = 3_600_000
    async with writing(system, catalogue, tmp_path) as rig:
        await rig.append([0, 0], [T0, T0 + 1], [1.0, 2.0])
        # one within the margin: sent, and refused by Redis; the other is not even sent
        await rig.append([0, 0, 0, 1], [T0 + 1 - hour - 5, T0 - 2 * hour, T0 + 2, T0 - 9 * hour], [3.0, 4.0, 5.0, 6.0])
        await rig.append([0, 0], [T0 - 8 * hour, T0 - 7 * hour], [7.0, 8.0])
        await rig.reached("durable")
        assert await held(system, MASTER, SERIES[0]) == [(T0, 1.0), (T0 + 1, 2.0), (T0 + 2, 5.0)]
        assert await held(system, MASTER, SERIES[1]) == [(T0 - 9 * hour, 6.0)]
        state = rig.service.state(taken=0, held=0)
        assert (state.expired, state.held) == (4, 0)
        assert rig.refused.kept == []


async def test_what_redis_refuses_is_held_and_the_rest_goes_on(
    fresh_system: FreshSystem, catalogue: MemoryCatalogue, tmp_path: Path
) -> None:
    system = fresh_system()
    async with system.connection(MASTER) as connection:
        await write(connection, Identity.new(SYSTEM_ID, "salon"), replace=False)
    await system.ask(MASTER, "SET", SERIES[1].key, "something else")
    async with writing(system, catalogue, tmp_path) as rig:
        wanted = await load(rig, 0, 500)
        await rig.reached("durable")
        assert rig.refused.kept == [(1, time, value) for time, value in wanted.pop(SERIES[1])]
        await same(system, MASTER, wanted)
        assert rig.service.state(taken=0, held=0).held == 500


async def test_what_is_restored_never_replaces_what_is_there_and_write_again_does(
    fresh_system: FreshSystem, catalogue: MemoryCatalogue, tmp_path: Path
) -> None:
    system = fresh_system()
    one = SERIES[0]
    async with writing(system, catalogue, tmp_path) as rig:
        await rig.append([0, 0], [T0, T0 + 2], [1.0, 3.0])
        await rig.reached("durable")
        times = T0 + np.arange(1500, dtype=np.int64)
        assert await rig.service.restore(one, times, np.full(1500, 0.1)) == 1500
        found = dict(await held(system, MASTER, one))
        assert len(found) == 1500
        assert (found[T0], found[T0 + 1], found[T0 + 2]) == (1.0, 0.1, 3.0)
        await system.ask(MASTER, "DEL", SERIES[3].key)
        days = 86_400_000
        numbers = np.array([0, 3, 0], np.int32)
        batch = Batch("salon", numbers, np.array([T0, T0, T0 - 9 * days]), np.array([7.5, 8.5, 9.5]))
        assert (await rig.service.write_again(batch, 0)).tolist() == [True, True, False]
        assert dict(await held(system, MASTER, one))[T0] == 7.5
        assert await held(system, MASTER, SERIES[3]) == [(T0, 8.5)]
        assert rig.refused.kept == []
        await system.stack.stop(MASTER)
        with pytest.raises(ShardError):
            await rig.service.restore(one, times, np.full(1500, 0.2))


async def test_series_are_made_when_their_first_reading_comes(
    fresh_system: FreshSystem, catalogue: MemoryCatalogue, tmp_path: Path
) -> None:
    system = fresh_system()
    many = [Series("temperature", "salon", f"sensor {n}") for n in range(3000)]
    async with writing(system, catalogue, tmp_path) as rig:
        await load(rig, 0, 10)
        await rig.reached("durable")
        catalogue.add(many)
        numbers = np.arange(3000) + len(SERIES)
        await rig.append(numbers, np.full(3000, T0), np.arange(3000) / 7)
        await rig.reached("durable")
        assert await held(system, MASTER, many[1234]) == [(T0, 1234 / 7)]
        stats = (await system.ask(MASTER, "INFO", "commandstats")).decode()
        assert "ts.alter" not in stats.lower()
        assert rig.service.state(taken=0, held=0).held == 0


async def test_what_is_written_back_into_an_emptied_shard_does_not_make_it_anothers(
    fresh_system: FreshSystem, catalogue: MemoryCatalogue, tmp_path: Path
) -> None:
    system = fresh_system()
    async with writing(system, catalogue, tmp_path) as rig:
        await load(rig, 0, 100)
        await rig.reached("durable")
        await system.ask(MASTER, "FLUSHALL")
        times = np.arange(T0, T0 + 100_000, 1000)
        assert await rig.service.restore(SERIES[0], times, np.full(100, 0.5)) == 100  # before the writer sees it
        after = await load(rig, 100, 100)
        await rig.reached("durable")
        assert (await held(system, MASTER, SERIES[0]))[100:] == after[SERIES[0]]
