"""OpenMQTTGateway and Theengs gateway: beacons, transmissions at 433 MHz, and the gateways' last wills."""

from __future__ import annotations

from typing import Any

import pytest

from iotd.model.errors import Refused
from iotd.sources.mqtt.presets.base import NOTHING, Presence
from iotd.sources.mqtt.presets.registry import make
from tests.unit.presets.readers import heard, short

PRESET = make("openmqttgateway")
ADDRESS = "A4:C1:38:11:22:33"
TOPIC = "home/OpenMQTTGateway/BTtoMQTT/A4C138112233"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"tempc": 21.1, "tempf": 69.98, "hum": 59, "batt": 88, "volt": 2.9, "rssi": -71, "model": "LYWSD03MMC"},
            [
                ("battery", "", 88, None),
                ("humidity", "", 59, None),
                ("temperature", "", 21.1, "°C"),
                ("voltage", "", 2.9, None),
            ],
        ),
        ({"tempf": 69.98}, [("temperature", "", 69.98, "°F")]),
        ({"tempc": None, "tempf": 69.98}, [("temperature", "", 69.98, "°F")]),
        (
            {"tempc1": 60, "tempc2": 61.5, "tempc2_dp": 3},
            [("temperature", " 1", 60, "°C"), ("temperature", " 2", 61.5, "°C")],
        ),
        (
            {"lux": 120, "moi": 40, "fer": 300, "tempc": 18},
            [("illuminance", "", 120, None), ("temperature", "", 18, "°C")],
        ),
        ({"pres": 1001.2, "hum": 40}, [("humidity", "", 40, None), ("pressure", "", 1001.2, "hPa")]),
        ({"type": "TIRE", "pres": 2.3, "tempc": 30}, []),
        ({"open": True, "contact": "closed"}, [("contact", "", True, None)]),
        ({"open": 40}, []),
        ({"contact": "closed"}, [("contact", "", "closed", None)]),
        ({"motion": False, "co2": 700}, [("co2", "", 700, None), ("motion", "", False, None)]),
        ({"pm25": 4, "pm10": "9"}, [("pm10", "", "9", None), ("pm25", "", 4, None)]),
        ({"windspeed": 4.2, "pv_power": 40}, [("power", "", 40, None), ("wind", "", 4.2, "m/s")]),
        ({"rssi": -80, "manufacturerdata": "4c00", "distance": 3.2}, []),
        ({"tempc": {"v": 1}, "hum": []}, [("humidity", "", [], None), ("temperature", "", {"v": 1}, "°C")]),
        ({"batt": 2**63, "power": True}, [("battery", "", 2**63, None)]),
        ({}, []),
    ],
)
def test_a_beacon(body: dict[str, Any], expected: list[Any]) -> None:
    said = [(kind, f"{ADDRESS}{suffix}", value, unit) for kind, suffix, value, unit in expected]
    assert short(heard(PRESET, TOPIC, {"id": ADDRESS, **body})) == said
    assert short(heard(PRESET, TOPIC, body)) == said  # the address is that of the topic


def test_several_gateways_hear_one_beacon_and_do_not_say_where_it_is() -> None:
    body = {"id": ADDRESS.lower(), "name": "salon thermo", "tempc": 21.1, "rssi": -60}
    first, second = (heard(PRESET, f"home/{gateway}/BTtoMQTT/{ADDRESS}", body) for gateway in ("cuisine", "hall"))
    assert first.said == second.said
    assert first.said[0].hints == ("salon thermo",)
    assert first.said[0].sensor == ADDRESS
    assert "rssi" in first.passed_over


@pytest.mark.parametrize(
    ("fields", "time"),
    [
        ({}, None),
        ({"UTCtime": "2026-11-28T04:20:00Z"}, "2026-11-28T04:20:00Z"),
        ({"unixtime": 1_796_000_000}, 1_796_000_000),
        ({"time": 77}, None),  # a device's own counter
    ],
)
def test_a_time_is_there_only_if_it_was_asked_for(fields: dict[str, Any], time: object) -> None:
    (one,) = heard(PRESET, TOPIC, {"hum": 40, **fields}).said
    assert one.time == time


@pytest.mark.parametrize(
    ("topic", "body", "sensor"),
    [
        ("home/TheengsGateway/BTtoMQTT", {"id": ADDRESS}, ADDRESS),
        ("home/x/BTtoMQTT/4F2A9C1E-0000-0000-0000-000000000001", {}, "4F2A9C1E-0000-0000-0000-000000000001"),
        ("home/x/BTtoMQTT/undecoded/A4C138112233", {"id": " "}, ADDRESS),
        ("home/x/BTtoMQTT/Z4C138112233", {"id": 3}, "Z4C138112233"),
    ],
)
def test_the_sensor_is_the_address(topic: str, body: dict[str, Any], sensor: str) -> None:
    assert short(heard(PRESET, topic, {"hum": 40, **body})) == [("humidity", sensor, 40, None)]


def test_a_beacon_without_an_address_is_passed_over() -> None:
    assert heard(PRESET, "home/x/BTtoMQTT", {"hum": 40}).passed_over == ("hum",)


def test_a_transmission_at_433_mhz() -> None:
    body = {"model": "Nexus-TH", "id": 90, "channel": 1, "temperature_C": 21.5, "humidity": 45, "rssi": -71}
    assert short(heard(PRESET, "home/OMG_lilygo/RTL_433toMQTT/Nexus-TH/1/90", body)) == [
        ("humidity", "Nexus-TH-1-90", 45, None),
        ("temperature", "Nexus-TH-1-90", 21.5, "°C"),
    ]


@pytest.mark.parametrize("payload", [b"{", b"[]", b"\xff", b'{"hum": NaN}', b"3"])
@pytest.mark.parametrize("topic", [TOPIC, "home/x/RTL_433toMQTT"])
def test_what_is_no_message_is_refused(topic: str, payload: bytes) -> None:
    with pytest.raises(Refused):
        heard(PRESET, topic, payload)


def test_a_gateways_last_will() -> None:
    assert heard(PRESET, "home/OMG/LWT", "online").presence == (Presence("OMG", True, True),)
    assert heard(PRESET, "home/OMG/LWT", "offline").presence == (Presence("OMG", False, True),)
    with pytest.raises(Refused):
        heard(PRESET, "home/OMG/LWT", "hello")


@pytest.mark.parametrize("topic", [TOPIC, "home/x/RTL_433toMQTT/a", "home/OMG/LWT"])
def test_an_empty_message_says_nothing(topic: str) -> None:
    assert heard(PRESET, topic, b"") == NOTHING


@pytest.mark.parametrize(
    "topic", ["home/OMG/SYStoMQTT", "home/BTtoMQTT/x", "house/OMG/BTtoMQTT/x", "home/OMG", "home/OMG/a/LWT"]
)
def test_other_topics_are_not_read(topic: str) -> None:
    assert PRESET.reader(topic) is None


def test_another_base() -> None:
    preset = make("openmqttgateway", "house/ble")
    assert short(heard(preset, "house/ble/x/BTtoMQTT/A4C138112233", {"hum": 4})) == [("humidity", ADDRESS, 4, None)]
