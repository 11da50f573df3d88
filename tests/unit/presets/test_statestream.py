"""Home Assistant's statestream: states, and what their attributes and times make of them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.model.errors import Refused
from iotd.sources.mqtt.presets.statestream import Statestream
from tests.unit.presets.worlds import World, survives, with_keys

BASE = "homeassistant/sensor/salon_temperature"
ENTITY = "sensor.salon_temperature"
TIME = "2026-11-28T04:20:00.123456+00:00"


def world() -> World:
    return World(Statestream())


def attributes(here: World, of: str = BASE, **its: str) -> None:
    for name, said in its.items():
        assert not here.hears(f"{of}/{name}", said, retained=True).said


def test_a_value_that_arrives_live_has_the_time_of_its_arrival() -> None:
    here = world()
    attributes(here, unit_of_measurement='"\\u00b0C"', device_class='"temperature"', friendly_name='"Salon thermo"')
    (found,) = here.hears(f"{BASE}/state", "20.4").said
    assert (found.type, found.sensor, found.value, found.unit) == ("temperature", ENTITY, "20.4", "°C")
    assert found.hints == ("Salon thermo", "salon_temperature")
    assert found.time is None
    assert not here.hears(f"{BASE}/last_updated", TIME).said
    assert here.says(f"{BASE}/state", "20.5") == {("temperature", ENTITY, "20.5", "°C")}


@pytest.mark.parametrize("value_first", [True, False])
def test_a_retained_value_and_a_retained_time_are_one_reading_whichever_comes_last(value_first: bool) -> None:
    here = world()
    messages = [("state", "20.4"), ("last_updated", TIME)]
    first, last = messages if value_first else messages[::-1]
    assert not here.hears(f"{BASE}/{first[0]}", first[1], retained=True).said
    (found,) = here.hears(f"{BASE}/{last[0]}", last[1], retained=True).said
    assert (found.value, found.time) == ("20.4", TIME)
    # and once only
    assert not here.hears(f"{BASE}/{last[0]}", last[1], retained=True).said
    assert not here.hears(f"{BASE}/{last[0]}", last[1], retained=True).said


def test_a_retained_value_without_a_time_is_no_reading() -> None:
    here = world()
    assert not here.hears(f"{BASE}/state", "20.4", retained=True).said
    assert not here.hears(f"{BASE}/last_changed", TIME, retained=True).said
    (found,) = here.hears(f"{BASE}/state", "20.5").said
    assert (found.value, found.time) == ("20.5", None)


def test_a_retained_time_behind_a_live_value_is_that_of_what_was_heard() -> None:
    here = world()
    assert not here.hears(f"{BASE}/state", "20.4", retained=True).said
    assert here.hears(f"{BASE}/state", "20.5").said
    assert not here.hears(f"{BASE}/last_updated", TIME, retained=True).said
    assert not here.hears(f"{BASE}/state", "20.5", retained=True).said
    here.connection = 2
    assert not here.hears(f"{BASE}/state", "22.0", retained=True).said
    (found,) = here.hears(f"{BASE}/last_updated", "2026-11-29T04:20:00+00:00", retained=True).said
    assert (found.value, found.time) == ("22.0", "2026-11-29T04:20:00+00:00")


def test_a_live_time_makes_no_reading_of_a_retained_value() -> None:
    here = world()
    assert not here.hears(f"{BASE}/state", "20.4", retained=True).said
    assert not here.hears(f"{BASE}/last_updated", TIME).said
    here.connection = 2
    assert not here.hears(f"{BASE}/last_updated", TIME, retained=True).said


def test_what_repeats_itself_is_noted_once() -> None:
    here = world()
    attributes(here, unit_of_measurement='"°C"', friendly_name='"Salon"')
    here.hears(f"{BASE}/state", "20.4")
    noted = dict(here.notes)
    attributes(here, unit_of_measurement='"°C"', friendly_name='"Salon"')
    here.hears(f"{BASE}/state", "20.5")
    assert here.notes == noted


def test_a_value_before_its_unit_is_refused_where_units_are_published() -> None:
    here = world()
    attributes(here, "homeassistant/sensor/other", unit_of_measurement='"°C"')
    assert "not described yet" in here.why_not(f"{BASE}/state", "68.9")
    attributes(here, unit_of_measurement='"°F"')
    assert here.says(f"{BASE}/state", "68.9") == {("temperature", ENTITY, "68.9", "°F")}
    assert here.says("homeassistant/switch/new/state", "on") == {("switch", "switch.new", "on", None)}


@pytest.mark.parametrize("entity", ["sensor/x", "sensor/salon_temperature", "binary_sensor/x", "binary_sensor/door"])
@pytest.mark.parametrize("unit", ["°F", None])
def test_a_value_between_the_attributes_is_read_as_behind_them_or_refused(entity: str, unit: str | None) -> None:
    of = f"homeassistant/{entity}"
    its = {} if unit is None else {"unit_of_measurement": f'"{unit}"'}
    its |= {"device_class": '"temperature"' if entity.startswith("sensor") else '"door"', "friendly_name": '"X"'}
    whole = world()
    attributes(whole, of, **its)
    right = whole.says(f"{of}/state", "68.9")
    for some in range(len(its)):
        here = world()
        attributes(here, "homeassistant/sensor/other", unit_of_measurement='"°C"')
        attributes(here, of, **dict(list(its.items())[:some]))
        with suppress(Refused):
            assert here.says(f"{of}/state", "68.9") == right


def test_without_attributes_a_value_is_in_the_unit_of_its_type() -> None:
    assert world().says(f"{BASE}/state", "20.4") == {("temperature", ENTITY, "20.4", None)}


@pytest.mark.parametrize("value", ["unknown", "unavailable", "", "None", "21,5", "21.5 °C"])
def test_values_are_said_as_they_come(value: str) -> None:
    assert world().says(f"{BASE}/state", value) == {("temperature", ENTITY, value, None)}


@pytest.mark.parametrize(
    ("entity", "device_class", "kind"),
    [
        ("sensor/salon_temperature", None, "temperature"),
        ("sensor/outdoor_humidity_2", None, "humidity"),
        ("sensor/co2_bureau", None, "co2"),
        ("sensor/salon_battery_voltage", None, "voltage"),
        ("sensor/salon_pm2_5", None, "pm25"),
        ("sensor/boiler_current_temperature", None, "current_temperature"),
        ("sensor/garden_temperature_f", None, "temperature_f"),
        ("sensor/x", "carbon_dioxide", "carbon_dioxide"),
        ("sensor/x", "moisture", None),
        ("sensor/x", "enum", None),
        ("sensor/front_door", None, None),
        ("sensor/moon_phase", None, None),
        ("binary_sensor/front_door", None, "door"),
        ("binary_sensor/x", "motion", "motion"),
        ("binary_sensor/x", "battery", None),
        ("binary_sensor/phone_battery", None, None),
        ("binary_sensor/updater", None, None),
        ("switch/plug", None, "switch"),
        ("switch/plug", "outlet", "switch"),
    ],
)
def test_types_by_class_or_by_the_words_of_the_id(entity: str, device_class: str | None, kind: str | None) -> None:
    here = world()
    if device_class:
        attributes(here, f"homeassistant/{entity}", device_class=f'"{device_class}"', friendly_name='"X"')
    found = here.hears(f"homeassistant/{entity}/state", "1")
    assert [one.type for one in found.said] == ([kind] if kind else [])
    assert list(found.passed_over) == ([] if kind else [entity.replace("/", ".")])


def test_a_sensor_with_a_name_and_no_unit_is_a_text() -> None:
    here = world()
    attributes(here, "homeassistant/sensor/phone_battery_state", friendly_name='"Phone battery state"')
    found = here.hears("homeassistant/sensor/phone_battery_state/state", "charging")
    assert found.passed_over == ["sensor.phone_battery_state"]


@pytest.mark.parametrize(
    "topic",
    [
        "homeassistant/light/salon/state",
        "homeassistant/sensor/salon_temperature",
        "homeassistant/sensor/salon_temperature/state_class",
        "homeassistant/sensor/a/b/state",
        "homeassistant/sensor//state",
        "homeassistant/sensor/x/config",
        "home/sensor/x/state",
        "homeassistant",
    ],
)
def test_a_topic_of_something_else(topic: str) -> None:
    assert world().preset.reader(topic) is None


def test_attributes_are_asked_for_before_states_and_each_time() -> None:
    filters = Statestream("ha/stream").filters({})
    assert [one.announces for one in filters] == [True] * 9 + [False] * 6
    assert {one.topic.rpartition("/")[2] for one in filters[:9]} == {
        "unit_of_measurement",
        "device_class",
        "friendly_name",
    }
    here = World(Statestream("ha/stream"))
    assert here.is_subscribed("ha/stream/sensor/x/state")
    assert not here.is_subscribed("ha/stream/light/x/state")
    assert here.says("ha/stream/sensor/x_power/state", "3") == {("power", "sensor.x_power", "3", None)}


@pytest.mark.parametrize(
    ("payload", "unit"),
    [
        ('"°C"', "°C"),
        ("°C", "°C"),
        ("null", None),
        ("", None),
        ("3", None),
        ('{"a": 1}', None),
        ('"' + "x" * 999 + '"', "x" * 200),
    ],
)
def test_attributes_as_they_may_be_written(payload: str, unit: str | None) -> None:
    here = world()
    attributes(here, device_class='"temperature"', unit_of_measurement=payload, friendly_name='"X"')
    assert here.says(f"{BASE}/state", "3") == {("temperature", ENTITY, "3", unit)}


def test_what_is_no_text_is_refused() -> None:
    assert "not text" in world().why_not(f"{BASE}/state", b"\xff")
    assert "not text" in world().why_not(f"{BASE}/last_updated", b"\xff", retained=True)


LEVELS = st.sampled_from(["state", "last_updated", "unit_of_measurement", "device_class", "friendly_name", "other"])


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["sensor/a_power", "binary_sensor/a_door", "switch/a"]),
            LEVELS,
            st.binary(max_size=12) | with_keys("a") | st.sampled_from(["21", "time 3", "value 3", "live"]),
            st.booleans(),
        ),
        max_size=10,
    )
)
def test_whatever_comes_is_heard_or_refused(messages: list[tuple[str, str, Any, bool]]) -> None:
    here = world()
    for entity, level, payload, retained in messages:
        survives(here, f"homeassistant/{entity}/{level}", payload, retained=retained)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=12))
def test_a_retained_value_is_a_reading_only_with_the_time_that_was_retained_with_it(
    sessions: list[tuple[bool, bool, bool]],
) -> None:
    """In each session a value and its time are handed over, in one order or the other, and others arrive live."""
    here = world()
    for number, (value_first, live_between, live_behind) in enumerate(sessions):
        here.connection = number
        messages = [("state", f"{number}"), ("last_updated", f"time of {number}")]
        first, last = messages if value_first else messages[::-1]
        said = [*here.hears(f"{BASE}/{first[0]}", first[1], retained=True).said]
        if live_between:
            said += here.hears(f"{BASE}/state", f"live {number}").said
            said += here.hears(f"{BASE}/last_updated", "any").said
        said += here.hears(f"{BASE}/{last[0]}", last[1], retained=True).said
        if live_behind:
            said += here.hears(f"{BASE}/state", f"live {number}").said
        assert len(said) == (not live_between) + live_between + live_behind
        for one in said:
            assert one.time == (f"time of {one.value}" if one.time else None)
            assert one.time or str(one.value).startswith("live")
