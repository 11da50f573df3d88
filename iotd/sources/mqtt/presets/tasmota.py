"""Tasmota: ``tele/<topic>/SENSOR`` and ``…/STATE``, JSON with a local time, and ``…/LWT``.

Switches are taken from STATE, which has a time; ``stat/<topic>/POWER`` says the same without one, and is left. STATE
comes every TelePeriod; with ``SetOption59 1`` it comes at each change too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from iotd.model.observation import Names, Observation
from iotd.sources.mqtt.presets.base import NOTHING, Delivery, Filter, Heard, Known, Reader, json_object
from iotd.sources.mqtt.presets.words import Memo, presence, under

DEFAULT = "tele"
_TYPES = {
    "Temperature": "temperature",
    "Humidity": "humidity",
    "Pressure": "pressure",
    "Illuminance": "illuminance",
    "CarbonDioxide": "co2",
    "CO2": "co2",
    "TVOC": "tvoc",
    "PM1": "pm1",
    "PM2.5": "pm25",
    "PM10": "pm10",
    "Power": "power",
    "Voltage": "voltage",
    "Current": "current",
    "Total": "energy",
    "Energy": "energy",
    "BatteryPercentage": "battery",
    "Battery": "battery",
    "RSSI": "rssi",
    "Occupancy": "motion",
    "Speed": "wind",
}
_UNITS = {"temperature": "TempUnit", "pressure": "PressureUnit", "wind": "SpeedUnit"}
_NO_READINGS = frozenset({"Gas"})
"""Of a BME680 it is a resistance."""
_NO_SENSORS = frozenset({"ESP32", "COUNTER"})
_NUMBERED = re.compile(r"([A-Za-z]+)([0-9]{1,2})")
_PHASES = 8
_SWITCH = re.compile(r"(?:POWER|Switch)([0-9]{0,2})")


class Tasmota:
    """See :class:`iotd.sources.mqtt.presets.base.Preset`.

    The base is the prefix of telemetry, before or behind the device's topic. The sensor is the device's topic, with the
    name of the chip, or a probe's own id, for what a chip measures: a device may have several.
    """

    name = "tasmota"

    def __init__(self, base: str = DEFAULT) -> None:
        self.base = base
        self._types = Memo(_type)

    def filters(self, notes: Mapping[str, str]) -> Sequence[Filter]:
        """All telemetry: a device's topic may have several levels."""
        return (Filter(f"{self.base}/#", announces=True), Filter(f"+/{self.base}/#", announces=True))

    def reader(self, topic: str) -> Reader | None:
        """Of readings, of switches, and of a device's last will."""
        levels = topic.split("/")
        parted = under(self.base, levels) or under(f"+/{self.base}", levels)
        if parted is None or not parted[1]:
            return None
        device = "/".join(parted[0] + parted[1][:-1])
        match parted[1][-1]:
            case _ if not device:
                return None
            case "SENSOR":
                return partial(self._sensor, device, (topic,))
            case "STATE":
                return partial(_state, device, (topic,))
            case "LWT":
                return partial(_last_will, device)
            case _:
                return _nothing

    def _sensor(self, device: str, hints: tuple[str, ...], delivery: Delivery, known: Known) -> Heard:
        if not delivery.payload:
            return NOTHING
        body = json_object(delivery.payload, "Tasmota's telemetry")
        found: list[Observation] = []
        passed: list[str] = []
        for chip, fields in body.items():
            if isinstance(fields, dict) and chip not in _NO_SENSORS:
                for sensor, name, value in _values(device, chip, fields):
                    its = self._types.of(name, known.names)
                    if its is None:
                        passed.append(f"{chip}.{name}")
                    else:
                        id_ = f"{sensor} {its.suffix}".rstrip()
                        found.append(_said(its.type, id_, value, body, hints))
            elif chip.startswith("Switch") and _SWITCH.fullmatch(chip) and not isinstance(fields, dict):
                found.append(_said("switch", f"{device} {chip}", fields, body, hints))
            elif chip != "Time" and not chip.endswith("Unit"):
                passed.append(chip)
        return Heard(found, passed_over=passed)


class _Its(NamedTuple):
    type: str
    suffix: str = ""


def _type(name: str, names: Names) -> _Its | None:
    if name in _TYPES:
        return _Its(_TYPES[name])
    if (match := _NUMBERED.fullmatch(name)) is not None and match[1] in _TYPES:
        return _Its(_TYPES[match[1]], match[2])
    return _Its(name) if name not in _NO_READINGS and names.knows(name) else None


def _values(device: str, chip: str, fields: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Sensor, field and value of all that a chip says; of a meter with several phases each is a sensor."""
    if chip == "ZbReceived":
        for short, inner in fields.items():
            if isinstance(inner, dict):
                name = inner.get("Name")
                yield from _plain(f"{device} {name if isinstance(name, str) and name else short}", inner)
    elif chip == "ENERGY":
        yield from _plain(device, fields)
    else:
        own = fields.get("Id") if chip.startswith("DS18") else None  # the index changes when a probe is added
        yield from _plain(f"{device} {own if isinstance(own, str) and own else chip}", fields)


def _plain(sensor: str, fields: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for name, value in fields.items():
        if isinstance(value, list):
            for number, one in enumerate(value[:_PHASES], start=1):
                yield f"{sensor} {number}", name, one
        else:
            yield sensor, name, value.get("Act") if name == "Speed" and isinstance(value, dict) else value


def _said(kind: str, sensor: str, value: object, body: Mapping[str, Any], hints: tuple[str, ...]) -> Observation:
    unit = body.get(_UNITS[kind]) if kind in _UNITS else None
    known = unit if isinstance(unit, str) and unit else None
    return Observation(kind, sensor, value, unit=known, time=body.get("Time"), hints=hints)


def _state(device: str, hints: tuple[str, ...], delivery: Delivery, known: Known) -> Heard:
    if not delivery.payload:
        return NOTHING
    body = json_object(delivery.payload, "Tasmota's state")
    found: list[Observation] = []
    passed: list[str] = []
    for name, value in body.items():
        if name.startswith("POWER") and (match := _SWITCH.fullmatch(name)) is not None:
            found.append(_said("switch", f"{device} {match[1]}".rstrip(), value, body, hints))
        elif name == "Wifi" and isinstance(value, dict) and "Signal" in value:  # its RSSI is a percentage
            found.append(_said("rssi", device, value["Signal"], body, hints))
        elif name != "Time":
            passed.append(name)
    return Heard(found, passed_over=passed)


def _last_will(device: str, delivery: Delivery, known: Known) -> Heard:
    return presence(delivery.payload, device) if delivery.payload else NOTHING


def _nothing(delivery: Delivery, known: Known) -> Heard:
    return NOTHING
