"""Home Assistant's MQTT discovery: devices say what they have, and on which topic.

Notes keep, by state topic, which entities read it, and by availability topic, which devices; of each configuration and
of each device, which topics those are; and which entity has which sensor id. A sensor id that was given stays an
entity's, also when its configuration is removed: another one never continues its series.

Any topic may be a state topic, so :meth:`HomeAssistant.reader` has an answer for each: this preset is asked last.
``expire_after`` and ``off_delay`` are not followed: nobody said a value then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from iotd.model.errors import Refused
from iotd.model.observation import Observation
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
from iotd.sources.mqtt.presets.discovery import Announced, Entity, Place, announced
from iotd.sources.mqtt.presets.payloads import Payload
from iotd.sources.mqtt.presets.templates import template_of

DEFAULT = "homeassistant"
_LARGEST = 256 * 1024
"""Bytes of a configuration."""
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T")
_NOTHING = ("", "None", "unknown", "unavailable")


class HomeAssistant:
    """Discovery; see :class:`iotd.sources.mqtt.presets.base.Preset`."""

    name = "homeassistant"

    def __init__(self, base: str = DEFAULT) -> None:
        self.base = base

    def filters(self, notes: Mapping[str, str]) -> Sequence[Filter]:
        """Configurations, and the topics that they name."""
        found = [Filter(f"{self.base}/+/+/config", announces=True), Filter(f"{self.base}/+/+/+/config", announces=True)]
        for key in notes:
            kind, _, topic = key.partition(" ")
            if kind in ("state", "there"):
                found.append(Filter(topic, announces=kind == "there"))
        return found

    def reader(self, topic: str) -> Reader | None:
        """How the messages of a topic are read."""
        head, *levels = topic.removeprefix(f"{self.base}/").split("/") if topic.startswith(f"{self.base}/") else [""]
        if len(levels) in (2, 3) and levels[-1] == "config":
            return partial(_configuration, Place(topic, head, "/".join(levels[:-2]), levels[-2]))
        return _Told(topic).read


def _configuration(place: Place, delivery: Delivery, known: Known) -> Heard:
    if len(delivery.payload) > _LARGEST:
        raise Refused(
            "too large", f"a configuration has at most {_LARGEST} bytes, and this has {len(delivery.payload)}"
        )
    found = Announced()
    if delivery.payload.strip():
        config = json_object(delivery.payload, "a configuration of Home Assistant's discovery")
        found = announced(place, config, known.names)
    changes = _Changes(known.notes)
    changes.remove(place.topic)
    for entity in found.entities:
        changes.add(place.topic, entity)
    passed_over = [*found.passed_over, *(why.detail for why in found.refused)]
    return Heard(notes=changes.found(), passed_over=passed_over)


class _Changes:
    """Notes as they become."""

    def __init__(self, notes: Mapping[str, str]) -> None:
        self._notes = notes
        self._new: dict[str, dict[str, Any] | str] = {}

    def found(self) -> Mapping[str, str | None]:
        """What differs from what was noted."""
        changed: dict[str, str | None] = {}
        for key, value in self._new.items():
            noted = value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
            if noted != self._notes.get(key, "{}"):
                changed[key] = noted if value else None
        return changed

    def remove(self, topic: str) -> None:
        """Forgets what a configuration announced."""
        of = self._table(f"config {topic}")
        for state_topic in of.pop("states", ()):
            self._without(self._table(f"state {state_topic}"), topic)
        for device in of.pop("devices", ()):
            its = self._table(f"device {device}")
            before = {one for topics in its.values() for one in topics}
            self._without(its, topic)
            for gone in before - {one for topics in its.values() for one in topics}:
                self._table(f"there {gone}").pop(device, None)

    def add(self, topic: str, entity: Entity) -> None:
        """Notes an entity that a configuration announces."""
        self._table(f"state {entity.state_topic}")[entity.key] = {
            "type": entity.type,
            "sensor": self._sensor(entity),
            "unit": entity.unit,
            "hints": entity.hints,
            "template": entity.template,
            "on": entity.on,
            "off": entity.off,
        }
        of = self._table(f"config {topic}")
        of["states"] = sorted({*of.get("states", ()), entity.state_topic})
        if entity.availability:
            of["devices"] = sorted({*of.get("devices", ()), entity.device})
            self._table(f"device {entity.device}")[entity.key] = sorted(its.topic for its in entity.availability)
        for its in entity.availability:
            self._table(f"there {its.topic}")[entity.device] = [its.online, its.offline, its.template]

    @staticmethod
    def _without(table: dict[str, Any], topic: str) -> None:
        for key in [key for key in table if key == topic or key.startswith(f"{topic}\n")]:
            del table[key]

    def _sensor(self, entity: Entity) -> str:
        for sensor in entity.sensors:
            key = f"sensor {entity.type} {sensor}"
            holder = self._new.get(key) or self._notes.get(key)
            if holder in (None, entity.key):
                self._new[key] = entity.key
                return sensor
        return entity.sensors[-1]

    def _table(self, key: str) -> dict[str, Any]:
        table = self._new.get(key)
        if not isinstance(table, dict):
            table = _read(self._notes.get(key))
            self._new[key] = table
        return table


class _Told:
    """The messages of a topic that configurations name; what they say of it is read again when it has changed."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._state_note: str | None = None
        self._states: list[_State] = []
        self._there_note: str | None = None
        self._there: list[tuple[str, str, str]] = []
        self._is_gateway = False

    def read(self, delivery: Delivery, known: Known) -> Heard:
        """See :data:`iotd.sources.mqtt.presets.base.Reader`."""
        state, there = known.notes.get(f"state {self._topic}"), known.notes.get(f"there {self._topic}")
        if state is None and there is None:
            return NOTHING
        if state != self._state_note:
            self._states = [_State(row) for row in _read(state).values()]
            self._state_note = state
        if there != self._there_note:
            rows = _read(there).values()
            self._there = list(dict.fromkeys((online, offline, template) for online, offline, template in rows))
            self._is_gateway = len(rows) > 1
            self._there_note = there
        payload = Payload(plain_text(delivery.payload))
        return Heard(self._said(payload), self._presence(payload))

    def _said(self, payload: Payload) -> list[Observation]:
        found = []
        time = _last_seen(payload)
        for state in self._states:
            try:
                value = state.value(payload)
            except Refused as e:
                if len(self._states) == 1:
                    raise
                value = str(e)  # it is held with the sensor's name, and the others are taken
            if value is not None:
                found.append(Observation(state.type, state.sensor, value, "", state.unit, time, state.hints))
        return found

    def _presence(self, payload: Payload) -> list[Presence]:
        for online, offline, template in self._there:
            said = str(template_of(template)(payload)) if template else payload.text
            if said in (online, offline):
                return [Presence(self._topic, said == online, self._is_gateway)]
        return []


class _State:
    """How an entity's value is read from its state topic."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.type: str = row["type"]
        self.sensor: str = row["sensor"]
        self.unit: str | None = row["unit"] or None
        self.hints = tuple(row["hints"])
        self._template = template_of(row["template"]) if row["template"] else None
        self._words = {row["on"]: True, row["off"]: False} if row["on"] else {}

    def value(self, payload: Payload) -> object:
        """The value; None: there is none.

        Raises:
            Refused: the template can't be followed.
        """
        said = payload.text if self._template is None else self._template(payload)
        if said is None or said in _NOTHING:
            return None
        return self._words.get(str(said), str(said)) if self._words else said


def _last_seen(payload: Payload) -> object:
    """When zigbee2mqtt has heard of the device, where it says so: discovery has no word for a time."""
    said = payload.json.get("last_seen") if isinstance(payload.json, dict) else None
    whole = isinstance(said, int) and not isinstance(said, bool)
    return said if whole or (isinstance(said, str) and _DATE.match(said)) else None


def _read(note: str | None) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(note) if note else {}
    return found
