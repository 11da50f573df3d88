"""What a doctor says of zigbee2mqtt's settings, and which words it has for which broker."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.sources.mqtt.doctor.findings import GENERAL, MOSQUITTO, Finding, Verdict, advice_for
from iotd.sources.mqtt.doctor.publishers import by_qos, silent, zigbee2mqtt
from iotd.sources.mqtt.exploring.survey import Survey

DEVICES = {"0x1": {"friendly_name": "salon/thermo"}, "0x2": {"friendly_name": "attic"}}
BEST: dict[str, Any] = {
    "advanced": {"last_seen": "ISO_8601", "cache_state": False},
    "device_options": {"qos": 1},
    "devices": DEVICES,
    "availability": {"enabled": True},
}


def told(**changes: Any) -> list[Finding]:
    return list(zigbee2mqtt("zigbee2mqtt", {"version": "2.14.1", "config": BEST | changes}))


def lines(found: list[Finding]) -> list[str]:
    return [line for one in found for line in one.advice]


RECORDED: dict[str, Any] = {
    "advanced": {
        "cache_state": True,
        "cache_state_persistent": True,
        "cache_state_send_on_startup": True,
        "last_seen": "disable",
        "output": "json",
    },
    "mqtt": {
        "base_topic": "zigbee2mqtt",
        "force_disable_retain": False,
        "include_device_information": False,
        "version": 4,
    },
    "device_options": {},
    "devices": {"0x00158d0000000001": {"friendly_name": "salon/thermo"}},
    "availability": {"active": {"timeout": 10}, "enabled": False, "passive": {"timeout": 1500}},
    "homeassistant": {"discovery_topic": "homeassistant", "enabled": False, "status_topic": "homeassistant/status"},
}
"""What 2.14.1 says of itself where nothing was set, without what nobody here looks at."""


def test_a_zigbee2mqtt_where_nothing_was_set_repeats_and_loses() -> None:
    found = told(**RECORDED)
    assert [one.verdict for one in found] == [Verdict.REPEATS, Verdict.REPEATS, Verdict.LOSES, Verdict.NOTE]
    assert {one.place for one in found} == {"configuration.yaml"}


def test_with_the_best_settings_there_is_nothing_to_set() -> None:
    found = told()
    assert {one.verdict for one in found} == {Verdict.OK}
    assert not any(one.bad or one.advice for one in found)


def test_the_defaults_lose_and_repeat() -> None:
    found = told(advanced={"last_seen": "disable", "cache_state": True}, device_options={}, availability={})
    assert [one.verdict for one in found[:3]] == [Verdict.REPEATS, Verdict.REPEATS, Verdict.LOSES]
    text = "\n".join(lines(found))
    for line in ("last_seen: ISO_8601", "cache_state: false", "device_options:\n  qos: 1"):
        assert line in text


@pytest.mark.parametrize("stamp", ["ISO_8601", "ISO_8601_local", "epoch"])
def test_any_last_seen_makes_a_repeat_harmless(stamp: str) -> None:
    found = told(advanced={"last_seen": stamp, "cache_state": True})
    assert not any(one.bad for one in found)
    assert "  cache_state: false" in lines(found)


def test_the_cache_is_left_to_home_assistant() -> None:
    found = told(advanced={"last_seen": "ISO_8601", "cache_state": True}, homeassistant={"enabled": True})
    assert "  cache_state: false" not in lines(found)
    assert any("Home Assistant needs that" in one.text for one in found)


def test_devices_with_a_qos_of_their_own_are_named() -> None:
    found = told(devices={**DEVICES, "0x3": {"friendly_name": "garage", "qos": 0}})
    (loses,) = [one for one in found if one.verdict is Verdict.LOSES]
    assert "QoS 0 for garage:" in loses.text
    assert loses.measured == {"devices": 3, "qos0": 1}
    assert "# and no other qos at the devices themselves" in loses.advice


def test_many_devices_are_counted() -> None:
    devices = {str(n): {"friendly_name": f"d{n}"} for n in range(40)}
    (loses,) = [one for one in told(devices=devices, device_options={}) if one.verdict is Verdict.LOSES]
    assert "and 35 more" in loses.text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(["config"]),
        json_values
        | st.dictionaries(
            st.sampled_from(["advanced", "device_options", "devices", "availability", "homeassistant"]),
            json_values
            | st.dictionaries(st.sampled_from(["last_seen", "cache_state", "qos", "enabled"]), json_values, max_size=3),
        ),
    )
)
def test_anything_that_a_bridge_says_can_be_read(info: dict[str, Any]) -> None:
    assert list(zigbee2mqtt("zigbee2mqtt", info))


def test_a_broker_that_is_not_mosquitto_gets_no_lines_of_mosquitto() -> None:
    assert advice_for("mosquitto version 2.0.11") is MOSQUITTO
    assert advice_for("EMQX 5.8") is GENERAL
    assert advice_for(None) is GENERAL
    assert not GENERAL.place
    assert "max_queued" not in " ".join(GENERAL.queue)


def test_publishers_with_qos_0_lose_and_what_the_broker_raises_is_not_known() -> None:
    survey = Survey()
    survey.live.update({"tasmota": 10, "zigbee2mqtt": 5})
    survey.live_qos0.update({"tasmota": 4})
    tasmota, zigbee = by_qos(survey, seconds=15, raised=False)
    assert (tasmota.verdict, tasmota.measured) == (Verdict.LOSES, {"messages": 10, "qos0": 4})
    assert zigbee.verdict is Verdict.OK
    assert list(by_qos(survey, seconds=15, raised=True))[1].verdict is Verdict.NOTE
    assert [one.what for one in silent(survey, ["tasmota", "homie"], seconds=15)] == ["publishers, homie"]
