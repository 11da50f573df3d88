"""ChirpStack and The Things Stack: uplinks as they hand them over."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.sources.mqtt.presets.base import Filter
from iotd.sources.mqtt.presets.chirpstack import ChirpStack
from iotd.sources.mqtt.presets.the_things_stack import TheThingsStack
from tests.unit.presets.worlds import World, survives, with_keys

CHIRPSTACK = "application/5c4a/device/0101010101010101/event"
THINGS = "v3/house@ttn/devices/cuisine-th"
EUI = "0101010101010101"
TIME = "2026-11-28T04:20:00.123+00:00"


def chirpstack(decoded: Any = None, **its: Any) -> dict[str, Any]:
    return {
        "deduplicationId": "3ac7e3c4-4401-4b8d-9386-a5c902f9202d",
        "time": TIME,
        "deviceInfo": {"deviceName": "salon-th", "devEui": EUI, "tags": {"room": "Grand salon"}},
        "fCnt": 33,
        "object": decoded,
        **its,
    }


def things(decoded: Any = None, **its: Any) -> dict[str, Any]:
    uplink = {"f_cnt": 7, "received_at": TIME, **its}
    return {
        "end_device_ids": {"device_id": "cuisine-th", "dev_eui": EUI, "application_ids": {"application_id": "house"}},
        "received_at": "2026-11-28T04:20:01Z",
        "uplink_message": uplink if decoded is None else {**uplink, "decoded_payload": decoded},
    }


DECODED: list[tuple[Any, set[tuple[Any, ...]]]] = [
    ({"temperature": 21.5, "humidity": 45}, {("temperature", EUI, 21.5), ("humidity", EUI, 45)}),
    ({"temperature": "21.5"}, {("temperature", EUI, "21.5")}),
    ({"temperature": "warm"}, set()),
    ({"temperature": None}, set()),
    ({"Temperature_C": 0, "Humidity": 0.0}, {("Temperature_C", EUI, 0), ("Humidity", EUI, 0.0)}),
    ({"temp": 21, "temperature": 22}, {("temp", EUI, 21), ("temperature", f"{EUI} temperature", 22)}),
    ({"contact": False, "motion": True}, {("contact", EUI, False), ("motion", EUI, True)}),
    (
        {"probe1": {"temperature": 20}, "probe2": {"temperature": 21}},
        {("temperature", f"{EUI} probe1", 20), ("temperature", f"{EUI} probe2", 21)},
    ),
    ({"probe2": {"temperature": 21}}, {("temperature", f"{EUI} probe2", 21)}),
    ({"a": {"b": {"c": {"power": 3}}}}, {("power", f"{EUI} a b c", 3)}),
    ({"a": {"b": {"c": {"d": {"power": 3}}}}}, set()),
    ({"temperature": [21.5, 21.6]}, set()),
    ({"bytes": "AQID", "port": 2, "disk_usage": 3}, set()),
    ({}, set()),
    ({"battery": 3.6, "battery_V": 3.6}, {("battery", EUI, 3.6)}),
    ({"": 3, "co2": 447}, {("co2", EUI, 447)}),
]


@pytest.mark.parametrize(("decoded", "wanted"), DECODED)
def test_what_a_codec_gives(decoded: Any, wanted: set[tuple[Any, ...]]) -> None:
    for preset, topic, body in (
        (ChirpStack(), f"{CHIRPSTACK}/up", chirpstack(decoded)),
        (TheThingsStack(), f"{THINGS}/up", things(decoded)),
    ):
        found = World(preset).hears(topic, body).said
        assert {(one.type, one.sensor, one.value) for one in found} == wanted
        assert {one.time for one in found} <= {TIME}
        assert all(one.hints[0] in ("salon-th", "cuisine-th") for one in found)


def test_what_is_no_sensor_is_named() -> None:
    found = World(ChirpStack()).hears(f"{CHIRPSTACK}/up", chirpstack({"port": 2, "disk_usage": 3, "power": 3}))
    assert found.passed_over == ["port", "disk_usage"]


def test_the_gateway_that_heard_best() -> None:
    heard = [{"rssi": -110}, {"rssi": -87, "snr": 9}, {"snr": 3}, "odd"]
    for preset, topic, body in (
        (ChirpStack(), f"{CHIRPSTACK}/up", chirpstack({"rssi": -50}, rxInfo=heard)),
        (TheThingsStack(), f"{THINGS}/up", things({"rssi": -50}, rx_metadata=heard)),
    ):
        assert World(preset).says(topic, body) == {("rssi", EUI, -50, None), ("rssi", f"{EUI} rssi", -87, None)}


def test_what_the_things_stack_leaves_out_is_not_read_as_0() -> None:
    here = World(TheThingsStack())
    assert here.says(f"{THINGS}/up", things()) == set()
    assert here.says(f"{THINGS}/up", things({"temperature": 21}, rx_metadata=[{"snr": 3}])) == {
        ("temperature", EUI, 21, None)
    }
    body = things({"temperature": 21})
    del body["end_device_ids"]["dev_eui"]
    assert here.says(f"{THINGS}/up", body) == {("temperature", "cuisine-th", 21, None)}
    del body["uplink_message"]["received_at"]
    assert [one.time for one in here.hears(f"{THINGS}/up", body).said] == ["2026-11-28T04:20:01Z"]


def test_other_events_are_passed_over_and_not_subscribed_to() -> None:
    for preset, topics in (
        (ChirpStack(), [f"{CHIRPSTACK}/{event}" for event in ("status", "join", "ack", "txack", "log", "location")]),
        (TheThingsStack(), [f"{THINGS}/{event}" for event in ("join", "down/queued", "down/ack", "service/data")]),
    ):
        here = World(preset)
        for topic in topics:
            assert here.hears(topic, {"a": 1}).passed_over == ["an event that is no uplink"]
            assert not here.is_subscribed(topic)
    assert ChirpStack().filters({}) == [Filter("application/+/device/+/event/up")]
    assert TheThingsStack().filters({}) == [Filter("v3/+/devices/+/up")]


@pytest.mark.parametrize(
    "topic", ["application/a/device/b/command/down", "application", "v3/a/devices", "v3/a/b/c/up", ""]
)
def test_a_topic_of_something_else(topic: str) -> None:
    assert ChirpStack().reader(topic) is None
    assert TheThingsStack().reader(topic) is None


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "not JSON"),
        (b"\x0a\x24protobuf", "not JSON"),
        (b"[]", "not of this form"),
        ({}, "not of this form"),
        ({"deviceInfo": {}, "end_device_ids": {}}, "not of this form"),
        ({"deviceInfo": {"devEui": True}, "end_device_ids": {"dev_eui": []}}, "not of this form"),
        ({"deviceInfo": [], "end_device_ids": "x"}, "not of this form"),
        (b'{"a": NaN}', "not JSON"),
    ],
)
def test_another_form_is_refused(payload: Any, why: str) -> None:
    assert why in World(ChirpStack()).why_not(f"{CHIRPSTACK}/up", payload)
    assert why in World(TheThingsStack()).why_not(f"{THINGS}/up", payload)


def test_an_uplink_that_no_codec_has_decoded() -> None:
    body = chirpstack()
    assert "has an object object" in World(ChirpStack()).why_not(f"{CHIRPSTACK}/up", body)
    del body["object"]
    assert World(ChirpStack()).says(f"{CHIRPSTACK}/up", body) == set()
    assert World(TheThingsStack()).says(f"{THINGS}/up", {"end_device_ids": {"device_id": "x"}}) == set()


@given(
    st.binary(max_size=20)
    | with_keys("deviceInfo", "devEui", "object", "rxInfo", "rssi", "temperature", "time", "tags")
    | with_keys("a", "temperature", "power").map(chirpstack),
    st.booleans(),
)
def test_whatever_comes_from_chirpstack_is_heard_or_refused(payload: Any, retained: bool) -> None:
    survives(World(ChirpStack()), f"{CHIRPSTACK}/up", payload, retained=retained)


@given(
    st.binary(max_size=20)
    | with_keys("end_device_ids", "dev_eui", "device_id", "uplink_message", "decoded_payload", "received_at")
    | with_keys("a", "temperature", "power").map(things),
    st.booleans(),
)
def test_whatever_comes_from_the_things_stack_is_heard_or_refused(payload: Any, retained: bool) -> None:
    survives(World(TheThingsStack()), f"{THINGS}/up", payload, retained=retained)
