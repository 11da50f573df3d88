"""Times as devices write them."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.intake.moments import UNSET_BEFORE, moment_of
from iotd.model.errors import Refused
from iotd.model.observation import Columns, Moment, Observation

PARIS = ZoneInfo("Europe/Paris")


@pytest.mark.parametrize(
    ("said", "ms"),
    [
        (1_680_962_879, 1_680_962_879_000),
        (1_680_962_879.62, 1_680_962_879_620),  # Shelly's ts
        ("1680962879.62", 1_680_962_879_620),
        (1_680_962_879_620, 1_680_962_879_620),
        (1_680_962_879_620_999, 1_680_962_879_620),
        (1_680_962_879_620_999_999, 1_680_962_879_620),
        ("1680962879620999999", 1_680_962_879_620),
        ("2026-11-28T04:20:00Z", 1_795_839_600_000),
        ("2026-11-28T05:20:00+01:00", 1_795_839_600_000),
        ("2026-11-28T05:20:00", 1_795_839_600_000),  # Tasmota, in Paris
        ("2026-11-28 05:20:00.0009", 1_795_839_600_000),
        ("2026-07-01T12:00:00", 1_782_900_000_000),
    ],
)
def test_what_devices_write(said: object, ms: int) -> None:
    assert moment_of(said, PARIS) == Moment(ms)


@pytest.mark.parametrize("said", [None, "", 0, 12, "1970-01-01T00:00:17", "1999-12-31T23:59:59Z", -5])
def test_a_clock_that_was_not_set_gives_no_time(said: object) -> None:
    assert moment_of(said, PARIS) is None


@pytest.mark.parametrize(
    "said", ["yesterday", "2026-13-01", True, [1], {}, float("nan"), float("inf"), "1e400", "9" * 5000]
)
def test_what_is_no_time_is_refused(said: object) -> None:
    with pytest.raises(Refused, match="not a time"):
        moment_of(said, PARIS)


def test_the_repeated_hour_is_marked_and_taken_as_the_first() -> None:
    once = moment_of("2026-10-25T02:30:00", PARIS)
    assert once == Moment(1_792_888_200_000, ambiguous=True)
    assert moment_of("2026-10-25T01:59:59", PARIS) == Moment(1_792_886_399_000)
    assert moment_of("2026-10-25T03:00:00", PARIS) == Moment(1_792_893_600_000)
    assert moment_of("2026-03-29T02:30:00", PARIS) == Moment(1_774_747_800_000)  # skipped: not ambiguous


@given(st.datetimes(datetime(2000, 1, 2), datetime(2100, 1, 1)), st.sampled_from(["ms", "us", "ns"]))
def test_every_way_to_write_a_moment_means_the_same(when: datetime, unit: str) -> None:
    aware = when.replace(tzinfo=UTC)
    us = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // (datetime.resolution)
    wanted = Moment(us // 1000)
    assert moment_of(aware.isoformat(), PARIS) == wanted
    assert moment_of(us // 1000 if unit == "ms" else us * (1000 if unit == "ns" else 1), PARIS) == wanted
    assert wanted.ms >= UNSET_BEFORE


@given(st.one_of(st.text(), st.integers(), st.floats(), st.binary(), st.lists(st.integers())))
def test_anything_is_a_time_or_none_or_refused(said: object) -> None:
    try:
        moment = moment_of(said, PARIS)
    except Refused:
        return
    assert moment is None or isinstance(moment.ms, int)


@given(st.one_of(st.integers(-(10**28), 10**28), st.floats(), st.integers(10**9, 10**19)))
def test_a_number_means_the_same_among_many(said: float) -> None:
    (column,) = Columns.of([Observation("temperature", "1", 20, time=said)]).times
    in_column = Moment(column) if type(column) is int else column
    assert _told(in_column) == _told(said)


def _told(said: object) -> object:
    try:
        return moment_of(said, PARIS)
    except Refused as e:
        return e.reason
