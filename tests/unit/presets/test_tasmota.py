"""Tasmota: telemetry of chips and meters, switches, and last wills."""

from __future__ import annotations

from typing import Any

import pytest

from iotd.model.errors import Refused
from iotd.sources.mqtt.presets.base import NOTHING, Presence
from iotd.sources.mqtt.presets.registry import make
from tests.unit.presets.readers import Short, heard, short

PRESET = make("tasmota")
TIME = "2026-11-28T04:20:00"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"DS18B20": {"Id": "01131B123456", "Temperature": 21.3}, "TempUnit": "C"},
            [("temperature", "plug 01131B123456", 21.3, "C")],
        ),
        ({"DS18B20": {"Temperature": 70.3}, "TempUnit": "F"}, [("temperature", "plug DS18B20", 70.3, "F")]),
        (
            {
                "DS18B20-1": {"Id": "0A", "Temperature": 21.3},
                "DS18B20-2": {"Id": "0B", "Temperature": 85.0},
                "TempUnit": "C",
            },
            [("temperature", "plug 0A", 21.3, "C"), ("temperature", "plug 0B", 85.0, "C")],
        ),
        (
            {
                "BME680": {"Temperature": 21.0, "Humidity": 44.1, "DewPoint": 8.3, "Pressure": 756.1, "Gas": 120.5},
                "PressureUnit": "mmHg",
                "TempUnit": "C",
            },
            [
                ("humidity", "plug BME680", 44.1, None),
                ("pressure", "plug BME680", 756.1, "mmHg"),
                ("temperature", "plug BME680", 21.0, "C"),
            ],
        ),
        (
            {
                "ENERGY": {
                    "TotalStartTime": "2026-01-01T00:00:00",
                    "Total": 12.345,
                    "Yesterday": 0.5,
                    "Today": 0.2,
                    "Period": 3,
                    "Power": 42,
                    "ApparentPower": 50,
                    "ReactivePower": 20,
                    "Factor": 0.84,
                    "Voltage": 231,
                    "Current": 0.182,
                }
            },
            [
                ("current", "plug", 0.182, None),
                ("energy", "plug", 12.345, None),
                ("power", "plug", 42, None),
                ("voltage", "plug", 231, None),
            ],
        ),
        (
            {"ENERGY": {"Total": 9.5, "Power": [10, 20, 30], "Voltage": [230, 231, 229]}},
            [
                ("energy", "plug", 9.5, None),
                ("power", "plug 1", 10, None),
                ("power", "plug 2", 20, None),
                ("power", "plug 3", 30, None),
                ("voltage", "plug 1", 230, None),
                ("voltage", "plug 2", 231, None),
                ("voltage", "plug 3", 229, None),
            ],
        ),
        ({"AM2301": {"Temperature": None, "Humidity": None}, "TempUnit": "C"}, "nothing"),
        ({"SCD40": {"CarbonDioxide": 812, "eCO2": 900}}, [("co2", "plug SCD40", 812, None)]),
        (
            {"SDS0X1": {"PM2.5": 4.1, "PM10": 9.9}},
            [("pm10", "plug SDS0X1", 9.9, None), ("pm25", "plug SDS0X1", 4.1, None)],
        ),
        ({"ESP32": {"Temperature": 53.3}, "TempUnit": "C"}, []),
        ({"ANALOG": {"Temperature1": 20.1, "A0": 1024}}, [("temperature", "plug ANALOG 1", 20.1, None)]),
        ({"TX23": {"Speed": {"Act": 14.8, "Avg": 8.5}}, "SpeedUnit": "km/h"}, [("wind", "plug TX23", 14.8, "km/h")]),
        (
            {"Switch1": "ON", "Switch2": "OFF"},
            [("switch", "plug Switch1", "ON", None), ("switch", "plug Switch2", "OFF", None)],
        ),
        (
            {"ZbReceived": {"0x8F20": {"Device": "0x8F20", "Name": "cuisine", "Temperature": 19.5, "LinkQuality": 70}}},
            [("temperature", "plug cuisine", 19.5, None)],
        ),
        (
            {"ATCa1b2c3": {"mac": "a4c138a1b2c3", "Temperature": 22, "Battery": 88, "RSSI": -61}},
            [
                ("battery", "plug ATCa1b2c3", 88, None),
                ("rssi", "plug ATCa1b2c3", -61, None),
                ("temperature", "plug ATCa1b2c3", 22, None),
            ],
        ),
        ({"COUNTER": {"C1": 5}, "Epoch": 1}, []),
        ({"SHT3X": {"Temperature": 21}, "TempUnit": 3}, [("temperature", "plug SHT3X", 21, None)]),
        ({"BME280": [1, 2], "X": None, "PN532": {"UID": "94D8FC5F"}}, []),
        ({}, []),
    ],
)
def test_telemetry(body: dict[str, Any], expected: list[Short] | str) -> None:
    found = heard(PRESET, "tele/plug/SENSOR", {"Time": TIME, **body})
    assert {one.time for one in found.said} <= {TIME}
    if expected == "nothing":
        assert {one.value for one in found.said} == {None}
    else:
        assert short(found) == expected


