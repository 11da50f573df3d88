"""Times as people write them, in the local zone, also across the change of the clocks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from iotd.model.errors import UsageError
from iotd.query.times import Edge, parse_bucket, parse_range, parse_time

PARIS = ZoneInfo("Europe/Paris")
NOW = datetime(2026, 11, 24, 15, 30, 0, tzinfo=PARIS)  # a Tuesday


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def read(value: object, edge: Edge = "start") -> datetime:
    at = parse_time(value, edge=edge, now=ms(NOW), zone=PARIS)  # type: ignore[arg-type]  # wrong ones too
    return datetime.fromtimestamp(at / 1000, PARIS)


def paris(*parts: int) -> datetime:
    """The moment at year, month, day, hour … in Paris."""
    return datetime(*parts).replace(tzinfo=PARIS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("now", NOW),
        ("-1h", NOW - timedelta(hours=1)),
        ("−1h", NOW - timedelta(hours=1)),
        ("-1h30m", NOW - timedelta(minutes=90)),
        ("-1.5h", NOW - timedelta(minutes=90)),
        ("now-15m", NOW - timedelta(minutes=15)),
        ("2 hours ago", NOW - timedelta(hours=2)),
        ("an hour ago", NOW - timedelta(hours=1)),
        ("1 day 2 hours ago", NOW - timedelta(hours=26)),
        ("il y a 2 heures", NOW - timedelta(hours=2)),
        ("il y a une heure et 10 minutes", NOW - timedelta(minutes=70)),
        ("-1y", paris(2025, 11, 24, 15, 30)),
        ("-9mo", paris(2026, 2, 24, 15, 30)),
        ("il y a 2 ans", paris(2024, 11, 24, 15, 30)),
        ("today", paris(2026, 11, 24)),
        ("aujourd’hui", paris(2026, 11, 24)),
        ("yesterday", paris(2026, 11, 23)),
        ("Yesterday 18:00", paris(2026, 11, 23, 18)),
        ("yesterday at 6pm", paris(2026, 11, 23, 18)),
        ("hier à 18h30", paris(2026, 11, 23, 18, 30)),
        ("avant-hier", paris(2026, 11, 22)),
        ("monday", paris(2026, 11, 23)),
        ("tuesday", paris(2026, 11, 24)),
        ("last tuesday", paris(2026, 11, 17)),
        ("lundi 8h", paris(2026, 11, 23, 8)),
        ("mardi dernier", paris(2026, 11, 17)),
        ("14:05", paris(2026, 11, 24, 14, 5)),
        ("14h05", paris(2026, 11, 24, 14, 5)),
        ("2026-11-24", paris(2026, 11, 24)),
        ("2026-11-24 18:30", paris(2026, 11, 24, 18, 30)),
        ("2026-11-24T18:30:15.250", paris(2026, 11, 24, 18, 30, 15, 250_000)),
        ("2026-11-24T18:30:00Z", datetime(2026, 11, 24, 18, 30, tzinfo=UTC)),
        ("2026-11-24T18:30:00+05:30", datetime(2026, 11, 24, 13, 0, tzinfo=UTC)),
        ("24/11/2026 18h30", paris(2026, 11, 24, 18, 30)),
        ("24.11.2026", paris(2026, 11, 24)),
        ("1790000000", datetime.fromtimestamp(1_790_000_000, UTC)),
        ("1790000000123", datetime.fromtimestamp(1_790_000_000.123, UTC)),
        (1_790_000_000, datetime.fromtimestamp(1_790_000_000, UTC)),
        (1_790_000_000.5, datetime.fromtimestamp(1_790_000_000.5, UTC)),
        (0, datetime.fromtimestamp(0, UTC)),
        (date(2026, 7, 14), paris(2026, 7, 14)),
        (datetime(2026, 7, 14, 12), paris(2026, 7, 14, 12)),
        (datetime(2026, 7, 14, 12, tzinfo=UTC), datetime(2026, 7, 14, 12, tzinfo=UTC)),
    ],
)
def test_a_time_as_people_write_it(written: object, meant: datetime) -> None:
    assert read(written) == meant


@pytest.mark.parametrize("written", ["yesterday", "2026-11-23", "23/11/2026", "monday", date(2026, 11, 23)])
def test_a_day_as_the_end_is_the_whole_day(written: object) -> None:
    assert read(written, "end") == paris(2026, 11, 24)


@pytest.mark.parametrize(
    "written",
    ["", "soon", "-", "-1x", "-h", "yesterday 25:00", "yesterday foo", "2026-13-01", "13pm", "31/02/2026", True, None],
)
def test_what_can_not_be_read_is_one_line_that_shows_how(written: object) -> None:
    with pytest.raises(UsageError, match="write it like -1h") as told:
        read(written)
    assert "\n" not in str(told.value)


def test_yesterday_is_a_day_even_when_it_had_25_hours() -> None:
    monday = ms(datetime(2026, 10, 26, 12, tzinfo=PARIS))
    begins = parse_time("yesterday", now=monday, zone=PARIS)
    ends = parse_time("yesterday", edge="end", now=monday, zone=PARIS)
    assert ends - begins == 25 * 3_600_000


def test_a_range_without_an_end_is_up_to_now_and_takes_it_in() -> None:
    assert parse_range("-1h", None, now=ms(NOW)) == (ms(NOW) - 3_600_000, ms(NOW) + 1)


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [
        ("-1h", "-2h", "the start must come before the end"),
        (1_790_000_000, 1_790_000_000, "are the same"),
        ("2030-01-01", None, "in the future"),
    ],
)
def test_an_empty_range_is_one_line_that_says_what_is_right(start: str | int, end: str | int | None, says: str) -> None:
    with pytest.raises(UsageError, match=says) as told:
        parse_range(start, end, now=ms(NOW))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("written", "length"),
    [("1m", 60_000), ("15 min", 900_000), ("1h30m", 5_400_000), ("day", 86_400_000), ("30", 30_000), (1.5, 1500)],
)
def test_a_bucket_as_people_write_it(written: str | float, length: int) -> None:
    assert parse_bucket(written) == length


@pytest.mark.parametrize("written", ["", "1 month", "0s", "-1m", "often", 0])
def test_a_bucket_that_is_none(written: str | float) -> None:
    with pytest.raises(UsageError, match="bucket"):
        parse_bucket(written)
