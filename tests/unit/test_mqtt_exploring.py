"""What is listened to is sorted into a survey that stays small, whatever is said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.config.sections.mqtt import Broker
from iotd.intake.resolve import Resolver
from iotd.model.errors import ConfigError, Refused
from iotd.model.observation import Observation
from iotd.model.types import BUILT_IN
from iotd.sources.mqtt.exploring import survey
from iotd.sources.mqtt.exploring.knowing import Kinds, Knowing, other_kinds
from iotd.sources.mqtt.exploring.survey import RETAINED, Listener
from iotd.sources.mqtt.packets import Publish
from iotd.sources.mqtt.presets.base import NOTHING, Delivery, Filter, Heard, Known, Presence, Reader
from iotd.sources.mqtt.reading import kinds_of
from tests.intakes import world

NAMES = Resolver(BUILT_IN, {"salon": ()}, {})
NOW = 1_790_000_000_000


def message(topic: str, payload: bytes = b"21.5", *, qos: int = 1, retained: bool = False) -> Publish:
    return Publish(topic, payload, qos, retained, False, 1 if qos else 0, len(payload))


def rules(*topics: str, **more: Any) -> Kinds:
    return kinds_of(Broker.model_validate({"url": "mqtt://b", "topic": [{"topic": topic, **more} for topic in topics]}))


def listener(configured: Kinds, others: Kinds = []) -> Listener:  # noqa: B006
    return Listener(configured, others, NAMES, lambda: NOW)


class Says:
    """A preset that says what it is told to."""

    name = "says"
    base = ""

    def __init__(self, heard: Heard, *filters: str) -> None:
        self._heard = heard
        self._filters = filters

    def filters(self, notes: Any) -> Sequence[Filter]:
        return [Filter(topic) for topic in self._filters]

    def reader(self, topic: str) -> Reader | None:
        def read(delivery: Delivery, known: Known) -> Heard:
            return self._heard

        return read


async def test_messages_are_counted_by_sensor_and_type() -> None:
    one = listener(rules("home/{location}/{type}"))
    for n in range(4):
        one.hear(message("home/salon/temperature", f"2{n}".encode(), qos=n % 2), at=10.0 + 2 * n)
    one.hear(message("home/salon/temperature", b"30", retained=True), at=20.0)
    one.hear(message("home/salon/temperature", b"[]"), at=21.0)
    survey = one.finished()
    await survey.judge(world())
    good, bad = survey.seen.values()
    assert (good.messages, good.retained, good.qos0, good.every_s) == (5, 1, 2, 2.0)
    assert good.fate is not None
    assert (good.fate.became, good.fate.reason) == ("nothing", RETAINED)  # the last one was retained
    assert bad.fate is not None
    assert bad.fate.became == "held"
    assert (survey.live, survey.live_qos0) == (
        {"topic home/{location}/{type}": 5},
        {"topic home/{location}/{type}": 2},
    )


def test_what_is_configured_is_asked_before_the_others() -> None:
    twice = Heard((Observation("temperature", "x", 1, "salon"),))
    one = listener(rules("home/{location}/{type}"), [("says", Says(twice, "#"))])
    one.hear(message("home/salon/temperature"), 0)
    one.hear(message("elsewhere"), 0)
    assert [(its.preset, its.configured) for its in one.survey.seen.values()] == [
        ("topic home/{location}/{type}", True),
        ("says", False),
    ]


def test_a_preset_that_says_nothing_knows_what_it_is_subscribed_to() -> None:
    delivery = Delivery(b"")
    quiet = Knowing([("says", Says(NOTHING, "a/+"))])
    assert quiet.read("a/b", delivery, 0, {}, NAMES) is not None
    assert quiet.read("b/b", delivery, 0, {}, NAMES) is None
    loud = Knowing([("says", Says(Heard(presence=(Presence("x", online=True),))))])
    assert loud.read("b/b", delivery, 0, {}, NAMES) is not None


def test_a_preset_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match="there is no preset 'nonsense'"):
        other_kinds([], ["nonsense"])


def test_a_survey_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "_ROWS", 100)
    monkeypatch.setattr(survey, "_NOTES_BYTES", 1_000)
    one = listener(rules("home/{sensor}/{type}", "long/{type}/#"))
    for n in range(300):
        one.hear(message(f"home/{n}/temperature"), 0)
        one.hear(message(f"home/{n}/temperature", b"x" * 100_000), 0)
    one.hear(message("long/temperature/" + "x" * 60_000), 0)
    assert len(one.survey.seen) == 100
    assert one.survey.others == 401
    assert all(len(str(its.last.value)) <= 200 for its in one.survey.seen.values() if its.last is not None)
    full = Heard(
        (Observation("temperature", "x", 1, hints=("y" * 100_000,)),),
        (Presence("z" * 100_000, online=True),),
        {"note": "n" * 2_000, "other": "o" * 500},
    )
    two = listener([("says", Says(full, "#"))])
    assert two.hear(message("a"), 0)
    assert not two.hear(message("a"), 0)
    assert two.notes == {"says": {"other": "o" * 500}}
    assert not two.survey.seen
    assert all(len(who) <= 200 for _, who in two.survey.online)


def test_notes_are_forgotten_and_make_room() -> None:
    two = listener([("says", Says(Heard(notes={"a": "1", "b": None}), "#"))])
    two.notes = {"says": {"b": "2"}}
    assert two.hear(message("a"), 0)
    assert two.notes == {"says": {"a": "1"}}
    assert not two.hear(message("a"), 0)


@given(st.lists(st.tuples(st.text(min_size=1, max_size=20), st.binary(max_size=20), st.booleans()), max_size=30))
async def test_any_messages_make_a_survey(messages: list[tuple[str, bytes, bool]]) -> None:
    one = listener(rules("#", type="temperature"))
    for at, (topic, payload, retained) in enumerate(messages):
        one.hear(message(topic, payload, retained=retained), at)
    survey = one.finished()
    await survey.judge(world())
    assert survey.messages == len(messages)
    assert all(its.fate is not None for its in survey.seen.values())


def test_a_refusal_keeps_its_reason() -> None:
    one = listener(rules("home/{location}/{type}"))
    one.hear(message("home/salon/temperature", b"\xff" * 1_000), 0)
    (bad,) = one.survey.seen.values()
    assert isinstance(bad.why_not, Refused)
    assert bad.why_not.reason == "not text"
