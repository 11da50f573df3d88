"""Imported summaries of hours: kept once, and in queries where there are no readings, and nowhere else."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, timedelta, timezone, tzinfo
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iotd.intake.resolve import Assignment, Resolver
from iotd.intake.summaries import FILE, Summaries, SummaryStore
from iotd.model.aggregate import Asked
from iotd.model.errors import StateError
from iotd.model.observation import Observation
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.model.summaries import Hour, HourlySummaries
from iotd.model.types import BUILT_IN
from iotd.query import buckets, imported, stream
from iotd.query.engine import Query
from iotd.query.imported import with_summaries
from iotd.query.increase import increases
from iotd.query.marks import Marks
from iotd.query.result import Readings, concatenate
from tests.unit.test_query_stream import NEVER, FakeShard
from tests.unit.worlds import World

HOUR = 3_600_000
H0 = 496_992
"""An hour since the epoch, in 2026, at a midnight in UTC."""
RESOLVER = Resolver(BUILT_IN, {"salon": ("Grand salon",), "cave": ()}, {"moved": Assignment(location="cave")})
NORTH, SOUTH = Series("temperature", "salon", "north"), Series("temperature", "salon", "south")
METER = Series("energy", "salon", "meter")


def says(series: Series, *hours: Hour, unit: str | None = None, **more: Any) -> dict[str, Any]:
    given = {"location": series.location, "unit": unit} | more
    return HourlySummaries(Observation(series.type, series.sensor_id, None, **given), hours).as_dict()


def measured(hour: int, mean: float, low: float | None = None, high: float | None = None) -> Hour:
    return hour, mean, mean if low is None else low, mean if high is None else high, None, None


def counted(hour: int, total: float) -> Hour:
    return hour, None, None, None, total, total


def take(folder: Path, *said: dict[str, Any]) -> list[tuple[int, str]]:
    store = SummaryStore(folder)
    try:
        return asyncio.run(store.take(said, RESOLVER, BUILT_IN))
    finally:
        store.close()


def test_they_are_kept_once_in_the_unit_of_their_type(tmp_path: Path) -> None:
    there = Summaries(tmp_path, BUILT_IN)
    assert there.spans() == []
    for _ in range(2):
        assert (
            take(
                tmp_path,
                says(NORTH, measured(H0, 68, 50, 86), measured(H0 + 2, 50), unit="°F"),
                says(METER, counted(H0, 1.5), counted(H0 + 1, 2), counted(H0 + 5, 2.25), unit="MWh"),
            )
            == []
        )
        assert there.hours(NORTH, H0, H0 + 9) == [(H0, 20.0, 10.0, 30.0), (H0 + 2, 10.0, 10.0, 10.0)]
        assert there.growth(METER, H0, H0 + 9) == [(H0 + 1, 500.0), (H0 + 5, 250.0)]
        assert there.growth(METER, H0 + 2, H0 + 9) == [(H0 + 5, 250.0)]
        assert there.growth(METER, H0 + 2, H0 + 4) == []
    assert [(s.series, s.first, s.last, s.counts) for s in there.spans()] == [
        (NORTH, H0, H0 + 2, False),
        (METER, H0, H0 + 5, True),
    ]
    take(tmp_path, says(NORTH, measured(H0, 21)))
    assert there.hours(NORTH, H0, H0) == [(H0, 21.0, 21.0, 21.0)]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (says(Series("temperature", "attic", "x"), measured(H0, 20)), "x: unknown location: no location is called"),
        (says(Series("radiation", "salon", "x"), measured(H0, 20)), "x: unknown type"),
        (says(NORTH, measured(H0, 20), unit="kWh"), "north: unit 'kWh'"),
        (says(NORTH, measured(H0, 20), measured(H0 + 1, 9999)), "north: not plausible: no temperature has"),
        (says(NORTH, (H0, None, None, None, None, None)), "north: not plausible"),
        (says(NORTH, measured(-1, 20)), "north: not plausible"),
        (says(NORTH, measured(10**30, 20)), "north: not plausible"),
    ],
)
def test_what_can_not_be_taken_says_why_and_the_rest_is(tmp_path: Path, said: dict[str, Any], why: str) -> None:
    refused = take(tmp_path, said, says(SOUTH, measured(H0, 5)))
    assert len(refused) == 1
    assert refused[0][0] == 1
    assert refused[0][1].startswith(why)
    assert Summaries(tmp_path, BUILT_IN).hours(SOUTH, H0, H0) == [(H0, 5.0, 5.0, 5.0)]


def test_names_assignments_deletions_and_renames_are_followed(tmp_path: Path) -> None:
    there = Summaries(tmp_path, BUILT_IN)
    moved = Series("temperature", "cave", "moved")
    take(
        tmp_path,
        says(Series("temperature", "salon", "moved"), *(measured(H0 + n, n) for n in range(10))),
        says(NORTH, measured(H0, 1), location="", hints=["Thermometer Grand salon"]),
    )
    assert {span.series for span in there.spans()} == {moved, NORTH}

    async def change() -> None:
        store = SummaryStore(tmp_path)
        assert await store.delete([moved, SOUTH], H0 * HOUR + HOUR - 1, (H0 + 2) * HOUR) == 3
        await store.rename("cave", "cellar")
        store.close()

    asyncio.run(change())
    cellar = Series("temperature", "cellar", "moved")
    assert [hour for hour, *_ in there.hours(cellar, H0, H0 + 9)] == list(range(H0 + 3, H0 + 10))
    assert there.hours(moved, H0, H0 + 9) == []


def test_a_damaged_file_is_moved_aside_and_a_query_says_it(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(StateError, match="can't be read"):
        Summaries(tmp_path, BUILT_IN).spans()
    found = ask({NORTH: {H0 * HOUR: 20.0}}, tmp_path, None)
    assert len(found) == 1
    assert "can't be read" in found.problems[0]
    assert take(tmp_path, says(NORTH, measured(H0, 20))) == []
    assert len(list(tmp_path.glob(f"{FILE}.damaged-*"))) == 1


# ── in queries ──


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    in_zone(monkeypatch, UTC)


def in_zone(monkeypatch: pytest.MonkeyPatch, zone: tzinfo) -> None:
    monkeypatch.setattr(buckets, "local_zone", lambda: zone)


def ask(
    readings: dict[Series, dict[int, float]],
    folder: Path,
    how: tuple[Asked, int] | None,
    span: tuple[int, int] = (H0 * HOUR, (H0 + 48) * HOUR),
) -> Readings:
    worlds = {series: World(shard=its) for series, its in readings.items()}
    what = Selection(("salon",), ("energy",) if how and how[0] == "increase" else ("temperature",))

    def query(first: int, stop: int) -> Query:
        shards: Any = {"salon": FakeShard("salon", worlds, NEVER)}
        return Query(what, first, stop, shards=shards, archive=None, marks=Marks, sensors=())

    async def collect() -> Readings:
        if how is None:
            read: Any = stream.readings
        elif how[0] == "increase":
            read = partial(increases, bucket=how[1])
        else:
            read = partial(stream.aggregated, what=how[0], bucket=how[1])
        chunks = with_summaries(read, Summaries(folder, BUILT_IN), query, *(how or ()))(query(*span))
        found = [chunk async for chunk in chunks]
        times = np.concatenate([chunk.times for chunk in found])
        assert (np.diff(times) >= 0).all()
        assert all(not chunk.notes for chunk in found[:-1])
        return concatenate(found)

    return asyncio.run(collect())


def columns(found: Readings) -> dict[Series, dict[int, float]]:
    return {
        series: dict(zip((times // HOUR - H0).tolist(), values.tolist(), strict=True))
        for series, (times, values) in found.by_sensor().items()
    }


def test_an_hour_without_readings_is_its_summary_and_one_with_readings_is_not(tmp_path: Path) -> None:
    take(tmp_path, says(NORTH, *(measured(H0 + n, 10 + n, n, 20 + n) for n in range(4))))
    readings = {NORTH: {(H0 + 2) * HOUR + 5: 50.0, (H0 + 5) * HOUR: 60.0}}
    found = ask(readings, tmp_path, ("avg", HOUR))
    assert columns(found) == {NORTH: {0: 10.0, 1: 11.0, 2: 50.0, 3: 13.0, 5: 60.0}}
    assert found.imported == 3
    assert found.problems == ["3 of these buckets hold imported hourly summaries, where there are no readings"]
    assert columns(ask(readings, tmp_path, ("min", HOUR)))[NORTH][3] == 3.0
    assert columns(ask(readings, tmp_path, ("range", HOUR)))[NORTH] == {0: 20.0, 1: 20.0, 2: 0.0, 3: 20.0, 5: 0.0}
    # a bucket of both: each hour counts alike
    assert columns(ask(readings, tmp_path, ("avg", 24 * HOUR)))[NORTH][
        0 if H0 % 24 == 0 else -(H0 % 24)
    ] == pytest.approx((10 + 11 + 50 + 13 + 60) / 5)
    # half of an hour is no hour
    found = ask({}, tmp_path, ("avg", HOUR), (H0 * HOUR + 1, (H0 + 3) * HOUR - 1))
    assert columns(found) == {NORTH: {1: 11.0}}


@pytest.mark.parametrize("how", [None, ("avg", HOUR // 2), ("count", HOUR), ("first", HOUR), ("avg", 5 * HOUR)])
def test_where_they_do_not_answer_the_result_says_that_there_are_some(
    tmp_path: Path, how: tuple[Asked, int] | None
) -> None:
    take(tmp_path, says(NORTH, *(measured(H0 + n, 10) for n in range(4))))
    found = ask({NORTH: {(H0 + 2) * HOUR: 50.0}}, tmp_path, how)
    assert (len(found), found.imported) == (1, 0)
    (said,) = found.problems
    assert "hourly summaries exist from" in said
    assert "ask for --agg avg --bucket 1h" in said
    # readings since before them: nothing is to be said
    assert ask({NORTH: {(H0 - 1) * HOUR: 50.0, (H0 + 1) * HOUR: 51.0}}, tmp_path, how).problems == []
    assert ask({}, tmp_path, how, ((H0 - 9) * HOUR, (H0 - 5) * HOUR)).problems == []


def test_a_zone_of_half_hours_has_no_bucket_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_zone(monkeypatch, timezone(timedelta(hours=5, minutes=30)))
    take(tmp_path, says(NORTH, *(measured(H0 + n, 10) for n in range(4))))
    assert len(ask({}, tmp_path, ("avg", HOUR))) == 0


def test_a_counter_grew_by_its_summaries_before_its_first_reading(tmp_path: Path) -> None:
    take(tmp_path, says(METER, *(counted(H0 + n, 100 + n * n) for n in range(-2, 6))))
    readings = {METER: {(H0 + 3) * HOUR + 9: 1000.0, (H0 + 4) * HOUR: 1007.0, (H0 + 7) * HOUR: 1010.0}}
    found = ask(readings, tmp_path, ("increase", HOUR))
    assert columns(found) == {METER: {0: -1.0, 1: 1.0, 2: 3.0, 4: 7.0, 7: 3.0}}
    assert found.imported == 3
    found = ask(readings, tmp_path, ("increase", 2 * HOUR), (H0 * HOUR, (H0 + 10) * HOUR))
    assert sum(columns(found)[METER].values()) == 3 + 10


hours = st.dictionaries(st.integers(0, 60), st.integers(-20, 40), max_size=30)
minutes = st.dictionaries(st.integers(0, 60 * 60), st.integers(-20, 40), max_size=30)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.tuples(hours, hours),
    st.tuples(minutes, minutes),
    st.tuples(st.integers(0, 3600), st.integers(1, 3600)),
    st.sampled_from(["avg", "min", "max", "range"]),
    st.sampled_from([1, 2, 6, 24]),
)
def test_any_bucket_is_that_of_its_hours_each_by_readings_or_else_by_its_summary(  # noqa: PLR0917  # what is given
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    summed: tuple[dict[int, int], dict[int, int]],
    read: tuple[dict[int, int], dict[int, int]],
    span: tuple[int, int],
    asked: Asked,
    width: int,
) -> None:
    monkeypatch.setattr(stream, "WINDOW", 6)
    monkeypatch.setattr(imported, "_HOURS", 12)
    folder = tmp_path_factory.mktemp("summaries")
    both = list(zip((NORTH, SOUTH), summed, read, strict=True))
    take(folder, *(says(s, *(measured(H0 + h, v, v - 3, v + 2) for h, v in its.items())) for s, its, _ in both))
    first = H0 * HOUR + span[0] * 60_000
    stop = first + span[1] * 60_000
    readings = {s: {H0 * HOUR + m * 60_000: float(v) for m, v in its.items()} for s, _, its in both if its}
    found = ask(readings, folder, (asked, width * HOUR), (first, stop))
    wanted: dict[tuple[Series, int], float] = {}
    count = 0
    for series, its, _ in both:
        for bucket in range(H0 * HOUR, H0 * HOUR + 80 * HOUR, width * HOUR):
            of_hours: list[tuple[float, float, float]] = []
            plain: list[float] = []
            summary = False
            for hour in range(bucket, bucket + width * HOUR, HOUR):
                values = [
                    v for t, v in readings.get(series, {}).items() if max(hour, first) <= t < min(hour + HOUR, stop)
                ]
                v = its.get(hour // HOUR - H0)
                if values:
                    plain += values
                    of_hours.append((math.fsum(values) / len(values), min(values), max(values)))
                elif v is not None and hour >= first and hour + HOUR <= stop:
                    summary = True
                    of_hours.append((v, v - 3, v + 2))
            count += summary
            if of_hours:
                means, lows, highs = zip(*of_hours, strict=True)
                mean = math.fsum(means) / len(means) if summary else math.fsum(plain) / len(plain)
                low, high = min(lows), max(highs)
                wanted[series, bucket] = {"avg": mean, "min": low, "max": high, "range": high - low}[asked]
    got = {(one.sensor, time): one.value for one, time in zip(found, found.times.tolist(), strict=True)}
    assert got == pytest.approx(wanted)
    assert found.imported == count
