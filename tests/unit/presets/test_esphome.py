"""ESPHome: plain values whose type stands in the object id, and the nodes' last wills."""

from __future__ import annotations

import pytest

from iotd.model.errors import Refused
from iotd.sources.mqtt.presets.base import NOTHING, Presence
from iotd.sources.mqtt.presets.registry import make
from tests.unit.presets.readers import heard, short

PRESET = make("esphome")


@pytest.mark.parametrize(
    ("topic", "payload", "expected"),
    [
        ("sensor/temperature", "21.3", ("temperature", "salon")),
        ("sensor/salon_temperature", "21.3", ("temperature", "salon")),
        ("sensor/bme280_humidity", "45", ("humidity", "salon bme280")),
        ("sensor/outside_temperature_2", "3.1", ("temperature", "salon outside 2")),
        ("sensor/temperature_f", "70.1", ("temperature_f", "salon")),
        ("sensor/battery_voltage", "3.01", ("voltage", "salon battery")),
        ("sensor/battery_level", "88", ("battery_level", "salon")),
        ("sensor/wifi_signal", "-61", ("rssi", "salon")),
        ("sensor/pm_2_5", "7", ("pm25", "salon")),
        ("sensor/total_daily_energy", "1.23", ("energy", "salon total daily")),
        ("sensor/co2", "nan", ("co2", "salon")),
        ("sensor/illuminance", " 400.2 \n", ("illuminance", "salon")),
        ("binary_sensor/front_door", "ON", ("door", "salon front")),
        ("binary_sensor/hall_motion", "OFF", ("motion", "salon hall")),
        ("binary_sensor/smoke", "OFF", ("smoke", "salon")),
        ("switch/relay_1", "ON", ("switch", "salon relay 1")),
        ("switch/salon", "OFF", ("switch", "salon")),
    ],
)
def test_the_type_stands_in_the_object_id(topic: str, payload: str, expected: tuple[str, str]) -> None:
    found = heard(PRESET, f"salon/{topic}/state", payload)
    assert short(found) == [(*expected, payload.strip(), None)]
    assert (found.said[0].time, found.said[0].hints) == (None, (f"salon/{topic}/state",))


@pytest.mark.parametrize(
    "topic",
    [
        "sensor/uptime",
        "sensor/wind_direction",
        "sensor/gas_resistance",
        "sensor/power_factor",
        "sensor/still_energy",
        "sensor/water_flow",
        "sensor/soil_moisture",
        "sensor/energy_yesterday",
        "sensor/door",
        "binary_sensor/battery_low",
        "binary_sensor/temperature_alarm",
        "binary_sensor/status",
    ],
)
def test_what_measures_something_else_is_passed_over(topic: str) -> None:
    found = heard(PRESET, f"salon/{topic}/state", "12")
    assert (found.said, found.passed_over) == ((), (topic.split("/")[1],))


@pytest.mark.parametrize("payload", [b"\xff\xfe", b"2" * 500])
def test_what_is_no_plain_value_is_refused(payload: bytes) -> None:
    with pytest.raises(Refused):
        heard(PRESET, "salon/sensor/temperature/state", payload)


def test_an_empty_message_says_nothing() -> None:
    assert heard(PRESET, "salon/sensor/temperature/state", b"") == NOTHING
    assert heard(PRESET, "salon/status", b"") == NOTHING


@pytest.mark.parametrize(("payload", "online"), [("online", True), ("offline", False), ("ONLINE", True)])
def test_a_nodes_last_will(payload: str, online: bool) -> None:
    assert heard(PRESET, "salon/status", payload).presence == (Presence("salon", online),)


@pytest.mark.parametrize("payload", [b"warming up", b"\xff", b'{"state":', b'{"state": 3}', b"{}", b"[1]"])
def test_a_status_of_something_else_is_passed_over(payload: bytes) -> None:
    found = heard(PRESET, "boiler/status", payload)
    assert (found.presence, found.passed_over) == ((), ("boiler",))


@pytest.mark.parametrize("base", ["house/+", "house/esp/+"])
def test_the_base_names_the_node_by_a_plus(base: str) -> None:
    preset = make("esphome", base)
    node = base.replace("+", "salon")
    assert short(heard(preset, f"{node}/sensor/temperature/state", "3")) == [("temperature", "salon", "3", None)]
    assert heard(preset, f"{node}/status", "online").presence == (Presence("salon", True),)


def test_a_base_without_a_plus_is_one_node() -> None:
    preset = make("esphome", "house/salon")
    assert short(heard(preset, "house/salon/sensor/t_temperature/state", "3")) == [
        ("temperature", "salon t", "3", None)
    ]
    assert heard(preset, "house/salon/status", "online").presence == (Presence("salon", True),)


@pytest.mark.parametrize(
    "topic", ["salon/light/lamp/state", "salon/sensor/temperature", "a/b/sensor/x/state", "salon", ""]
)
def test_other_topics_are_not_read(topic: str) -> None:
    assert PRESET.reader(topic) is None
