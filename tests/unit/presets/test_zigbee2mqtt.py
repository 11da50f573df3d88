"""zigbee2mqtt: devices, attributes with topics of their own, availability, and what the bridge says."""

from __future__ import annotations

from typing import Any

import pytest

from iotd.model.errors import Refused
from iotd.sources.mqtt.presets.base import NOTHING, Presence
from iotd.sources.mqtt.presets.registry import make
from tests.unit.presets.readers import Short, heard, short

PRESET = make("zigbee2mqtt")
SEEN = "2026-11-28T04:20:00.123Z"
PLUG = {"state": "ON", "power": 12.4, "current": 0.05, "voltage": 231, "energy": 4.21, "linkquality": 98}


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        (
            "salon/thermo",
            {"temperature": 21.02, "humidity": 45, "battery": None, "linkquality": 120},
            [("humidity", 45, None), ("temperature", 21.02, None)],
        ),
        (
            "0x00158d0001a2b3c4",
            {"temperature": -3.5, "pressure": 1002.4, "battery": 97, "voltage": 2985, "linkquality": None},
            [("battery", 97, None), ("pressure", 1002.4, None), ("temperature", -3.5, None), ("voltage", 2985, "mV")],
        ),
        (
            "plug",
            PLUG,
            [
                ("current", 0.05, None),
                ("energy", 4.21, None),
                ("power", 12.4, None),
                ("switch", "ON", None),
                ("voltage", 231, None),
            ],
        ),
        ("door", {"contact": True, "battery_low": False}, [("contact", False, None)]),
        ("door", {"contact": False, "tamper": False}, [("contact", True, None)]),
        ("door", {"contact": None}, []),
        ("door", {"contact": "ajar"}, [("contact", "ajar", None)]),
        (
            "pir",
            {"occupancy": True, "illuminance": 40, "illuminance_lux": 1},
            [("illuminance", 1, None), ("motion", True, None)],
        ),
        ("pir", {"occupancy": False, "presence": True}, [("motion", False, None)]),
        ("pir", {"presence": True, "illuminance": 7}, [("illuminance", 7, None), ("motion", True, None)]),
        ("leak", {"water_leak": False, "battery": 100}, [("battery", 100, None), ("leak", False, None)]),
        ("smoke", {"smoke": False, "smoke_density": 0}, [("smoke", False, None)]),
        ("stove", {"gas": True}, []),
        ("meter", {"gas": 1204.5}, [("gas", 1204.5, None)]),
        (
            "air",
            {"co2": 612, "voc": 30, "formaldehyd": 2, "pm25": 7, "air_quality": "excellent"},
            [("co2", 612, None), ("pm25", 7, None), ("voc", 30, None)],
        ),
        ("trv", {"local_temperature": 20.5, "occupied_heating_setpoint": 21}, [("temperature", 20.5, None)]),
        ("trv", {"local_temperature": 20.5, "temperature": 20.4}, [("temperature", 20.4, None)]),
        ("blind", {"state": "OPEN", "position": 100}, []),
        ("lock", {"state": "UNLOCK", "lock_state": "unlocked"}, []),
        ("lamp", {"state": "OFF", "brightness": 254, "color": {"x": 0.4, "y": 0.4}}, [("switch", "OFF", None)]),
        ("soil", {"soil_moisture": 44, "moisture": 44, "temperature": 18}, [("temperature", 18, None)]),
        ("probe", {"temperature": "21,5", "": 1}, [("temperature", "21,5", None)]),
        ("odd", {"temperature": {"value": 21}}, [("temperature", {"value": 21}, None)]),
        ("huge", {"energy": 2**63, "power": 1e300}, [("energy", 2**63, None), ("power", 1e300, None)]),
        ("weather", {"wind_speed": 3.2, "rain_intensity": 1}, [("wind_speed", 3.2, None)]),
        ("empty", {}, []),
    ],
)
def test_the_state_of_a_device(name: str, body: dict[str, Any], expected: list[tuple[str, Any, str | None]]) -> None:
    found = heard(PRESET, f"zigbee2mqtt/{name}", body)
    assert short(found) == sorted(((kind, name, value, unit) for kind, value, unit in expected), key=repr)
    assert all(one.hints == (name,) and one.time is None for one in found.said)


