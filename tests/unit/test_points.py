"""Runs of samples: from the bytes of Redis to line protocol, and cut in halves, without touching a value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.model.series import Series
from iotd.stores.influxdb.lines import lines, tag, text_of
from iotd.stores.points import Points, halves

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
    times, values = points.arrays()
    assert list(zip(times.tolist(), values.tolist(), strict=True)) == [(time, float(value)) for time, value in wanted]
    assert (len(points), points.first, points.last) == (len(wanted), wanted[0][0], wanted[-1][0])


@given(st.lists(st.tuples(st.integers(0, 2**48), st.floats(allow_nan=False, allow_infinity=False)), min_size=1))
def test_arrays_come_back_to_the_last_digit(wanted: list[tuple[int, float]]) -> None:
    times, values = np.array([t for t, _ in wanted], np.int64), np.array([v for _, v in wanted], np.float64)
    points = Points.from_arrays(SALON, times, values)
    found = points.arrays()
    assert (found[0].tobytes(), found[1].tobytes()) == (times.tobytes(), values.tobytes())
    assert points.samples() == Points.of(SALON, points.samples()).samples()
    assert (len(points), points.first, points.last) == (len(wanted), wanted[0][0], wanted[-1][0])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_makes_no_points(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Points.from_arrays(SALON, np.array([T0]), np.array([value]))


@given(st.text(st.one_of(st.sampled_from("%\\05Cc,= \n"), st.characters(exclude_categories=()))))
def test_any_text_can_be_a_tag(text: str) -> None:
    made = tag(text)
    assert text_of(made) == text
    assert not made.endswith("\\")
    assert "\n" not in made
    made.encode()


@given(samples)
def test_a_line_is_the_series_the_value_as_it_came_and_the_time(wanted: list[tuple[int, bytes]]) -> None:
    head = b"temperature,location=salon,sensor_id=1,unit=celsius value="
    assert lines([Points.of(SALON, wanted)]) == b"\n".join(b"%b%b %d" % (head, v, t) for t, v in wanted)


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
    line = lines([Points.of(Series("humidity", name, "2"), [(T0, b"1")])]).decode()
    assert line == f"humidity,location={tag},sensor_id=2,unit=percent value=1 {T0}"
