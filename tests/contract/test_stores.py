"""The contract of a store (:mod:`iotd.stores.base`), kept by every back end: real servers, real files."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from iotd.model.aggregate import AGGREGATIONS, Aggregation
from iotd.model.buckets import HOUR, Run
from iotd.model.errors import ArchiveRejected
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.stores.base import Store, Summary, samples_of
from iotd.stores.points import Points
from tests.contract.makers import MAKERS
from tests.contract.memory import MemoryStore

SALON = Series("temperature", "salon", "1")
CUISINE = Series("humidity", "cuisine", "2")
T0 = 1_790_000_000_000 // HOUR * HOUR
ALL = Selection(("salon", "cuisine"), ("temperature", "humidity", "air_quality"))


@pytest.fixture(params=MAKERS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made = MAKERS[request.param](request, tmp_path)
    yield made
    await made.close()
    await made.close()  # does nothing


async def read(store: Store, series: Series, first: int, last: int) -> list[tuple[int, float]]:
    times, values = await samples_of(store, series, first, last)
    assert times.dtype == np.int64
    assert values.dtype == np.float64
    return list(zip(times.tolist(), values.tolist(), strict=True))


async def test_what_was_acknowledged_can_be_read_with_the_same_value(store: Store) -> None:
    values = [b"21.5", b"-0.03", b"1e-05", b"100", b"19.999999999999996"]
    await store.write([Points.of(SALON, [(T0 + 1000 * i, v) for i, v in enumerate(values)])])
    assert await read(store, SALON, T0, T0 + 10_000) == [(T0 + 1000 * i, float(v)) for i, v in enumerate(values)]


async def test_any_double_comes_back_exactly_from_arrays(store: Store) -> None:
    values = np.random.default_rng(1).integers(0, 2**64, 3000, np.uint64).view(np.float64)
    values = values[np.isfinite(values)]
    values[:8] = [0.0, -0.0, 1e300, 5e-324, -1.7976931348623157e308, 1e21, 100.0, 1e-5]
    times = T0 + np.arange(len(values)) * 7
    await store.write([Points.from_arrays(SALON, times, values)])
    found = await samples_of(store, SALON, T0, T0 + HOUR)
    assert np.array_equal(found[0], times)
    assert np.array_equal(found[1], values)


async def test_an_empty_batch_changes_nothing(store: Store) -> None:
    await store.write([])
    assert await store.counts("salon", T0, T0 + HOUR - 1, HOUR) == {}


async def test_of_an_empty_store_everything_can_be_asked(store: Store) -> None:
    assert await store.counts("salon", T0, T0 + HOUR - 1, HOUR) == {}
    assert await store.summaries("salon", T0, T0 + HOUR - 1) == {}
    assert await store.begins(ALL, T0, T0 + HOUR) == {}
    assert await store.samples(ALL, T0, T0 + HOUR) == {}
    assert await store.buckets(ALL, "avg", Run(T0, T0 + HOUR - 1, 1000), T0, T0 + HOUR - 1) == {}
    assert await read(store, SALON, T0, T0 + HOUR) == []


async def test_writing_again_changes_nothing_and_a_later_value_stands(store: Store) -> None:
    batch = [Points.of(SALON, [(T0, b"21.5"), (T0 + 1000, b"21.6")])]
    await store.write(batch)
    await store.write(batch)
    await store.write([Points.of(SALON, [(T0, b"22")])])
    assert await read(store, SALON, T0, T0 + 1000) == [(T0, 22.0), (T0 + 1000, 21.6)]
    assert await store.counts("salon", T0, T0 + HOUR - 1, HOUR) == {SALON: {T0: 2}}


async def test_of_two_values_for_one_time_in_a_batch_the_later_stands(store: Store) -> None:
    await store.write([Points.of(SALON, [(T0, b"1"), (T0 + 1, b"2")]), Points.of(SALON, [(T0, b"3")])])
    assert await read(store, SALON, T0, T0 + 1) == [(T0, 3.0), (T0 + 1, 2.0)]


async def test_late_readings_take_their_place_in_time(store: Store) -> None:
    """Into the middle, before the beginning and over what is there, many at once: as history and backlogs come."""
    model = MemoryStore()
    rng = np.random.default_rng(7)
    spans = [(0, 7200), (9000, 3600), (-5000, 3000), (3000, 900), (7100, 2000), (-100, 15_000)]
    for n, (begin, count) in enumerate(spans):
        times = T0 + 1000 * np.sort(rng.choice(np.arange(begin, begin + count), count // 2, replace=False))
        points = Points.from_arrays(SALON, times, np.round(rng.normal(20, 5, len(times)) + n, 2))
        for some in (store, model):
            await some.write([points])
    first, last = T0 - 6_000_000, T0 + 20_000_000
    (times, values), (wanted, its) = [await samples_of(some, SALON, first, last) for some in (store, model)]
    assert np.array_equal(times, wanted)
    assert np.array_equal(values, its)
    assert await store.counts("salon", T0 - 2 * HOUR, last, HOUR) == await model.counts(
        "salon", T0 - 2 * HOUR, last, HOUR
    )


async def test_a_batch_may_hold_several_series_and_each_is_found_by_its_names(store: Store) -> None:
    await store.write([Points.of(SALON, [(T0, b"21.5")]), Points.of(CUISINE, [(T0, b"48.2")])])
    assert await read(store, SALON, T0, T0) == [(T0, 21.5)]
    assert await read(store, CUISINE, T0, T0) == [(T0, 48.2)]
    assert await read(store, Series("humidity", "cuisine", "1"), T0, T0) == []


async def test_a_selection_is_by_location_type_and_id(store: Store) -> None:
    every = [
        Series(kind, location, sensor_id)
        for kind in ("temperature", "humidity")
        for location in ("salon", "cuisine", "chambre1")
        for sensor_id in ("1", "2", "north")
    ]
    await store.write([Points.of(series, [(T0 + i, b"1")]) for i, series in enumerate(every)])
    for what in (
        Selection(("salon", "cuisine", "chambre1"), ("temperature", "humidity")),
        Selection(("salon",), ("temperature", "humidity", "air_quality")),
        Selection(("salon", "nowhere"), ("humidity",), ("north", "2")),
        Selection(("nowhere",), ("humidity",)),
    ):
        wanted = {series: T0 + i for i, series in enumerate(every) if series in what}
        assert {s: int(times[0]) for s, (times, _) in (await store.samples(what, T0, T0 + 100)).items()} == wanted
        assert await store.begins(what, T0, T0 + 100) == wanted


async def test_reading_takes_both_ends_and_nothing_beyond(store: Store) -> None:
    await store.write([Points.of(SALON, [(T0 + i, b"1") for i in range(5)])])
    assert [time for time, _ in await read(store, SALON, T0 + 1, T0 + 3)] == [T0 + 1, T0 + 2, T0 + 3]
    assert await store.begins(Selection.of(SALON), T0 + 1, T0 + 3) == {SALON: T0 + 1}
    assert await store.begins(Selection.of(SALON), T0 + 5, T0 + 9) == {}


async def test_counts_are_by_series_and_whole_bucket(store: Store) -> None:
    other = Series("air_quality", "salon", "3")
    samples = [(T0 + minute * 60_000, b"20") for minute in range(150)]
    await store.write([Points.of(SALON, samples), Points.of(other, samples[:61]), Points.of(CUISINE, samples)])
    counts = await store.counts("salon", T0, T0 + 149 * 60_000, HOUR)
    assert counts == {
        SALON: {T0: 60, T0 + HOUR: 60, T0 + 2 * HOUR: 30},
        other: {T0: 60, T0 + HOUR: 1},
    }
    # the last bucket is counted up to the end that was asked for
    assert (await store.counts("salon", T0, T0 + 29 * 60_000, HOUR))[SALON] == {T0: 30}


@pytest.mark.parametrize(("first", "last"), [(T0, T0 + 4 * HOUR - 1), (T0 + 1_000_000, T0 + 2 * HOUR + 999_999)])
async def test_summaries_are_those_of_the_readings_in_each_hour(store: Store, first: int, last: int) -> None:
    rng = np.random.default_rng(3)
    model = MemoryStore()
    for series, hours in ((SALON, 4), (Series("humidity", "salon", "a b"), 1), (CUISINE, 4)):
        times = T0 + np.sort(rng.choice(hours * HOUR, 5000, replace=False))
        points = Points.from_arrays(series, times, rng.normal(20, 5, 5000))
        for some in (store, model):
            await some.write([points])
    found, wanted = [await some.summaries("salon", first, last) for some in (store, model)]
    assert found.keys() == wanted.keys()
    for series, its in wanted.items():
        for got, want in zip(found[series], its, strict=True):
            assert isinstance(got, Summary)
            assert (got.hour, got.count, got.min, got.max) == (want.hour, want.count, want.min, want.max)
            assert math.isclose(got.sum, want.sum, rel_tol=1e-12)
            assert math.isclose(got.squares, want.squares, rel_tol=1e-12)
    if type(store) is not MemoryStore:
        without = await store.summaries("salon", first, last, squares=False)
        for series, its in found.items():
            assert [replace(one, squares=0.0) for one in its] == [replace(o, squares=0.0) for o in without[series]]


async def test_squares_beyond_float64_are_infinite_and_leave_the_rest(store: Store) -> None:
    await store.write([Points.of(SALON, [(T0, b"1e200"), (T0 + 1000, b"-3e200")])])
    (summary,) = (await store.summaries("salon", T0, T0 + HOUR - 1))[SALON]
    assert summary == Summary(T0, 2, -2e200, -3e200, 1e200, math.inf)


async def test_a_store_says_for_how_long_it_keeps_readings(store: Store) -> None:
    await store.write([])
    assert await store.keeps() is None


@pytest.mark.parametrize("what", AGGREGATIONS)
async def test_buckets_are_those_of_the_readings(store: Store, what: Aggregation) -> None:
    rng = np.random.default_rng(5)
    model = MemoryStore()
    for series in (SALON, CUISINE, Series("temperature", "salon", "2")):
        times = T0 + np.sort(rng.choice(3 * HOUR, 2000, replace=False))
        points = Points.from_arrays(series, times, np.round(rng.normal(20, 5, 2000), 2))
        for some in (store, model):
            await some.write([points])
    selection = Selection(("salon", "cuisine"), ("temperature", "humidity"), ("1", "2"))
    for run, first, last in (
        (Run(T0, T0 + 3 * HOUR - 1, HOUR), T0, T0 + 3 * HOUR - 1),
        (Run(T0 + 123_456, T0 + 123_456 + 7_777 * 1000 - 1, 7_777), T0 + 200_000, T0 + 7_000_000),
        (Run(T0 - HOUR // 2, T0 + 20 * HOUR, 4 * HOUR), T0 + 5, T0 + 2 * HOUR),
    ):
        found, wanted = [await some.buckets(selection, what, run, first, last) for some in (store, model)]
        assert found.keys() == wanted.keys()
        for series, (starts, values) in wanted.items():
            assert np.array_equal(found[series][0], starts)
            assert np.allclose(found[series][1], values, rtol=1e-9, atol=1e-6)


async def test_a_value_that_is_no_number_is_rejected_and_the_batch_can_be_taken_apart(store: Store) -> None:
    with pytest.raises(ArchiveRejected):
        await store.write([Points.of(SALON, [(T0, b"nan"), (T0 + 1000, b"21.5")])])
    await store.write([Points.of(SALON, [(T0 + 1000, b"21.5")])])
    assert await read(store, SALON, T0, T0 + 1000) == [(T0 + 1000, 21.5)]


IDS = [
    "1", "01", "1.0", "10", "0x1", "north", "NaN", "null", "true", "#1", "a#", "a:b", "a/b", "_x", "*", "x" * 200,
    "a b", " a", "a ", "a,b", "a,", ",", "a=b", "a=", "=", 'a"b', "'", "$x", "${", "${x}", "\\${x}",
    "\\", "a\\", "a\\\\", "a\\\\\\", "\\a", "a\\b", "a\\ b", "a\\,b", "a\\=", "a\\ ", "\\n", "%\\",
    "%", "50%", "%4", "%41", "%5C", "100%25", "été", "température n°1", "e\u0301", "温度", "🌡", "a\u2028b",
    "a\nb", "a\n", "\ta", "a\r", "\x00", "\x7f", "\x85",
]  # fmt: skip


async def test_an_id_may_be_any_text_and_comes_back_as_it_was(store: Store) -> None:
    assert len(set(IDS)) == len(IDS)
    every = {Series("temperature", "salon", sensor_id): T0 + i for i, sensor_id in enumerate(IDS)}
    await store.write([Points.of(series, [(time, b"%d" % (time - T0))]) for series, time in every.items()])
    found = await store.samples(ALL, T0, T0 + HOUR)
    assert {series: (times.tolist(), values.tolist()) for series, (times, values) in found.items()} == {
        series: ([time], [float(time - T0)]) for series, time in every.items()
    }
    assert (await store.counts("salon", T0, T0 + HOUR - 1, HOUR)).keys() == every.keys()
    assert (await store.summaries("salon", T0, T0 + HOUR - 1)).keys() == every.keys()
    for ids in (IDS[at : at + 8] for at in range(0, len(IDS), 8)):
        found_ids = await store.begins(Selection(("salon",), ("temperature",), tuple(ids)), T0, T0 + HOUR)
        assert {series.sensor_id for series in found_ids} == set(ids)


async def test_names_with_accents_and_signs_come_back_as_they_were(store: Store) -> None:
    room = Series("temperature", "salle_à_manger-2", "1")
    await store.write([Points.of(room, [(T0, b"21.5")])])
    assert await read(store, room, T0, T0) == [(T0, 21.5)]
    assert await store.counts("salle_à_manger-2", T0, T0 + HOUR - 1, HOUR) == {room: {T0: 1}}


async def test_the_unit_is_the_one_that_was_written(store: Store) -> None:
    written = [
        Series("pressure", "salon", "1", "hPa"),
        Series("flow", "salon", "1", "l/min, net = \\"),
        Series("gas", "salon", "1", "m³"),
        Series("unknown", "salon", "1"),
    ]
    assert written[-1].unit == ""
    await store.write([Points.of(series, [(T0, b"1")]) for series in written])
    what = Selection(("salon",), ("pressure", "flow", "gas", "unknown"))
    wanted = {series.type: series.unit for series in written}
    for found in (
        await store.samples(what, T0, T0),
        await store.begins(what, T0, T0),
        await store.counts("salon", T0, T0 + HOUR - 1, HOUR),
        await store.summaries("salon", T0, T0 + HOUR - 1),
        await store.buckets(what, "max", Run(T0, T0 + HOUR - 1, HOUR), T0, T0 + HOUR - 1),
    ):
        assert {series.type: series.unit for series in found} == wanted


async def test_a_series_whose_unit_changes_stays_one_series(store: Store) -> None:
    for start, unit in ((0, "hPa"), (1_800_000, "mbar")):
        series = Series("pressure", "salon", "1", unit)
        await store.write([Points.of(series, [(T0 + start + 1000 * i, b"%d" % (i + 1)) for i in range(4)])])
    await store.write([Points.of(Series("pressure", "salon", "1", "mbar"), [(T0, b"9")])])
    assert await read(store, series, T0, T0 + HOUR) == [
        *((T0 + 1000 * i, float(v)) for i, v in enumerate((9, 2, 3, 4))),
        *((T0 + 1_800_000 + 1000 * i, i + 1.0) for i in range(4)),
    ]
    what, run = Selection.of(series), Run(T0, T0 + HOUR - 1, HOUR)
    aggregations: dict[Aggregation, float] = {"max": 4.0, "first": 2.0, "last": 4.0, "sum": 19.0, "count": 7.0}
    for aggregation, wanted in aggregations.items():
        starts, values = (await store.buckets(what, aggregation, run, T0 + 1, T0 + HOUR - 1))[series]
        assert (starts.tolist(), values.tolist()) == ([T0], [wanted])
    (summary,) = (await store.summaries("salon", T0 + 1, T0 + HOUR - 1))[series]
    assert summary == Summary(T0, 7, 19.0, 1.0, 4.0, 59.0)


async def test_a_store_is_the_same_one_as_long_as_it_is(store: Store) -> None:
    await store.write([])
    assert await store.incarnation() is not None
    assert await store.incarnation() == await store.incarnation()
    assert store.identity
    assert not store.mended()


async def test_writes_and_reads_at_once_see_whole_batches(store: Store) -> None:
    series = [Series("temperature", "salon", str(i)) for i in range(4)]

    async def write(one: Series) -> None:
        for n in range(20):
            await store.write([Points.of(one, [(T0 + 1000 * (100 * n + i), b"21.5") for i in range(100)])])

    async def watch() -> None:
        seen = 0
        while seen < 4 * 2000:
            found = await store.samples(ALL, T0, T0 + HOUR)
            count = sum(len(times) for times, _ in found.values())
            assert count >= seen
            seen = count
            await asyncio.sleep(0)  # not every store has to wait for anything

    async with asyncio.timeout(60):
        await asyncio.gather(watch(), *(write(one) for one in series))


# ── deleting ──


async def test_what_is_deleted_is_gone_and_nothing_beside_it(store: Store) -> None:
    others = [
        CUISINE,
        replace(SALON, sensor_id="10"),
        replace(SALON, type="humidity"),
        replace(SALON, location="salon2"),
    ]
    ticks = [(T0 - HOUR + 600_000 * i, b"%d" % i) for i in range(30)]
    await store.write([Points.of(series, ticks) for series in (SALON, *others)])
    first, last = T0 - 600_000, T0 + 2 * HOUR  # whole hours, and parts of them
    for _ in range(2):  # again is harmless
        await store.delete(SALON, first, last)
        left = [(time, float(value)) for time, value in ticks if not first <= time <= last]
        assert await read(store, SALON, T0 - 2 * HOUR, T0 + 9 * HOUR) == left
    for series in others:
        assert await read(store, series, T0 - 2 * HOUR, T0 + 9 * HOUR) == [(time, float(v)) for time, v in ticks]
    await store.delete(Series("temperature", "nowhere", "1"), first, last)


async def test_both_ends_of_a_deletion_are_part_of_it(store: Store) -> None:
    await store.write([Points.of(SALON, [(T0 + i, b"1") for i in range(6)])])
    await store.delete(SALON, T0 + 2, T0 + 3)
    assert [time - T0 for time, _ in await read(store, SALON, T0, T0 + 9)] == [0, 1, 4, 5]
    await store.delete(SALON, T0 + 5, T0 + 5)
    assert [time - T0 for time, _ in await read(store, SALON, T0, T0 + 9)] == [0, 1, 4]


async def test_all_that_is_said_of_a_series_is_of_what_is_left(store: Store) -> None:
    ticks = [(T0 + 600_000 * i, b"%d" % i) for i in range(18)]  # three hours
    await store.write([Points.of(SALON, ticks)])
    await store.delete(SALON, T0, T0 + 600_000 * 7)
    assert await store.counts("salon", T0, T0 + 3 * HOUR - 1, HOUR) == {SALON: {T0 + HOUR: 4, T0 + 2 * HOUR: 6}}
    (hours,) = (await store.summaries("salon", T0, T0 + 3 * HOUR - 1)).values()
    assert [(h.hour, h.count, h.sum, h.min, h.max) for h in hours] == [
        (T0 + HOUR, 4, 38.0, 8.0, 11.0),
        (T0 + 2 * HOUR, 6, 87.0, 12.0, 17.0),
    ]
    assert await store.begins(Selection.of(SALON), T0, T0 + 3 * HOUR) == {SALON: T0 + 600_000 * 8}
    run = Run(T0, T0 + 3 * HOUR - 1, HOUR)
    found = await store.buckets(Selection.of(SALON), "count", run, run.first, run.last)
    assert found[SALON][0].tolist() == [T0 + HOUR, T0 + 2 * HOUR]


async def test_what_is_written_after_a_deletion_stays(store: Store) -> None:
    await store.write([Points.of(SALON, [(T0, b"1"), (T0 + 1, b"2")])])
    await store.delete(SALON, T0 - HOUR, T0 + HOUR)
    assert await read(store, SALON, T0 - HOUR, T0 + HOUR) == []
    await store.write([Points.of(SALON, [(T0, b"3")])])
    assert await read(store, SALON, T0 - HOUR, T0 + HOUR) == [(T0, 3.0)]


async def test_an_endless_range_can_be_deleted(store: Store) -> None:
    await store.write([Points.of(SALON, [(T0, b"1"), (T0 + 100 * HOUR, b"2")])])
    await store.delete(SALON, -(2**50), 2**50)
    assert await read(store, SALON, 0, 2**43) == []


async def test_a_series_of_any_name_can_be_deleted_and_no_other_is(store: Store) -> None:
    left = set(IDS)
    await store.write([Points.of(Series("temperature", "salon", sensor_id), [(T0, b"1")]) for sensor_id in IDS])
    for sensor_id in IDS:
        await store.delete(Series("temperature", "salon", sensor_id), T0, T0)
        left.remove(sensor_id)
        assert {series.sensor_id for series in await store.samples(ALL, T0, T0)} == left


async def test_a_series_whose_unit_changed_is_deleted_with_all_it_has(store: Store) -> None:
    await store.write([Points.of(Series("temperature", "salon", "1", "celsius"), [(T0, b"1")])])
    await store.write([Points.of(Series("temperature", "salon", "1", "kelvin"), [(T0 + 1, b"274")])])
    await store.delete(Series("temperature", "salon", "1", "celsius"), T0, T0 + 1)
    assert await read(store, SALON, T0, T0 + 1) == []
