"""The points of a chart: states hold until they change, counters add up over their resets, sensor by sensor."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from iotd.model.batch import Times, Values
from iotd.model.calibration import Calibrations
from iotd.model.series import Series
from iotd.model.types import BUILT_IN
from iotd.web.charts import Charts, added, held, switched_on

STARTS = np.arange(0, 50, 10, dtype=np.int64)
NAN = float("nan")


def spoke(*points: tuple[int, float]) -> tuple[Times, Values]:
    return np.array([t for t, _ in points], np.int64), np.array([v for _, v in points], np.float64)


def rows(*values: list[float]) -> Values:
    return np.array(values, np.float64)


def test_a_state_holds_until_it_changes_also_from_before_the_window() -> None:
    assert held(STARTS, spoke((20, 1.0)), (-500, 0.0), None).tolist() == [0, 0, 1, 1, 1]
    assert held(STARTS, None, (-500, 1.0), None).tolist() == [1, 1, 1, 1, 1]


def test_what_has_never_spoken_shows_nothing() -> None:
    assert np.isnan(held(STARTS, None, None, None)).all()
    np.testing.assert_array_equal(held(STARTS, spoke((20, 1.0)), None, None), [NAN, NAN, 1, 1, 1])


def test_a_counter_that_says_nothing_any_more_has_a_gap() -> None:
    np.testing.assert_array_equal(held(STARTS, spoke((10, 5.0)), (-100, 4.0), 15), [NAN, 5, 5, NAN, NAN])


def test_of_states_those_that_are_on_are_counted() -> None:
    np.testing.assert_array_equal(switched_on(rows([NAN, 0, 1, 1], [NAN, NAN, 1, 0], [NAN] * 4)), [NAN, 0, 2, 1])


def test_counters_add_up_each_by_itself_whatever_they_show() -> None:
    both = rows([100, 101, 101, 3], [NAN, 9_000, 9_002, NAN])
    assert added(both, [99.0, None]).tolist() == [1, 2, 4, 7]
    assert added(both, [None, 8_000.0]).tolist() == [0, 1_001, 1_003, 1_006]
    assert np.isnan(added(rows([NAN, NAN]), [5.0])).all()


@given(st.lists(st.one_of(st.none(), st.integers(0, 1000)), min_size=1, max_size=30), st.none() | st.integers(0, 1000))
def test_what_was_added_is_what_one_would_count_by_hand(shown: list[int | None], before: int | None) -> None:
    total, last = 0, before
    for value in shown:
        if value is not None:
            total += 0 if last is None else value - last if value >= last else value
            last = value
    found = added(rows([NAN if value is None else value for value in shown]), [before])
    known = found[~np.isnan(found)]
    assert (known[-1] if len(known) else 0) == total
    assert (np.diff(known) >= 0).all()


class Look:
    """A shard of three types; notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    async def recent(self, series: list[Series], count: int) -> list[Times]:
        step = {"temperature": 1_000, "humidity": 60_000, "contact": 7_000}
        return [step[one.type] * np.arange(count, dtype=np.int64) for one in series]

    async def by_type(self, types: list[str], first: int, bucket: int) -> dict[str, tuple[Times, Values]]:
        self.asked.append((*types, str(bucket)))
        return {kind: (np.array([first], np.int64), rows([20.0, 19.0, 21.0])) for kind in types}

    async def lasts(self, kind: str, first: int, bucket: int) -> dict[Series, tuple[Times, Values]]:
        self.asked.append((kind, str(bucket)))
        return {}

    async def before(self, series: list[Series], upto: int) -> list[tuple[int, float] | None]:
        return [(upto - 9, 1.0) for _ in series]


async def test_each_type_has_a_window_of_its_own_and_is_asked_for_only_when_it_is_due() -> None:
    look = Look()
    charts = Charts(look, BUILT_IN, lambda: 1_796_000_000_000)  # type: ignore[arg-type]
    current = {kind: [Series(kind, "salon", "1")] for kind in ("temperature", "humidity", "contact")}
    await charts.refresh(current, Calibrations())
    assert look.asked == [("contact", "15000"), ("temperature", "5000"), ("humidity", "120000")]
    assert charts.step("humidity") == 60_000
    assert charts.shown["temperature"].points == [(1_796_000_000_000 - 595_000, 20.0, 19.0, 21.0)]
    assert {point[1] for point in charts.shown["contact"].points} == {1.0}
    assert len(charts.shown["contact"].points) == 120
    before = charts.shown
    await charts.refresh(current, Calibrations())
    assert (len(look.asked), charts.shown) == (3, before)
    await charts.refresh({"temperature": current["temperature"]}, Calibrations())
    assert set(charts.shown) == {"temperature"}


async def test_there_is_no_chart_of_more_states_than_can_be_added_up() -> None:
    look = Look()
    charts = Charts(look, BUILT_IN, lambda: 1_796_000_000_000)  # type: ignore[arg-type]
    await charts.refresh({"contact": [Series("contact", "salon", str(n)) for n in range(3_000)]}, Calibrations())
    assert (charts.shown["contact"].points, look.asked) == ([], [])
