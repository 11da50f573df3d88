"""Which readings are due: exactly the grid, none twice, no hole, however it is split."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from iotd.config import Tree
from iotd.sources.simulator.schedule import Grid, Schedule

times = st.integers(0, 10_000_000)


def whole(parts: object) -> list[int]:
    return [t for part in parts for t in part.tolist()]  # type: ignore[attr-defined]


def multiples(step: int, after: int, upto: int) -> list[int]:
    return list(range(-(-(after + 1) // step) * step, upto + 1, step))


@given(times, st.integers(-5_000, 100_000), st.integers(1, 5_000), st.integers(1, 50))
def test_a_grid_is_all_whole_multiples_between_its_ends(after: int, length: int, step: int, at_once: int) -> None:
    grid = Grid(after, after + length, step, at_once)
    expected = multiples(step, after, after + length)
    parts = list(grid)
    assert whole(parts) == expected
    assert grid.count == len(expected)
    assert all(0 < len(part) <= at_once and part.dtype == np.int64 for part in parts)
    backwards = list(reversed(grid))
    assert [part.tolist() for part in backwards] == [part.tolist() for part in reversed(parts)]


schedules = st.builds(
    Schedule,
    interval=st.sampled_from([1, 7, 100, 1000]),
    catch_up=st.integers(10_000, 100_000),
    step=st.sampled_from([7_000, 14_000]),
    history=st.integers(0, 1_000_000),
)


@given(schedules, times, st.integers(0, 300_000), st.integers(1, 100_000))
def test_due_is_the_fine_grid_of_the_last_while_and_the_coarse_one_before(
    schedule: Schedule, after: int, length: int, at_once: int
) -> None:
    now = after + length
    due = whole(schedule.due(after, now, at_once))
    border = max(after, now - schedule.catch_up)
    assert [t for t in due if t <= border] == multiples(schedule.step, after, border)
    assert [t for t in due if t > border] == multiples(schedule.interval, border, now)
    assert len(due) == schedule.count(after, now)
    assert all(a < b for a, b in pairwise(due))


@given(schedules, times, st.lists(st.integers(0, 9_000), min_size=1, max_size=12), st.integers(1, 1_000))
def test_however_the_present_is_split_each_reading_is_due_once(
    schedule: Schedule, start: int, steps: list[int], at_once: int
) -> None:
    found: list[int] = []
    now = last = start
    for step in steps:
        now += step
        for part in schedule.due(last, now, at_once):
            found += part.tolist()
            last = found[-1]
    assert found == multiples(schedule.interval, start, now)
    assert schedule.next(now) > now
    assert schedule.next(now) - now <= schedule.interval
    assert schedule.next(now) % schedule.interval == 0


def of(**settings: object) -> Schedule:
    return Schedule.of(Tree.model_validate(settings))


def test_the_coarse_step_lies_on_the_grid_of_the_interval() -> None:
    schedule = of(sensors={"interval": "3s"}, simulator={"history_step": "10s"})
    assert (schedule.interval, schedule.step) == (3_000, 12_000)
    assert of(sensors={"interval": "1m"}, simulator={"history_step": "10s"}).step == 60_000


def test_a_loop_that_is_late_loses_no_live_reading_even_if_nothing_is_remembered() -> None:
    schedule = of(simulator={"catch_up": 0})
    assert whole(schedule.due(1_000, 5_003, 100)) == [2_000, 3_000, 4_000, 5_000]


def test_without_history_the_last_while_is_remembered_all_the_same() -> None:
    schedule = of(simulator={"history_days": 0, "catch_up": "1h"})
    assert schedule.oldest(10_000_000) == 10_000_000 - 3_600_000
    assert of(simulator={"history_days": 1}).oldest(100_000_000) == 100_000_000 - 86_400_000
