"""What every back end of the log must do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from iotd.log.base import Log, Partition, Record, record_size
from iotd.log.budget import Budget
from iotd.log.embedded import EmbeddedLog
from iotd.model.errors import StateError, UsageError
from tests.unit.logs import Catalogue, readings

Open = Callable[..., Awaitable[Log]]


@pytest.fixture(params=["embedded"])
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens the log, again and again if need be: what was appended before is there."""
    logs: list[Log] = []

    async def open_log(*, memory: int = 2**20, limit: int = 2**20, catalogue: Catalogue | None = None) -> Log:
        for log in logs:
            await log.close()
        logs.append(
            EmbeddedLog(
                tmp_path / "log",
                catalogue or Catalogue("temperature", "humidity"),
                budget=Budget(memory),
                limit=limit,
                segment_size=4096,
            )
        )
        return logs[-1]

    yield open_log
    for log in logs:
        await log.close()


def put(
    log: Log, value: float = 21.5, *, series: int = 0, positions: Sequence[tuple[str, bytes]] = ()
) -> asyncio.Future[int]:
    """Appends one reading of the salon."""
    append = readings("salon", (series, 1_000, value))
    return log.append(append.location, append.series, append.times, append.values, positions)


async def all_of(partition: Partition, after: int = 0, max_bytes: int = 1) -> list[Record]:
    found: list[Record] = []
    while records := await partition.read(found[-1].sequence if found else after, max_bytes):
        found += records
    return found


def prove(partition: Partition, upto: int) -> None:
    for name in ("acknowledged", "durable", "archived"):
        partition.positions.advance(name, upto)


async def test_appended_readings_are_read_as_they_were(opened: Open) -> None:
    log = await opened()
    times, values = np.array([5, 3, 9]), np.array([1.5, -0.0, 1e308])
    assert await log.append("salon", np.array([0, 1, 0], np.int32), times, values) == 1
    (record,) = await log.partition("salon").read(0, 1)
    assert record.sequence == 1
    assert record.series.tolist() == [0, 1, 0]
    assert record.times.tolist() == times.tolist()
    assert record.values.tobytes() == values.tobytes()
    assert record.size == record_size(3)


async def test_sequences_follow_the_calls(opened: Open) -> None:
    log = await opened()
    futures = [put(log, n) for n in range(100)]
    assert await asyncio.gather(*futures) == list(range(1, 101))
    found = await all_of(log.partition("salon"))
    assert [r.values[0] for r in found] == list(range(100))


async def test_each_partition_counts_for_itself(opened: Open) -> None:
    log = await opened()
    appends = [readings("salon", (0, 1, 1.0)), readings("cuisine", (1, 1, 2.0)), readings("salon", (0, 2, 3.0))]
    assert await log.append_many(appends) == [1, 1, 2]
    assert log.partitions == ("salon", "cuisine")
    assert log.partition("salon").end == 2


@pytest.mark.parametrize("memory", [2**20, 0])
async def test_what_was_appended_is_there_after_opening_again(opened: Open, memory: int) -> None:
    log = await opened(memory=memory)
    for n in range(300):
        await put(log, n)
    identity, epoch = log.id, log.epoch
    log = await opened(memory=memory)
    assert log.id == identity
    assert log.epoch != epoch
    assert log.damage == ()
    found = await all_of(log.partition("salon"), max_bytes=2000)
    assert [r.values[0] for r in found] == list(range(300))
    assert await put(log, 300) == 301
    assert [r.sequence for r in await all_of(log.partition("salon"), after=299)] == [300, 301]


async def test_reading_stops_near_the_bytes_asked_for(opened: Open) -> None:
    log = await opened(memory=record_size(1) * 4)
    await asyncio.gather(*(put(log, n) for n in range(10)))
    partition = log.partition("salon")
    assert len(await partition.read(0, record_size(1) * 3)) == 3
    assert len(await partition.read(0, 1)) == 1
    assert len(await partition.read(6, record_size(1) * 3)) == 3
    assert await partition.read(10, 1000) == []


async def test_memory_is_given_back_as_it_is_read(opened: Open) -> None:
    log = await opened()
    await asyncio.gather(*(put(log, n) for n in range(10)))
    partition = log.partition("salon")
    partition.release(4)
    assert [r.sequence for r in await all_of(partition)] == list(range(1, 11))


async def test_waiting_for_what_is_appended(opened: Open) -> None:
    log = await opened()
    waiting = asyncio.create_task(log.partition("salon").appended_beyond(1))
    await put(log)
    assert not waiting.done()
    await put(log)
    assert await waiting == 2


async def test_series_keep_their_meaning_under_another_numbering(opened: Open) -> None:
    log = await opened()
    await put(log, series=0)
    await put(log, series=1)
    today = Catalogue("pressure", "humidity", "temperature")
    log = await opened(catalogue=today)
    found = await all_of(log.partition("salon"))
    assert [today.names[r.series[0]] for r in found] == ["temperature", "humidity"]


