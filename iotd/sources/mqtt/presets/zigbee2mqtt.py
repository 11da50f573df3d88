"""zigbee2mqtt: ``zigbee2mqtt/<friendly name>``, JSON with all attributes of a device in each message.

Set ``advanced.last_seen: ISO_8601``: with it a repeat has the old time, and does no harm; without it, readings have the
time of their arrival, and what zigbee2mqtt publishes again after a restart can't be told from what was measured.

The bridge's retained messages are remembered: descriptions (they may name a room), units, which names are groups (their
members say the same themselves), and whether attributes have topics of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from iotd.model.observation import Observation
from iotd.sources.mqtt.presets.base import NOTHING, Delivery, Filter, Heard, Known, Reader, json_object
from iotd.sources.mqtt.presets.words import Memo, plain_value, presence, under
from iotd.sources.mqtt.presets.zigbee2mqtt_attributes import NO_READING, Attribute, attribute_of, meant
from iotd.sources.mqtt.presets.zigbee2mqtt_bridge import DEVICE, GROUP, OUTPUT, READERS, Device, device_of

DEFAULT = "zigbee2mqtt"


class Zigbee2Mqtt:
    """See :class:`iotd.sources.mqtt.presets.base.Preset`. The sensor is the friendly name."""

    name = "zigbee2mqtt"

    def __init__(self, base: str = DEFAULT) -> None:
        self.base = base
        self._attributes: Memo[Attribute | None] = Memo(attribute_of)

    def filters(self, notes: Mapping[str, str]) -> Sequence[Filter]:
        """Everything: friendly names have any number of levels."""
        return (Filter(f"{self.base}/#", announces=True),)

    def reader(self, topic: str) -> Reader | None:
        """Of a device's state, its availability, and what the bridge says; commands say nothing."""
        parted = under(self.base, topic.split("/"))
        match parted[1] if parted else []:
            case []:
                return None
            case ["bridge", *levels]:
                return READERS.get("/".join(levels), _nothing)
            case [_, *_, "availability"] as levels:
                return partial(_availability, "/".join(levels[:-1]))
            case [_, *_, "set" | "get"] | [_, *_, "set" | "get", _]:
                return _nothing
            case levels:
                return _State(levels, self._attributes)


class _State:
    """Of one device: its topic, or that of one of its attributes."""

    def __init__(self, levels: Sequence[str], attributes: Memo[Attribute | None]) -> None:
        self._name = "/".join(levels)
        self._device, self._attribute = "/".join(levels[:-1]), levels[-1]
        self._attributes = attributes

    def __call__(self, delivery: Delivery, known: Known) -> Heard:
        if not delivery.payload:
            return NOTHING  # the device was removed or renamed
        if not delivery.payload.lstrip().startswith(b"{"):
            return self._of_attribute(delivery.payload, known)
        notes, device = known.notes, self._name
        if GROUP + device in notes:
            return Heard(passed_over=(device,))
        body = json_object(delivery.payload, "the state of a device of zigbee2mqtt")
        saying = _Saying(device, device_of(notes.get(DEVICE + device)), body.get("last_seen"), "battery" in body)
        found: list[Observation] = []
        passed: list[str] = []
        for name, value in body.items():
            its = self._attributes.of(name, known.names)
            said = NO_READING if its is None or (its.unless and its.unless in body) else meant(its, value)
            if its is None or said is NO_READING:
                passed.append(name)
            elif value is not None:
                found.append(saying.observation(name, its, said))
        return Heard(found, passed_over=passed)

    def _of_attribute(self, payload: bytes, known: Known) -> Heard:
        """A plain value is one where attributes have topics of their own, and nothing else says them."""
        notes, device = known.notes, self._device
        its = self._attributes.of(self._attribute, known.names)
        if its is None or not device or notes.get(OUTPUT) != "attribute" or GROUP + device in notes:
            return Heard(passed_over=(self._name,))
        said = meant(its, plain_value(payload))
        if said is NO_READING:
            return Heard(passed_over=(self._name,))
        saying = _Saying(device, device_of(notes.get(DEVICE + device)))
        return Heard((saying.observation(self._attribute, its, said),))


class _Saying:
    """What all values of a message have in common."""

    def __init__(self, name: str, device: Device, time: object = None, has_battery: bool = False) -> None:
        self._name, self._units, self._time = name, device.units, time
        self._hints = (name, device.description) if device.description else (name,)
        self._has_battery = has_battery

    def observation(self, attribute: str, its: Attribute, value: object) -> Observation:
        kind, unit = its.type, self._units.get(attribute, its.unit)
        if kind == "voltage" and unit is None and self._has_battery:
            unit = "mV"  # that of a battery, in every definition that has one
        elif kind == "voc" and unit == "ppb":
            kind = "tvoc"
        sensor = f"{self._name} {its.suffix}" if its.suffix else self._name
        return Observation(kind, sensor, value, unit=unit, time=self._time, hints=self._hints)


def _availability(name: str, delivery: Delivery, known: Known) -> Heard:
    if not delivery.payload or GROUP + name in known.notes:
        return NOTHING
    return presence(delivery.payload, name)


def _nothing(delivery: Delivery, known: Known) -> Heard:
    return NOTHING
