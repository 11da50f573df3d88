"""Rules of `[[mqtt.topic]]`: what is written wrong is said when it is loaded; what is right reads what devices send."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from iotd.config.sections.mqtt import TopicRule, no_idle_rule
from iotd.config.topics.filters import matches
from iotd.config.topics.patterns import pattern_of
from iotd.config.topics.queries import MISSING, query_of
from iotd.intake.resolve import Resolver
from iotd.model.errors import Refused
from iotd.model.observation import Observation
from iotd.model.types import BUILT_IN
from iotd.sources.mqtt.presets.base import Delivery, Filter, Heard, Known
from iotd.sources.mqtt.rules import Rule

KNOWN = Known({}, Resolver(BUILT_IN, {}, {}))


def heard(rule: dict[str, Any], topic: str, payload: bytes) -> Heard:
    reader = Rule(TopicRule(**rule)).reader(topic)
    assert reader is not None
    return reader(Delivery(payload), KNOWN)


def one(rule: dict[str, Any], topic: str, payload: bytes) -> Observation:
    (found,) = heard(rule, topic, payload).said
    return found


# ── what is written wrong ──


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ({"topic": ""}, "it is empty"),
        ({"topic": "home/salon"}, "nothing says what 'home/salon' measures"),
        ({"topic": "home/#/{type}"}, "has # before its end"),
        ({"topic": "#/a", "type": "temperature"}, "has # before its end"),
        ({"topic": "home/{type}/{type}"}, "has {type} twice"),
        ({"topic": "home/{room}/{type}"}, "has {room} in it; there are {location}, {type} and {sensor}"),
        ({"topic": "home/{}/{type}"}, "has {} in it"),
        ({"topic": "home/{type"}, "a brace that belongs to no"),
        ({"topic": "home/type}"}, "a brace that belongs to no"),
        ({"topic": "home/{{type}}"}, "a brace that belongs to no"),
        ({"topic": "home/{type}{sensor}"}, "two names side by side"),
        ({"topic": "home/+{type}"}, "a wildcard beside a name"),
        ({"topic": "home/a+/{type}"}, "no topic filter"),
        ({"topic": "home/a#", "type": "temperature"}, "no topic filter"),
        ({"topic": "home/\n/{type}"}, "a control character"),
        ({"topic": "home/\x00/{type}"}, "a control character"),
        ({"topic": "h" * 65_536, "type": "temperature"}, "65535 bytes are the most"),
        ({"topic": "$share/us/home/{type}"}, "a shared subscription"),
        ({"topic": "${type}/home"}, "can match nothing"),
        ({"topic": "home/{type}", "type": "temperature"}, "{type} in it, and type is set too"),
        ({"topic": "home/{type}/{location}", "location": "salon"}, "{location} in it, and location is set too"),
        ({"topic": "home/{type}/{sensor}", "sensor": "$.id"}, "{sensor} in it, and sensor is set too"),
        ({"topic": "home/{type}", "value": "v"}, "'v' is no query: it begins with $"),
        ({"topic": "home/{type}", "value": "$..v"}, "is no query from '..v' on"),
        ({"topic": "home/{type}", "value": "$.*"}, "is no query from '.*' on"),
        ({"topic": "home/{type}", "value": "$[*]"}, "is no query from '[*]' on"),
        ({"topic": "home/{type}", "value": "$[0:2]"}, "is no query"),
        ({"topic": "home/{type}", "value": "$.DS18B20-1.Temperature"}, "is no query from '-1.Temperature' on"),
        ({"topic": "home/{type}", "value": "$['a"}, "is no query"),
        ({"topic": "home/{type}", "value": r"$['\q']"}, "an escape that JSON does not know"),
        ({"topic": "home/{type}", "value": "$.a" + ".a" * 50}, "more than 50 steps"),
        ({"topic": "home/{type}", "time": "now"}, "'now' is no query"),
        ({"topic": "home/{type}", "unit": "$.a b"}, "is no query from ' b' on"),
        ({"topic": "home/{type}", "unit": " "}, "it is empty"),
        ({"topic": "home/{type}", "value": "$.v", "values": {"humidity": "$.h"}}, "no other type"),
        ({"topic": "home/+", "value": "$.v", "values": {"humidity": "$.h"}}, "value and values are set"),
        ({"topic": "home/+", "type": "temperature", "values": {"humidity": "$.h"}}, "no other type"),
        ({"topic": "home/+", "unit": "degF", "values": {"humidity": "$.h"}}, "as in temperature_F"),
        ({"topic": "home/+", "values": {"humidity": "h"}}, "'h' is no query"),
        ({"topic": "home/+", "values": {" ": "$.h"}}, "a type has no name"),
        ({"topic": "home/{type}", "qos": 2}, "Extra inputs are not permitted"),
    ],
)
def test_a_rule_that_can_not_be_is_refused_in_one_line(rule: dict[str, Any], why: str) -> None:
    if rule.get("values") and rule.get("value"):
        why = "value and values are set"
    with pytest.raises(ValidationError) as caught:
        TopicRule(**rule)
    (error,) = caught.value.errors()
    assert why in error["msg"]
    assert "\n" not in error["msg"]


@pytest.mark.parametrize(
    ("before", "pattern", "why"),
    [
        ("home/{type}", "home/{type}", "two rules are for"),
        ("home/{location}/{type}", "home/{type}/{location}", "can match nothing"),
        ("home/#", "home/{type}", "can match nothing"),
        ("home/{sensor}/#", "home/salon/+/{type}", "can match nothing"),
        ("{sensor}/#", "home/{type}", "can match nothing"),
        ("home/s-{sensor}", "home/s-1", "can match nothing"),
        ("home/s-{sensor}/#", "home/s-{location}/{type}", "can match nothing"),
    ],
)
def test_a_rule_that_another_one_leaves_nothing_to_is_refused(before: str, pattern: str, why: str) -> None:
    rules = [TopicRule(topic=text, type=None if "{type}" in text else "power") for text in (before, pattern)]
    with pytest.raises(ValueError, match=why):
        no_idle_rule(rules)
    if before != pattern and not pattern_of(pattern).covers(pattern_of(before)):
        no_idle_rule(rules[::-1])


@pytest.mark.parametrize(
    ("before", "pattern"),
    [
        ("home/s-{sensor}", "home/{sensor}"),
        ("home/s-{sensor}", "home/t-{sensor}"),
        ("home/s-{sensor}", "home/t-1"),
        ("home/s-{sensor}", "home/#"),
        ("home/+", "home"),
        ("home/+", "home/#"),
        ("#", "$SYS/broker/load"),
        ("home/+/{type}", "home/salon"),
    ],
)
def test_one_that_matches_something_of_its_own_is_not(before: str, pattern: str) -> None:
    no_idle_rule([TopicRule(topic=text, type=None if "{type}" in text else "power") for text in (before, pattern)])


parts = st.sampled_from(["a", "", "+", "b", "s-{sensor}", "{sensor}", "s-a", "s-{location}", "{location}"])
patterns = st.builds(
    lambda levels, rest: "/".join([*levels, *rest]),
    st.lists(parts, min_size=1, max_size=3),
    st.sampled_from([[], ["#"]]),
).filter(lambda text: text and text.count("{sensor}") < 2 and text.count("{location}") < 2)
topics = st.lists(st.sampled_from(["a", "b", "", "s-a", "s-", "s-b", "x"]), min_size=1, max_size=4).map("/".join)


@given(patterns, patterns, st.lists(topics, min_size=1, max_size=30))
def test_a_pattern_that_covers_another_matches_all_that_it_does(a: str, b: str, some: list[str]) -> None:
    one, other = pattern_of(a), pattern_of(b)

    def does(pattern: Any, topic: str) -> bool:
        return matches(pattern.filter, topic) and pattern.match(topic) is not None

    if one.covers(other):
        assert not [topic for topic in some if does(other, topic) and not does(one, topic)]
    assert one.covers(one)


# ── what devices send ──


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b"21.5", 21.5),
        (b"21", 21),
        (b'"21.5"', "21.5"),
        ("21.5 °C".encode(), "21.5 °C"),
        (b" 21,5\n", "21,5"),
        (b"unknown", "unknown"),
        (b"NaN", "NaN"),
        (b"null", None),
        (b"true", True),
        (b"ON", "ON"),
        (b"", ""),
        (b"-127.00", -127.0),
        (b"1e999", "1e999"),
        (b"007", "007"),
    ],
)
def test_a_payload_that_is_the_value(payload: bytes, value: object) -> None:
    found = one({"topic": "home/{location}/{type}"}, "home/salon/temperature", payload)
    assert found == Observation("temperature", "home/salon", value, "salon", hints=("home/salon/temperature",))
    assert type(found.value) is type(value)


def test_the_rule_of_the_issue() -> None:
    rule: dict[str, Any] = {"topic": "home/{location}/{type}", "value": "$.v", "time": "$.ts", "unit": "degF"}
    found = one(rule, "home/salon/temperature", b'{"v": 70.7, "ts": 1780000000}')
    assert found == Observation(
        "temperature", "home/salon", 70.7, "salon", "degF", 1780000000, ("home/salon/temperature",)
    )
    assert Rule(TopicRule(**rule)).filters({}) == [Filter("home/+/+")]


def test_several_values_of_one_payload_are_of_one_sensor() -> None:
    rule = {"topic": "home/+", "values": {"temperature_F": "$.t", "humidity": "$['rel hum'][0]", "battery": "$.b"}}
    found = heard(rule, "home/salon", b'{"t": 70.7, "rel hum": [45]}')
    assert [(said.type, said.sensor, said.value) for said in found.said] == [
        ("temperature_F", "home/salon", 70.7),
        ("humidity", "home/salon", 45),
    ]
    assert found.passed_over == ["$.b"]


@pytest.mark.parametrize(
    ("pattern", "topic", "sensor", "location"),
    [
        ("home/{location}/{type}", "home/salon/power", "home/salon", "salon"),
        ("home/{type}/{location}", "home/power/salon", "home/salon", "salon"),
        ("{type}/{location}", "power/salon", "salon", "salon"),
        ("home/{location}_{type}", "home/grand_salon_power", "home/grand_salon", "grand_salon"),
        ("home/{type}-{location}", "home/power-salon", "home/salon", "salon"),
        ("home/sensor-{sensor}/{type}", "home/sensor-7/power", "7", ""),
        ("home/{sensor}/{type}/#", "home/7/power/a/b", "7", ""),
        ("home/+/{type}/#", "home/7/power/a", "home/7/a", ""),
        ("home/+/{type}/#", "home/7/power", "home/7", ""),
        ("home//{type}", "home//power", "home/", ""),
        ("$SYS/{type}", "$SYS/power", "$SYS", ""),
    ],
)
def test_what_a_topic_says(pattern: str, topic: str, sensor: str, location: str) -> None:
    found = one({"topic": pattern}, topic, b"3")
    assert (found.type, found.sensor, found.location) == ("power", sensor, location)


@pytest.mark.parametrize(
    ("pattern", "topic"),
    [
        ("home/{type}", "home/a/b"),
        ("home/{type}", "home"),
        ("home/s-{type}", "home/t-power"),
        ("home/s-{type}", "home/s-"),
        ("{type}/a", "$SYS/a"),
        ("{type}/#", "$SYS/a"),
    ],
)
def test_a_topic_that_a_rule_is_not_for(pattern: str, topic: str) -> None:
    assert Rule(TopicRule(topic=pattern)).reader(topic) is None


def test_constants_and_queries_say_what_the_topic_does_not() -> None:
    rule = {"topic": "lora/#", "type": "$.kind", "sensor": "$.id", "location": "attic", "value": "$.v", "unit": "$.u"}
    found = one(rule, "lora/7", b'{"kind": "power", "id": 90, "v": "3", "u": "kW"}')
    assert found == Observation("power", "90", "3", "attic", "kW", None, ("lora/7",))


@pytest.mark.parametrize(
    ("rule", "payload", "reason", "detail"),
    [
        ({"value": "$.v"}, b'{"w": 3}', "no value", "$.v finds nothing in b'{\"w\": 3}'"),
        ({"value": "$.v.w"}, b'{"v": 3}', "no value", "$.v.w finds nothing"),
        ({"value": "$[1]"}, b"[1]", "no value", "$[1] finds nothing"),
        ({"value": "$[-2]"}, b"[1]", "no value", "$[-2] finds nothing"),
        ({"value": "$.v"}, b"3", "no value", "$.v finds nothing"),
        ({"value": "$.v"}, b"21.5 C", "not JSON", "b'21.5 C' is no JSON"),
        ({"value": "$.v"}, b"\xff", "not JSON", ""),
        ({"value": "$.v", "time": "$.ts"}, b'{"v": 3}', "no value", "$.ts finds nothing"),
        ({"value": "$.v", "sensor": "$.id"}, b'{"v": 3}', "no value", "$.id finds nothing"),
        ({"value": "$.v", "sensor": "$.id"}, b'{"v": 3, "id": {}}', "no value", "which is no text"),
        ({"value": "$.v", "unit": "$.u"}, b'{"v": 3, "u": null}', "no value", "which is no text"),
        ({"sensor": "$.id"}, b'{"id": "7"}', "no value", "more than one"),
        ({}, b"\xff\xfe", "not text", ""),
        ({}, b'{"v": 3}', "no value", "say where it is with value or values"),
        ({}, b"[3]", "no value", "more than one"),
    ],
)
def test_a_payload_without_it_is_refused_by_name(
    rule: dict[str, Any], payload: bytes, reason: str, detail: str
) -> None:
    with pytest.raises(Refused) as caught:
        heard({"topic": "home/{type}", **rule}, "home/power", payload)
    assert caught.value.reason == reason
    assert detail in caught.value.detail
    assert len(caught.value.detail) < 400


def test_the_time_may_be_null_and_is_that_of_the_arrival_then() -> None:
    found = one({"topic": "a/{type}", "value": "$.v", "time": "$.ts"}, "a/power", b'{"v": 3, "ts": null}')
    assert found.time is None


# ── queries ──


@pytest.mark.parametrize(
    ("text", "document", "found"),
    [
        ("$", 3, 3),
        ("$.v", {"v": None}, None),
        ("$.v.w[0]", {"v": {"w": [7]}}, 7),
        ("$['v']", {"v": 1}, 1),
        ('$["v"]', {"v": 1}, 1),
        ("$[ 'v' ][ -1 ]", {"v": [1, 2]}, 2),
        ("$.température", {"température": 1}, 1),
        (r"$['it\'s']", {"it's": 1}, 1),
        ("""$['say "x"']""", {'say "x"': 1}, 1),
        (r"""$['say \"x"']""", {'say "x"': 1}, 1),
        (r'$["a\\b"]', {r"a\b": 1}, 1),
        (r"$['\u00e9']", {"é": 1}, 1),
        (r"$['\ud83d\ude00']", {"😀": 1}, 1),
        ("$['']", {"": 1}, 1),
        ("$['a.b']", {"a.b": 1}, 1),
        ("$.v", [1], MISSING),
        ("$[0]", {"0": 1}, MISSING),
        ("$[0]", "text", MISSING),
        ("$.v.w", {"v": None}, MISSING),
    ],
)
def test_queries(text: str, document: object, found: object) -> None:
    assert query_of(text).find(document) == found


@given(st.text(max_size=20))
def test_any_text_is_a_query_or_refused(text: str) -> None:
    for query in (text, f"${text}", f"$.{text}", f"$['{text}']"):
        with suppress(ValueError):
            assert query_of(query).text == query


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4))
def test_any_member_can_be_named(names: list[str]) -> None:
    document: object = 42
    for name in reversed(names):
        document = {name: document}
    quoted = "".join(f"[{orjson.dumps(name).decode()}]" for name in names)
    assert query_of(f"${quoted}").find(document) == 42


json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("vtu"), inner, max_size=3),
    max_leaves=8,
)
RULES: list[dict[str, Any]] = [
    {"topic": "+/{type}"},
    {"topic": "+/{type}", "value": "$.v", "time": "$.t", "unit": "$.u"},
    {"topic": "+/{location}", "type": "$.t", "sensor": "$.u"},
    {"topic": "#", "values": {"temperature": "$.v[0]", "humidity": "$.t"}},
]


@given(st.binary(max_size=30) | json.map(lambda document: orjson.dumps(document, default=str)), st.sampled_from(RULES))
def test_whatever_comes_is_heard_or_refused(payload: bytes, rule: dict[str, Any]) -> None:
    with suppress(Refused):
        assert heard(rule, "a/power", payload).said


@pytest.mark.parametrize("level", ["$.v", "$[", "$.(", "$"])
def test_what_a_topic_says_is_never_a_query(level: str) -> None:
    found = one({"topic": "home/{location}/{sensor}/{type}"}, f"home/{level}/{level}/{level}", b'{"v":1}'[5:6])
    assert (found.type, found.location, found.sensor, found.value) == (level, level, level, 1)