@pytest.mark.parametrize(
    ("topic", "sensor"),
    [
        ("tele/house/attic/plug/SENSOR", "house/attic/plug DHT11"),
        ("plug/tele/SENSOR", "plug DHT11"),
        ("plug/tele/2/SENSOR", "plug/2 DHT11"),
    ],
)
def test_the_prefix_stands_before_or_behind_the_devices_topic(topic: str, sensor: str) -> None:
    (one,) = heard(PRESET, topic, {"DHT11": {"Humidity": 40}}).said
    assert (one.sensor, one.hints) == (sensor, (topic,))


def test_another_base() -> None:
    preset = make("tasmota", "home/+/tele")
    assert preset.filters({})[0].topic == "home/+/tele/#"
    assert short(heard(preset, "home/plug/tele/SENSOR", {"DHT11": {"Humidity": 40}})) == [
        ("humidity", "plug DHT11", 40, None)
    ]


def test_switches_and_signal_of_a_state() -> None:
    body = {"Time": TIME, "Uptime": "1T02:03:04", "Vcc": 3.4, "POWER1": "ON", "POWER2": "OFF", "Dimmer": 30}
    found = heard(PRESET, "tele/plug/STATE", {**body, "Wifi": {"AP": 1, "RSSI": 80, "Signal": -60}})
    assert short(found) == [
        ("rssi", "plug", -60, None),
        ("switch", "plug 1", "ON", None),
        ("switch", "plug 2", "OFF", None),
    ]
    assert {one.time for one in found.said} == {TIME}
    assert short(heard(PRESET, "tele/plug/STATE", {"POWER": "ON", "POWERLOCK": 3})) == [("switch", "plug", "ON", None)]


def test_a_time_before_the_clock_was_set_is_said_as_it_is() -> None:
    (one,) = heard(PRESET, "tele/plug/SENSOR", {"Time": "1970-01-01T00:00:33", "DHT11": {"Humidity": 40}}).said
    assert one.time == "1970-01-01T00:00:33"


@pytest.mark.parametrize(("payload", "online"), [("Online", True), ("Offline", False), (" offline\n", False)])
def test_a_last_will(payload: str, online: bool) -> None:
    assert heard(PRESET, "tele/a/plug/LWT", payload).presence == (Presence("a/plug", online),)
    assert heard(PRESET, "plug/tele/LWT", payload).presence == (Presence("plug", online),)


@pytest.mark.parametrize("payload", [b"{", b"[]", b"3", b"\xff\xfe", b'{"Time": NaN}', b"null"])
@pytest.mark.parametrize("what", ["SENSOR", "STATE"])
def test_what_is_no_telemetry_is_refused(payload: bytes, what: str) -> None:
    with pytest.raises(Refused):
        heard(PRESET, f"tele/plug/{what}", payload)


@pytest.mark.parametrize("what", ["INFO1", "RESULT", "MARGINS", "UPTIME"])
def test_other_telemetry_says_nothing(what: str) -> None:
    assert heard(PRESET, f"tele/plug/{what}", {"DHT11": {"Humidity": 40}}) == NOTHING


@pytest.mark.parametrize("what", ["SENSOR", "STATE", "LWT"])
def test_an_empty_message_says_nothing(what: str) -> None:
    assert heard(PRESET, f"tele/plug/{what}", b"") == NOTHING


@pytest.mark.parametrize(
    "topic", ["stat/plug/POWER", "stat/plug/RESULT", "cmnd/plug/POWER", "tele", "tele/SENSOR", "x/tele"]
)
def test_topics_that_say_it_again_or_are_of_others_are_not_read(topic: str) -> None:
    assert PRESET.reader(topic) is None


def test_what_is_passed_over_is_named() -> None:
    found = heard(PRESET, "tele/plug/SENSOR", {"Time": TIME, "DHT11": {"DewPoint": 3}, "Uptime": 4, "TempUnit": "C"})
    assert list(found.passed_over) == ["DHT11.DewPoint", "Uptime"]
