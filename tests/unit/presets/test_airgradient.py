"""airGradient monitors: the topic names the monitor where the body does not."""

from __future__ import annotations

from typing import Any

import pytest

from iotd.model.errors import Refused
from iotd.sources.mqtt.presets.base import NOTHING
from iotd.sources.mqtt.presets.registry import make
from tests.unit.presets.readers import heard, short

PRESET = make("airgradient")
TOPIC = "airgradient/readings/ecda3b1eaaaf"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"rco2": 447, "pm02": 7}, [("co2", 447), ("pm25", 7)]),
        ({"wifi": -46, "atmp": 25.87, "rhum": 43}, [("humidity", 43), ("rssi", -46), ("temperature", 25.87)]),
        ({"pm01": 3, "pm02": 7, "pm10": 9, "pm003Count": 442}, [("pm1", 3), ("pm10", 9), ("pm25", 7)]),
        ({"tvocIndex": 100, "tvocRaw": 33051, "noxIndex": 1}, [("voc", 100)]),
        ({"atmp": 25.87, "atmpCompensated": 24.47}, [("temperature", 25.87)]),
        ({"rhum": 43, "rhumCompensated": 49}, [("humidity", 43)]),
        ({"rco2": None, "atmp": 20}, [("temperature", 20)]),
        ({"rco2": "447"}, [("co2", "447")]),
        ({"rco2": -1}, [("co2", -1)]),
        ({"rco2": 2**63}, [("co2", 2**63)]),
        ({"rco2": {"v": 1}}, [("co2", {"v": 1})]),
        ({"rco2": ""}, []),
        ({"boot": 5, "bootCount": 5, "firmware": "3.1.9", "model": "I-9PSL"}, []),
        ({"channels": {"1": {"pm02": 3}, "2": {"pm02": 4}}, "pm02": 3.5}, [("pm25", 3.5)]),
        ({"atmp": True}, [("temperature", True)]),
        ({}, []),
    ],
)
def test_a_message(body: dict[str, Any], expected: list[Any]) -> None:
    for serial in ({}, {"serialno": "ecda3b1eaaaf"}):
        found = heard(PRESET, TOPIC, {**serial, **body})
        assert short(found) == [(kind, "ecda3b1eaaaf", value, None) for kind, value in expected]
        assert {one.time for one in found.said} <= {None}


@pytest.mark.parametrize("payload", [b"{", b"[]", b"null", b"\xff\xff", b'{"rco2": NaN}', b'{"serialno": null}'])
def test_what_is_no_message_is_refused(payload: bytes) -> None:
    with pytest.raises(Refused):
        heard(PRESET, TOPIC, payload)


def test_an_empty_message_says_nothing() -> None:
    assert heard(PRESET, TOPIC, b"") == NOTHING


def test_what_is_passed_over_is_named() -> None:
    assert heard(PRESET, TOPIC, {"rco2": 447, "firmware": "3.1.9"}).passed_over == ("firmware",)


def test_topics() -> None:
    assert [one.topic for one in make("airgradient", "house/air").filters({})] == ["house/air/readings/+"]
    assert PRESET.reader("airgradient/readings") is None
    assert PRESET.reader("airgradient/readings/a/b") is None
    assert PRESET.reader("other/readings/a") is None
