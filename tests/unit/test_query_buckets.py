"""Buckets by the clock on the wall, and aggregations put together from parts."""

from __future__ import annotations

import math
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.model.aggregate import AGGREGATIONS, Aggregation, Piece, combine, needs, piece
from iotd.model.errors import UsageError
from iotd.query.buckets import runs
from iotd.query.names import aggregation

PARIS = ZoneInfo("Europe/Paris")
HOUR, DAY = 3_600_000, 86_400_000


def at(*parts: int) -> int:
    """The ms of year, month, day, hour … in Paris."""
    return round(datetime(*parts).replace(tzinfo=PARIS).timestamp() * 1000)  # type: ignore[arg-type]


def walls(first: int, stop: int, width: int, at_once: int = 1000) -> list[str]:
    return [
        datetime.fromtimestamp(start / 1000, PARIS).strftime("%a %d %H:%M")
        for run in runs(first, stop, width, at_once, PARIS)
        for start in run.starts.tolist()
    ]


def test_a_day_begins_at_midnight_also_when_it_has_25_hours() -> None:
    found = list(runs(at(2026, 10, 24, 15), at(2026, 10, 27, 1), DAY, 1000, PARIS))
    assert [(len(run), run.width // HOUR) for run in found] == [(1, 24), (1, 25), (2, 24)]
    assert walls(at(2026, 10, 24, 15), at(2026, 10, 27, 1), DAY) == [
        *("Sat 24 00:00", "Sun 25 00:00", "Mon 26 00:00", "Tue 27 00:00"),
    ]


def test_a_day_of_23_hours_has_its_own_length() -> None:
    lengths = [run.width // HOUR for run in runs(at(2026, 3, 28), at(2026, 3, 31), DAY, 1000, PARIS)]
    assert lengths == [24, 23, 24]


def test_a_week_begins_on_monday() -> None:
    assert walls(at(2026, 11, 24), at(2026, 12, 1), 7 * DAY) == ["Mon 23 00:00", "Mon 30 00:00"]


def test_six_hours_keep_to_the_wall_clock_across_the_change() -> None:
    found = walls(at(2026, 3, 29), at(2026, 3, 30), 6 * HOUR)
    assert found == ["Sun 29 00:00", "Sun 29 06:00", "Sun 29 12:00", "Sun 29 18:00"]


def test_the_hour_that_the_clocks_skip_makes_no_bucket_and_the_double_one_two() -> None:
    assert len(walls(at(2026, 3, 29), at(2026, 3, 30), HOUR)) == 23
    assert len(walls(at(2026, 10, 25), at(2026, 10, 26), HOUR)) == 25
    assert len(walls(at(2026, 3, 29), at(2026, 3, 29, 6), 2 * HOUR)) == 3


@given(
    st.integers(at(2026, 1, 1), at(2026, 12, 31)),
    st.integers(1, 3 * DAY),
    st.sampled_from([1, 250, 60_000, HOUR, 2 * HOUR, 7 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY]),
    st.integers(1, 50),
)
def test_buckets_touch_cover_the_range_and_come_in_runs_of_the_size_asked(
    first: int, length: int, width: int, at_once: int
) -> None:
    length = min(length, 1000 * width)
    found = list(runs(first, first + length, width, at_once, PARIS))
    assert found[0].first <= first < found[0].first + found[0].width
    assert found[-1].last + 1 - found[-1].width < first + length <= found[-1].last + 1
    for run in found:
        assert len(run) <= at_once
        assert (run.last + 1 - run.first) % run.width == 0
    assert all(a.last + 1 == b.first for a, b in pairwise(found))


@given(
    st.lists(st.floats(-100, 100), min_size=1, max_size=40),
    st.lists(st.integers(1, 39), max_size=4),
    st.sampled_from(AGGREGATIONS),
)
def test_parts_of_a_bucket_make_what_the_whole_would(values: list[float], cuts: list[int], what: Aggregation) -> None:
    whole = np.array(values)
    shares = [share for share in np.split(whole, sorted(cuts)) if len(share)]
    pieces: list[Piece] = [{need: piece(share)[need] for need in needs(what)} for share in shares]
    expected = {
        "avg": whole.mean(),
        "min": whole.min(),
        "max": whole.max(),
        "sum": whole.sum(),
        "count": len(whole),
        "first": whole[0],
        "last": whole[-1],
        "range": np.ptp(whole),
        "std.p": whole.std(),
    }[what]
    assert math.isclose(combine(what, pieces), expected, rel_tol=1e-9, abs_tol=1e-6)


def test_an_aggregation_by_its_other_names_and_one_that_is_none() -> None:
    assert (aggregation("mean"), aggregation("AVG"), aggregation("stddev")) == ("avg", "avg", "std.p")
    with pytest.raises(UsageError, match="there are avg, min, max"):
        aggregation("median")
