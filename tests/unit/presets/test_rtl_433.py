"""rtl_433: events with units in the names of their fields."""

from __future__ import annotations

from typing import Any

import pytest

from iotd.model.errors import Refused
from iotd.sources.mqtt.presets.base import NOTHING, Presence
from iotd.sources.mqtt.presets.registry import make
from tests.unit.presets.readers import heard, short

PRESET = make("rtl_433")
EVENTS = "rtl_433/attic/events"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"temperature_C": 21.5, "humidity": 45}, [("humidity", "", 45, None), ("temperature", "", 21.5, "°C")]),
        ({"temperature_F": 70.7}, [("temperature", "", 70.7, "°F")]),
        ({"temperature_C": 21.5, "temperature_F": 70.7}, [("temperature", "", 21.5, "°C")]),
        (
            {"temperature_1_C": 60, "temperature_2_C": 61},
            [("temperature", " 1", 60, "°C"), ("temperature", " 2", 61, "°C")],
        ),
        ({"humidity_1": 40, "humidity_2": 41}, [("humidity", " 1", 40, None), ("humidity", " 2", 41, None)]),
        ({"pressure_hPa": 1001.2}, [("pressure", "", 1001.2, "hPa")]),
        ({"pressure_kPa": 100.1}, [("pressure", "", 100.1, "kPa")]),
        (
            {"wind_avg_km_h": 12.3, "wind_max_km_h": 20, "wind_dir_deg": 270},
            [("wind", " max", 20, "km/h"), ("wind", "", 12.3, "km/h")],
        ),
        ({"wind_avg_m_s": 3.4, "wind_max_mi_h": 9}, [("wind", " max", 9, "mph"), ("wind", "", 3.4, "m/s")]),
        ({"rain_mm": 12.4, "rain_rate_mm_h": 3}, [("rain", "", 12.4, "mm")]),
        ({"rain_in": 1.02, "rain_rate_in_h": 0}, [("rain", "", 1.02, "in")]),
        (
            {"co2_ppm": 612, "pm2_5_ug_m3": 4.1, "pm10_ug_m3": 9},
            [("co2", "", 612, "ppm"), ("pm10", "", 9, "µg/m³"), ("pm25", "", 4.1, "µg/m³")],
        ),
        ({"light_lux": 1200.5, "uv": 3}, [("illuminance", "", 1200.5, "lx")]),
        (
            {"power_W": 420, "energy_kWh": 3.2, "current_A": 1.8},
            [("current", "", 1.8, "A"), ("energy", "", 3.2, "kWh"), ("power", "", 420, "W")],
        ),
        ({"battery_ok": 1, "battery_mV": 2900}, [("voltage", " battery", 2900, "mV")]),
        ({"detect_wet": 1, "contact_open": 0}, [("contact", "", 0, None), ("leak", "", 1, None)]),
        ({"moisture": 40, "rssi": -0.1, "snr": 20.1, "noise": -20, "mic": "CRC", "setpoint_C": 21}, []),
        ({"temperature_C": None, "humidity": "45"}, [("humidity", "", "45", None)]),
        ({"temperature_C": {"v": 1}, "temperature": 3}, [("temperature", "", {"v": 1}, "°C")]),
        ({"type": "TPMS", "pressure_kPa": 230, "temperature_C": 20}, []),
        ({"rain_mm": 2**63}, [("rain", "", 2**63, "mm")]),
    ],
)
def test_an_event(fields: dict[str, Any], expected: list[Any]) -> None:
    body = {"time": "2026-11-28 04:20:00", "model": "Nexus-TH", "id": 90, "channel": 1, **fields}
    found = heard(PRESET, EVENTS, body)
    assert short(found) == [(kind, f"Nexus-TH-1-90{suffix}", value, unit) for kind, suffix, value, unit in expected]
    assert {one.time for one in found.said} <= {"2026-11-28 04:20:00"}


@pytest.mark.parametrize(
    ("fields", "sensor"),
    [
        ({}, "X"),
        ({"id": 0}, "X-0"),
        ({"id": "a1", "channel": "B", "subtype": "T"}, "X-T-B-a1"),
        ({"id": None, "channel": ""}, "X"),
        ({"id": [3]}, "X"),
    ],
)
def test_the_sensor_is_named_as_in_rtl_433s_own_topics(fields: dict[str, Any], sensor: str) -> None:
    assert short(heard(PRESET, EVENTS, {"model": "X", "humidity": 3, **fields})) == [("humidity", sensor, 3, None)]


@pytest.mark.parametrize(
    ("said", "time"),
    [
        ("2026-11-28T04:20:00+0100", "2026-11-28T04:20:00+0100"),
        ("1796000000.25", "1796000000.25"),
        ("@0.262144s", None),
        (None, None),
    ],
)
def test_times_as_they_were_asked_for(said: str | None, time: str | None) -> None:
    (one,) = heard(PRESET, EVENTS, {"time": said, "model": "X", "humidity": 3}).said
    assert one.time == time


@pytest.mark.parametrize(
    "payload", [b"{", b"[]", b"{}", b'{"model":3.5}', b'{"model":""}', b"\xff", b'{"model":"X","humidity":NaN}']
)
def test_what_is_no_event_is_refused(payload: bytes) -> None:
    with pytest.raises(Refused):
        heard(PRESET, EVENTS, payload)


def test_whether_a_receiver_is_there() -> None:
    assert heard(PRESET, "rtl_433/attic/availability", "offline").presence == (Presence("attic", False, True),)


@pytest.mark.parametrize("topic", [EVENTS, "rtl_433/attic/availability"])
def test_an_empty_message_says_nothing(topic: str) -> None:
    assert heard(PRESET, topic, b"") == NOTHING


@pytest.mark.parametrize(
    "topic",
    ["rtl_433/attic/devices/Nexus-TH/1/90/temperature_C", "rtl_433/attic/states", "rtl_433/events", "x/attic/events"],
)
def test_topics_that_say_it_again_or_are_of_others_are_not_read(topic: str) -> None:
    assert PRESET.reader(topic) is None


def test_what_is_passed_over_is_named() -> None:
    found = heard(PRESET, EVENTS, {"model": "X", "humidity": 3, "mic": "CRC"})
    assert found.passed_over == ("model", "mic")
