"""Homie devices of versions 3, 4 and 5."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.config.topics.filters import disjoint
from iotd.sources.mqtt.presets.base import Presence
from iotd.sources.mqtt.presets.homie import Homie
from tests.unit.presets.worlds import World, survives, with_keys


def world() -> World:
    return World(Homie())


def described(here: World, **its: str) -> None:
    for name, said in its.items():
        here.hears(f"homie/attic/sensor/temperature/${name}", said, retained=True)


def test_a_device_of_version_4() -> None:
    here = world()
    here.hears("homie/attic/$state", "init")
    here.hears("homie/attic/$name", "Attic node", retained=True)
    here.hears("homie/attic/sensor/$name", "Roof", retained=True)
    described(here, unit="°F", datatype="float", name="Temperature", settable="false")
    (found,) = here.hears("homie/attic/sensor/temperature", "70.7").said
    assert (found.type, found.sensor, found.value, found.unit) == ("temperature", "attic/sensor", "70.7", "°F")
    assert found.hints == ("Attic node", "Roof", "attic", "sensor")
    here.hears("homie/attic/$state", "ready")
    assert here.says("homie/attic/sensor/humidity", "45") == {("humidity", "attic/sensor", "45", None)}


@pytest.mark.parametrize(
    ("state", "presence"),
    [
        ("ready", [Presence("attic", online=True)]),
        ("sleeping", [Presence("attic", online=True)]),
        ("alert", [Presence("attic", online=True)]),
        ("lost", [Presence("attic", online=False)]),
        ("disconnected", [Presence("attic", online=False)]),
        ("init", []),
        ("", []),
        ("odd", []),
    ],
)
def test_who_is_there(state: str, presence: list[Presence]) -> None:
    for topic in ("homie/attic/$state", "homie/5/attic/$state"):
        assert list(world().hears(topic, state, retained=True).presence) == presence


DESCRIPTION: dict[str, Any] = {
    "homie": "5.0",
    "name": "Attic node",
    "version": 7,
    "nodes": {
        "climate": {
            "name": "Roof",
            "properties": {
                "temperature": {"datatype": "float", "unit": "°C"},
                "humidity": {"datatype": "integer", "unit": "%", "format": "0:100"},
                "mode": {"datatype": "enum", "format": "auto,manual", "settable": True},
                "temperature-north": {"datatype": "float", "unit": "°C"},
            },
        },
        "door": {"properties": {"state": {"datatype": "boolean"}}},
    },
}


def test_a_device_of_version_5() -> None:
    here = world()
    here.hears("homie/5/attic/$description", DESCRIPTION, retained=True)
    base = "homie/5/attic"
    assert here.says(f"{base}/climate/temperature", "21.5") == {("temperature", "attic/climate", "21.5", "°C")}
    assert here.says(f"{base}/climate/humidity", "45") == {("humidity", "attic/climate", "45", "%")}
    assert here.says(f"{base}/climate/temperature-north", "20") == {
        ("temperature", "attic/climate/temperature-north", "20", "°C")
    }
    assert here.says(f"{base}/door/state", "true") == {("door", "attic/door", "true", None)}
    assert here.hears(f"{base}/climate/mode", "auto").passed_over == ["attic/climate/mode"]
    (found,) = here.hears(f"{base}/climate/humidity", "45").said
    assert found.hints == ("Attic node", "Roof", "attic", "climate")


def test_a_description_is_noted_once_and_the_next_one_replaces_it() -> None:
    here = world()
    here.hears("homie/5/attic/$description", DESCRIPTION, retained=True)
    noted = dict(here.notes)
    here.hears("homie/5/attic/$description", DESCRIPTION, retained=True)
    assert here.notes == noted
    smaller = {"name": "Attic", "nodes": {"climate": {"properties": {"temperature": {"unit": "°F"}}}}}
    here.hears("homie/5/attic/$description", smaller)
    assert here.says("homie/5/attic/climate/temperature", "70") == {("temperature", "attic/climate", "70", "°F")}
    assert here.says("homie/5/attic/climate/humidity", "45") == {("humidity", "attic/climate", "45", None)}
    here.hears("homie/5/attic/$description", b"")
    assert here.notes == {}


def test_a_bridge_is_a_gateway() -> None:
    here = world()
    here.hears("homie/5/bridge/$description", {"name": "Bridge", "children": ["a", "b"]})
    assert here.hears("homie/5/bridge/$state", "lost").presence == [Presence("bridge", online=False, gateway=True)]


@pytest.mark.parametrize(
    ("node", "name", "kind", "sensor"),
    [
        ("bme280", "temperature", "temperature", "d/bme280"),
        ("bme280", "temp", "temp", "d/bme280/temp"),
        ("bme280", "temperature-f", "temperature_f", "d/bme280/temperature-f"),
        ("bme280", "outdoorTemperature", "temperature", "d/bme280/outdoorTemperature"),
        ("bme280", "humidity", "humidity", "d/bme280"),
        ("temperature", "degrees", "temperature", "d/temperature"),
        ("temperature_2", "value", "temperature", "d/temperature_2"),
        ("power", "value", "power", "d/power"),
        ("motion", "state", "motion", "d/motion"),
        ("relay", "switch", "switch", "d/relay"),
        ("relay", "on", None, ""),
        ("temperature", "interval", None, ""),
        ("light", "brightness", None, ""),
        ("x", "air-quality", "air_quality", "d/x"),
        ("x", "pm2-5", "pm25", "d/x/pm2-5"),
    ],
)
def test_types_by_property_or_by_node(node: str, name: str, kind: str | None, sensor: str) -> None:
    found = world().hears(f"homie/d/{node}/{name}", "1")
    assert [(one.type, one.sensor) for one in found.said] == ([(kind, sensor)] if kind else [])
    assert list(found.passed_over) == ([] if kind else [f"d/{node}/{name}"])


def test_the_name_of_a_property_may_say_its_type() -> None:
    here = world()
    here.hears("homie/d/n/p1/$name", "Outside temperature")
    assert here.says("homie/d/n/p1", "3") == {("temperature", "d/n/p1", "3", None)}


def test_a_level_that_is_a_boolean_is_none() -> None:
    here = world()
    here.hears("homie/d/n/battery/$datatype", "boolean")
    assert here.hears("homie/d/n/battery", "true").passed_over == ["d/n/battery"]
    here.hears("homie/d/n/contact/$datatype", "boolean")
    assert here.says("homie/d/n/contact", "true") == {("contact", "d/n", "true", None)}


def test_a_value_before_its_unit_is_refused_while_a_device_describes_itself() -> None:
    here = world()
    here.hears("homie/attic/$state", "init")
    assert "no unit yet" in here.why_not("homie/attic/sensor/temperature", "70.7")
    described(here, unit="°F")
    assert here.says("homie/attic/sensor/temperature", "70.7") == {("temperature", "attic/sensor", "70.7", "°F")}


def test_a_unit_that_is_cleared_is_forgotten() -> None:
    here = world()
    described(here, unit="°F")
    described(here, unit="")
    assert here.notes == {}


@pytest.mark.parametrize(
    "topic",
    [
        "homie/attic/sensor/temperature/set",
        "homie/5/attic/sensor/temperature/set",
        "homie/5/attic/sensor/temperature/$target",
        "homie/attic/$stats/uptime",
        "homie/attic/$fw/name",
        "homie/attic/$localip",
        "homie/attic/sensor/$properties",
        "homie/attic/sensor/temperature/$settable",
        "homie/attic/sensor/temperature/$format",
        "homie/5/attic/$log/warn",
        "homie/5/attic/$alert/low",
        "homie/5/$broadcast/x",
        "homie/attic/sensor",
        "homie/attic",
        "homie",
        "homie//sensor/temperature",
        "home/attic/sensor/temperature",
    ],
)
def test_a_topic_that_is_none_of_these(topic: str) -> None:
    assert world().preset.reader(topic) is None


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"{", "not JSON"),
        (b"[]", "not of this form"),
        (b"\xff", "not JSON"),
        (b" " * (1024 * 1024 + 1), "too large"),
        ({"nodes": {"n": {"properties": {f"p{n}": {"unit": "W"} for n in range(1_001)}}}}, "too many properties"),
    ],
)
def test_a_description_that_is_none(payload: Any, why: str) -> None:
    assert why in world().why_not("homie/5/attic/$description", payload)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"nodes": []},
        {"nodes": {"n": 3}},
        {"nodes": {"n": {"properties": "x"}}},
        {"nodes": {"n": {"properties": {"p": None}}}},
        {"name": 7, "nodes": {"n": {"name": [], "properties": {"p": {"unit": 3, "datatype": None}}}}},
    ],
)
def test_a_description_that_says_little(payload: Any) -> None:
    here = world()
    here.hears("homie/5/attic/$description", payload)
    assert here.notes == {}


def test_what_is_subscribed_to() -> None:
    here = world()
    for topic in ("homie/a/$state", "homie/5/a/$description", "homie/a/n/p", "homie/5/a/n/p", "homie/a/n/p/$unit"):
        assert here.is_subscribed(topic)
    assert disjoint(one.topic for one in here.preset.filters({}))
    assert World(Homie("my/house")).says("my/house/d/n/power", "3") == {("power", "d/n", "3", None)}


OLD = ["a/$state", "a/$name", "a/n/$name", "a/n/power/$unit", "a/n/power/$datatype", "a/n/power", "a/n/door"]
NEW = ["5/a/$description", "5/a/$state", "5/a/n/power", "5/a/n/door"]
TOPICS = st.sampled_from([*OLD, *NEW])


@given(
    st.lists(
        st.tuples(
            TOPICS,
            st.binary(max_size=12)
            | with_keys("nodes", "properties", "n", "power", "unit", "datatype", "name", "children")
            | st.sampled_from(["init", "ready", "boolean", "float", "°C", "21"]),
            st.booleans(),
        ),
        max_size=10,
    )
)
def test_whatever_comes_is_heard_or_refused(messages: list[tuple[str, Any, bool]]) -> None:
    here = world()
    for topic, payload, retained in messages:
        survives(here, f"homie/{topic}", payload, retained=retained)