async def test_an_unknown_series_fails_alone(opened: Open) -> None:
    log = await opened()
    bad, good = put(log, series=7), put(log)
    with pytest.raises(StateError, match="no series 7"):
        await bad
    assert await good == 1


async def test_columns_that_do_not_fit_together_are_refused(opened: Open) -> None:
    log = await opened()
    with pytest.raises(UsageError, match="differ"):
        log.append("salon", np.zeros(2, np.int32), np.zeros(2, np.int64), np.zeros(3))


async def test_a_source_position_comes_with_its_readings(opened: Open) -> None:
    log = await opened()
    assert log.source_position("simulator") is None
    await put(log, positions=[("simulator", b"1000"), ("file", b"7")])
    await put(log, positions=[("simulator", b"2000")])
    assert log.source_position("simulator") == b"2000"
    log = await opened()
    assert (log.source_position("simulator"), log.source_position("file")) == (b"2000", b"7")


async def test_a_position_without_readings(opened: Open) -> None:
    log = await opened()
    nothing = readings("salon")
    assert await log.append("salon", nothing.series, nothing.times, nothing.values, [("mqtt", b"x")]) == 0
    assert await log.append_many([], [("file", b"y")]) == []
    log = await opened()
    assert (log.source_position("mqtt"), log.source_position("file")) == (b"x", b"y")
    assert log.partitions == ()


async def test_truncation_waits_for_every_required_position(opened: Open) -> None:
    log = await opened()
    await asyncio.gather(*(put(log, n) for n in range(10)))
    partition = log.partition("salon")
    partition.positions.advance("durable", 8)
    assert partition.begin == 1
    partition.positions.advance("archived", 5)
    assert partition.begin == 6
    assert [r.sequence for r in await all_of(partition)] == [6, 7, 8, 9, 10]
    partition.positions.require({"durable"})
    assert partition.begin == 9


async def test_a_pin_holds_truncation_back(opened: Open) -> None:
    log = await opened()
    await asyncio.gather(*(put(log, n) for n in range(10)))
    partition = log.partition("salon")
    with partition.positions.pin(3) as pin:
        prove(partition, 10)
        assert partition.begin == 4
        pin.move(6)
        assert partition.begin == 7
    assert partition.begin == 11


async def test_positions_go_back_where_a_master_holds_less(opened: Open) -> None:
    log = await opened()
    await asyncio.gather(*(put(log, n) for n in range(10)))
    positions = log.partition("salon").positions
    positions.advance("acknowledged", 9)
    positions.advance("durable", 7)
    positions.advance("archived", 2)
    positions.rewind(acknowledged=5)
    assert (positions.acknowledged, positions.durable, positions.archived) == (5, 5, 2)
    positions.rewind(acknowledged=0)
    assert (positions.acknowledged, positions.durable) == (2, 2)  # the rest is truncated
    assert await positions.wait("end", 9) == 10


async def test_what_is_truncated_stays_truncated_once_its_files_are_gone(opened: Open) -> None:
    log = await opened()
    for n in range(400):
        await put(log, n)
    prove(log.partition("salon"), 390)
    log = await opened()
    assert log.damage == ()
    partition = log.partition("salon")
    assert partition.begin > 1
    assert [r.sequence for r in await all_of(partition)][-10:] == list(range(391, 401))


async def test_a_partition_that_lags_keeps_its_records_only(opened: Open) -> None:
    log = await opened(memory=0)
    for n in range(400):
        await log.append_many([readings("salon", *[(0, n, 1.0)] * 20), readings("cuisine", (1, n, float(n)))])
        prove(log.partition("salon"), n)
        if n % 10 == 0:  # the rewriting may be under way
            await log.partition("cuisine").read(0, 10_000)
    assert [r.values[0] for r in await all_of(log.partition("cuisine"))] == list(range(400))
    log = await opened(memory=0)
    assert log.damage == ()
    assert [r.values[0] for r in await all_of(log.partition("cuisine"))] == list(range(400))


async def test_sources_wait_at_the_limit(opened: Open) -> None:
    log = await opened(limit=record_size(1) * 10)
    partition = log.partition("salon")
    for _ in range(5):
        await put(log)
    paced = asyncio.create_task(log.room("salon", share=0.5))
    await log.room("salon")  # live sources have the other half
    for _ in range(5):
        await put(log)
    assert partition.full
    live = asyncio.create_task(log.room("salon"))
    await asyncio.sleep(0)
    assert not live.done()
    prove(partition, 1)
    await live
    assert not paced.done()
    prove(partition, 6)
    await paced


async def test_what_is_under_way_counts_against_the_limit(opened: Open) -> None:
    log = await opened(limit=record_size(1) * 2)
    futures = [put(log), put(log)]
    assert log.partition("salon").full
    await asyncio.gather(*futures)
    assert log.partition("salon").full


