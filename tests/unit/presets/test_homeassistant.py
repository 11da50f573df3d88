"""Home Assistant's discovery: what devices announce, and what their state topics say then."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.model.errors import Refused
from iotd.sources.mqtt.presets.base import Filter, Presence
from iotd.sources.mqtt.presets.discovery import MOST_ENTITIES
from iotd.sources.mqtt.presets.homeassistant import HomeAssistant
from iotd.sources.mqtt.presets.payloads import Payload
from iotd.sources.mqtt.presets.templates import template_of
from tests.unit.presets.worlds import World, survives, with_keys

DEVICE = {"identifiers": ["zigbee2mqtt_0x00158d0001a2b3c4"], "name": "Salon thermo", "suggested_area": "Salon"}
Z2M = "zigbee2mqtt/Salon thermo"


def world() -> World:
    return World(HomeAssistant())


def zigbee(world: World, name: str, component: str = "sensor", **its: Any) -> None:
    """Announces an entity as zigbee2mqtt does."""
    config = {
        "state_topic": Z2M,
        "value_template": f"{{{{ value_json['{name}'] }}}}",
        "unique_id": f"0x00158d0001a2b3c4_{name}_zigbee2mqtt",
        "object_id": f"salon_thermo_{name}",
        "device": DEVICE,
        "availability": [
            {"topic": "zigbee2mqtt/bridge/state", "value_template": "{{ value_json.state }}"},
            {"topic": f"{Z2M}/availability", "value_template": "{{ value_json.state }}"},
        ],
        "availability_mode": "all",
        **its,
    }
    found = world.hears(f"homeassistant/{component}/0x00158d0001a2b3c4/{name}/config", config, retained=True)
    assert not found.said


SENSOR = "zigbee2mqtt_0x00158d0001a2b3c4"


def test_a_device_of_zigbee2mqtt_whose_entities_share_a_topic_and_a_sensor() -> None:
    here = world()
    zigbee(here, "temperature", device_class="temperature", unit_of_measurement="°C", state_class="measurement")
    zigbee(here, "humidity", device_class="humidity", unit_of_measurement="%")
    zigbee(here, "device_temperature", device_class="temperature", unit_of_measurement="°C")
    zigbee(here, "linkquality", unit_of_measurement="lqi", entity_category="diagnostic")
    zigbee(here, "contact", "binary_sensor", device_class="door", payload_on=False, payload_off=True)
    zigbee(here, "battery_low", "binary_sensor", device_class="battery", payload_on=True, payload_off=False)
    zigbee(here, "child_lock", "switch", payload_on="LOCK", payload_off="UNLOCK", entity_category="config")
    payload = {
        "temperature": 21.02,
        "humidity": 45,
        "device_temperature": 27,
        "contact": False,
        "battery_low": True,
        "child_lock": "LOCK",
        "linkquality": 120,
    }
    found = here.hears(Z2M, payload).said
    assert {(one.type, one.sensor, one.value, one.unit) for one in found} == {
        ("temperature", SENSOR, 21.02, "°C"),
        ("temperature", f"{SENSOR} device_temperature", 27, "°C"),
        ("humidity", SENSOR, 45, "%"),
        ("door", SENSOR, True, None),
    }
    assert {one.hints for one in found} == {("Salon", "Salon thermo", Z2M)}
    assert {one.time for one in found} == {None}


@pytest.mark.parametrize(
    ("last_seen", "time"),
    [
        ("2026-11-28T04:20:00.123Z", "2026-11-28T04:20:00.123Z"),
        (1_796_000_000_000, 1_796_000_000_000),
        (None, None),
        (True, None),
        ("a while ago", None),
        ([1], None),
    ],
)
def test_what_zigbee2mqtt_says_again_has_the_time_of_the_first(last_seen: object, time: object) -> None:
    here = world()
    zigbee(here, "temperature", device_class="temperature", unit_of_measurement="°C")
    (said,) = here.hears(Z2M, {"temperature": 21.02, "last_seen": last_seen}).said
    assert (said.value, said.time) == (21.02, time)


def test_a_switch_of_the_bridge_itself_is_a_setting() -> None:
    here = world()
    bridge = {
        "identifiers": ["zigbee2mqtt_bridge_0x00124b0000000000"],
        "manufacturer": "Zigbee2MQTT",
        "model": "Bridge",
    }
    zigbee(here, "permit_join", "switch", device=bridge, state_topic="zigbee2mqtt/bridge/info")
    assert not here.hears("zigbee2mqtt/bridge/info", {"permit_join": False}).said


def test_a_message_that_says_less_says_less() -> None:
    here = world()
    zigbee(here, "temperature", device_class="temperature", unit_of_measurement="°C")
    zigbee(here, "battery", device_class="battery", unit_of_measurement="%")
    assert here.says(Z2M, {"temperature": 21.02, "battery": None}) == {("temperature", SENSOR, 21.02, "°C")}
    assert here.says(Z2M, {"update": {"state": "idle"}}) == set()
    assert here.says(Z2M, b"") == set()
    assert here.says(Z2M, b"21.5") == set()
    assert here.says("zigbee2mqtt/Another", {"temperature": 21.02}) == set()
    assert here.why_not(Z2M, b"\xff") == "not text: b'\\xff'"


def test_what_is_subscribed_to_follows_what_is_announced() -> None:
    here = world()
    first = [
        Filter("homeassistant/+/+/config", announces=True),
        Filter("homeassistant/+/+/+/config", announces=True),
    ]
    assert here.preset.filters({}) == first
    zigbee(here, "temperature", device_class="temperature")
    zigbee(here, "humidity", device_class="humidity")
    assert set(here.preset.filters(here.notes)) == {
        *first,
        Filter(Z2M),
        Filter(f"{Z2M}/availability", announces=True),
        Filter("zigbee2mqtt/bridge/state", announces=True),
    }
    here.hears("homeassistant/sensor/0x00158d0001a2b3c4/humidity/config", b"", retained=False)
    assert here.says(Z2M, {"temperature": 21, "humidity": 45}) == {("temperature", SENSOR, 21, None)}
    here.hears("homeassistant/sensor/0x00158d0001a2b3c4/temperature/config", b"")
    assert here.preset.filters(here.notes) == first
    assert not here.is_subscribed(Z2M)


def test_what_is_announced_again_is_noted_once_and_a_change_replaces_it() -> None:
    here = world()
    zigbee(here, "temperature", device_class="temperature", unit_of_measurement="°C")
    noted = dict(here.notes)
    zigbee(here, "temperature", device_class="temperature", unit_of_measurement="°C")
    assert here.notes == noted
    zigbee(here, "temperature", device_class="temperature", unit_of_measurement="°F", state_topic="other/topic")
    assert here.says("other/topic", {"temperature": 70}) == {("temperature", SENSOR, 70, "°F")}
    assert here.says(Z2M, {"temperature": 70}) == set()
    assert not here.is_subscribed(Z2M)


def test_who_is_there_and_who_is_gone() -> None:
    here = world()
    zigbee(here, "temperature", device_class="temperature")
    gone = here.hears(f"{Z2M}/availability", {"state": "offline"}, retained=True).presence
    assert gone == [Presence(f"{Z2M}/availability", online=False)]
    assert here.hears("zigbee2mqtt/bridge/state", {"state": "odd"}).presence == []
    other = {"identifiers": "other"}
    bridge = [{"topic": "zigbee2mqtt/bridge/state", "value_template": "{{ value_json.state }}"}]
    here.hears(
        "homeassistant/sensor/other/humidity/config",
        {"stat_t": "zigbee2mqtt/other", "dev_cla": "humidity", "dev": other, "avty": bridge},
    )
    there = here.hears("zigbee2mqtt/bridge/state", {"state": "online"}).presence
    assert there == [Presence("zigbee2mqtt/bridge/state", online=True, gateway=True)]


def test_abbreviations_and_the_base_of_topics() -> None:
    here = world()
    config = {
        "~": "esp/attic",
        "name": "Attic temperature",
        "uniq_id": "ESPattic1",
        "stat_t": "~/sensor/state",
        "avty_t": "~/status",
        "pl_avail": "up",
        "pl_not_avail": "down",
        "dev_cla": "temperature",
        "unit_of_meas": "°F",
        "val_tpl": "{{ value_json.t | float | round(1) }}",
        "exp_aft": 60,
        "dev": {"ids": "e4c1", "name": "attic node", "sa": "Attic", "mf": "espressif"},
    }
    here.hears("homeassistant/sensor/attic/temp/config", config)
    (found,) = here.hears("esp/attic/sensor/state", {"t": "70.75"}).said
    assert (found.type, found.sensor, found.value, found.unit) == ("temperature", "e4c1", "70.8", "°F")
    assert found.hints == ("Attic", "attic node", "Attic temperature", "esp/attic/sensor/state")
    assert here.hears("esp/attic/status", "down").presence == [Presence("esp/attic/status", online=False)]


def test_a_base_behind_a_topic_and_in_availability() -> None:
    here = world()
    config = {
        "~": "attic",
        "stat_t": "state/~",
        "dev_cla": "power",
        "avty": {"t": "~/lwt", "pl_avail": "Online", "pl_not_avail": "Offline"},
    }
    here.hears("homeassistant/sensor/x/config", config)
    assert here.says("state/attic", "3.5") == {("power", "x", "3.5", None)}
    assert here.hears("attic/lwt", "Online").presence == [Presence("attic/lwt", online=True)]


def test_a_device_that_announces_all_at_once() -> None:
    here = world()
    config: dict[str, Any] = {
        "dev": {"ids": ["0AFFD2"], "name": "Kitchen"},
        "o": {"name": "bla2mqtt"},
        "stat_t": "kitchen/state",
        "avty_t": "kitchen/lwt",
        "cmps": {
            "temp": {"p": "sensor", "dev_cla": "temperature", "unit_of_meas": "°C", "val_tpl": "{{ value_json.t }}"},
            "hum": {"p": "sensor", "dev_cla": "humidity", "val_tpl": "{{ value_json.h }}"},
            "relay": {"p": "switch", "cmd_t": "kitchen/set", "val_tpl": "{{ value_json.r }}"},
            "light": {"p": "light", "cmd_t": "kitchen/light"},
            "gone": {"p": "sensor"},
            "other": {"p": "sensor", "dev_cla": "temperature", "stat_t": "kitchen/other"},
        },
    }
    found = here.hears("homeassistant/device/0AFFD2/config", config)
    assert found.passed_over == ["light light", "sensor gone"]
    assert here.says("kitchen/state", {"t": 21, "h": 45, "r": "ON"}) == {
        ("temperature", "0AFFD2", 21, "°C"),
        ("humidity", "0AFFD2", 45, None),
        ("switch", "0AFFD2", True, None),
    }
    assert here.says("kitchen/other", "18.5") == {("temperature", "0AFFD2 other", "18.5", None)}
    assert here.hears("kitchen/lwt", "offline").presence == [Presence("kitchen/lwt", online=False)]
    config["cmps"] = {"temp": config["cmps"]["temp"], "hum": {"p": "sensor"}}
    here.hears("homeassistant/device/0AFFD2/config", config)
    assert here.says("kitchen/state", {"t": 21, "h": 45, "r": "ON"}) == {("temperature", "0AFFD2", 21, "°C")}
    here.hears("homeassistant/device/0AFFD2/config", b"")
    assert not here.is_subscribed("kitchen/state")


@pytest.mark.parametrize(
    ("config", "payload", "value"),
    [
        ({}, "ON", True),
        ({}, "OFF", False),
        ({}, "on", "on"),
        ({"pl_on": "1", "pl_off": "0"}, "1", True),
        ({"pl_on": 1, "pl_off": 0}, "0", False),
        ({"pl_on": "open", "pl_off": "closed"}, "ajar", "ajar"),
        ({"val_tpl": "{{ value_json.c }}", "pl_on": True, "pl_off": False}, '{"c": true}', True),
        ({"val_tpl": "{{ value_json.c }}"}, '{"d": true}', None),
        ({"val_tpl": "{% if value_json.p > 3 %}ON{% else %}OFF{% endif %}"}, '{"p": 4}', True),
        ({"val_tpl": "{{ 'ON' if value_json.s in ['a', 'b'] else 'OFF' }}"}, '{"s": "c"}', False),
        ({}, "None", None),
        ({}, "unavailable", None),
        ({}, "", None),
    ],
)
def test_states_by_the_payloads_that_stand_for_them(config: dict[str, Any], payload: str, value: object) -> None:
    here = world()
    here.hears("homeassistant/binary_sensor/door/config", {"stat_t": "door", "dev_cla": "door", **config})
    assert here.says("door", payload) == ({("door", "door", value, None)} if value is not None else set())


def test_a_switch_has_states_of_its_own() -> None:
    here = world()
    here.hears("homeassistant/switch/p/config", {"stat_t": "p", "pl_on": "go", "pl_off": "stop", "stat_on": "running"})
    assert here.says("p", "running") == {("switch", "p", True, None)}
    assert here.says("p", "stop") == {("switch", "p", False, None)}


@pytest.mark.parametrize(
    ("component", "device_class", "kind"),
    [
        ("sensor", "temperature", "temperature"),
        ("sensor", "carbon_dioxide", "carbon_dioxide"),
        ("sensor", "volatile_organic_compounds_parts", "volatile_organic_compounds_parts"),
        ("sensor", "atmospheric_pressure", "atmospheric_pressure"),
        ("sensor", "wind_speed", "wind_speed"),
        ("sensor", "signal_strength", "signal_strength"),
        ("sensor", "precipitation", "precipitation"),
        ("sensor", "moisture", None),
        ("sensor", "volatile_organic_compounds", None),
        ("sensor", "precipitation_intensity", None),
        ("sensor", "power_factor", None),
        ("sensor", "temperature_delta", None),
        ("sensor", "enum", None),
        ("sensor", "timestamp", None),
        ("sensor", None, None),
        ("binary_sensor", "moisture", "moisture"),
        ("binary_sensor", "occupancy", "occupancy"),
        ("binary_sensor", "garage_door", "garage_door"),
        ("binary_sensor", "smoke", "smoke"),
        ("binary_sensor", "battery", None),
        ("binary_sensor", "gas", None),
        ("binary_sensor", "power", None),
        ("binary_sensor", "connectivity", None),
        ("binary_sensor", None, None),
        ("switch", None, "switch"),
        ("switch", "outlet", "switch"),
        ("light", None, None),
        ("climate", "temperature", None),
    ],
)
def test_which_classes_are_types(component: str, device_class: str | None, kind: str | None) -> None:
    here = world()
    config = {"stat_t": "t", "dev_cla": device_class}
    found = here.hears(f"homeassistant/{component}/x/config", config)
    assert found.passed_over == ([] if kind else [f"{component} x"])
    value = "1" if component == "sensor" else "ON"
    assert {one.type for one in here.hears("t", value).said} == ({kind} if kind else set())


def test_two_values_of_one_type_are_two_sensors_in_whatever_order_they_are_announced() -> None:
    def announce(here: World, object_id: str) -> None:
        config = {"stat_t": f"t/{object_id}", "dev_cla": "temperature", "dev": {"ids": ["A4C1"], "name": "Probe"}}
        here.hears(f"homeassistant/sensor/{object_id}/config", config)

    names = ["A4C1-tempc", "A4C1_north", "A4C1_south", "Probe_temperature"]
    for order in (names[:3], names[2::-1]):
        here = world()
        for name in order:
            announce(here, name)
        found = {name: {one[1] for one in here.says(f"t/{name}", "3")} for name in order}
        assert found == {"A4C1-tempc": {"A4C1"}, "A4C1_north": {"A4C1 north"}, "A4C1_south": {"A4C1 south"}}
    announce(here, "Probe_temperature")  # it would be the same as tempc
    assert {one[1] for one in here.says("t/Probe_temperature", "3")} == {"A4C1  Probe_temperature"}
    # whose configuration is removed keeps its id
    here.hears("homeassistant/sensor/A4C1-tempc/config", b"")
    announce(here, "Probe_temperature")
    assert {one[1] for one in here.says("t/Probe_temperature", "3")} == {"A4C1  Probe_temperature"}
    announce(here, "A4C1-tempc")
    assert {one[1] for one in here.says("t/A4C1-tempc", "3")} == {"A4C1"}


@pytest.mark.parametrize(
    ("config", "sensor"),
    [
        ({"uniq_id": "u1", "obj_id": "o1"}, "u1"),
        ({"obj_id": "o1"}, "o1"),
        ({}, "node x"),
        ({"dev": {"cns": [["mac", "02:5b:26:a8:dc:12"]]}}, "02:5b:26:a8:dc:12 x"),
        ({"dev": {"ids": ["", "second"]}}, "second x"),
        ({"dev": {"ids": 17}}, "17 x"),
        ({"dev": {"ids": [], "cns": [["mac"], 3]}, "uniq_id": "u1"}, "u1"),
        ({"dev": "text", "uniq_id": "u1"}, "u1"),
    ],
)
def test_whose_value_it_is(config: dict[str, Any], sensor: str) -> None:
    here = world()
    here.hears("homeassistant/sensor/node/x/config", {"stat_t": "t", "dev_cla": "power", **config})
    assert here.says("t", "3") == {("power", sensor, "3", None)}


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (b"{", "not JSON"),
        ([], "not of this form"),
        ({"stat_t": "#"}, "not a topic"),
        ({"stat_t": "home/+/t"}, "not a topic"),
        ({"stat_t": "$share/all/t"}, "not a topic"),
        ({"stat_t": "a\0b"}, "not a topic"),
        ({"stat_t": ["t"]}, "not a topic"),
        ({"stat_t": "t", "val_tpl": "{{ value_json"}, "template: '{{ value_json' can't be followed"),
        ({"stat_t": "t", "val_tpl": "{{ states('sensor.x') }}"}, "template"),
        ({"stat_t": "t", "val_tpl": "{{ value_json.a | regex_findall('a+') }}"}, "there is no filter regex_findall"),
        ({"stat_t": "t", "val_tpl": "{% for i in value %}{% endfor %}"}, "For is not followed"),
        ({"stat_t": "t", "val_tpl": "x" * 2_001}, "longer than"),
        ({"stat_t": "t", "val_tpl": {"a": 1}}, ""),
        ({"stat_t": "t", "name": "x" * 300_000}, "too large"),
    ],
)
def test_a_configuration_that_can_not_be_followed_is_refused_and_changes_nothing(config: Any, why: str) -> None:
    here = world()
    good = {"stat_t": "good", "dev_cla": "power"}
    here.hears("homeassistant/sensor/x/config", good)
    config = {"dev_cla": "power", **config} if isinstance(config, dict) else config
    if why:
        assert why in here.why_not("homeassistant/sensor/x/config", config)
        assert here.says("good", "3")


def test_an_availability_that_can_not_be_followed_costs_no_value() -> None:
    here = world()
    rows = [{"t": "lwt", "val_tpl": "{{ now() }}"}, {"t": "#"}, {"t": "second"}, 3]
    here.hears("homeassistant/sensor/x/config", {"stat_t": "t", "dev_cla": "power", "avty": rows})
    assert here.says("t", "3") == {("power", "x", "3", None)}
    assert [one.topic for one in here.preset.filters(here.notes)[2:]] == ["t", "second"]


def test_an_availability_topic_is_let_go_of_with_the_last_entity_of_a_device_that_has_it() -> None:
    here = world()
    zigbee(here, "temperature", device_class="temperature")
    zigbee(here, "humidity", device_class="humidity", availability=[{"topic": "zigbee2mqtt/bridge/state"}])
    here.hears("homeassistant/sensor/0x00158d0001a2b3c4/temperature/config", b"")
    assert here.is_subscribed("zigbee2mqtt/bridge/state")
    assert not here.is_subscribed(f"{Z2M}/availability")
    here.hears("homeassistant/sensor/0x00158d0001a2b3c4/humidity/config", b"")
    assert not here.is_subscribed("zigbee2mqtt/bridge/state")


def test_the_plainest_templates_need_no_jinja() -> None:
    code = (
        "import sys\n"
        "from iotd.sources.mqtt.presets.registry import PRESETS\n"
        "from iotd.sources.mqtt.presets.templates import template_of\n"
        "template_of('{{ value_json.temperature }}')\n"
        "assert 'jinja2' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_of_a_device_what_can_be_followed_is_taken() -> None:
    here = world()
    components = {
        "a": {"p": "sensor", "dev_cla": "power", "stat_t": "t", "val_tpl": "{{ states('x') }}"},
        "b": {"p": "sensor", "dev_cla": "power", "stat_t": "t"},
        "c": "text",
    }
    found = here.hears("homeassistant/device/d/config", {"dev": {"ids": "d"}, "cmps": components})
    assert ["states" in why for why in found.passed_over] == [True]
    assert here.says("t", "3") == {("power", "d b", "3", None)}
    assert "components" in here.why_not(
        "homeassistant/device/d/config",
        {"cmps": {str(n): {"p": "sensor"} for n in range(MOST_ENTITIES + 1)}},
    )
    here.hears("homeassistant/device/d/config", {"cmps": 3})
    assert not here.is_subscribed("t")


def test_a_template_that_fails_on_a_message_is_refused_by_name_and_others_of_the_topic_are_taken() -> None:
    here = world()
    here.hears(
        "homeassistant/sensor/a/config", {"stat_t": "t", "dev_cla": "power", "val_tpl": "{{ value_json.p / 10 }}"}
    )
    assert here.says("t", {"p": 35}) == {("power", "a", "3.5", None)}
    why = here.why_not("t", {"p": "much"})
    assert why == "template: '{{ value_json.p / 10 }}' can't be followed: str much is no number"
    here.hears("homeassistant/sensor/b/config", {"stat_t": "t", "dev_cla": "voltage", "val_tpl": "{{ value_json.v }}"})
    assert here.says("t", {"p": "much", "v": 230}) == {("power", "a", why, None), ("voltage", "b", 230, None)}


@pytest.mark.parametrize(
    ("template", "payload", "value"),
    [
        ("{{ value }}", " 21.5 ", "21.5"),
        ("{{ value_json.a.b[0]['c d'] }}", '{"a": {"b": [{"c d": 3}]}}', 3),
        ("{{value_json.a}}", '{"a": "21.5"}', "21.5"),
        ("{{- value_json.a -}}", '{"a": 1.0}', 1.0),
        ("{{ value_json.a }}", '{"a": {"b": 1}}', "an object"),
        ("{{ value_json.a }}", "[1]", None),
        ("{{ value_json[1] }}", "[1, 2]", 2),
        ("{{ value_json[2] }}", "[1, 2]", None),
        ('{{ value_json["a"] }}', '{"a": false}', "False"),
        ("{{ value | float }}", "21.50", "21.5"),
        ("{{ value | float(0) * 2 }}", "x", "0"),
        ("{{ value_json.a | float(0) }}", "{}", None),
        ("{{ value_json.a | default(5) }}", "{}", "5"),
        ("{{ value_json.a | is_defined }}", "{}", None),
        ("{{ value_json.a | is_defined }}", '{"a": 0}', "0"),
        ("{{ value_json.a | int }}", '{"a": "21.9"}', "21"),
        ("{{ value | int(base=16) }}", "ff", "255"),
        ("{{ value_json.a | multiply(0.1) | round(2) }}", '{"a": 215}', "21.5"),
        ("{{ value_json.a | round }}", '{"a": 21.5}', "22"),
        ("{{ value_json.a | round(1, 'floor') }}", '{"a": 21.59}', "21.5"),
        ("{{ value_json.a | round(0, 'ceil') }}", '{"a": 21.1}', "22"),
        ("{{ value_json.a | round(1, 'half') }}", '{"a": 21.3}', "21.5"),
        ("{{ value | lower }}", "ON", "on"),
        ("{{ (value | from_json).a }}", '{"a": 3}', "3"),
        ("{{ value.split(',')[1] }}", "1,2,3", "2"),
        ("{{ value_json.get('a', 3) }}", "{}", "3"),
        ("{{ value_json.a if value_json.a is defined else 7 }}", "{}", "7"),
        ("{% set x = value_json.a %}{{ x + 1 }}", '{"a": 1}', "2"),
        ("{{ {'open': 1, 'closed': 0}[value] }}", "open", "1"),
        ("{{ (value_json.a | int) // 3 % 5 - 1 }}", '{"a": 22}', "1"),
        ("{{ value_json.a ~ ' W' }}", '{"a": 22}', "22 W"),
        ("{{ value_json.a | bitwise_and(4) }}", '{"a": 6}', "4"),
        ("{{ 1 if value | bool else 0 }}", "yes", "1"),
        ("{{ iif(value_json.a > 3, 'ON', 'OFF') }}", '{"a": 4}', "ON"),
        ("{{ value_json.a | abs }}", '{"a": -4}', "4"),
        ("{{ value if value | is_number else none }}", "x", "None"),
        ("{{ value_json.a * 2 }}", '{"a": null}', None),
        ("plain text", "x", "plain text"),
        ("", "x", None),
    ],
)
def test_templates_as_devices_announce_them(template: str, payload: str, value: object) -> None:
    found = template_of(template)(Payload(payload.strip()))
    assert (type(found), found) == (type(value), value)


HOSTILE = [
    "{{ 9 ** 9 ** 9 }}",
    "{{ 'a' * 999999999 }}",
    "{{ [0] * 999999999 }}",
    "{{ [value] * 9 }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '{:999999999}'.format(1) }}",
    "{{ value.ljust(999999999) }}",
    "{{ value | center(999999999) }}",
    "{{ value | replace('', value) }}",
    "{{ value.replace('', value) }}",
    "{{ value | join(value) }}",
    "{{ value.join(value) }}",
    "{{ range(999999999) | list }}",
    "{{ 1.5 | round(-999999999) }}",
    "{{ 7 | round(-999999999) }}",
    "{{ 7 | round(999999999, 'ceil') }}",
    "{{ '9' * 9 | int }}",
    "{{ value | int(base=0) }}",
    "{{ value | wordwrap(1) }}",
    "{{ lipsum(99999) }}",
    "{% for a in value %}{% for b in value %}{% for c in value %}x{% endfor %}{% endfor %}{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% include 'x' %}",
    "{% set a = [1] %}{{ a.append(a) }}{{ a }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ self.__init__.__globals__ }}",
    "{{ value_json.__class__ }}",
    "{{ cycler.__init__ }}",
    "{{ (value ~ value) ~ (value ~ value) }}",
    "{{" + "~".join(["value"] * 280) + "}}",
    "{{" + "(" * 600 + "1" + ")" * 600 + "}}",
    "{{" + "-" * 1_900 + "1 }}",
    "{{" + "not " * 400 + "1 }}",
    "{{" + "[" * 300 + "]" * 300 + "}}",
    "{{" + "*".join(["9" * 60] * 30) + "}}",
    "{{" + "9" * 1_900 + "}}",
    "{{" + "a." * 600 + "b }}",
    "{{ a" + "|upper" * 300 + "}}",
    "{% if 1 %}" * 90 + "{% endif %}" * 90,
    "".join(f"{{% set a{n + 1} = a{n} + a{n} %}}" for n in range(60)).replace("a0", "value") + "{{ a60 }}",
    "".join(f"{{% set a{n + 1} = a{n} ~ a{n} %}}" for n in range(60)).replace("a0", "value") + "{{ a60 }}",
    "".join(f"{{% set a{n + 1} = [a{n}, a{n}] %}}" for n in range(50)).replace("a0", "value") + "{{ a50 }}",
    "".join(f"{{% set a{n + 1} = a{n} * a{n} %}}" for n in range(50)).replace("a0", "3") + "{{ a50 }}",
    "{{ value_json" + "[0]" * 600 + " }}",
    "{{ '\ud800' }}",
    "{{ caller }}{{ loop }}{{ super() }}",
    "{{ value | float * 1e308 * 1e308 }}",
    "{{ value.get }}",
    "{{ (1)[0] }}",
    "{{ 7 | round(1e300) }}{{ 7 | round(-1e300) }}",
    "{{ value_json == value_json }}{{ value_json < value_json }}",
]
PAYLOADS = [
    "3",
    "x" * 60_000,
    "9" * 60_000,
    "[" * 900 + "]" * 900,
    '{"a": [1, 2], "get": 1}',
    "😀",
]


def given_by(template: str, payload: str) -> Any:
    """What a template gives, or why it is refused."""
    try:
        return template_of(template)(Payload(payload))
    except Refused as e:
        return e


@pytest.mark.parametrize("template", HOSTILE)
def test_a_hostile_template_is_refused_or_bounded(template: str) -> None:
    begin = time.process_time()
    for payload in PAYLOADS:
        given = given_by(template, payload)
        assert len(str(given)) <= 1_000
        assert given is None or type(given) in (int, float, str) or given.reason == "template"
    assert time.process_time() - begin < 2


SIGNS = ["+", "*", "~", "|", ".", "[", "]", "(", ")", "{", "}", "=", "==", ",", ":", "-", "{{", "}}", "{%", "%}"]
WORDS = ["value", "value_json", "a", "1", "'x'", "float", "round", "int", "lower", "set", "if", "else", "endif", "in"]
words = st.sampled_from([*SIGNS, *WORDS, "is", "defined"])


@given(
    st.lists(words, max_size=30).map(" ".join) | st.text(max_size=30).map("{{{{ {} }}}}".format),
    st.sampled_from(PAYLOADS),
)
def test_any_template_gives_a_number_a_text_nothing_or_is_refused(template: str, payload: str) -> None:
    given = given_by(template, payload)
    assert given is None or type(given) in (int, float, str) or given.reason == "template"


CONFIG_TOPICS = st.sampled_from(
    ["homeassistant/sensor/a/config", "homeassistant/device/a/config", "homeassistant/binary_sensor/n/a/config"]
)
KEYS = (
    "stat_t",
    "state_topic",
    "dev_cla",
    "val_tpl",
    "dev",
    "ids",
    "cns",
    "cmps",
    "p",
    "avty",
    "avty_t",
    "t",
    "~",
    "uniq_id",
)


@given(
    st.lists(
        st.tuples(
            CONFIG_TOPICS | st.sampled_from(["a/b", "a/", "homeassistant/a", ""]),
            st.binary(max_size=20) | with_keys(*KEYS),
            st.booleans(),
        ),
        max_size=6,
    )
)
def test_whatever_comes_is_heard_or_refused(messages: list[tuple[str, Any, bool]]) -> None:
    here = world()
    for topic, payload, retained in messages:
        survives(here, topic, payload, retained=retained)
    for one in here.preset.filters(here.notes):
        assert "#" not in one.topic


@given(
    st.sampled_from(["temperature", "power", "door"]),
    with_keys("a", "b"),
    st.sampled_from([*HOSTILE, "{{ value_json.a }}", "{{ value_json.a.b + 1 }}"]),
)
def test_whatever_a_state_topic_says_is_heard_or_refused(kind: str, payload: Any, template: str) -> None:
    here = world()
    for component in ("sensor", "binary_sensor"):
        config = {"stat_t": "t", "dev_cla": kind, "val_tpl": template.encode(errors="replace").decode()}
        survives(here, f"homeassistant/{component}/x/config", config, retained=True)
    survives(here, "t", payload, retained=False)
