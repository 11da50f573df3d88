"""Lane and spool: in order, from memory or disk, nothing forgotten before its time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from iotd.config.tree import Spool as SpoolSettings
from iotd.model.errors import StateError
from iotd.pipeline import spool as spool_module
from iotd.pipeline.budget import Budget
from iotd.pipeline.journal import Entry, Journal
from iotd.pipeline.lane import Lane
from iotd.pipeline.spool import Spool
from iotd.sources.source import Span
from iotd.wire.commands import Packed

SETTINGS = SpoolSettings(sync="normal")


def packed(n: int, size: int = 100) -> Packed:
    return Packed(b"%010d" % n + b"." * (size - 10), 1, 1, n, n)


def number(entry: Entry) -> int:
    return int(entry.packed.payload[:10])


@asynccontextmanager
async def opened(
    path: Path, capacity: int = 10_000, settings: SpoolSettings = SETTINGS
) -> AsyncIterator[tuple[Lane, Spool]]:
    spool = Spool(path / "spool.sqlite", settings.sync)
    try:
        yield Lane("salon", spool, Budget(capacity), settings), spool
    finally:
        await spool.close()


async def take(lane: Lane, count: int) -> list[int]:
    found: list[Entry] = []
    while len(found) < count:
        found += await asyncio.wait_for(lane.next(100), 10)
    assert [e.seq for e in found] == list(range(found[0].seq, found[0].seq + len(found)))
    return [number(e) for e in found]


async def settled(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_batches_come_out_in_the_order_they_were_handed_over(tmp_path: Path) -> None:
    async with opened(tmp_path) as (lane, _):
        for n in range(20):
            await lane.put(packed(n))
        assert await take(lane, 20) == list(range(20))


async def test_what_memory_has_no_room_for_comes_from_the_spool_in_its_turn(tmp_path: Path) -> None:
    async with opened(tmp_path, capacity=500) as (lane, _):
        for n in range(50):
            await lane.put(packed(n))
        assert lane.depth().memory <= 500
        assert await take(lane, 20) == list(range(20))
        for n in range(50, 60):
            await lane.put(packed(n))
        assert await take(lane, 40) == list(range(20, 60))


async def test_a_rewind_sends_again_what_follows_the_fence_then_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as (lane, _):
        for n in range(10):
            await lane.put(packed(n))
        await take(lane, 10)
        assert lane.rewind(4) == 6
        await lane.put(packed(10))
        assert await take(lane, 7) == [4, 5, 6, 7, 8, 9, 10]


async def test_what_was_handed_over_survives_the_process(tmp_path: Path) -> None:
    async with opened(tmp_path) as (lane, spool):
        for n in range(10):
            await lane.put(packed(n))
        await lane.confirm(3)
        lane.archive(3)
        producer = spool.producer
    async with opened(tmp_path) as (lane, spool):
        assert spool.producer == producer
        assert (lane.forgotten, lane.handed, lane.span) == (3, 10, Span(0, 9))
        assert await take(lane, 7) == list(range(3, 10))
        await lane.put(packed(10))
        assert await take(lane, 1) == [10]


async def test_sequences_go_on_after_everything_was_forgotten(tmp_path: Path) -> None:
    async with opened(tmp_path) as (lane, _):
        for n in range(5):
            await lane.put(packed(n))
        await lane.confirm(5)
        lane.archive(5)
    async with opened(tmp_path) as (lane, _):
        await lane.put(packed(5))
        assert lane.handed == 6


async def test_confirmed_batches_are_kept_until_the_archive_has_them(tmp_path: Path) -> None:
    async with opened(tmp_path) as (lane, _):
        for n in range(10):
            await lane.put(packed(n))
        await take(lane, 10)
        await lane.confirm(10)
        assert lane.forgotten == 0
        assert lane.rewind(0) == 10
        lane.archive(10)
        assert lane.forgotten == 0  # what is to be sent again is let go by nobody
        assert await take(lane, 10) == list(range(10))
        await lane.confirm(6)
        assert lane.forgotten == 6


async def test_at_most_keep_bytes_of_confirmed_batches_stay_when_the_archive_is_away(tmp_path: Path) -> None:
    few = SpoolSettings(sync="normal", keep=200_000)  # type: ignore[arg-type]
    async with opened(tmp_path, settings=few) as (lane, _):
        for n in range(100):
            await lane.put(packed(n, size=10_000))
            await lane.confirm(lane.handed)
        assert 200_000 <= lane.depth().kept <= 200_000 + 2 * 65_536 + 10_000
        assert lane.forgotten > 70


async def test_nothing_unconfirmed_is_let_go_by_an_archive(tmp_path: Path) -> None:
    async with opened(tmp_path) as (lane, _):
        for n in range(10):
            await lane.put(packed(n))
        await lane.confirm(2)
        lane.archive(9)
        assert lane.forgotten == 2


async def test_a_full_spool_holds_the_source_back_until_something_is_confirmed(tmp_path: Path) -> None:
    small = SpoolSettings(sync="normal", limit=100_000)  # type: ignore[arg-type]
    async with opened(tmp_path, settings=small) as (lane, _):
        while not lane.full:
            await lane.put(packed(lane.handed, size=20_000))
        waiting = asyncio.ensure_future(lane.put(packed(99)))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.05)
        await lane.confirm(lane.handed)
        await asyncio.wait_for(waiting, 10)


async def test_one_full_lane_leaves_the_others_alone(tmp_path: Path) -> None:
    small = SpoolSettings(sync="normal", limit=70_000)  # type: ignore[arg-type]
    async with opened(tmp_path, settings=small) as (full, spool):
        while not full.full:
            await full.put(packed(0, size=20_000))
        other = Lane("cuisine", spool, Budget(10_000), small)
        await asyncio.wait_for(other.put(packed(1)), 10)
        assert await take(other, 1) == [1]


async def test_a_commit_that_fails_is_tried_again_and_the_source_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Journal.write
    left = [3]

    def write(self: Journal, entries: list[tuple[int, Entry]], spans: dict[int, Span]) -> None:
        if left[0]:
            left[0] -= 1
            raise sqlite3.OperationalError("database or disk is full")
        real(self, entries, spans)

    monkeypatch.setattr(Journal, "write", write)
    monkeypatch.setattr("iotd.pipeline.spool._RETRY_S", 0.01)
    async with opened(tmp_path) as (lane, spool):
        await asyncio.wait_for(lane.put(packed(1)), 10)
        assert left == [0]
        assert spool.outage.reason is None
        assert await take(lane, 1) == [1]


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many entries each commit held, from now on."""
    found: list[int] = []
    write = Journal.write

    def counted(journal: Journal, entries: list[tuple[int, Entry]], spans: dict[int, Span]) -> None:
        found.append(len(entries))
        write(journal, entries, spans)

    monkeypatch.setattr(Journal, "write", counted)
    return found


