"""The increase of counters, in buckets, whatever chunks the readings come in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from iotd.model.calibration import Calibration, Line, Span
from iotd.model.series import Series
from iotd.query.increase import _Counting
from iotd.query.result import Readings

METERS = (Series("energy", "salon", "a"), Series("water", "salon", "b"))
READINGS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 99), st.integers(0, 50)), max_size=40)


def chunk(readings: list[tuple[int, int, int]]) -> Readings:
    number, times, values = zip(*readings, strict=True) if readings else ((), (), ())
    columns = np.array(number, np.int32), np.array(times, np.int64), np.array(values, np.float64)
    return Readings(METERS, *columns, 0, 100, ())


def expected(readings: list[tuple[int, int, int]], width: int) -> dict[tuple[int, int], float]:
    last: dict[int, int] = {}
    found: dict[tuple[int, int], float] = {}
    for meter, time, value in readings:
        if meter in last:
            grown = value - last[meter] if value >= last[meter] else value
            found[meter, time // width * width] = found.get((meter, time // width * width), 0.0) + grown
        last[meter] = value
    return found


@given(readings=READINGS, width=st.integers(1, 60), size=st.integers(1, 10))
def test_it_is_the_same_in_chunks_and_reading_by_reading(
    readings: list[tuple[int, int, int]], width: int, size: int
) -> None:
    readings = sorted(readings, key=lambda one: one[1])
    starts = np.arange(0, 100, width, dtype=np.int64)
    counting = _Counting()
    found: dict[tuple[int, int], float] = {}

    def take(some: Any) -> None:
        for sensor, (times, values) in some.items():
            for time, value in zip(times.tolist(), values.tolist(), strict=True):
                assert (METERS.index(sensor), time) not in found
                found[METERS.index(sensor), time] = value

    for at in range(0, len(readings), size):
        some = chunk(readings[at : at + size])
        counting.add(some, starts)
        take(counting.upto(int(some.times[-1]), starts))
    take(counting.rest(starts))
    assert found == expected(readings, width)


def test_a_counter_that_begins_anew_has_lost_nothing() -> None:
    counting = _Counting()
    starts = np.array([0, 10], np.int64)
    counting.add(chunk([(0, 0, 40), (0, 1, 50), (0, 12, 3), (0, 13, 5)]), starts)
    (times, values) = counting.rest(starts)[METERS[0]]
    assert (times.tolist(), values.tolist()) == ([0, 10], [10.0, 5.0])


def grown(readings: list[tuple[int, int, int]], calibration: Calibration) -> list[float]:
    """By how much a counter grew in each of two buckets, 0 to 9 and 10 on."""
    counting, starts = _Counting(lambda _: calibration), np.array([0, 10], np.int64)
    some = chunk(readings)
    counting.add(replace(some, values=calibration.readings(some.times, some.values)), starts)
    (times, values) = counting.rest(starts)[METERS[0]]
    assert times.tolist() == [0, 10]
    return [float(value) for value in values]


def test_a_calibrated_counter_grows_by_its_factor_whatever_its_offset_and_begins_anew_at_nothing() -> None:
    readings = [(0, 0, 40), (0, 1, 50), (0, 12, 3), (0, 13, 5)]
    assert grown(readings, Calibration([Span(0, Line(0.5, 1000.0))])) == [5.0, 2.5]


def test_a_counter_that_counts_down_grows_and_begins_anew_at_nothing() -> None:
    readings = [(0, 0, -40), (0, 1, -50), (0, 12, -3), (0, 13, -5)]
    assert grown(readings, Calibration([Span(0, Line(-1.0, 7.0))])) == [10.0, 5.0]
    # what was filled up again has not grown by that
    assert grown([(0, 0, 50), (0, 1, 40), (0, 12, 100), (0, 13, 90)], Calibration([Span(0, Line(-1.0))])) == [
        10.0,
        10.0,
    ]


def test_a_counter_that_was_replaced_has_not_grown_by_the_offset_that_lets_it_go_on() -> None:
    readings = [(0, 0, 1000), (0, 1, 1010), (0, 12, 5), (0, 13, 8)]
    assert grown(readings, Calibration([Span(10, Line(1.0, 1007.0))])) == [10.0, 5.0]
    assert grown(readings, Calibration([Span(10, Line(2.0))])) == [10.0, 16.0]  # without, it began at 0
    assert grown([(0, 0, 1), (0, 1, 3), (0, 12, 900), (0, 13, 902)], Calibration([Span(10, Line(1.0, -897.0))])) == [
        2.0,
        2.0,
    ]
