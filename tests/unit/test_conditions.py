"""The register of conditions: when one begins, when it is over, and what outlives a restart."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.health.conditions import Conditions, Found
from iotd.health.kinds import KINDS
from iotd.model.errors import UsageError

DEAD = Found("not_written", "salon", "no master")
LATE = KINDS["not_written"].after_s
LOST = Found("readings_lost", "salon", "3 readings", "sensor:temperature:salon:1 1-4")
HELD = Found("readings_held", "salon", "1 reading")


class Clocks:
    def __init__(self) -> None:
        self.wall, self.steady = 1_000_000.0, 5.0

    def go(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "conditions.json"


def register(file: Path, clocks: Clocks) -> Conditions:
    return Conditions(file, now=lambda: clocks.wall, steady=lambda: clocks.steady)


def names(conditions: Conditions) -> list[str]:
    return [one.name for one in conditions.present]


def test_it_begins_when_it_has_lasted_and_says_since_when_and_stays_in_the_history(file: Path, clocks: Clocks) -> None:
    conditions = register(file, clocks)
    conditions.update([DEAD])
    assert names(conditions) == []
    clocks.go(LATE - 0.1)
    conditions.update([DEAD])
    assert names(conditions) == []
    clocks.go(0.1)
    conditions.update([Found("not_written", "salon", "no master; Sentinels are asked.")])
    (one,) = conditions.present
    assert (one.severity, one.location, one.detail) == ("error", "salon", "no master; Sentinels are asked")
    assert one.since == pytest.approx(1_000_000.0)
    assert (one.meaning, one.remedy) == (KINDS["not_written"].meaning, KINDS["not_written"].remedy)
    clocks.go(60)
    conditions.update([])
    assert names(conditions) == []
    (over,) = conditions.past
    assert (over.name, over.since, over.until) == ("not_written", one.since, clocks.wall)


def test_what_is_over_at_once_is_nothing_for_the_history(file: Path, clocks: Clocks) -> None:
    conditions = register(file, clocks)
    conditions.update([Found("not_running", None, "the daemon is starting")])
    assert names(conditions) == ["not_running"]
    clocks.go(1)
    conditions.update([])
    assert (conditions.present, conditions.past) == ([], [])


def test_one_that_flickers_begins_anew_each_time(file: Path, clocks: Clocks) -> None:
    conditions = register(file, clocks)
    for _ in range(20):
        conditions.update([DEAD])
        clocks.go(LATE - 1)
        conditions.update([])
        clocks.go(1)
    assert (conditions.present, conditions.past) == ([], [])


def test_a_clock_that_is_set_back_ends_nothing_and_hurries_nothing(file: Path, clocks: Clocks) -> None:
    conditions = register(file, clocks)
    conditions.update([DEAD])
    clocks.wall -= 86_400
    conditions.update([DEAD])
    assert names(conditions) == []
    clocks.steady += LATE
    conditions.update([DEAD])
    assert names(conditions) == ["not_written"]


def test_a_loss_stays_until_a_person_has_acknowledged_it_and_is_not_told_again(file: Path, clocks: Clocks) -> None:
    conditions = register(file, clocks)
    conditions.update([LOST])
    conditions.update([])
    assert names(conditions) == ["readings_lost"]
    conditions.save()
    again = register(file, clocks)
    assert names(again) == ["readings_lost"]
    with pytest.raises(UsageError, match="of cuisine"):
        again.acknowledge("readings_lost", "cuisine")
    assert again.acknowledge("readings_lost", None) == 1
    again.update([LOST])
    assert names(again) == []
    again.save()
    after = register(file, clocks)
    after.update([LOST])
    assert names(after) == []
    assert [one.name for one in after.past] == ["readings_lost"]
    other = Found("readings_lost", "salon", "2 readings", "sensor:temperature:salon:1 9-11")
    after.update([LOST, other])
    assert [one.about for one in after.present] == [other.about]


@pytest.mark.parametrize(
    ("name", "says"),
    [("no_such", "no condition 'no_such'"), ("no_replica", "over by itself"), ("log_damaged", "there is no log_")],
)
def test_what_cant_be_acknowledged_is_refused_in_a_line(file: Path, clocks: Clocks, name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        register(file, clocks).acknowledge(name, None)


def test_errors_come_first_and_each_in_the_order_of_the_runbook(file: Path, clocks: Clocks) -> None:
    conditions = register(file, clocks)
    found = [HELD, LOST, Found("no_replica", "b"), Found("no_replica", "a"), Found("log_failing", None, "full")]
    conditions.update(found)
    clocks.go(10)
    conditions.update(reversed(found))
    assert [(one.name, one.location) for one in conditions.present] == [
        ("log_failing", None),
        ("readings_lost", "salon"),
        ("no_replica", "a"),
        ("no_replica", "b"),
        ("readings_held", "salon"),
    ]


@given(st.one_of(st.binary(max_size=200), st.from_regex(r"\{.*\}", fullmatch=True).map(str.encode)))
def test_a_file_that_is_not_ours_begins_anew(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("c") / "conditions.json"
    file.write_bytes(content)
    conditions = Conditions(file)
    assert (conditions.present, conditions.past) == ([], [])


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        "null",
        '{"present": [1], "past": [], "acknowledged": []}',
        '{"present": [{"name": "no_such"}], "past": [], "acknowledged": []}',
        '{"present": [], "past": [], "acknowledged": [1, 2]}',
        '{"present": [], "past": [], "acknowledged": [[["a"], null, 2]]}',
        '{"present": 5, "past": {}, "acknowledged": null}',
    ],
)
def test_json_that_is_not_ours_begins_anew(file: Path, content: str) -> None:
    file.write_text(content)
    conditions = Conditions(file)
    conditions.update([])
    assert (conditions.present, conditions.past) == ([], [])


def test_what_cant_be_written_is_tried_again(tmp_path: Path, clocks: Clocks) -> None:
    conditions = register(tmp_path / "away" / "conditions.json", clocks)
    conditions.update([LOST])
    conditions.save()
    (tmp_path / "away").mkdir()
    conditions.save()
    assert names(register(tmp_path / "away" / "conditions.json", clocks)) == ["readings_lost"]
