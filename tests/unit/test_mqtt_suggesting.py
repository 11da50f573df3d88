"""What is suggested can be written into the configuration as it stands, and reads the messages that it is for."""

from __future__ import annotations

import tomllib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.config.sections.mqtt import Broker, TopicRule, parse_brokers
from iotd.intake.outlook import Fate
from iotd.intake.resolve import Resolver
from iotd.model.errors import Refused
from iotd.model.observation import Observation
from iotd.model.types import BUILT_IN
from iotd.sources.mqtt.exploring.grouping import Group, Topics
from iotd.sources.mqtt.exploring.suggesting import rule_for, rules_of, suggestion
from iotd.sources.mqtt.exploring.survey import Seen, Survey
from iotd.sources.mqtt.packets import Publish
from iotd.sources.mqtt.presets.base import Delivery, Known
from iotd.sources.mqtt.rules import Rule

NAMES = Resolver(BUILT_IN, {"salon": ("living room",), "cuisine": ()}, {})
BROKER = Broker(url="mqtts://broker:8883", username="iotd", password_file="/run/secrets/mqtt")  # type: ignore[arg-type]


def group(topic: str, payload: bytes, pattern: str = "") -> Group:
    return Group(pattern or topic, 1, 1, 0, 0, topic, payload)


@pytest.mark.parametrize(
    ("topic", "payload", "rule"),
    [
        ("home/salon/temperature", b"21.5", {"topic": "home/{location}/{type}"}),
        ("home/living room/temperature", b"21.5", {"topic": "home/{location}/{type}"}),
        ("temperature/salon", b"21.5 \xc2\xb0C", {"topic": "{type}/{location}"}),
        ("home/salon/temperature_F", b"70", {"topic": "home/{location}/{type}"}),
        ("home/salon/box", b"21.5", {"topic": "home/{location}/box", "type": "WHAT"}),
        ("lab/box/humidity", b"45", {"topic": "lab/box/{type}"}),
        (
            "lab/salon",
            b'{"temperature": 20, "humidity": 45, "id": 7, "ts": 1764500000}',
            {
                "topic": "lab/{location}",
                "values": {"temperature": "$.temperature", "humidity": "$.humidity"},
                "time": "$.ts",
            },
        ),
        (
            "lab/salon",
            b'{"data": {"a b": {"temperature": "20.1"}}}',
            {"topic": "lab/{location}", "values": {"temperature": '$.data["a b"].temperature'}},
        ),
        (
            "lab/salon/temperature",
            b'{"v": 20, "time": "2026-11-28T04:20:00Z"}',
            {"topic": "lab/{location}/{type}", "value": "$.v", "time": "$.time"},
        ),
        ("lab/salon", b'{"a": 20, "b": 1}', {"topic": "lab/{location}", "values": {"WHAT": "$.a"}}),
        ("lab/salon/temperature", b"hello", None),
        ("lab/salon/temperature", b"", None),
        ("lab/salon/temperature", b"\xff\x00", None),
        ("lab/salon/temperature", b"[1, 2]", None),
        ("lab/salon/temperature", b'{"name": "x", "on": true}', None),
        ("lab/{x}/temperature", b"20", None),
    ],
)
def test_a_rule_says_what_the_topic_and_the_payload_are(
    topic: str, payload: bytes, rule: dict[str, Any] | None
) -> None:
    assert rule_for(group(topic, payload), NAMES) == rule


def test_a_group_has_its_wildcards() -> None:
    assert rule_for(group("home/salon/box 7/temperature", b"20", "home/+/+/temperature"), NAMES) == {
        "topic": "home/{location}/+/{type}"
    }
    assert rule_for(group("home/salon/temperature", b"20", "home/#"), NAMES) is None


def test_rules_that_could_match_nothing_are_not_suggested() -> None:
    broker = Broker.model_validate({"url": "mqtt://b", "topic": [{"topic": "home/{location}/{type}"}]})
    found = [group("home/salon/temperature", b"20"), group("home/salon/temperature/raw", b"20")]
    assert rules_of(found, broker, NAMES) == ([{"topic": "home/{location}/{type}/raw"}], [])


def seen(sensor: str, hint: str) -> Seen:
    said = Observation("temperature", sensor, 20, hints=(hint,))
    fate = Fate("held", "unknown location: no location is named in it")
    return Seen("zigbee2mqtt", False, "a/b", sensor, "temperature", 1, last=said, fate=fate)


def test_it_is_toml_with_all_that_was_found() -> None:
    survey = Survey()
    survey.seen = {("zigbee2mqtt", "attic/x", "temperature"): seen("attic/x", "the \u007f attic\ntwo")}
    survey.unread = [group("home/salon/temperature", b"21.5"), group("home/salon/box", b"5")]
    text = suggestion("attic", BROKER, survey, NAMES)
    assert "aliases" in text
    assert '"attic/x" in "the \\u007F attic\\ntwo"' in text
    (broker,) = brokers(text).values()
    assert (broker.url, broker.username, str(broker.password_file)) == (BROKER.url, "iotd", "/run/secrets/mqtt")
    assert [rule.topic for rule in broker.topic] == ["home/{location}/{type}"]
    assert tomllib.loads(text)["mqtt"].keys() == {"attic"}
    uncommented = "\n".join(line.removeprefix("# ") for line in text.splitlines() if "WHAT" in line or "box" in line)
    assert uncommented == 'topic = "home/{location}/box"\ntype = "WHAT"'


def test_nothing_found_is_nothing_suggested() -> None:
    assert suggestion("mqtt", BROKER, Survey(), NAMES) == ""


def brokers(text: str) -> dict[str, Broker]:
    tables = parse_brokers(tomllib.loads(text).get("mqtt", {}))
    return {name: Broker.model_validate(table) for name, table in tables.items()}


words = st.sampled_from(["salon", "living room", "temperature", "humidity_F", "a", "é\U0001f321", 'q"uote', "b\\s", ""])
numbers = st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
documents = st.recursive(
    numbers | st.text(max_size=8) | st.none() | st.booleans(),
    lambda inner: st.dictionaries(words | st.text(max_size=6), inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=8,
)
payloads = st.binary(max_size=12) | documents.map(orjson.dumps)


@given(
    st.lists(
        st.tuples(st.lists(words | st.text(max_size=4), min_size=1, max_size=4).map("/".join), payloads), max_size=8
    )
)
def test_whatever_is_published_the_suggestion_can_be_loaded_and_reads_it(messages: list[tuple[str, bytes]]) -> None:
    topics = Topics()
    for topic, payload in messages:
        topics.add(Publish(topic, payload, 0, False, False, 0, len(payload)))
    survey = Survey(unread=topics.groups())
    text = suggestion("mqtt", BROKER, survey, NAMES)
    for broker in brokers(text).values():
        assert broker.topic
    for one in survey.unread:
        rule = rule_for(one, NAMES)
        if rule is None or "WHAT" in (rule.get("type"), *rule.get("values", ())):
            continue
        try:
            reader = Rule(TopicRule.model_validate(rule)).reader(one.topic)
        except ValueError:
            continue  # no topic of MQTT: it is not suggested
        assert reader is not None
        try:
            assert reader(Delivery(one.payload), Known({}, NAMES)).said
        except Refused as e:
            pytest.fail(f"{rule}: {one.payload!r}: {e}")
