"""A whole query over shards and archive that are told what to hold and when to fail: exact, or named as missing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iotd.archive.verified import Counts
from iotd.model.aggregate import AGGREGATIONS, Aggregation
from iotd.model.batch import Times, Values
from iotd.model.buckets import Run
from iotd.model.calibration import Calibration, Calibrations, Line, Span
from iotd.model.errors import ArchiveUnavailable, ShardUnavailable
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.query import doubts, stream
from iotd.query.buckets import runs
from iotd.query.engine import Query
from iotd.query.join import Range
from iotd.query.marks import Marks
from iotd.query.result import Readings, concatenate
from iotd.query.shard import Held
from iotd.stores.base import Found
from tests.contract.memory import MemoryStore, aggregate
from tests.unit.worlds import END, World, lived, with_loss

NEVER = 10**9
_HOUR = 7
"""Stands for an hour where counts are verified, ms."""
Worlds = dict[Series, World]


class Mortal:
    """Answers so many times, and then never again."""

    def __init__(self, answers: int, error: type[Exception]) -> None:
        self._left = answers
        self._error = error

    def answer(self) -> None:
        if self._left <= 0:
            raise self._error("gone")
        self._left -= 1


class FakeShard(Mortal):
    """A shard in memory, as :class:`iotd.query.shard.ShardSource` gives it."""

    def __init__(self, location: str, worlds: Worlds, answers: int) -> None:
        super().__init__(answers, ShardUnavailable)
        self.location, self.node, self.role, self.why = location, "node", "master", None
        self._worlds = {s: w for s, w in worlds.items() if s.location == location}

    async def find(self) -> None:
        self.answer()

    async def series(self, what: Selection) -> list[Series]:
        return [s for s in self._worlds if s in what]

    async def begins(self, sensors: Sequence[Series]) -> dict[Series, int]:
        return {s: min(shard) for s in sensors if (shard := self._worlds[s].shard)}

    async def samples(self, wanted: Sequence[tuple[Series, int, int]]) -> list[Held]:
        self.answer()
        return [
            Held(*_slice(self._worlds[s].shard, first, last), min(self._worlds[s].shard, default=None))
            for s, first, last in wanted
        ]

    async def buckets(self, wanted: Sequence[tuple[Series, Aggregation, Run, int, int]]) -> list[tuple[Times, Values]]:
        self.answer()
        return [_aggregate(self._worlds[s].shard, *how) for s, *how in wanted]  # type: ignore[arg-type]

    async def close(self) -> None:
        pass


class FakeArchive(MemoryStore):
    """A store in memory that answers so many questions for readings."""

    def __init__(self, worlds: Worlds, answers: int) -> None:
        super().__init__()
        self.held = {series: world.archive for series, world in worlds.items()}
        self._mortal = Mortal(answers, ArchiveUnavailable)

    async def incarnation(self) -> str | None:
        return None

    async def begins(self, what: Selection, first: int, last: int) -> dict[Series, int]:
        self._mortal.answer()
        return await super().begins(what, first, last)

    async def samples(self, what: Selection, first: int, last: int) -> Found:
        self._mortal.answer()
        return await super().samples(what, first, last)

    async def buckets(self, what: Selection, aggregation: Aggregation, run: Run, first: int, last: int) -> Found:
        self._mortal.answer()
        return await super().buckets(what, aggregation, run, first, last)


def _slice(store: dict[int, float], first: int, last: int) -> tuple[Times, Values]:
    inside = sorted(t for t in store if first <= t <= last)
    return np.array(inside, np.int64), np.array([store[t] for t in inside], np.float64)


def _aggregate(store: dict[int, float], what: Aggregation, run: Run, first: int, last: int) -> tuple[Times, Values]:
    shares: dict[int, list[float]] = {}
    for time in sorted(t for t in store if first <= t <= last):
        shares.setdefault(run.first + (time - run.first) // run.width * run.width, []).append(store[time])
    return np.array(list(shares), np.int64), np.array(
        [aggregate(what, np.array(share)) for share in shares.values()], np.float64
    )


SENSORS = [Series("temperature", location, str(i)) for location in ("salon", "cuisine") for i in (1, 2)]
worlds = st.tuples(*(st.lists(with_loss, max_size=15).map(lived) for _ in SENSORS)).map(
    lambda made: dict(zip(SENSORS, made, strict=True))
)
spans = st.tuples(st.integers(0, END), st.integers(1, END)).map(lambda span: (span[0], span[0] + span[1]))
deaths = st.one_of(st.just(NEVER), st.integers(0, 6))


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "WINDOW", 24)
    monkeypatch.setattr(stream, "_STEP_MS", 1)
    monkeypatch.setattr(doubts, "HOUR", _HOUR)


def run(
    worlds: Worlds,
    span: tuple[int, int],
    answers: tuple[int, int, int],
    how: tuple[Aggregation, int] | None,
    verified: Counts | None = None,
    *,
    calibrations: Calibrations | None = None,
) -> Any:
    shards: Any = {
        location: FakeShard(location, worlds, left)
        for location, left in zip(("salon", "cuisine"), answers[:2], strict=True)
    }
    marks = Marks(
        {s.key: w.mark for s, w in worlds.items() if w.mark is not None},
        {s.key: list(w.dirty) for s, w in worlds.items()},
        present={} if verified is None else {s.key: w.mark for s, w in worlds.items() if w.mark is not None},
        verified=lambda _, first, last: {
            s: its
            for s, hours in (verified or {}).items()
            if (its := {hour: n for hour, n in hours.items() if hour + _HOUR > first and hour <= last})
        },
    )
    what = Selection(("salon", "cuisine"), ("temperature",))
    archive = FakeArchive(worlds, answers[2])
    query = Query(
        what,
        *span,
        shards=shards,
        archive=archive,
        marks=lambda: marks,
        sensors=SENSORS,
        calibrations=lambda: calibrations or Calibrations(),
    )

    async def collect() -> Readings:
        chunks = stream.readings(query) if how is None else stream.aggregated(query, *how)
        return concatenate([chunk async for chunk in chunks])

    return asyncio.run(collect())


def counts_of(worlds: Worlds) -> Counts:
    """What a verification notes: whole hours behind the watermark that are not dirty."""
    found: Counts = {}
    for sensor, world in worlds.items():
        for hour in range(0, (world.mark or 0) - _HOUR + 2, _HOUR):
            count = sum(hour <= time < hour + _HOUR for time in world.archive)
            if count and not any(one.within(hour, hour + _HOUR - 1) for one in world.dirty):
                found.setdefault(sensor, {})[hour] = count
    return found


def holes(found: Readings, sensor: Series) -> tuple[Range, ...]:
    return next(a.missing for a in found.answers if a.location == sensor.location)


def truth_of(world: World, span: tuple[int, int]) -> dict[int, float]:
    return {t: v for t, v in sorted(world.truth.items()) if span[0] <= t < span[1]}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(worlds, spans, deaths, deaths, deaths)
def test_every_reading_comes_once_or_lies_in_a_range_that_is_named(
    worlds: Worlds, span: tuple[int, int], salon: int, cuisine: int, archive: int
) -> None:
    found = run(worlds, span, (salon, cuisine, archive), None)
    if {salon, cuisine, archive} == {NEVER}:
        assert found.complete
    assert (np.diff(found.times) >= 0).all()
    by_sensor = found.by_sensor()
    for sensor, world in worlds.items():
        times, values = by_sensor.get(sensor, (np.empty(0, np.int64), np.empty(0)))
        assert len(set(times.tolist())) == len(times)
        got = dict(zip(times.tolist(), values.tolist(), strict=True))
        wanted = truth_of(world, span)
        assert got.keys() <= wanted.keys()
        for time, value in wanted.items():
            named = any(hole.within(time, time) for hole in holes(found, sensor))
            # a shard that lost its readings and stands alone is whole, as far as it knows, from its first one on
            lost = archive != NEVER and time not in world.shard and time >= min(world.shard, default=END)
            assert got.get(time) == value or named or lost, (sensor, time)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(worlds, spans, st.sampled_from(AGGREGATIONS), st.sampled_from([3, 10, 48]), st.tuples(deaths, deaths))
def test_every_bucket_is_that_of_its_readings_or_lies_in_a_range_that_is_named(
    worlds: Worlds, span: tuple[int, int], what: Aggregation, width: int, answers: tuple[int, int]
) -> None:
    found = run(worlds, span, (*answers, NEVER), (what, width))
    raw = run(worlds, span, (NEVER, NEVER, NEVER), None)
    by_sensor = found.by_sensor()
    for sensor, (times, values) in raw.by_sensor().items():
        starts, got = by_sensor.get(sensor, (np.empty(0, np.int64), np.empty(0)))
        assert len(set(starts.tolist())) == len(starts)
        there = dict(zip(starts.tolist(), got.tolist(), strict=True))
        (first_run, *_) = runs(span[0], span[1], width, 1_000)
        begins = first_run.first + (times - first_run.first) // width * width
        for begin in np.unique(begins).tolist():
            wanted = aggregate(what, values[begins == begin])
            named = any(hole.within(begin, begin + width - 1) for hole in holes(found, sensor))
            assert named or there[begin] == pytest.approx(wanted, rel=1e-9, abs=1e-6), (sensor, begin)


offsets = st.sampled_from([0.0, 0.5, -40.0, 3.25])
lines = st.builds(Line, st.sampled_from([1.0, -1.0, 2.5, -0.5, 1.02]), offsets)
calibrations = st.lists(st.builds(Span, st.integers(0, END), lines), max_size=4).map(
    lambda spans: Calibration(sorted(spans, key=lambda span: span.since))
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    worlds,
    spans,
    st.tuples(calibrations, calibrations),
    st.tuples(st.sampled_from(AGGREGATIONS), st.sampled_from([3, 10, 48])),
    st.tuples(deaths, deaths),
)
def test_every_bucket_is_that_of_its_calibrated_readings(
    worlds: Worlds,
    span: tuple[int, int],
    said: tuple[Calibration, Calibration],
    how: tuple[Aggregation, int],
    answers: tuple[int, int],
) -> None:
    """Whoever computes it, and wherever one calibration ends and another begins."""
    what, width = how
    its = dict(zip(("1", "2"), said, strict=True))
    calibrations = Calibrations({sensor: {"temperature": one} for sensor, one in its.items()})
    stored = run(worlds, span, (NEVER, NEVER, NEVER), None)
    every = run(worlds, span, (NEVER, NEVER, NEVER), None, calibrations=calibrations)
    found = run(worlds, span, (*answers, NEVER), how, calibrations=calibrations)
    true, by_sensor = every.by_sensor(), found.by_sensor()
    changed = False
    for sensor, (times, raw) in stored.by_sensor().items():
        values = its[sensor.sensor_id].readings(times, raw)
        changed |= values is not raw
        assert true[sensor][1].tolist() == values.tolist()
        starts, got = by_sensor.get(sensor, (np.empty(0, np.int64), np.empty(0)))
        assert len(set(starts.tolist())) == len(starts)
        there = dict(zip(starts.tolist(), got.tolist(), strict=True))
        (first_run, *_) = runs(span[0], span[1], width, 1_000)
        begins = first_run.first + (times - first_run.first) // width * width
        for begin in np.unique(begins).tolist():
            wanted = aggregate(what, values[begins == begin])
            named = any(hole.within(begin, begin + width - 1) for hole in holes(found, sensor))
            assert named or there[begin] == pytest.approx(wanted, rel=1e-9, abs=1e-5), (sensor, begin)
    assert every.calibrated is changed
    assert every.title.count("calibrated") == int(changed)
    if what == "count":
        assert not found.calibrated
    elif answers == (NEVER, NEVER):
        assert found.calibrated is changed


@pytest.mark.parametrize("what", AGGREGATIONS)
@pytest.mark.parametrize("changes", [(), (10,), (30,), (10, 30), (25,), (26,), (27,)])
def test_a_bucket_is_cut_by_archive_and_shard_and_by_calibrations(what: Aggregation, changes: tuple[int, ...]) -> None:
    worlds = {sensor: World() for sensor in SENSORS}
    for number, world in enumerate(worlds.values()):
        for i in range(40):
            world.live(float(number + i * 7 % 11))
        world.archived(25)
    lines = (Line(-2.0, 3.0), Line(1.5, -4.0), Line(3.0))
    said = Calibration([Span(since, line) for since, line in zip((0, *changes), lines, strict=False)])
    calibrations = Calibrations({"1": {"temperature": said}})
    found = run(worlds, (0, 48), (NEVER, NEVER, NEVER), (what, 48), calibrations=calibrations).by_sensor()
    for sensor, world in worlds.items():
        times, values = np.array(list(world.truth), np.int64), np.array(list(world.truth.values()))
        true = said.readings(times, values) if sensor.sensor_id == "1" else values
        starts, got = found[sensor]
        assert starts.tolist() == [0]
        assert got.tolist() == pytest.approx([aggregate(what, true)])


class BusyShard(FakeShard):
    """A reading comes after each answer."""

    async def buckets(self, wanted: Sequence[tuple[Series, Aggregation, Run, int, int]]) -> list[tuple[Times, Values]]:
        found = []
        for one in wanted:
            found += await super().buckets([one])
            self._worlds[one[0]].live(3.0)
        return found


@pytest.mark.parametrize("width", [7, 48])
def test_a_sum_and_its_count_are_of_the_same_readings_though_some_come_in_between(width: int) -> None:
    world = World()
    for _ in range(30):
        world.live(3.0)
    sensor = SENSORS[0]
    shard: Any = BusyShard("salon", {sensor: world}, NEVER)
    line = Calibration([Span(0, Line(1.0, 100.0))])
    query = Query(
        Selection(("salon",), ("temperature",)),
        0,
        END,
        shards={"salon": shard},
        archive=None,
        marks=Marks,
        calibrations=lambda: Calibrations({sensor.sensor_id: {"temperature": line}}),
    )

    async def collect() -> Readings:
        return concatenate([chunk async for chunk in stream.aggregated(query, "sum", width)])

    found = asyncio.run(collect())
    assert len(found)
    assert (found.values % 103 == 0).all()
    assert found.calibrated


losses = st.one_of(
    st.tuples(st.just("set back"), st.integers(0, END), st.just(0)),
    st.tuples(st.just("rows"), st.integers(0, END), st.integers(0, 30)),
)
ways = st.one_of(st.none(), st.tuples(st.just("count"), st.sampled_from([3, 10, 48])))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(worlds, spans, losses, st.tuples(deaths, deaths), ways)
def test_what_the_archive_lost_comes_from_the_shard_or_lies_in_a_range_that_is_named(
    worlds: Worlds,
    span: tuple[int, int],
    loss: tuple[str, int, int],
    answers: tuple[int, int],
    how: tuple[Aggregation, int] | None,
) -> None:
    """It is set back to any moment, or rows of verified hours are deleted."""
    verified = counts_of(worlds)
    assert run(worlds, span, (NEVER, NEVER, NEVER), how, verified).complete
    before = run(worlds, span, (NEVER, NEVER, NEVER), how, verified).by_sensor()
    kind, first, length = loss
    for sensor, world in worlds.items():
        gone = {t for t in world.archive if t >= first and (kind == "set back" or t <= first + length)}
        if kind == "rows":
            gone = {t for t in gone if t // _HOUR * _HOUR in verified.get(sensor, {})}
        world.archive = {t: v for t, v in world.archive.items() if t not in gone}
    found = run(worlds, span, (*answers, NEVER), how, verified)
    by_sensor = found.by_sensor()
    width = 1 if how is None else how[1]
    for sensor, (starts, wanted) in before.items():
        times, values = by_sensor.get(sensor, (np.empty(0, np.int64), np.empty(0)))
        got = dict(zip(times.tolist(), values.tolist(), strict=True))
        # a shard that lost readings itself is whole, as far as a query knows, from its first one on
        world = worlds[sensor]
        lost = [t for t in world.truth if t not in world.shard and t >= min(world.shard, default=END)]
        for begin, value in zip(starts.tolist(), wanted.tolist(), strict=True):
            named = any(hole.within(begin, begin + width - 1) for hole in holes(found, sensor))
            both = any(begin <= t < begin + width for t in lost)
            assert got.get(begin) == value or named or both, (sensor, begin)
    if answers == (NEVER, NEVER) and any(np.array(holes(found, s)).size for s in worlds):
        assert any("the archive holds" in (answer.why or "") for answer in found.answers)
