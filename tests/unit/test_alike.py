"""Summaries of the same readings are alike, however a server adds them; those of altered readings are not."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from iotd.archive.alike import alike, squares_of
from iotd.model.batch import Values
from iotd.stores.base import Summary
from iotd.stores.embedded.block import squares, total


def plain(values: Values) -> Summary:
    """Added one after the other, as InfluxDB does."""
    with np.errstate(over="ignore", invalid="ignore"):
        sums = [float(column.cumsum()[-1]) for column in (values, values * values)]
    return Summary(0, len(values), sums[0], float(values.min()), float(values.max()), sums[1])


def of_redis(values: Values) -> Summary:
    """As TimeSeries computes its variance (compaction.c), of what it added one after the other."""
    its, count = plain(values), float(len(values))
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.float64(its.sum) / count
        variance = float((its.squares - 2 * its.sum * mean + mean * mean * count) / count)
    return Summary(0, its.count, its.sum, its.min, its.max, squares_of(count, its.sum, variance))


def embedded(values: Values) -> Summary:
    return Summary(0, len(values), total(values), float(values.min()), float(values.max()), squares(values))


doubles = st.floats(allow_nan=False, allow_infinity=False)
some = st.lists(doubles, min_size=1, max_size=50)
alone = st.tuples(doubles, st.floats(-1e-6, 1e-6), st.integers(1, 200), st.integers(0, 2**32 - 1)).map(
    lambda how: (how[0] + how[1] * np.random.default_rng(how[3]).normal(0, 1, how[2])).tolist()
)


@given(values=st.one_of(some, alone), order=st.randoms(use_true_random=False))
@example(values=[1.7e308, 1.7e308, -1.7e308], order=None)
@example(values=[5e-324] * 3, order=None)
@example(values=[1e-162, -1e-162, 3e-162], order=None)
@example(values=[1e16, 1.0, -1e16], order=None)
@settings(max_examples=500, deadline=None)
def test_the_same_readings_are_alike_in_whatever_order_they_are_added(values: list[float], order: object) -> None:
    values = [value for value in values if math.isfinite(value)] or [0.0]
    forth = np.array(values)
    makes = (plain, of_redis, embedded)
    for one in makes:
        for other in makes:
            for back in (forth, forth[::-1].copy(), np.sort(forth)):
                assert alike(one(forth), other(back)), (one, other)


def test_an_hour_of_any_shape_is_alike_to_itself() -> None:
    rng = np.random.default_rng(1)
    for n in (60, 3600, 100_000):
        for values in (
            20 + rng.normal(0, 0.1, n),
            1e15 + rng.normal(0, 1, n),
            rng.normal(0, 1, n) * 10.0 ** rng.integers(-300, 300, n),
            np.full(n, 0.1),
            np.full(n, 1e-200),
        ):
            for other in (of_redis, embedded, plain):
                assert alike(plain(values), other(values[::-1].copy()))


@given(at=st.integers(1, 3598), by=st.sampled_from([1e-6, 0.01, -0.01, 0.5]), pair=st.booleans())
@settings(max_examples=60, deadline=None)
def test_one_altered_value_is_seen_and_a_pair_that_leaves_the_sum(at: int, by: float, pair: bool) -> None:
    values = np.round(20 + np.sin(np.arange(3600) / 500) * 3, 2)
    values[0], values[-1] = 10.0, 30.0  # smallest and largest stay
    altered = values.copy()
    altered[at] += by
    if pair:
        by = 0.01 if abs(by) < 0.01 else by
        other = at + 700 if at < 1800 else at - 700
        altered[at] = values[at] + by
        altered[other] -= by
        if abs(2 * by * (by + values[at] - values[other])) < 1e-5:
            return  # below what is promised: they changed places, nearly
    for one in (plain, of_redis, embedded):
        for other_way in (plain, of_redis, embedded):
            assert not alike(one(values), other_way(altered))


def test_squares_beyond_float64_hide_nothing_else() -> None:
    values = np.array([1e200, 2e200, 3e200, 4e200])
    for at, value in ((1, 2.5e200), (0, 0.0), (3, 5e200)):
        altered = values.copy()
        altered[at] = value
        assert not alike(of_redis(values), embedded(altered))
    assert not alike(of_redis(values), embedded(values[:3]))
    assert alike(of_redis(values), embedded(values))


def test_none_is_alike_to_none_only() -> None:
    assert alike(None, None)
    assert not alike(None, plain(np.array([1.0])))
