"""A chart's window and buckets fit how often its sensors speak, and cost a shard only so much."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.model.batch import Times
from iotd.web.rhythm import Rhythm, Window, rhythm_of, window_for

T0 = 1_796_000_000_000
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000


def every(step: int, count: int = 20) -> Times:
    return T0 + step * np.arange(count, dtype=np.int64)


def test_a_rhythm_is_that_of_the_slowest_and_the_quickest() -> None:
    assert rhythm_of([every(SECOND), every(10 * MINUTE)]) == Rhythm(10 * MINUTE, SECOND)


def test_an_outage_is_no_rhythm() -> None:
    assert rhythm_of([np.append(every(SECOND, 10), every(SECOND, 10) + HOUR)]) == Rhythm(SECOND, SECOND)


@pytest.mark.parametrize("times", [[], [every(SECOND, 0)], [every(SECOND, 2), every(SECOND, 1)]])
def test_who_has_hardly_spoken_has_none(times: list[Times]) -> None:
    assert rhythm_of(times) is None


@pytest.mark.parametrize(
    ("step", "bucket", "length"),
    [
        (100, 5 * SECOND, 10 * MINUTE),
        (SECOND, 5 * SECOND, 10 * MINUTE),
        (10 * SECOND, 15 * SECOND, 30 * MINUTE),
        (MINUTE, 2 * MINUTE, 4 * HOUR),
        (10 * MINUTE, 15 * MINUTE, 30 * HOUR),
        (HOUR, 2 * HOUR, 48 * HOUR),
        (30 * HOUR, 2 * HOUR, 48 * HOUR),
    ],
)
def test_a_window_grows_with_the_step_and_each_sensor_is_in_each_bucket(step: int, bucket: int, length: int) -> None:
    window = window_for(Rhythm(step, step), 3)
    assert (window.bucket, window.bucket * window.buckets) == (bucket, length)


@given(st.integers(1, 10**8), st.integers(1, 10**8), st.integers(1, 5_000))
def test_no_chart_has_too_many_points_or_costs_the_shard_too_much(one: int, other: int, sensors: int) -> None:
    rhythm = Rhythm(max(one, other), min(one, other))
    window = window_for(rhythm, sensors)
    assert 12 <= window.buckets <= 120
    cost = sensors * window.bucket * window.buckets / rhythm.quickest
    assert window.buckets == 12 or cost <= 3_000_000


def test_the_last_bucket_holds_now() -> None:
    window = Window(5_000, 120)
    first = window.first(T0 + 4_999)
    assert first % 5_000 == 0
    assert first + 119 * 5_000 == T0 // 5_000 * 5_000
