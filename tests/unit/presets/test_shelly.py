"""Shelly: topics of the first generation, and what later ones notify of."""

from __future__ import annotations

from typing import Any

import pytest

from iotd.model.errors import Refused
from iotd.sources.mqtt.presets.base import NOTHING, Presence
from iotd.sources.mqtt.presets.registry import make
from tests.unit.presets.readers import heard, short

PRESET = make("shelly")
TS = 1_796_000_000.62


@pytest.mark.parametrize(
    ("topic", "payload", "expected"),
    [
        ("ht/sensor/temperature", "21.3", ("temperature", "ht", None)),
        ("ht/sensor/humidity", "45.1", ("humidity", "ht", None)),
        ("ht/sensor/battery", "88", ("battery", "ht", None)),
        ("dw/sensor/state", "open", ("contact", "dw", None)),
        ("dw/sensor/lux", "230", ("illuminance", "dw", None)),
        ("flood/sensor/flood", "true", ("leak", "flood", None)),
        ("smoke/sensor/smoke", "false", ("smoke", "smoke", None)),
        ("plug/relay/0", "on", ("switch", "plug", None)),
        ("plug/relay/1", "off", ("switch", "plug 1", None)),
        ("plug/relay/0/power", "12.40", ("power", "plug", None)),
        ("plug/relay/0/energy", "12345", ("energy", "plug", "Wmin")),
        ("two/relay/power", "12", ("power", "two", None)),
        ("two/roller/0/energy", "7", ("energy", "two", "Wmin")),
        ("em/emeter/2/voltage", "230.1", ("voltage", "em 2", None)),
        ("em/emeter/0/total", "99.1", ("energy", "em", "Wh")),
        ("em/emeter/1/total_returned", "9.1", ("energy", "em 1 returned", "Wh")),
        ("dim/light/0", "on", ("switch", "dim", None)),
        ("i3/input/2", "1", ("switch", "i3 input 2", None)),
        ("uni/adc/0", "11.9", ("voltage", "uni", None)),
        ("one/ext_temperature/1", "20.4", ("temperature", "one 1", "°C")),
        ("one/ext_humidity/0", "20.4", ("humidity", "one", None)),
        ("attic/shellyht-1/sensor/temperature", "3", ("temperature", "attic/shellyht-1", None)),
    ],
)
def test_a_topic_of_the_first_generation(topic: str, payload: str, expected: tuple[str, str, str | None]) -> None:
    found = heard(PRESET, f"shellies/{topic}", payload)
    assert short(found) == [(expected[0], expected[1], payload, expected[2])]
    assert found.said[0].hints == (f"shellies/{topic}",)


@pytest.mark.parametrize(
    "topic",
    [
        "one/temperature",
        "one/temperature_f",
        "one/ext_temperature_f/0",
        "ht/sensor/temperature_f",
        "em/emeter/0/energy",
        "em/emeter/0/pf",
        "one/info",
        "one/announce",
        "announce",
        "one/relay/0/command",
        "two/roller/0/pos",
        "dim/light/0/status",
        "one/input_event/0",
        "later/status/switch:0",
        "later/rpc",
    ],
)
def test_what_another_topic_says_or_is_no_reading_is_left(topic: str) -> None:
    assert heard(PRESET, f"shellies/{topic}", "21.3").said == ()


