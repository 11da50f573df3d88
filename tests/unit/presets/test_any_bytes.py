"""All presets: any message of any topic is understood or refused, and what it says can be taken or refused."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.intake.targets import Targets
from iotd.intake.translate import Bounds, translate
from iotd.model.batch import Numbers
from iotd.model.errors import Refused
from iotd.model.observation import Columns, Observation
from iotd.model.series import Series
from iotd.model.types import BUILT_IN
from iotd.sources.mqtt.presets.base import Delivery, Heard, Known, Preset
from iotd.sources.mqtt.presets.registry import PRESETS, make
from tests.unit.presets.readers import NAMES, matches

ALL = [make(name) for name in PRESETS] + [make("tasmota", "a/+/tele"), make("esphome", "a/+"), make("shelly", "a/b")]
NOW = 1_796_000_000_000
BOUNDS = Bounds(future=300_000, past=86_400_000, zone=ZoneInfo("Europe/Paris"))

_WORDS = [
    "availability", "bridge", "devices", "groups", "info", "state", "set", "get", "temperature", "humidity",
    "contact", "SENSOR", "STATE", "LWT", "tele", "stat", "status", "online", "sensor", "binary_sensor", "switch",
    "salon_temperature", "relay", "0", "1", "emeter", "power", "energy", "total", "events", "rpc", "shellies",
    "input", "BTtoMQTT", "RTL_433toMQTT", "A4C138112233", "readings", "ecda3b1eaaaf", "home", "salon",
]  # fmt: skip
_KEYS = [
    "temperature", "humidity", "voltage", "voc", "illuminance", "illuminance_lux", "contact", "state", "state_l1",
    "gas", "air_quality", "battery", "last_seen", "friendly_name", "description", "definition", "exposes",
    "property", "unit", "features", "config", "advanced", "output", "friendly_name", "Time", "TempUnit",
    "PressureUnit", "SpeedUnit", "DS18B20-1", "Id", "Temperature", "Pressure", "ENERGY", "Power", "Total", "Speed",
    "Act", "ZbReceived", "Name", "Switch1", "POWER", "POWER1", "Wifi", "Signal", "src", "method", "params", "ts",
    "temperature:0", "tC", "switch:1", "aenergy", "total", "em:0", "a_voltage", "input:0", "tmp", "value", "units",
    "is_valid", "motion", "lux", "bat", "id", "tempc", "tempf", "hum", "open", "UTCtime", "unixtime", "name",
    "type", "model", "channel", "time", "temperature_C", "temperature_2_F", "wind_avg_km_h", "serialno", "rco2",
    "atmp",
]  # fmt: skip
_TEXTS = [
    "on", "OFF", "true", "nan", "unavailable", "21.5", "21,5 °C", "NotifyStatus", "NotifyFullStatus", "attribute",
    "TPMS", "online", "Offline", "mV", "ppb", "°F", "2026-11-28T04:20:00", "1970-01-01T00:00:33", "@0.1s", "9" * 400,
]  # fmt: skip

levels = st.one_of(st.sampled_from(_WORDS), st.text(st.characters(exclude_characters="/+#", exclude_categories=["Cs"])))
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(_TEXTS), st.text(max_size=8),
)  # fmt: skip
keys = st.one_of(st.sampled_from(_KEYS), st.text(max_size=6))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6), max_leaves=20
)
objects = st.dictionaries(keys, values, max_size=10)
payloads = st.one_of(
    objects.map(orjson.dumps), values.map(orjson.dumps), st.binary(max_size=60), st.sampled_from(_TEXTS).map(str.encode)
)
notes = st.dictionaries(
    st.one_of(st.sampled_from(["output", "device salon", "group salon"]), st.text(max_size=5)),
    st.one_of(st.just("attribute"), st.text(max_size=10), values.map(lambda value: orjson.dumps(value).decode())),
    max_size=3,
)


@st.composite
def topics(draw: st.DrawFn, preset: Preset) -> str:
    """A topic that one of its filters matches, or any text."""
    if draw(st.integers(0, 5)) == 0:
        return draw(st.text(max_size=20))
    pattern = draw(st.sampled_from([one.topic for one in preset.filters({})]))
    found: list[str] = []
    for level in pattern.split("/"):
        if level == "#":
            found += draw(st.lists(levels, max_size=4))
        else:
            found.append(draw(levels) if level == "+" else level)
    return "/".join(found)


def taken(said: Sequence[Observation]) -> int:
    """How many of them are readings; the others are refused, or say nothing."""

    async def register(series: Sequence[Series], originals: Mapping[Series, str]) -> Numbers:
        return np.arange(len(series), dtype=np.int32)

    found = asyncio.run(
        translate(
            Columns.of(said),
            NOW,
            targets=Targets(NAMES, BUILT_IN),
            bounds=BOUNDS,
            register=register,
            admit=lambda series: None,
        )
    )
    count = sum(len(batch) for batch in found.batches)
    assert count + len(found.refused) + found.nothing == len(said)
    return count


def understood(preset: Preset, topic: str, payload: bytes, known: Known) -> Heard | None:
    """What a message says; None: its topic is none of this kind, or it is refused."""
    reader = preset.reader(topic)
    if reader is None:
        return None
    assert preset.name == "homeassistant" or any(matches(one.topic, topic) for one in preset.filters(known.notes)), (
        topic
    )
    try:
        return reader(Delivery(payload), known)
    except Refused:
        return None


@pytest.mark.parametrize("preset", ALL, ids=lambda preset: f"{preset.name} {preset.base}")
@given(data=st.data())
def test_any_message_is_understood_or_refused(preset: Preset, data: st.DataObject) -> None:
    topic = data.draw(topics(preset))
    known = Known(data.draw(notes), NAMES)
    payload = data.draw(payloads)
    found = understood(preset, topic, payload, known)
    if found is None:
        return
    assert isinstance(found, Heard)
    assert all(hash(one.subject) is not None for one in found.said)
    assert all(one.unit is None or isinstance(one.unit, str) for one in found.said)
    assert all(one.who for one in found.presence)
    assert all(isinstance(note, str | None) for note in found.notes.values())
    assert all(isinstance(name, str) for name in found.passed_over)
    taken(found.said)
    assert understood(preset, topic, payload, known) == found  # nothing is kept from one message to the next


@pytest.mark.parametrize("preset", ALL, ids=lambda preset: f"{preset.name} {preset.base}")
@given(topic=st.lists(levels, min_size=1, max_size=6).map("/".join))
def test_a_reader_is_given_only_for_topics_that_a_filter_matches(preset: Preset, topic: str) -> None:
    if preset.name != "homeassistant" and preset.reader(topic) is not None:  # there any topic may be announced
        assert any(matches(one.topic, topic) for one in preset.filters({})), topic


_DEEP = 1_000
"""Levels: more than Python's own limit for what goes by recursion, and fewer than that of the JSON parser."""


