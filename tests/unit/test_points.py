"""Runs of samples: from the bytes of Redis to line protocol, and cut in halves, without touching a value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.archive.points import Points, halves, lines
from iotd.model.series import Series

SALON = Series("temperature", "salon", "1")
T0 = 1_790_000_000_000

values = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(lambda v: repr(v).encode()),
    st.sampled_from([b"-3E-2", b"1E+20", b"1E-5", b"100", b"-0"]),
)
samples = st.lists(st.tuples(st.integers(0, 2**48), values), min_size=1, max_size=50)


@given(samples)
def test_samples_come_back_as_they_were_put_in(wanted: list[tuple[int, bytes]]) -> None:
    points = Points.of(SALON, wanted)
    assert points.samples() == wanted
    assert points.numbers() == [(time, float(value)) for time, value in wanted]
    assert (len(points), points.first, points.last) == (len(wanted), wanted[0][0], wanted[-1][0])


@given(samples)
def test_a_line_is_the_series_the_value_as_it_came_and_the_time(wanted: list[tuple[int, bytes]]) -> None:
    head = b"temperature,location=salon,sensor_id=1,unit=celsius value="
    assert Points.of(SALON, wanted).lines() == b"\n".join(b"%b%b %d" % (head, v, t) for t, v in wanted)


@given(st.lists(samples, min_size=1, max_size=4))
def test_halves_hold_all_of_a_batch_in_its_order(runs: list[list[tuple[int, bytes]]]) -> None:
    batch = [Points.of(SALON, run) for run in runs]
    if sum(map(len, batch)) < 2:
        return
    left, right = halves(batch)
    assert left
    assert right
    assert lines([*left, *right]) == lines(batch)
    assert abs(sum(map(len, left)) - sum(map(len, right))) <= 1


@pytest.mark.parametrize(("name", "tag"), [("a b", r"a\ b"), ("a,b", r"a\,b"), ("a=b", r"a\=b"), ("été", "été")])
def test_signs_that_separate_are_escaped_in_tags(name: str, tag: str) -> None:
    line = Points.of(Series("humidity", name, "2"), [(T0, b"1")]).lines().decode()
    assert line == f"humidity,location={tag},sensor_id=2,unit=percent value=1 {T0}"
