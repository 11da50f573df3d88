"""How the tests of presets read a message, and write down what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from iotd.intake.resolve import Resolver
from iotd.model.types import BUILT_IN
from iotd.sources.mqtt.presets.base import Delivery, Heard, Known, Preset

NAMES = Resolver(BUILT_IN, {"salon": ("living room",), "cuisine": ()}, {})
Short = tuple[str, str, Any, str | None]


def heard(preset: Preset, topic: str, payload: Any, notes: Mapping[str, str] | None = None) -> Heard:
    """What a message says; what is neither bytes nor text is its JSON.

    Raises:
        Refused: it is not what such a topic carries.
    """
    reader = preset.reader(topic)
    assert reader is not None, topic
    body = payload if isinstance(payload, bytes) else payload.encode() if isinstance(payload, str) else None
    return reader(Delivery(orjson.dumps(payload) if body is None else body), Known(notes or {}, NAMES))


def short(found: Heard) -> list[Short]:
    """Type, sensor, value and unit of all that was said, in that order."""
    return sorted(((one.type, one.sensor, one.value, one.unit) for one in found.said), key=repr)


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic filter matches a topic, as section 4.7 of MQTT has it."""
    own, levels = pattern.split("/"), topic.split("/")
    if own[-1] == "#":
        own, levels = own[:-1], levels[: len(own) - 1]
    return len(own) == len(levels) and all(mine in ("+", level) for mine, level in zip(own, levels, strict=True))