async def test_what_comes_at_the_same_time_shares_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commits: list[int]
) -> None:
    monkeypatch.setattr(spool_module, "_LINGER_S", 0.5)
    async with opened(tmp_path) as (salon, spool):
        cuisine = Lane("cuisine", spool, Budget(10_000), SETTINGS)
        await asyncio.gather(*(lane.put(packed(n)) for n, lane in enumerate((salon, cuisine, salon))))
    assert commits == [3]


async def test_a_large_batch_waits_for_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commits: list[int]
) -> None:
    monkeypatch.setattr(spool_module, "_LINGER_S", 3600)
    async with opened(tmp_path) as (lane, _):
        await asyncio.wait_for(lane.put(packed(1, size=100_000)), 10)
    assert commits == [1]


async def test_a_batch_that_the_journal_has_lost_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    async with opened(tmp_path, capacity=0) as (lane, _):
        for n in range(3):
            await lane.put(packed(n))
        other = sqlite3.connect(tmp_path / "spool.sqlite")
        with other:
            other.execute("DELETE FROM entries")
        other.close()
        with pytest.raises(StateError, match="lacks batch 1"):
            await lane.next(1_000)


def test_a_file_that_is_no_spool_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    path.write_bytes(b"this is not a database, and long enough to be looked at" * 100)
    with pytest.raises(StateError, match=r"spool\.sqlite.*move the file away"):
        Journal(path, "full")
    assert path.read_bytes().startswith(b"this is not")


def test_a_new_journal_has_a_producer_of_its_own(tmp_path: Path) -> None:
    a, b = Journal(tmp_path / "a.sqlite", "normal"), Journal(tmp_path / "b.sqlite", "normal")
    assert a.producer != b.producer
    before = a.producer
    assert a.renew_producer() == a.producer != before
    a.close()
    b.close()


async def test_forgotten_entries_leave_the_file(tmp_path: Path) -> None:
    async with opened(tmp_path) as (lane, spool):
        for n in range(500):
            await lane.put(packed(n))
        await lane.confirm(450)
        lane.archive(450)
        count = sqlite3.connect(spool.path)
        await settled(lambda: count.execute("SELECT count(*) FROM entries").fetchone()[0] == 50)
        count.close()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 5)),
        st.tuples(st.just("take"), st.integers(1, 2_000)),
        st.tuples(st.just("confirm"), st.floats(0, 1)),
        st.tuples(st.just("archive"), st.floats(0, 1)),
        st.tuples(st.just("rewind"), st.floats(0, 1)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=40)
@example(steps=[("put", 1), ("take", 1), ("confirm", 1.0), ("rewind", 0.0), ("archive", 1.0)])
@given(steps=steps)
def test_whatever_happens_all_that_follows_the_fence_comes_in_order(
    steps: list[tuple[str, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A model of one writer: what it last got, what is confirmed; the lane must always go on from there."""

    async def play() -> None:
        path = tmp_path_factory.mktemp("lane")
        spool = Spool(path / "spool.sqlite", "normal")
        lane = Lane("salon", spool, Budget(400), SETTINGS)
        put = got = confirmed = 0
        for what, amount in steps:
            if what == "put":
                for _ in range(int(amount)):
                    put += 1
                    await lane.put(packed(put))
            elif what == "take" and got < put:
                entries = await asyncio.wait_for(lane.next(int(amount)), 10)
                assert [number(e) for e in entries] == list(range(got + 1, got + 1 + len(entries)))
                got += len(entries)
            elif what == "confirm" and got > confirmed:
                confirmed += int((got - confirmed) * amount)
                await lane.confirm(confirmed)
            elif what == "archive":
                lane.archive(int(confirmed * amount))
            elif what == "rewind":
                got = lane.forgotten + int((got - lane.forgotten) * amount)
                lane.rewind(got)
                confirmed = min(confirmed, got)
            elif what == "restart":
                await spool.close()
                spool = Spool(path / "spool.sqlite", "normal")
                lane = Lane("salon", spool, Budget(400), SETTINGS)
                assert lane.handed == put
                assert lane.forgotten <= confirmed
                got = lane.forgotten
                confirmed = max(lane.confirmed, 0)
        while got < put:
            entries = await asyncio.wait_for(lane.next(1_000), 10)
            assert [number(e) for e in entries] == list(range(got + 1, got + 1 + len(entries)))
            got += len(entries)
        await spool.close()

    asyncio.run(play())
