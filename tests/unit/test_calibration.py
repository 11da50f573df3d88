"""Calibration is value × factor + offset, by spans: of readings, of servers' aggregations, of sensors in turn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.model.aggregate import AGGREGATIONS, Aggregation, combine
from iotd.model.batch import Values
from iotd.model.buckets import HOUR
from iotd.model.calibration import EVER, RAW, Calibration, Calibrations, Line, Span, calibrated, raw_needed
from iotd.model.errors import UsageError
from iotd.model.series import Series
from iotd.query.calibrating import Calibrating, asked
from tests.contract.memory import aggregate

NORTH = Series("temperature", "salon", "north")
numbers = st.floats(-100, 100, allow_subnormal=False).map(lambda number: round(number, 3))
lines = st.builds(Line, numbers.filter(bool), numbers)
spans = st.lists(st.builds(Span, st.integers(0, 60), lines), max_size=5).map(
    lambda its: sorted(its, key=lambda s: s[0])
)
readings = st.lists(numbers, min_size=1, max_size=30).map(np.array)


def line_at(spans: list[Span], time: int) -> Line:
    return next((line for since, line in reversed(spans) if since <= time), RAW)


@given(spans, st.lists(st.tuples(st.integers(0, 60), numbers), max_size=40).map(sorted))
def test_each_reading_is_calibrated_by_the_span_in_which_it_lies(
    its: list[Span], readings: list[tuple[int, float]]
) -> None:
    calibration = Calibration(its)
    times = np.array([time for time, _ in readings], np.int64)
    values = np.array([value for _, value in readings])
    before = values.copy()
    wanted = [value * line_at(its, time).factor + line_at(its, time).offset for time, value in readings]
    assert calibration.readings(times, values).tolist() == wanted
    assert values.tolist() == before.tolist()
    assert calibration.offsets(times).tolist() == [line_at(its, time).offset for time in times.tolist()]
    assert [calibration.at(time) for time in range(61)] == [line_at(its, time) for time in range(61)]
    changes = [time for time in range(11, 51) if line_at(its, time) != line_at(its, time - 1)]
    assert calibration.begins(10, 50) == changes


@given(spans, st.integers(0, 60), lines)
def test_what_is_said_of_a_time_holds_from_then_on_and_what_was_before_stays(
    its: list[Span], since: int, line: Line
) -> None:
    before, after = Calibration(its), Calibration(its).since(since, line)
    assert all(after.at(time) == before.at(time) for time in range(since))
    assert all(after.at(time) == line for time in range(since, 61))
    assert not after.since(EVER, RAW)


@given(readings, lines, st.sampled_from(AGGREGATIONS))
def test_an_aggregation_of_raw_values_becomes_that_of_true_ones(
    values: np.ndarray[tuple[int], np.dtype[np.float64]], line: Line, what: Aggregation
) -> None:
    raw = {need: aggregate(need, values) for need in raw_needed(what, line)}
    wanted = aggregate(what, values * line.factor + line.offset)
    assert calibrated(what, line, raw) == pytest.approx(wanted, rel=1e-9, abs=1e-6)
    arrays = {need: np.array([number, number]) for need, number in raw.items()}
    assert calibrated(what, line, arrays).tolist() == [calibrated(what, line, raw)] * 2


@given(st.lists(st.tuples(readings, lines), min_size=1, max_size=3), st.sampled_from(AGGREGATIONS))
def test_parts_with_lines_of_their_own_make_the_whole(
    parts: list[tuple[np.ndarray[tuple[int], np.dtype[np.float64]], Line]], what: Aggregation
) -> None:
    calibrating = Calibrating(Calibrations)
    pieces = []
    for values, line in parts:
        raw = {need: aggregate(need, values) for need in asked(what, [line])}
        pieces.append(calibrating.piece(what, line, raw))
    wanted = aggregate(what, np.concatenate([values * line.factor + line.offset for values, line in parts]))
    assert combine(what, pieces) == pytest.approx(wanted, rel=1e-9, abs=1e-5)


@pytest.mark.parametrize(
    ("factor", "offset"),
    [
        (0.0, 1.0),
        (-0.0, 0.0),
        (math.nan, 0.0),
        (math.inf, 0.0),
        (1.0, -math.inf),
        (1.0, math.nan),
        (1e300, 0.0),
        (1.0, 1e16),
        (1e-16, 0.0),
    ],
)
def test_what_would_make_all_values_alike_or_none_a_number_is_refused(factor: float, offset: float) -> None:
    with pytest.raises(UsageError, match=r"^(factor|offset) .* give "):
        Line(factor, offset)


def test_a_line_reads_as_one_would_write_it() -> None:
    shown = [str(Line(*pair)) for pair in ((1, 0.5), (1.02, -0.4), (-1, 0), (1, 0), (0.001, 1234567.5))]
    assert shown == ["+ 0.5", "× 1.02 - 0.4", "× -1", "none", "× 0.001 + 1234567.5"]


def test_a_series_is_calibrated_by_each_sensor_for_as_long_as_that_speaks_in_it() -> None:
    warm, cold, late = Line(offset=1.0), Line(offset=-2.0), Line(factor=1.5)
    said = Calibrations(
        {
            "north": {"temperature": Calibration([Span(EVER, warm), Span(500, late)])},
            "90": {"temperature": Calibration([Span(EVER, cold), Span(150, warm), Span(300, late)])},
        },
        {"north": [(100, "90"), (200, "91")]},
    )
    assert said.of(NORTH).spans == (Span(EVER, warm), Span(100, cold), Span(150, warm), Span(200, RAW))
    own = Series("temperature", "salon", "90")  # what it handed over before it continued the other's series
    assert said.of(own).spans == (Span(EVER, cold), Span(150, warm), Span(300, late))
    assert not said.of(Series("humidity", "salon", "north"))
    assert [said.latest(NORTH, time, 20.0) for time in (99, 100, 150, 200)] == [21.0, 18.0, 21.0, 20.0]


def test_a_sensor_that_returns_into_its_series_has_its_calibration_again() -> None:
    said = Calibrations(
        {"north": {"temperature": Calibration([Span(EVER, Line(offset=1.0))])}},
        {"north": [(100, "90"), (200, "north")]},
    )
    assert [said.of(NORTH).at(time).offset for time in (50, 150, 250)] == [1.0, 0.0, 1.0]


def test_what_is_said_of_one_location_goes_before_what_is_said_of_all() -> None:
    one, every = Calibration([Span(EVER, Line(offset=1.0))]), Calibration([Span(EVER, Line(offset=2.0))])
    said = Calibrations({"1": {"temperature:salon": one, "temperature": every}})
    assert said.of(Series("temperature", "salon", "1")) == one
    assert said.of(Series("temperature", "cuisine", "1")) == every


def test_taking_back_what_is_said_of_one_location_leaves_what_is_said_of_all_elsewhere() -> None:
    every = Calibration([Span(EVER, Line(offset=2.0))])
    said = Calibrations({"1": {"temperature:salon": Calibration(), "temperature": every}})
    assert not said.of(Series("temperature", "salon", "1"))
    assert said.of(Series("temperature", "cuisine", "1")) == every


async def test_of_imported_hours_each_goes_by_the_line_that_holds_when_it_begins() -> None:
    series = Series("temperature", "salon", "north")
    its = Calibration([Span(2 * HOUR, Line(offset=1.0)), Span(4 * HOUR, Line(factor=-2.0))])
    calibrating = Calibrating(lambda: Calibrations({"north": {"temperature": its}}))
    await calibrating.learn()
    hours = np.array([1, 2, 3, 4]) * HOUR
    raw: dict[Aggregation, Values] = {"avg": np.arange(4.0), "min": np.arange(4.0) - 1, "max": np.arange(4.0) + 1}
    found = calibrating.hours(series, hours, raw)
    assert {how: values.tolist() for how, values in found.items()} == {
        "avg": [0.0, 2.0, 3.0, -6.0],
        "min": [-1.0, 1.0, 2.0, -8.0],
        "max": [1.0, 3.0, 4.0, -4.0],
    }
    assert calibrating.grown(series, hours, np.ones(4)).tolist() == [1.0, 1.0, 1.0, -2.0]
    assert calibrating.applied
    other = Series("temperature", "salon", "south")
    assert calibrating.hours(other, hours, raw) is raw