def test_the_status_of_a_motion_sensor() -> None:
    body = {"motion": True, "timestamp": 1_614_416_952, "active": True, "vibration": True, "lux": 303, "bat": 87}
    tmp = {"value": 70.1, "units": "F", "is_valid": True}
    found = heard(PRESET, "shellies/motion2/status", {**body, "tmp": tmp})
    assert short(found) == [
        ("battery", "motion2", 87, None),
        ("illuminance", "motion2", 303, None),
        ("motion", "motion2", True, None),
        ("temperature", "motion2", 70.1, "F"),
    ]
    assert {one.time for one in found.said} == {None}
    odd_ones: list[Any] = [{"tmp": {"value": 3, "is_valid": False}}, {"tmp": 3}, {"tmp": {"units": []}}, {}]
    for odd in odd_ones:
        assert heard(PRESET, "shellies/motion2/status", odd).said == []


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"temperature:0": {"id": 0, "tC": 19.8, "tF": 67.6}}, [("temperature", "ht", 19.8, None)]),
        ({"temperature:100": {"id": 100, "tC": 19.8}}, [("temperature", "ht 100", 19.8, None)]),
        ({"temperature:0": {"tC": None, "errors": ["read"]}}, []),
        ({"humidity:0": {"rh": 61.2}, "sys": {"uptime": 5}}, [("humidity", "ht", 61.2, None)]),
        (
            {"devicepower:0": {"battery": {"V": 5.3, "percent": 78}, "external": {"present": False}}},
            [("battery", "ht", 78, None), ("voltage", "ht", 5.3, None)],
        ),
        (
            {
                "switch:0": {
                    "output": False,
                    "apower": 0,
                    "voltage": 231.2,
                    "current": 0.0,
                    "aenergy": {"total": 1234.5, "by_minute": [0, 0, 0], "minute_ts": 1},
                    "ret_aenergy": {"total": 2},
                    "temperature": {"tC": 40.1},
                }
            },
            [
                ("current", "ht", 0.0, None),
                ("energy", "ht returned", 2, "Wh"),
                ("energy", "ht", 1234.5, "Wh"),
                ("power", "ht", 0, None),
                ("switch", "ht", False, None),
                ("voltage", "ht", 231.2, None),
            ],
        ),
        ({"input:0": {"state": True}, "input:1": {"state": None}}, [("switch", "ht input 0", True, None)]),
        ({"pm1:0": {"apower": 4}, "wifi": {"rssi": -61}}, [("power", "ht", 4, None), ("rssi", "ht", -61, None)]),
        (
            {"em:0": {"a_act_power": 1, "b_voltage": 2, "n_current": None, "total_act_power": 3, "a_pf": 1}},
            [("power", "ht a", 1, None), ("power", "ht", 3, None), ("voltage", "ht b", 2, None)],
        ),
        (
            {"emdata:0": {"total_act": 10, "total_act_ret": 1, "c_total_act_energy": 4}},
            [("energy", "ht c", 4, "Wh"), ("energy", "ht returned", 1, "Wh"), ("energy", "ht", 10, "Wh")],
        ),
        (
            {"em1:1": {"act_power": -20}, "em1data:1": {"total_act_energy": 7}},
            [("energy", "ht 1", 7, "Wh"), ("power", "ht 1", -20, None)],
        ),
        ({"voltmeter:100": {"voltage": 4.2}}, [("voltage", "ht 100", 4.2, None)]),
        (
            {"flood:0": {"alarm": True}, "smoke:0": {"alarm": False}},
            [("leak", "ht", True, None), ("smoke", "ht", False, None)],
        ),
        (
            {"cover:0": {"apower": 90, "state": "opening"}, "light:1": {"output": True}},
            [("power", "ht", 90, None), ("switch", "ht 1", True, None)],
        ),
        ({"switch:0": 3, "temperature:0": [], "": {}, "em:": {"a_voltage": "x"}}, [("voltage", "ht a", "x", None)]),
        ({}, []),
    ],
)
def test_a_notification(params: dict[str, Any], expected: list[Any]) -> None:
    body = {"src": "ht", "dst": "x", "method": "NotifyStatus", "params": {"ts": TS, **params}}
    found = heard(PRESET, "salon-ht/events/rpc", body)
    assert short(found) == expected
    assert all((one.time, one.hints) == (TS, ("salon-ht/events/rpc",)) for one in found.said)
    assert short(heard(PRESET, "shellies/a/b/events/rpc", {**body, "method": "NotifyFullStatus"})) == expected


def test_what_is_passed_over_is_named() -> None:
    params = {"ts": TS, "sys": {}, "bthomesensor:200": {"value": 20.5}}
    found = heard(PRESET, "ht/events/rpc", {"src": "ht", "method": "NotifyStatus", "params": params})
    assert found.passed_over == ("ts", "sys", "bthomesensor:200")


def test_an_event_says_no_reading() -> None:
    body = {"src": "i4", "method": "NotifyEvent", "params": {"ts": TS, "events": [{"component": "input:0"}]}}
    assert heard(PRESET, "i4/events/rpc", body).said == ()


@pytest.mark.parametrize(
    "payload",
    [b"{", b"[]", b"\xff", b'{"method":"NotifyStatus"}', b'{"method":"NotifyStatus","src":"x","params":3}', b"NaN"],
)
def test_what_is_no_notification_is_refused(payload: bytes) -> None:
    with pytest.raises(Refused):
        heard(PRESET, "ht/events/rpc", payload)


@pytest.mark.parametrize("payload", [b"\xff", b"3" * 400])
def test_what_is_no_plain_value_is_refused(payload: bytes) -> None:
    with pytest.raises(Refused):
        heard(PRESET, "shellies/ht/sensor/temperature", payload)


@pytest.mark.parametrize("topic", ["shellies/ht/sensor/temperature", "ht/events/rpc", "ht/online", "shellies/m/status"])
def test_an_empty_message_says_nothing(topic: str) -> None:
    assert heard(PRESET, topic, b"") == NOTHING


@pytest.mark.parametrize(
    ("topic", "who"), [("shellies/ht/online", "ht"), ("salon-ht/online", "salon-ht"), ("shellies/a/b/online", "a/b")]
)
def test_a_last_will(topic: str, who: str) -> None:
    assert heard(PRESET, topic, "true").presence == (Presence(who, True),)
    assert heard(PRESET, topic, "false").presence == (Presence(who, False),)
    assert heard(PRESET, topic, "since Monday").passed_over == (who,)


@pytest.mark.parametrize("topic", ["ht/status/temperature:0", "a/b/events/rpc", "a/b/online", "online", "shellies"])
def test_other_topics_are_not_read(topic: str) -> None:
    assert PRESET.reader(topic) is None