async def test_depth_is_exact(opened: Open) -> None:
    log = await opened()
    await log.append_many([readings("salon", (0, 1, 1.0), (0, 2, 2.0)), readings("salon", (0, 3, 3.0))])
    partition = log.partition("salon")
    depth = partition.depth("durable")
    assert (depth.batches, depth.readings, depth.bytes) == (2, 3, record_size(2) + record_size(1))
    partition.positions.advance("durable", 1)
    assert partition.depth("durable").readings == 1
    assert partition.depth("archived").readings == 3


async def test_a_checkpoint_proves_what_its_epoch_holds(opened: Open) -> None:
    log = await opened()
    for _ in range(3):
        await put(log)
    first = log.epoch
    log = await opened()
    await put(log)
    assert log.position_of("salon", first, 2) == 2
    assert log.position_of("salon", log.epoch, 4) == 4
    assert log.position_of("salon", "7-0011223344556677", 2) is None
    assert not log.damage
    # a node that has more of the first epoch than we do: our log has lost its tail
    assert log.position_of("salon", first, 9) == 3
    (damage,) = log.damage
    assert (damage.partition, damage.first, damage.last) == ("salon", 4, 9)


async def test_a_deleted_location_is_truncated_unproven(opened: Open) -> None:
    log = await opened()
    await put(log)
    log.partition("salon").discard()
    assert log.partitions == ()
    assert await put(log) == 2


async def test_a_closed_log_takes_nothing(opened: Open) -> None:
    log = await opened()
    under_way = put(log)
    await log.close()
    assert await under_way == 1
    with pytest.raises(StateError, match="closed"):
        put(log)


# ── deleting ──


def delete(log: Log, first: int, last: int, *series: int) -> asyncio.Future[int]:
    """Deletes a range of series of the salon."""
    return log.delete("salon", np.array(series, np.int32), first, last)


@pytest.mark.parametrize("memory", [2**20, 0])
async def test_a_deletion_has_its_place_among_the_readings(opened: Open, memory: int) -> None:
    log = await opened(memory=memory)
    futures = [put(log, 1.0), delete(log, -5, 2_000, 1, 0), put(log, 2.0)]
    assert await asyncio.gather(*futures) == [1, 2, 3]
    for _ in range(2):  # as it was appended, and as it is found again
        partition = log.partition("salon")
        first, second, third = await all_of(partition)
        assert [len(first), len(second), len(third)] == [1, 0, 1]
        assert [first.deletion, third.deletion] == [None, None]
        (found,) = await partition.deletions(0)
        for deletion in (second.deletion, found):
            assert deletion is not None
            assert (deletion.sequence, deletion.first, deletion.last) == (2, -5, 2_000)
            assert deletion.series.tolist() == [1, 0]
        assert second.times.dtype == np.int64
        assert [len(second.series), len(second.times), len(second.values)] == [0, 0, 0]
        log = await opened(memory=memory)


async def test_deletions_are_found_without_reading_all(opened: Open) -> None:
    log = await opened()
    partition = log.partition("salon")
    assert partition.next_deletion(0) is None
    assert await partition.deletions(0) == []
    for at in range(1, 13):
        await (delete(log, at, at, 0) if at % 5 == 0 else put(log, at))
    assert [partition.next_deletion(after) for after in (0, 4, 5, 9, 10, 12)] == [5, 5, 10, 10, None, None]
    assert [d.sequence for d in await partition.deletions(0)] == [5, 10]
    assert [d.sequence for d in await partition.deletions(5)] == [10]
    prove(partition, 7)
    assert partition.next_deletion(0) == 10
    assert [d.sequence for d in await partition.deletions(0)] == [10]
    log = await opened()
    assert log.partition("salon").next_deletion(7) == 10


async def test_a_deletion_is_a_batch_without_readings(opened: Open) -> None:
    log = await opened()
    partition = log.partition("salon")
    await asyncio.gather(put(log), delete(log, 0, 9, 0), put(log))
    assert (partition.depth("durable").batches, partition.depth("durable").readings) == (3, 2)
    prove(partition, 1)
    assert (partition.depth("archived").batches, partition.depth("archived").readings) == (2, 1)


async def test_a_deletion_keeps_the_meaning_of_its_series(opened: Open) -> None:
    log = await opened()
    await put(log, series=1)
    await delete(log, 0, 9, 0)
    today = Catalogue("pressure", "humidity", "temperature")
    log = await opened(catalogue=today)
    (deletion,) = await log.partition("salon").deletions(0)
    assert [today.names[n] for n in deletion.series.tolist()] == ["temperature"]


async def test_a_deletion_of_nothing_is_refused(opened: Open) -> None:
    log = await opened()
    for refused in ((5, 4, 0), (0, 1)):
        with pytest.raises(UsageError):
            delete(log, *refused)
    assert await put(log) == 1
