"""What the log keeps after everybody has passed it: for how long, and how much."""

from __future__ import annotations

import pytest

from iotd.log import keep
from iotd.log.base import record_size
from iotd.log.index import Index, Place
from iotd.log.keep import Keep

HOUR = 3600.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(keep, "monotonic", clock)
    return clock


def keeping(records: int, *, readings: int = 1, seconds: float = HOUR, limit: int = 2**40) -> Keep:
    made = Keep(Index(Place(n, readings, 0, 0, 0, 0) for n in range(1, records + 1)))
    made.seconds, made.limit = seconds, limit
    return made


def test_it_lets_go_of_nothing_before_its_time_and_of_all_soon_after_it(clock: Clock) -> None:
    kept = keeping(100)
    assert kept.until(40) == 0
    clock.now += HOUR - 1
    assert kept.until(90) == 0
    clock.now += 1
    assert kept.until(90) == 40
    clock.now += HOUR - 2
    assert kept.until(100) == 0, "nothing more"
    clock.now += 1
    assert kept.until(100) == 90


def test_without_a_time_it_keeps_nothing(clock: Clock) -> None:
    kept = keeping(100, seconds=0)
    assert [kept.until(n) for n in (0, 1, 50, 100)] == [0, 1, 50, 100]


def test_what_has_to_be_proven_anew_begins_to_be_kept_anew(clock: Clock) -> None:
    kept = keeping(100)
    kept.until(10)
    clock.now += HOUR / 2
    kept.until(60)
    kept.until(20)  # the archive may have lost the others
    clock.now += HOUR / 2
    assert kept.until(60) == 10
    clock.now += HOUR / 2
    assert kept.until(60) == 20
    clock.now += HOUR / 2
    assert kept.until(60) == 60


def test_it_keeps_a_small_part_of_the_limit_at_most_the_newest(clock: Clock) -> None:
    size = record_size(10)
    kept = keeping(1000, readings=10, limit=32 * 50 * size)
    for passed in range(0, 1000, 10):
        clock.now += HOUR / 64
        upto = kept.until(passed)
        assert upto == 0 or passed - 60 <= upto, passed
        # truncated is what any call allowed
        kept._index.truncate(upto)
        assert (len(kept._index) - (1000 - passed)) <= 50
    assert keeping(1000, readings=10, limit=32 * 50 * size).until(1000) == 1000, "too much at one moment"


def test_records_count_too(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "_RECORDS", 20)
    kept = keeping(100)
    assert kept.until(20) == 0
    clock.now += HOUR / 2
    assert kept.until(40) == 20


def test_what_is_not_passed_yet_is_never_let_go(clock: Clock) -> None:
    kept = keeping(1000, readings=1000, limit=1)
    kept.until(500)
    clock.now += 2 * HOUR
    assert kept.until(100) <= 100
    assert kept.until(0) == 0
