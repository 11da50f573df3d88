"""What the bridge of zigbee2mqtt says of devices, groups and itself, as notes for the readers of its devices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from iotd.model.errors import Refused
from iotd.model.observation import Names
from iotd.sources.mqtt.presets.base import NOTHING, Delivery, Heard, Known, Reader, json_object
from iotd.sources.mqtt.presets.words import presence
from iotd.sources.mqtt.presets.zigbee2mqtt_attributes import attribute_of

DEVICE = "device "
GROUP = "group "
OUTPUT = "output"
_DEEPEST = 4
"""Levels of what a device exposes."""


class Device(NamedTuple):
    """What is noted of a device.

    Attributes:
        description: as people wrote it; may be empty.
        units: by attribute.
    """

    description: str
    units: Mapping[str, str]


_UNKNOWN = Device("", {})


@lru_cache(maxsize=4_096)
def device_of(note: str | None) -> Device:
    """What a note says of a device; None: there is no note."""
    if note is None:
        return _UNKNOWN
    try:
        found = orjson.loads(note)
        units = {name: unit for name, unit in found["units"].items() if isinstance(unit, str)}
        return Device(found["description"] if isinstance(found["description"], str) else "", units)
    except (ValueError, TypeError, KeyError, AttributeError):  # a note of another version
        return _UNKNOWN


def devices(delivery: Delivery, known: Known) -> Heard:
    """``bridge/devices``: the list of all."""
    found = {}
    for one, name in _named(delivery, "bridge/devices"):
        definition = one.get("definition")
        exposed = definition.get("exposes") if isinstance(definition, dict) else None
        description = one.get("description")
        about = description if isinstance(description, str) else ""
        units = dict(_units(exposed, known.names))
        if about or units:
            found[DEVICE + name] = orjson.dumps({"description": about, "units": units}).decode()
    return _noted(found, DEVICE, known)


def groups(delivery: Delivery, known: Known) -> Heard:
    """``bridge/groups``: the list of all."""
    return _noted({GROUP + name: "" for _, name in _named(delivery, "bridge/groups")}, GROUP, known)


def info(delivery: Delivery, known: Known) -> Heard:
    """``bridge/info``: how it is configured."""
    if not delivery.payload:
        return NOTHING
    found: Any = json_object(delivery.payload, "bridge/info")
    for level in ("config", "advanced", "output"):
        found = found.get(level) if isinstance(found, dict) else None
    return _noted({OUTPUT: found} if isinstance(found, str) else {}, OUTPUT, known)


def state(delivery: Delivery, known: Known) -> Heard:
    """``bridge/state``: whether the bridge is there."""
    return presence(delivery.payload, "bridge", gateway=True) if delivery.payload else NOTHING


READERS: Mapping[str, Reader] = {"devices": devices, "groups": groups, "info": info, "state": state}
"""By what stands behind ``bridge/``; the rest is requests, answers and its log."""


def _named(delivery: Delivery, of: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    try:
        found = orjson.loads(delivery.payload or b"[]")
    except orjson.JSONDecodeError as e:
        raise Refused("not JSON", f"{of} is a list: {e}") from None
    if not isinstance(found, list):
        raise Refused("not of this form", f"{of} is a list, and this is none")
    for one in found:
        if isinstance(one, dict) and isinstance(name := one.get("friendly_name"), str):
            yield one, name


def _units(exposed: object, names: Names, depth: int = _DEEPEST) -> Iterator[tuple[str, str]]:
    for one in exposed if isinstance(exposed, list) and depth else ():
        if isinstance(one, dict):
            name, unit = one.get("property"), one.get("unit")
            if isinstance(name, str) and isinstance(unit, str) and attribute_of(name, names) is not None:
                yield name, unit
            yield from _units(one.get("features"), names, depth - 1)


def _noted(found: Mapping[str, str], kind: str, known: Known) -> Heard:
    """What is new, and what is to be forgotten."""
    changed: dict[str, str | None] = {key: note for key, note in found.items() if known.notes.get(key) != note}
    changed |= {key: None for key in known.notes if key.startswith(kind) and key not in found}
    return Heard(notes=changed)