@pytest.mark.parametrize(
    ("preset", "topic", "before", "behind"),
    [
        ("zigbee2mqtt", "zigbee2mqtt/salon", '{"temperature":', "}"),
        ("zigbee2mqtt", "zigbee2mqtt/salon", '{"temperature":21,"last_seen":', "}"),
        ("zigbee2mqtt", "zigbee2mqtt/bridge/devices", '[{"friendly_name":"x","definition":{"exposes":', "}}]"),
        ("tasmota", "tele/salon/SENSOR", '{"DHT11":{"Temperature":', "}}"),
        ("tasmota", "tele/salon/SENSOR", '{"TempUnit":', ',"DHT11":{"Temperature":3}}'),
        (
            "shelly",
            "salon/events/rpc",
            '{"src":"salon","method":"NotifyStatus","params":{"temperature:0":{"tC":',
            "}}}",
        ),
        ("shelly", "salon/events/rpc", '{"src":"salon","method":', "}"),
        ("shelly", "shellies/salon/status", '{"tmp":{"value":3,"units":', "}}"),
        ("openmqttgateway", "home/x/BTtoMQTT/salon", '{"tempc":', "}"),
        ("rtl_433", "rtl_433/x/events", '{"model":"salon","humidity":', "}"),
        ("rtl_433", "rtl_433/x/events", '{"humidity":3,"model":', "}"),
        ("airgradient", "airgradient/readings/salon", '{"rco2":', "}"),
    ],
)
def test_a_value_may_be_very_deep(preset: str, topic: str, before: str, behind: str) -> None:
    payload = f"{before}{'[' * _DEEP}{']' * _DEEP}{behind}".encode()
    found = understood(make(preset), topic, payload, Known({}, NAMES))
    taken(found.said if found else ())
