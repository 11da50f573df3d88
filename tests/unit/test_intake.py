"""Taking readings: what is sound goes into the log with its position, what is not is held, nothing goes away."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.intake.catalogue import Catalogue
from iotd.intake.guards import Limits, Ranges, guard
from iotd.intake.intake import SourceIntake
from iotd.log.budget import Budget
from iotd.log.embedded import EmbeddedLog
from iotd.model.batch import Batch
from iotd.model.errors import StateUnwritable, UsageError
from iotd.model.held import Held
from iotd.model.observation import Observation, Piece
from iotd.model.series import Series
from iotd.model.types import BUILT_IN
from iotd.sources.http.jsonreadings import reading
from tests.intakes import close_intake, make_intake, world

NOW = 1_790_000_000_000
SERIES = [Series("temperature", "salon", "north"), Series("humidity", "salon", "2"), Series("co2", "cuisine", "x")]
READINGS = list[tuple[int, int, float]]


def batch(readings: READINGS, location: str = "salon") -> Batch:
    series, times, values = zip(*readings, strict=True) if readings else ((), (), ())
    return Batch(location, np.array(series, np.int32), np.array(times, np.int64), np.array(values, np.float64))


class Rig:
    def __init__(self, folder: Path, linger_s: float, answer_s: float, limits: Limits) -> None:
        self.catalogue = Catalogue(folder / "catalogue.sqlite")
        self.log = EmbeddedLog(folder / "log", self.catalogue, budget=Budget(10**7), limit=10**9)
        self.now = NOW
        self.intake = make_intake(
            folder,
            self.log,
            self.catalogue,
            seen=world(limits=limits),
            linger_s=linger_s,
            answer_s=answer_s,
            now_ms=lambda: self.now,
        )

    async def kept(self, location: str = "salon") -> list[READINGS]:
        """By record."""
        records = await self.log.partition(location).read(0, 10**9)
        return [list(zip(r.series.tolist(), r.times.tolist(), r.values.tolist(), strict=True)) for r in records]

    async def held(self) -> list[Held]:
        return await self.intake.held.page()


async def put_one(source: SourceIntake, number: int, time: int, value: float) -> None:
    await (await source.add("salon", number, time, value))


@asynccontextmanager
async def opened(
    folder: Path, *, linger_s: float = 0.01, answer_s: float = 0.005, limits: Limits | None = None
) -> AsyncIterator[Rig]:
    rig = Rig(folder, linger_s, answer_s, limits or Limits(60_000))
    await rig.catalogue.register(SERIES, "test")
    try:
        yield rig
    finally:
        await rig.log.close()
        close_intake(rig.intake)
        rig.catalogue.close()


async def test_a_reading_from_the_future_is_held_and_the_rest_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        await rig.intake.of("s").put(batch([(0, NOW, 20.5), (1, NOW + 60_000, 20.6), (0, NOW + 60_001, 20.7)]))
        assert await rig.kept() == [[(0, NOW, 20.5), (1, NOW + 60_000, 20.6)]]
        (held,) = await rig.held()
    assert (held.source, held.form, held.reason) == ("s", "json", "more than 60000 ms in the future")
    said = reading(json.loads(held.payload))
    assert said == Observation("temperature", "north", 20.7, "salon", time=NOW + 60_001)
    assert rig.intake.refused == {"salon": 1}
    assert rig.intake.readings == {"salon": 2}


async def test_what_a_source_hands_over_is_counted_by_source_whichever_way(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        await rig.intake.of("a").put(batch([(0, NOW, 20.5), (1, NOW, 20.6), (0, NOW + 60_001, 20.7)]))
        await put_one(rig.intake.of("a"), 0, NOW + 1, 20.8)
        await put_one(rig.intake.of("a"), 0, NOW + 10**9, 20.9)
        said = Observation("temperature", "north", 21.0, "salon", time=NOW + 2)
        unknown = Observation("temperature", "north", 21.0, "attic")
        await (await rig.intake.of("b").observe([Piece("json", "", b"x", (said, unknown))]))
        counts = {source: (its.taken, its.held) for source, its in rig.intake.counts.items()}
    assert counts == {"a": (3, 2), "b": (1, 1)}


async def test_of_a_batch_of_which_nothing_can_be_kept_only_the_position_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        source = rig.intake.of("s")
        await source.put(batch([(0, NOW, math.nan), (1, NOW + 10**9, math.inf)]), b"here")
        await source.put(batch([]))
        assert await rig.kept() == []
        assert source.position() == b"here"
        assert [one.reason for one in await rig.held()] == ["not a finite number"] * 2


async def test_what_can_not_be_held_is_not_taken(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        (tmp_path / "held.sqlite").mkdir()
        with pytest.raises(StateUnwritable, match="held") as error:
            await rig.intake.of("s").put(batch([(0, NOW, math.nan), (1, NOW, 20.0)]))
        assert error.value.retriable  # or the source that waits for room would end the daemon
        assert await rig.kept() == []


async def test_without_an_archive_what_the_shard_would_not_keep_is_held(tmp_path: Path) -> None:
    async with opened(tmp_path, limits=Limits(60_000, past=1_000)) as rig:
        await rig.intake.of("s").put(batch([(0, NOW - 1_000, 1.0), (0, NOW - 1_001, 2.0)]))
        await put_one(rig.intake.of("s"), 0, NOW - 5_000, 3.0)
        assert await rig.kept() == [[(0, NOW - 1_000, 1.0)]]
        assert ["there is no archive" in one.reason for one in await rig.held()] == [True, True]


async def test_a_location_that_is_not_served_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        with pytest.raises(UsageError, match="'attic'"):
            await rig.intake.of("s").put(batch([(0, NOW, 1.0)], "attic"))
        with pytest.raises(UsageError, match="'attic'"):
            await rig.intake.of("s").add("attic", 0, NOW, 1.0)


async def test_small_messages_share_a_record_in_the_order_of_the_calls(tmp_path: Path) -> None:
    async with opened(tmp_path, linger_s=0.05, answer_s=0.05) as rig:
        source = rig.intake.of("s")
        await asyncio.gather(
            put_one(source, 0, NOW, 1.0),
            put_one(source, 1, NOW, 2.0),
            source.put(batch([(0, NOW + 1, 3.0), (1, NOW + 1, 4.0)]), b"a"),
            put_one(source, 0, NOW + 2, 5.0),
            source.put(batch([(2, NOW, 6.0)], "cuisine"), b"b"),
        )
        assert await rig.kept() == [
            [(0, NOW, 1.0), (1, NOW, 2.0), (0, NOW + 1, 3.0), (1, NOW + 1, 4.0), (0, NOW + 2, 5.0)]
        ]
        assert await rig.kept("cuisine") == [[(2, NOW, 6.0)]]
        assert source.position() == b"b"


async def test_a_large_batch_is_a_record_of_its_own_behind_what_came_before(tmp_path: Path) -> None:
    async with opened(tmp_path, linger_s=60, answer_s=60) as rig:
        source = rig.intake.of("s")
        first = await source.take(batch([(0, NOW, 1.0)]), waits=False)
        await source.put(batch([(1, NOW + n, n / 50) for n in range(5_000)]))
        await first
        assert [len(record) for record in await rig.kept()] == [1, 5_000]


async def test_who_waits_for_an_answer_is_not_kept_by_those_who_do_not(tmp_path: Path) -> None:
    async with opened(tmp_path, linger_s=60, answer_s=0.001) as rig:
        source = rig.intake.of("s")
        lingers = await source.take(batch([(0, NOW, 1.0)]), waits=False)
        async with asyncio.timeout(10):
            await put_one(source, 1, NOW, 2.0)
            await lingers
        assert await rig.kept() == [[(0, NOW, 1.0), (1, NOW, 2.0)]]


@pytest.mark.parametrize("linger_s", [0.0, 0.0001])
def test_on_the_loop_of_the_daemon_readings_may_be_due_at_once(tmp_path: Path, linger_s: float) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        async with opened(tmp_path, linger_s=linger_s, answer_s=linger_s) as rig:
            await asyncio.gather(*(put_one(rig.intake.of("s"), 0, NOW + n, 1.0) for n in range(100)))
            assert sum(map(len, await rig.kept())) == 100

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def test_what_lingers_counts_as_taken_only_when_it_is_in_the_log(tmp_path: Path) -> None:
    async with opened(tmp_path, linger_s=60, answer_s=60) as rig:
        lingers = await rig.intake.of("s").take(batch([(0, NOW, 1.0)]), waits=False)
        assert rig.intake.readings["salon"] == 0
        await rig.intake.settled()
        await lingers
        assert rig.intake.readings["salon"] == rig.log.partition("salon").depth("durable").readings == 1


async def test_one_who_is_cancelled_cancels_nobody_else(tmp_path: Path) -> None:
    async with opened(tmp_path, linger_s=0.05, answer_s=0.05) as rig:
        source = rig.intake.of("s")
        gone = asyncio.ensure_future(put_one(source, 0, NOW, 1.0))
        stays = asyncio.ensure_future(put_one(source, 1, NOW, 2.0))
        await asyncio.sleep(0)
        gone.cancel()
        await stays
        assert await rig.kept() == [[(0, NOW, 1.0), (1, NOW, 2.0)]]


async def test_the_newest_time_of_each_series_is_known(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        await rig.intake.of("s").put(batch([(0, NOW - 5, 1.0), (1, NOW - 9, 1.0), (0, NOW - 7, 1.0)]))
        await put_one(rig.intake.of("s"), 1, NOW - 2, 1.0)
        assert rig.catalogue.newest[:2].tolist() == [NOW - 5, NOW - 2]
        assert rig.intake.newest("salon") == NOW - 2
        assert rig.intake.newest("cuisine") is None


@given(
    st.lists(st.tuples(st.integers(-(2**40), 2**42), st.floats()), max_size=20),
    st.integers(0, 10**6),
    st.none() | st.integers(0, 10**6),
)
def test_guards_part_a_batch_and_lose_nothing(readings: list[tuple[int, float]], future: int, past: int | None) -> None:
    whole = batch([(n, time, value) for n, (time, value) in enumerate(readings)])
    ranges = Ranges(lambda number: Series("counted", "salon", str(number)), BUILT_IN)
    good, held = guard(whole, NOW, Limits(future, past), ranges)
    parts = [good.series.tolist(), *(some.series.tolist() for some, _ in held)]
    assert sorted(n for part in parts for n in part) == list(range(len(readings)))
    assert good.series.tolist() == sorted(good.series.tolist())
    for n in good.series.tolist():
        time, value = readings[n]
        assert -1e15 <= value <= 1e15
        assert 0 <= time <= NOW + future
        assert past is None or time >= NOW - past