def test_endpoints_are_sensors_of_their_own() -> None:
    body = {"state_l1": "ON", "state_left": "OFF", "power_phase_b": 4, "temperature_2": 20, "energy": 1}
    assert short(heard(PRESET, "zigbee2mqtt/box", body)) == [
        ("energy", "box", 1, None),
        ("power", "box phase b", 4, None),
        ("switch", "box l1", "ON", None),
        ("switch", "box left", "OFF", None),
        ("temperature", "box 2", 20, None),
    ]


@pytest.mark.parametrize("seen", [SEEN, "2026-11-28T05:20:00+01:00", 1_796_000_000_123, None])
def test_last_seen_is_the_time_in_each_of_its_forms(seen: object) -> None:
    (one,) = heard(PRESET, "zigbee2mqtt/salon", {"temperature": 21, "last_seen": seen}).said
    assert one.time == seen


@pytest.mark.parametrize("payload", [b'{"temperature":', b"{\xff}", b'{"temperature": NaN}', b'{"t":1e999}', b"{}{}"])
def test_what_is_no_json_is_refused(payload: bytes) -> None:
    with pytest.raises(Refused, match="not JSON"):
        heard(PRESET, "zigbee2mqtt/salon", payload)


def test_an_empty_message_says_that_a_device_is_gone_and_nothing_else() -> None:
    assert heard(PRESET, "zigbee2mqtt/salon", b"") == NOTHING


@pytest.mark.parametrize(
    ("topic", "payload", "expected"),
    [
        ("salon/thermo/availability", {"state": "online"}, Presence("salon/thermo", True)),
        ("salon/thermo/availability", "offline", Presence("salon/thermo", False)),
        ("bridge/state", {"state": "offline"}, Presence("bridge", False, True)),
        ("bridge/state", "online", Presence("bridge", True, True)),
    ],
)
def test_who_is_there(topic: str, payload: Any, expected: Presence) -> None:
    assert heard(PRESET, f"zigbee2mqtt/{topic}", payload).presence == (expected,)


@pytest.mark.parametrize("payload", ["maybe", "{", {"state": 3}, {}, b"\xff", "x" * 500])
def test_an_availability_that_is_none_is_refused(payload: Any) -> None:
    with pytest.raises(Refused):
        heard(PRESET, "zigbee2mqtt/salon/availability", payload)


@pytest.mark.parametrize(
    "topic",
    ["plug/set", "plug/get", "a/b/set", "plug/set/state", "bridge/logging", "bridge/request/permit_join", "bridge"],
)
def test_commands_and_the_bridges_talk_are_no_readings(topic: str) -> None:
    assert heard(PRESET, f"zigbee2mqtt/{topic}", {"state": "ON", "temperature": 3}) == NOTHING


def test_topics_of_others_are_not_read() -> None:
    assert PRESET.reader("zigbee2mqtt") is None
    assert PRESET.reader("tele/zigbee2mqtt/SENSOR") is None
    assert PRESET.reader("zigbee2mqtt2/salon") is None


def test_the_base_may_have_several_levels() -> None:
    preset = make("zigbee2mqtt", "house/zigbee")
    assert preset.filters({})[0].topic == "house/zigbee/#"
    assert short(heard(preset, "house/zigbee/salon/t", {"temperature": 1})) == [("temperature", "salon/t", 1, None)]
    assert preset.reader("house/zigbee2mqtt/salon") is None


DEVICES = [
    {"friendly_name": "Coordinator", "type": "Coordinator", "definition": None},
    {
        "friendly_name": "0x01",
        "description": "Salon, north wall",
        "definition": {
            "exposes": [
                {"type": "numeric", "name": "voltage", "property": "voltage", "unit": "mV"},
                {"type": "numeric", "property": "linkquality", "unit": "lqi"},
                {"type": "switch", "features": [{"property": "state"}, {"property": "power", "unit": "kW"}]},
                {"property": "voc", "unit": "ppb"},
                "text",
            ]
        },
    },
    {"friendly_name": 7},
    "text",
]


