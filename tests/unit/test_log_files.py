"""The embedded log's files: what a fault on disk costs, and what the form costs in bytes."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from iotd.log.active import Call
from iotd.log.base import Append, Damage, Epoch
from iotd.log.budget import Budget
from iotd.log.core import Core
from iotd.log.embedded import EmbeddedLog
from iotd.log.epochs import chain, last_of
from iotd.log.frame import (
    HEADER,
    UNKNOWN,
    FormatError,
    FrameError,
    between,
    counted,
    frame,
    items,
    log_item,
    partition_item,
    series_item,
    verify,
)
from iotd.log.index import Index, Place
from iotd.log.positions import Positions
from iotd.log.segment import Bad, Found, scan, segment_numbers, segment_path
from iotd.model.errors import StateError, UsageError
from tests.unit.logs import Catalogue, FaultyDisk, cut, flip, readings


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Callable[..., EmbeddedLog]]:
    """Opens a log in ``tmp_path / "log"``; close it before opening it again."""
    logs: list[EmbeddedLog] = []

    def open_log(disk: FaultyDisk | None = None, *, memory: int = 0, segment_size: int = 2**20) -> EmbeddedLog:
        names = Catalogue(*(f"series {n}" for n in range(100)))
        budget = Budget(memory)
        folder = tmp_path / "log"
        logs.append(EmbeddedLog(folder, names, budget=budget, limit=2**30, segment_size=segment_size, disk=disk))
        return logs[-1]

    yield open_log
    for log in logs:
        await log.close()


def put(log: EmbeddedLog, value: float, location: str = "salon") -> asyncio.Future[int]:
    append = readings(location, (0, 1_000, value))
    return log.append(location, append.series, append.times, append.values)


def reason(log: EmbeddedLog) -> str | None:
    return log.failing


async def values(log: EmbeddedLog, location: str = "salon") -> list[float]:
    found: list[float] = []
    after = 0
    while records := await log.partition(location).read(after, 10_000):
        after = records[-1].sequence
        found += [value for record in records for value in record.values.tolist()]
    return found


def last_segment(log: EmbeddedLog) -> Path:
    return segment_path(log.folder, segment_numbers(log.folder)[-1])


def frames(path: Path) -> list[Found]:
    return [part for part in scan(path.read_bytes()) if isinstance(part, Found)]


# ── faults while it runs ──


async def test_a_full_disk_keeps_sources_waiting_and_loses_nothing(opened: Callable[..., EmbeddedLog]) -> None:
    disk = FaultyDisk()
    log = opened(disk)
    await put(log, 1)
    disk.error = errno.ENOSPC
    waiting = put(log, 2)
    while disk.writes < 6:  # it has tried, and cut off what it had written
        await asyncio.sleep(0.01)
    assert not waiting.done()
    assert str(reason(log)).startswith("no space left on the disk")
    disk.error = None
    assert await waiting == 2
    assert reason(log) is None
    assert await values(log) == [1, 2]
    assert not any(isinstance(part, Bad) for part in scan(last_segment(log).read_bytes()))


async def test_after_a_sync_that_failed_another_segment_is_written(opened: Callable[..., EmbeddedLog]) -> None:
    disk = FaultyDisk()
    log = opened(disk)
    await put(log, 1)
    before = segment_numbers(log.folder)
    disk.sync_error = errno.EIO
    waiting = put(log, 2)
    while reason(log) is None:
        await asyncio.sleep(0.01)
    disk.sync_error = None
    assert await waiting == 2
    assert len(segment_numbers(log.folder)) == len(before) + 1
    await log.close()
    log = opened()
    assert await values(log) == [1, 2]
    assert not log.damage


async def test_what_was_not_written_when_it_closes_is_not_acknowledged(opened: Callable[..., EmbeddedLog]) -> None:
    disk = FaultyDisk()
    log = opened(disk)
    disk.error = errno.ENOSPC
    waiting = put(log, 1)
    while reason(log) is None:
        await asyncio.sleep(0.01)
    await log.close()
    with pytest.raises(StateError, match="closed before"):
        await waiting


async def test_a_full_disk_is_opened_and_read(opened: Callable[..., EmbeddedLog]) -> None:
    log = opened()
    await put(log, 1)
    await log.close()
    disk = FaultyDisk()
    disk.error = errno.ENOSPC
    log = opened(disk)
    assert await values(log) == [1]
    disk.error = None
    assert await put(log, 2) == 2


async def test_truncation_makes_room_on_a_full_disk(opened: Callable[..., EmbeddedLog]) -> None:
    disk = FaultyDisk()
    log = opened(disk, segment_size=200)
    for n in range(20):
        await put(log, n)
    disk.error = errno.ENOSPC
    waiting = put(log, 20)
    while reason(log) is None:
        await asyncio.sleep(0.01)
    before = len(segment_numbers(log.folder))
    positions = log.partition("salon").positions
    positions.require({"archived"})
    positions.advance("archived", 20)
    while len(segment_numbers(log.folder)) == before:
        await asyncio.sleep(0.01)
    disk.error = None
    await waiting
    await log.close()
    log = opened()
    assert not log.damage
    assert await values(log) == [20]


async def test_a_frame_damaged_while_it_runs_is_named_and_passed_over(opened: Callable[..., EmbeddedLog]) -> None:
    log = opened()
    for n in range(10):
        await put(log, n)
    path = last_segment(log)
    hit = frames(path)[5]
    flip(path, hit.offset + HEADER + 3)
    found = await values(log)
    (damage,) = log.damage
    assert damage.partition == "salon"
    assert (damage.last, damage.readings) == (damage.first, 1)
    assert found == [n for n in range(10) if n != damage.first - 1]
    assert log.partition("salon").depth("durable").readings == 9


# ── faults found when it is opened ──


async def test_every_single_flipped_bit_costs_one_frame_at_most(opened: Callable[..., EmbeddedLog]) -> None:
    log = opened()
    for n in range(6):
        await put(log, n)
    path = last_segment(log)
    await log.close()
    whole = path.read_bytes()
    for offset in range(0, len(whole), 7):
        flip(path, offset, offset % 8)
        core = Core(path.parent, Catalogue("series 0"))
        outcome = core.read(core.index("salon").places(0, 10_000))
        core.close()
        got = [float(record.values[0]) for record in outcome.records]
        assert len(got) >= 5
        assert set(got) <= set(range(6))
        named = [damage for damage in core.damage if damage.partition]
        assert [(d.partition, d.readings) for d in named] == [("salon", 1)] * (6 - len(got))
        path.write_bytes(whole)


async def test_a_page_of_zeros_costs_what_was_in_it(opened: Callable[..., EmbeddedLog]) -> None:
    log = opened()
    for n in range(400):
        await put(log, n)
    path = last_segment(log)
    await log.close()
    whole = path.read_bytes()
    for page in range(len(whole) // 4096):
        path.write_bytes(whole[: page * 4096] + bytes(4096) + whole[(page + 1) * 4096 :])
        core = Core(path.parent, Catalogue("series 0"))
        outcome = core.read(core.index("salon").places(0, 10**6))
        core.close()
        assert not outcome.unknown
        assert len(outcome.records) >= 400 - 4096 // (HEADER + 39) - 2
        assert sum(d.readings or 0 for d in core.damage if d.partition) == 400 - len(outcome.records)
        path.write_bytes(whole)


def test_a_new_log_begins_with_positions_and_one_that_is_there_has_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    for _ in range(2):  # closed before its first commit, it still holds nothing
        core = Core(folder, Catalogue("series 0"), begins_with={"iotd:system": b"ours"})
        assert core.source_positions == {"iotd:system": b"ours"}
        core.close()
    core = Core(folder, Catalogue("series 0"), begins_with={"iotd:system": b"ours"})
    assert not core.fresh
    assert isinstance(core.commit([Call([readings("salon", (0, 1, 1.0))], [])])[0], list)
    core.close()
    core = Core(folder, Catalogue("series 0"), begins_with={"iotd:system": b"another's"})
    assert core.source_positions == {"iotd:system": b"ours"}
    core.close()


async def test_a_lost_tail_is_named_by_the_witness(opened: Callable[..., EmbeddedLog]) -> None:
    log = opened()
    for n in range(10):
        await put(log, n)
    path = last_segment(log)
    await log.close()
    cut(path, frames(path)[-3].offset)
    log = opened()
    assert log.damage == (Damage("salon", 8, 10, 3, "records are missing from the files"),)
    assert await put(log, 10) == 11
    assert await values(log) == [0, 1, 2, 3, 4, 5, 6, 10]


async def test_a_tail_lost_with_its_witness_is_named_by_a_checkpoint(opened: Callable[..., EmbeddedLog]) -> None:
    log = opened()
    for n in range(5):
        await put(log, n)
    path, epoch = last_segment(log), log.epoch
    await log.close()
    cut(path, frames(path)[-2].offset)
    (log.folder / "witness").unlink()
    log = opened()
    assert not log.damage
    assert [await put(log, n) for n in (30, 40)] == [4, 5]  # the sequences come again, in another epoch
    assert log.position_of("salon", epoch, 5) == 3
    assert [(d.partition, d.first, d.last) for d in log.damage] == [("salon", 4, 5)]


async def test_a_truncation_is_durable_before_its_segments_go(tmp_path: Path) -> None:
    core = Core(tmp_path, Catalogue("series 0"), segment_size=200)
    for n in range(20):
        core.commit([Call([readings("salon", (0, n, 1.0))], [])])
    core.writer.truncate("salon", 15, 15)
    assert core.writer.reclaim()
    (tmp_path / "witness").unlink()
    core = Core(tmp_path, Catalogue("series 0"), segment_size=200)  # the process was killed
    assert not core.damage
    assert (core.truncated["salon"], core.ends["salon"]) == (15, 20)
    core.close()


async def test_all_segments_gone_is_named(opened: Callable[..., EmbeddedLog]) -> None:
    log = opened()
    for n in range(3):
        await put(log, n)
    identity = log.id
    await log.close()
    for number in segment_numbers(log.folder):
        segment_path(log.folder, number).unlink()
    log = opened()
    assert log.id == identity
    assert [(d.partition, d.first, d.last, d.readings) for d in log.damage] == [("salon", 1, 3, 3)]


async def test_a_torn_last_write_is_no_damage(opened: Callable[..., EmbeddedLog]) -> None:
    log = opened()
    await put(log, 1)
    path = last_segment(log)
    await log.close()
    with path.open("ab") as file:
        file.write(frame(99, 1, [bytes(100)])[:80])
    log = opened()
    assert not log.damage
    assert await values(log) == [1]
    assert not any(isinstance(part, Bad) for part in scan(path.read_bytes()))


async def test_the_file_of_epochs_can_be_lost(opened: Callable[..., EmbeddedLog]) -> None:
    epochs = []
    for n in range(4):
        log = opened()
        await put(log, n)
        epochs.append(log.epoch)
        await log.close()
    (log.folder / "meta").unlink()
    log = opened()
    assert [log.position_of("salon", epoch, n + 1) for n, epoch in enumerate(epochs)] == [1, 2, 3, 4]


async def test_a_segment_of_another_log_is_left_alone_and_named(
    opened: Callable[..., EmbeddedLog], tmp_path: Path
) -> None:
    log = opened()
    await put(log, 1)
    await log.close()
    other = Core(tmp_path / "other", Catalogue("series 0"))
    other.commit([Call([readings("salon", (0, 1, 99.0))], [])])
    other.close()
    segment_path(log.folder, 77).write_bytes(segment_path(tmp_path / "other", 1).read_bytes())
    log = opened()
    assert await values(log) == [1]
    assert any("another log" in damage.reason for damage in log.damage)


async def test_a_newer_form_is_refused(tmp_path: Path) -> None:
    newer = b"\x01\x63\x00" + bytes(16)
    segment_path(tmp_path, 1).write_bytes(frame(1, 1, [newer]))
    with pytest.raises(StateError, match="newer iotd"):
        Core(tmp_path, Catalogue())
    assert segment_numbers(tmp_path) == [1]


async def test_a_series_that_nobody_can_explain_is_left_out_and_named(tmp_path: Path) -> None:
    class Forgetful(Catalogue):
        def number(self, description: bytes) -> int:
            if description == b"b":
                raise StateError("what is b?")
            return super().number(description)

    core = Core(tmp_path, Catalogue("a", "b"))
    core.commit([Call([readings("salon", (0, 1, 1.0), (1, 1, 2.0), (0, 2, 3.0))], [])])
    core.close()
    core = Core(tmp_path, Forgetful("a"))
    outcome = core.read(core.index("salon").places(0, 100))
    core.lost("salon", outcome)
    assert outcome.records[0].values.tolist() == [1.0, 3.0]
    assert [(d.partition, d.first, d.readings) for d in core.damage] == [("salon", 1, 1)]
    core.close()


# ── its form ──


def test_a_tick_of_five_locations_takes_24_bytes_a_reading(tmp_path: Path) -> None:
    core = Core(tmp_path, Catalogue(*(f"sensor:temperature:salon:{n}" for n in range(45))))
    locations = ("salon", "chambre1", "chambre2", "cuisine", "salle_de_bain")
    ticks = 2_000
    core.writer.written = 0
    for tick in range(ticks):
        appends = [
            Append(name, np.arange(9 * n, 9 * n + 9, dtype=np.int32), np.full(9, tick), np.full(9, 21.5))
            for n, name in enumerate(locations)
        ]
        core.writer.disk.sync = lambda fd: None  # type: ignore[method-assign]
        core.commit([Call(appends, [("simulator", tick.to_bytes(8, "little"))])])
    assert core.writer.written / (45 * ticks) < 24
    core.close()


def test_a_frame_is_found_again_behind_garbage() -> None:
    good = [frame(n, 1, [log_item(bytes(16)), partition_item(1, "salon")]) for n in (1, 2)]
    found = list(scan(good[0] + b"iL\xf1\x0d garbage" + good[1] + b"torn"))
    assert [type(part) for part in found] == [Found, Bad, Found, Bad]
    assert [part.tail for part in found if isinstance(part, Bad)] == [False, True]


def test_items_that_do_not_hold_what_they_must() -> None:
    for payload in (b"\x00", b"\x63abc", partition_item(1, "salon")[:-1], series_item({1: b"x" * 900})[:-2]):
        with pytest.raises(FrameError):
            list(items(memoryview(payload)))
    with pytest.raises(FormatError):
        list(items(memoryview(b"\x01\x02\x00" + bytes(16))))


def test_a_frame_with_any_bit_flipped_is_not_believed() -> None:
    whole = frame(7, 3, [partition_item(1, "salon")])
    assert verify(memoryview(whole), 0) is not None
    for at in range(len(whole) * 8):
        altered = bytearray(whole)
        altered[at // 8] ^= 1 << at % 8
        assert verify(memoryview(altered), 0) is None


def test_counts_go_on_where_they_are_known() -> None:
    assert counted(UNKNOWN - 1, 3) == 2
    assert between(UNKNOWN - 1, 2) == 3
    assert between(UNKNOWN, 5) is None
    assert counted(UNKNOWN, 4) == 4


# ── index, epochs, positions ──


def test_an_index_counts_what_lies_beyond_a_sequence() -> None:
    index = Index(Place(s, s, 0, 1, 100 * s, 0) for s in range(1, 101))
    assert index.beyond(0).readings == 5050
    assert index.beyond(98) == index.beyond(98)
    assert (index.beyond(98).batches, index.beyond(98).readings) == (2, 199)
    index.truncate(90)
    assert (len(index), index.beyond(0).batches, index.beyond(95).readings) == (10, 10, 490)
    index.extend([Place(101, 1, 0, 1, 0, 0)])
    assert [p.readings for p in index.places(98, 10**6)] == [99, 100, 1]
    index.remove(lambda s: s == 100)
    assert (index.beyond(98).batches, index.beyond(98).readings) == (2, 100)
    index.truncate(200)
    assert index.beyond(0).batches == 0
    index.extend([Place(201, 7, 0, 2, 0, 0)])
    assert (index.beyond(0).readings, index.places(0, 1)[0].segment) == (7, 2)


def test_readings_within_a_gap_are_not_counted() -> None:
    index = Index([Place(1, 5, 0, 1, 0, 0), Place(4, 2, 11, 1, 0, 0)])
    assert [index.counted(upto) for upto in (0, 1, 2, 3, 4)] == [0, 5, UNKNOWN, 11, 13]


def test_epochs_before_a_hole_are_forgotten() -> None:
    epochs = [Epoch(n, bytes([n] * 8), {1: (10 * n, 0)}) for n in (1, 2, 4, 5)]
    assert [e.ordinal for e in chain(epochs)] == [4, 5]
    assert last_of(chain(epochs), epochs[2].id, 1, 99) == 49
    assert last_of(chain(epochs), epochs[3].id, 1, 99) == 99
    assert last_of(chain(epochs), epochs[2].id, 2, 99) == 0
    assert last_of(chain(epochs), epochs[0].id, 1, 99) is None


async def test_a_position_is_waited_for() -> None:
    positions = Positions(0, 10)
    waiting = asyncio.create_task(positions.wait("durable", 3))
    await asyncio.sleep(0)
    positions.advance("durable", 3)
    await asyncio.sleep(0)
    assert not waiting.done()
    positions.advance("durable", 99)
    assert await waiting == 10
    assert positions.waiting("durable") == 0
    assert positions.waiting("archived") > 0


def test_what_nobody_consumed_waits_only_since_somebody_does(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr("iotd.log.positions.monotonic", lambda: now)
    positions = Positions(0, 10)  # of a room that is not served: the log keeps its last readings for a while
    now += 600
    positions.begin()
    assert positions.waiting("archived") == positions.waiting("durable") == 0
    now += 7
    positions.appended(12)
    assert positions.waiting("archived") == 7


async def test_positions_that_do_not_exist_are_refused() -> None:
    with pytest.raises(UsageError, match="no position"):
        Positions().of("written")
    with pytest.raises(UsageError, match="wait for one of"):
        Positions(required=())
