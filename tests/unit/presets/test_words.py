"""What presets find in texts."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.model.errors import Refused
from iotd.model.observation import Names
from iotd.sources.mqtt.presets.words import Memo, is_there, kind_of, meaning_of, perhaps_presence, presence, under
from tests.unit.presets.readers import NAMES


@pytest.mark.parametrize(
    ("name", "kind", "rest"),
    [
        ("temperature", "temperature", ""),
        ("Salon Température", "temperature", "salon"),
        ("battery_voltage", "voltage", "battery"),
        ("battery level", "battery_level", ""),
        ("battery_1", "battery", "1"),
        ("power_kw", "power_kw", ""),
        ("pm_2_5", "pm25", ""),
        ("PM 10.0", "pm10", ""),
        ("co2-sensor", "co2", "sensor"),
    ],
)
def test_the_longest_run_of_words_that_names_a_type(name: str, kind: str, rest: str) -> None:
    found = meaning_of(name, NAMES)
    assert found is not None
    assert (found.type, found.rest) == (kind, rest)


@pytest.mark.parametrize("name", ["", "_", "uptime", "wind_direction", "power factor", "°C", "2"])
def test_a_name_without_a_type(name: str) -> None:
    assert meaning_of(name, NAMES) is None


@given(st.text(max_size=40))
def test_any_name_has_a_type_that_is_known_or_none(name: str) -> None:
    found = meaning_of(name, NAMES)
    assert found is None or NAMES.knows(found.type)


def test_kinds_of_the_built_in_types() -> None:
    assert [kind_of(name) for name in ("temp", "temperature_F", "energy_Wh", "door", "radiation")] == [
        "gauge", "gauge", "counter", "state", None,
    ]  # fmt: skip


class _Two(NamedTuple):
    known: frozenset[str]

    def knows(self, name: str) -> bool:
        return name in self.known

    def ignores(self, name: str) -> bool:
        return False


def test_a_memo_finds_anew_when_other_names_are_known_and_stays_small() -> None:
    asked: list[str] = []

    def find(text: str, names: Names) -> bool:
        asked.append(text)
        return names.knows(text)

    memo = Memo(find)
    one, other = _Two(frozenset({"a"})), _Two(frozenset())
    assert [memo.of("a", one), memo.of("a", one), memo.of("a", other), memo.of("a", one)] == [True, True, False, True]
    assert len(asked) == 3
    for number in range(10_000):
        memo.of(str(number), one)
    assert len(memo) < 5_000


@pytest.mark.parametrize(
    ("base", "topic", "expected"),
    [
        ("a", "a/b", ([], ["b"])),
        ("a", "a", ([], [])),
        ("a/+", "a/b/c", (["b"], ["c"])),
        ("+", "x", (["x"], [])),
        ("a/b", "a", None),
        ("a", "ab/c", None),
    ],
)
def test_a_topic_under_its_base(base: str, topic: str, expected: object) -> None:
    assert under(base, topic.split("/")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("online", True), ("Offline", False), ("TRUE", True), ("0", False), ("perhaps", None), ("", None)],
)
def test_words_for_there_and_gone(text: str, expected: bool | None) -> None:
    assert is_there(text) is expected


@pytest.mark.parametrize(("payload", "why"), [("online", "names nobody"), ("perhaps", "names nobody")])
def test_a_presence_is_somebodys(payload: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        presence(payload.encode(), "")
    assert perhaps_presence(payload.encode(), "").presence == ()