def test_descriptions_and_units_are_remembered_and_used() -> None:
    notes = heard(PRESET, "zigbee2mqtt/bridge/devices", DEVICES).notes
    assert set(notes) == {"device 0x01"}
    known = {key: note for key, note in notes.items() if note is not None}
    assert heard(PRESET, "zigbee2mqtt/bridge/devices", DEVICES, known).notes == {}
    found = heard(PRESET, "zigbee2mqtt/0x01", {"voltage": 2985, "power": 1.5, "voc": 120}, known)
    assert short(found) == [("power", "0x01", 1.5, "kW"), ("tvoc", "0x01", 120, "ppb"), ("voltage", "0x01", 2985, "mV")]
    assert found.said[0].hints == ("0x01", "Salon, north wall")


def test_a_device_that_is_gone_is_forgotten() -> None:
    known = {"device 0x01": "{}", "group all": "", "output": "json"}
    assert heard(PRESET, "zigbee2mqtt/bridge/devices", [], known).notes == {"device 0x01": None}
    assert heard(PRESET, "zigbee2mqtt/bridge/groups", b"", known).notes == {"group all": None}


def test_a_group_says_what_its_members_say_and_is_passed_over() -> None:
    notes = heard(PRESET, "zigbee2mqtt/bridge/groups", [{"friendly_name": "salon/lamps", "id": 1}]).notes
    assert notes == {"group salon/lamps": ""}
    known = {"group salon/lamps": ""}
    found = heard(PRESET, "zigbee2mqtt/salon/lamps", {"state": "ON"}, known)
    assert (found.said, found.passed_over) == ((), ("salon/lamps",))
    assert heard(PRESET, "zigbee2mqtt/salon/lamps/availability", "offline", known) == NOTHING


@pytest.mark.parametrize(
    ("topic", "payload", "expected"),
    [
        ("salon/thermo/temperature", "21.5", [("temperature", "salon/thermo", "21.5", None)]),
        ("door/contact", "true", [("contact", "door", False, None)]),
        ("plug/state", "ON", [("switch", "plug", "ON", None)]),
        ("blind/state", "OPEN", []),
        ("plug/linkquality", "98", []),
        ("temperature", "21.5", []),
    ],
)
def test_attributes_have_topics_of_their_own_only_where_the_bridge_says_so(
    topic: str, payload: str, expected: list[Short]
) -> None:
    info = {"config": {"advanced": {"output": "attribute", "last_seen": "disable"}}, "version": "2.14.1"}
    assert heard(PRESET, "zigbee2mqtt/bridge/info", info).notes == {"output": "attribute"}
    assert short(heard(PRESET, f"zigbee2mqtt/{topic}", payload, {"output": "attribute"})) == expected
    for other in ({}, {"output": "json"}, {"output": "attribute_and_json"}):
        assert short(heard(PRESET, f"zigbee2mqtt/{topic}", payload, other)) == []


@pytest.mark.parametrize("payload", [b"{", b"3", b"{}", b'"x"', b"\xff"])
def test_a_list_of_devices_that_is_none_is_refused(payload: bytes) -> None:
    with pytest.raises(Refused):
        heard(PRESET, "zigbee2mqtt/bridge/devices", payload)


@pytest.mark.parametrize(
    "note", ["", "{}", "[]", "3", '{"description":1,"units":3}', '{"description":"","units":{"temperature":["C"]}}']
)
def test_a_note_of_another_version_does_no_harm(note: str) -> None:
    found = heard(PRESET, "zigbee2mqtt/salon", {"temperature": 21}, {"device salon": note})
    assert short(found) == [("temperature", "salon", 21, None)]


def test_what_is_passed_over_is_named() -> None:
    body = {"state": "OPEN", "linkquality": 9, "contact": None, "illuminance_lux": 1, "illuminance": 9}
    found = heard(PRESET, "zigbee2mqtt/x", body)
    assert list(found.passed_over) == ["state", "linkquality", "illuminance"]
