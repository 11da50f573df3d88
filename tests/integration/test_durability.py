"""What is durable, and by what, when a replica is not there or does not fsync."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import structlog

from iotd.model.series import Series
from tests.conftest import FreshSystem
from tests.servers.shards import MemoryCatalogue, writing
from tests.servers.system import until

T0 = 1_790_000_000_000
SERIES = [Series("temperature", "salon", "1")]


@pytest.fixture
def catalogue() -> MemoryCatalogue:
    return MemoryCatalogue(SERIES)


async def test_without_a_replica_nothing_is_durable_and_the_log_keeps_it_until_one_is_there(
    fresh_system: FreshSystem, catalogue: MemoryCatalogue, tmp_path: Path
) -> None:
    system = fresh_system()
    async with writing(system, catalogue, tmp_path) as rig:
        await rig.append([0], [T0], [1.0])
        await rig.reached("durable")
        await system.stack.stop("redis-salon-replica")
        for second in range(1, 4):
            await rig.append([0], [T0 + 1000 * second], [1.0])
        await rig.reached("acknowledged")

        async def waited() -> bool:
            return rig.service.state(taken=0, held=0).age > 3

        await until(waited, 20, "it is said how long it waits")
        positions = rig.partition.positions
        assert (positions.acknowledged, positions.durable, positions.truncated) == (4, 1, 1)
        assert rig.service.state(taken=0, held=0).waiting.readings == 3
        await system.stack.start("redis-salon-replica")
        await rig.reached("durable", 30)
        assert rig.service.state(taken=0, held=0).age == 0
        assert positions.truncated == 4


async def test_a_replica_without_an_append_only_file_confirms_by_its_memory_and_a_slow_one_is_waited_for(
    fresh_system: FreshSystem, catalogue: MemoryCatalogue, tmp_path: Path
) -> None:
    system = fresh_system()
    # it receives, writes its file, and never says that it has fsynced
    await system.ask("redis-salon-replica", "CONFIG", "SET", "appendfsync", "no")
    with structlog.testing.capture_logs() as lines:
        async with writing(system, catalogue, tmp_path) as rig:
            await rig.append([0], [T0], [1.0])

            async def waited() -> bool:
                return rig.service.state(taken=0, held=0).age > 15

            await until(waited, 60, "nothing is durable for long")
            assert not [line for line in lines if line["event"] == "confirming_by_wait"]
            await system.ask("redis-salon-replica", "CONFIG", "SET", "appendonly", "no")
            await rig.reached("durable", 60)
    reasons = [line["reason"] for line in lines if line["event"] == "confirming_by_wait"]
    assert reasons == ["the replica keeps no append-only file"]


async def test_what_was_acknowledged_before_a_crash_is_durable_after_it_though_no_reading_comes(
    fresh_system: FreshSystem, catalogue: MemoryCatalogue, tmp_path: Path
) -> None:
    system = fresh_system()
    async with writing(system, catalogue, tmp_path) as rig:
        await rig.append([0], [T0], [1.0])
        await rig.reached("durable")
        await system.stack.stop("redis-salon-replica")
        await rig.append([0], [T0 + 1], [1.0])
        await rig.reached("acknowledged")
        (key,) = await system.ask("redis-salon-master", "KEYS", "iotd:checkpoint:*")

        async def set_for_all() -> bool:
            return bool((await system.ask("redis-salon-master", "GET", key)).endswith(b":2"))

        await until(set_for_all, 20, "the checkpoint stands behind a reading that is not durable")
        assert rig.partition.positions.durable == 1
    await system.stack.start("redis-salon-replica")
    async with writing(system, catalogue, tmp_path) as rig:
        assert rig.partition.end == 2
        await rig.reached("durable")


async def test_data_that_is_exchanged_under_a_session_ends_it_and_all_is_written_again(
    fresh_system: FreshSystem, catalogue: MemoryCatalogue, tmp_path: Path
) -> None:
    system = fresh_system()
    async with writing(system, catalogue, tmp_path) as rig:
        rig.partition.positions.require(["archived"])
        await rig.append([0], [T0], [1.0])
        await rig.reached("durable")
        (key,) = await system.ask("redis-salon-master", "KEYS", "iotd:checkpoint:*")
        with structlog.testing.capture_logs() as lines:
            await system.ask("redis-salon-master", "TS.DEL", SERIES[0].key, T0, T0)
            await system.ask("redis-salon-master", "SET", key, f"{rig.log.epoch}:0")  # an older dump, as it were
            await rig.append([0], [T0 + 1], [2.0])
            await asyncio.wait_for(rig.partition.positions.wait("durable", 1), 20)
        found = await system.ask("redis-salon-master", "TS.RANGE", SERIES[0].key, "-", "+")
        assert [(time, float(value)) for time, value in found] == [(T0, 1.0), (T0 + 1, 2.0)]
        assert any("exchanged" in line.get("reason", "") for line in lines)
