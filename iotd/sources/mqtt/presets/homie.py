"""Homie 3, 4 and 5: devices that describe themselves, with values as plain text.

Up to 4 each property has its attributes on topics of their own (``$unit``); 5 has all in one ``$description``. A sensor
is a node of a device: ``device/node``; a property whose id says more than its type is one of its own,
``device/node/property``.

Values are retained without a time, so only those that arrive live are readings. Attributes are retained too, so they
are known before; a value that a device gives while it is still describing itself (``init``) is refused until they come.

https://homieiot.github.io/specification/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from iotd.model.errors import Refused
from iotd.model.observation import Names, Observation
from iotd.sources.mqtt.presets.base import (
    NOTHING,
    Delivery,
    Filter,
    Heard,
    Known,
    Presence,
    Reader,
    json_object,
    plain_text,
)
from iotd.sources.mqtt.presets.classes import is_plain, is_state
from iotd.sources.mqtt.presets.words import type_in

DEFAULT = "homie"
_FIVE = "5"
_ATTRIBUTES = ("$unit", "$datatype", "$name")
_NUMBERS = ("integer", "float", "boolean", "percent")
_SAY_NOTHING = frozenset({"degrees", "level", "measurement", "percentage", "reading", "state", "status", "value"})
"""Properties that leave it to their node to say what they are."""
_ONLINE = {"ready": True, "sleeping": True, "alert": True, "disconnected": False, "lost": False}
_MOST_PROPERTIES = 1_000
_LONGEST = 200
_LARGEST = 1024 * 1024
"""Bytes of a description."""


class Homie:
    """Devices of the Homie convention; see :class:`iotd.sources.mqtt.presets.base.Preset`."""

    name = "homie"

    def __init__(self, base: str = DEFAULT) -> None:
        self.base = base

    def filters(self, notes: Mapping[str, str]) -> Sequence[Filter]:
        """What devices say of themselves before their values."""
        five = f"{self.base}/{_FIVE}"
        told = [f"{five}/+/$state", f"{five}/+/$description", f"{self.base}/+/$state", f"{self.base}/+/$name"]
        told += [f"{self.base}/+/+/$name", *(f"{self.base}/+/+/+/{attribute}" for attribute in _ATTRIBUTES)]
        return [
            *(Filter(topic, announces=True) for topic in told),
            Filter(f"{self.base}/+/+/+"),
            Filter(f"{five}/+/+/+"),
        ]

    def reader(self, topic: str) -> Reader | None:
        """How the messages of a topic are read; None: it says nothing of a device, a node or a property's value."""
        if not topic.startswith(f"{self.base}/"):
            return None
        levels = topic[len(self.base) + 1 :].split("/")
        is_five = levels[0] == _FIVE and len(levels) > 1
        path = levels[1:] if is_five else levels
        if not all(path) or any(level.startswith("$") for level in path[:-1]):
            return None
        *owner, last = path
        whose = "/".join(owner)
        if last == "$state" and len(owner) == 1:
            return partial(_state, whose)
        if is_five and last == "$description" and len(owner) == 1:
            return partial(_description, whose)
        if not is_five and last in _ATTRIBUTES and 1 <= len(owner) <= 3 and (last == "$name" or len(owner) == 3):
            return partial(_attribute, f"{last} {whose}")
        if len(owner) == 2 and not last.startswith("$"):
            return partial(_value, owner[0], owner[1], last)
        return None


def _state(device: str, delivery: Delivery, known: Known) -> Heard:
    """A gateway is a device that has others as children."""
    said = plain_text(delivery.payload)
    notes = _changed({f"$state {device}": said[:_LONGEST] or None}, known)
    online = _ONLINE.get(said)
    if online is None:
        return Heard(notes=notes)
    return Heard(presence=[Presence(device, online, f"$children {device}" in known.notes)], notes=notes)


def _attribute(key: str, delivery: Delivery, known: Known) -> Heard:
    notes = _changed({key: plain_text(delivery.payload)[:_LONGEST] or None}, known)
    return Heard(notes=notes) if notes else NOTHING


def _description(device: str, delivery: Delivery, known: Known) -> Heard:
    """Of Homie 5: noted as the attributes of earlier versions are; an empty one removes the device."""
    if len(delivery.payload) > _LARGEST:
        raise Refused("too large", f"a description has at most {_LARGEST} bytes, and this has {len(delivery.payload)}")
    said = json_object(delivery.payload, "a $description of Homie") if delivery.payload.strip() else {}
    notes: dict[str, str | None] = dict.fromkeys(_of_before(device, known))
    described = {f"$name {device}": said.get("name")}
    for node, its in _tables(said.get("nodes")):
        described[f"$name {device}/{node}"] = its.get("name")
        for name, about in _tables(its.get("properties")):
            path = f"{device}/{node}/{name}"
            described |= {f"{key} {path}": about.get(key.removeprefix("$")) for key in _ATTRIBUTES}
    if len(described) > _MOST_PROPERTIES * len(_ATTRIBUTES):
        raise Refused("too many properties", f"a device has at most {_MOST_PROPERTIES}")
    texts = {key: value[:_LONGEST] for key, value in described.items() if isinstance(value, str) and value}
    notes |= texts
    notes[f"$described {device}"] = orjson.dumps(sorted(texts)).decode() if texts else None
    notes[f"$children {device}"] = "some" if said.get("children") else None
    return Heard(notes=_changed(notes, known))


def _of_before(device: str, known: Known) -> list[str]:
    noted = known.notes.get(f"$described {device}")
    return list(orjson.loads(noted)) if noted else []


def _value(device: str, node: str, name: str, delivery: Delivery, known: Known) -> Heard:
    path = f"{device}/{node}/{name}"
    unit, datatype, title = (known.notes.get(f"{key} {path}") for key in _ATTRIBUTES)
    if datatype not in (None, *_NUMBERS):
        return Heard(passed_over=[path])
    kind, sensor = _type(device, node, name, title or "", known.names)
    if kind is None or (datatype == "boolean" and not is_state(kind)):
        return Heard(passed_over=[path])
    value = plain_text(delivery.payload)
    if datatype is None and unit is None and known.notes.get(f"$state {device}") == "init":
        raise Refused("no unit yet", f"{device:.80} is still describing itself, and may have a unit for {path:.200}")
    names = (known.notes.get(f"$name {device}"), known.notes.get(f"$name {device}/{node}"), device, node)
    hints = tuple(hint for hint in names if hint)
    return Heard([Observation(kind, sensor, value, unit=None if is_state(kind) else unit, hints=hints)])


def _type(device: str, node: str, name: str, title: str, names: Names) -> tuple[str | None, str]:
    whole = f"{device}/{node}"
    if name in _SAY_NOTHING:
        return type_in(node, names), whole
    kind = type_in(name, names) or type_in(title, names)
    return kind, whole if kind is not None and is_plain(name, kind) else f"{whole}/{name}"


def _tables(said: Any) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, its) for name, its in said.items() if isinstance(its, Mapping)] if isinstance(said, Mapping) else []


def _changed(notes: Mapping[str, str | None], known: Known) -> dict[str, str | None]:
    return {key: value for key, value in notes.items() if known.notes.get(key) != value}
