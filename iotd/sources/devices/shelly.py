"""Shelly: report URLs and topics of the first generation, and the status of later ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from iotd.model.errors import Refused
from iotd.model.observation import Observation
from iotd.sources.devices.base import Fields, said, table, text

_REPORT: Fields = {
    "temp": ("temperature", None),
    "hum": ("humidity", None),
    "batV": ("voltage", None),
    "bat": ("battery", None),
    "lux": ("illuminance", None),
    "flood": ("leak", None),
}


class Part(NamedTuple):
    """What a field of a component, or a topic, says.

    Attributes:
        unit: of the values; None: that of the type.
        suffix: what tells it from others of the same type on the device; empty: nothing has to.
    """

    type: str
    unit: str | None = None
    suffix: str = ""


_LOAD = {
    "apower": Part("power"),
    "voltage": Part("voltage"),
    "current": Part("current"),
    "aenergy.total": Part("energy", "Wh"),
    "ret_aenergy.total": Part("energy", "Wh", "returned"),
}
_OUTPUT = {"output": Part("switch"), **_LOAD}
_PHASES = ("a", "b", "c")
_PARTS: Mapping[str, Mapping[str, Part]] = {
    "temperature": {"tC": Part("temperature")},
    "humidity": {"rh": Part("humidity")},
    "illuminance": {"lux": Part("illuminance")},
    "devicepower": {"battery.percent": Part("battery"), "battery.V": Part("voltage")},
    "flood": {"alarm": Part("leak")},
    "smoke": {"alarm": Part("smoke")},
    "wifi": {"rssi": Part("rssi")},
    "voltmeter": {"voltage": Part("voltage")},
    "switch": _OUTPUT,
    "light": _OUTPUT,
    "cct": _OUTPUT,
    "rgb": _OUTPUT,
    "rgbw": _OUTPUT,
    "cover": _LOAD,
    "pm1": _LOAD,
    "em1": {"act_power": Part("power"), "voltage": Part("voltage"), "current": Part("current")},
    "em1data": {
        "total_act_energy": Part("energy", "Wh"),
        "total_act_ret_energy": Part("energy", "Wh", "returned"),
    },
    "em": {
        "total_act_power": Part("power"),
        "total_current": Part("current"),
        "n_current": Part("current", None, "n"),
        **{f"{phase}_act_power": Part("power", None, phase) for phase in _PHASES},
        **{f"{phase}_voltage": Part("voltage", None, phase) for phase in _PHASES},
        **{f"{phase}_current": Part("current", None, phase) for phase in _PHASES},
    },
    "emdata": {
        "total_act": Part("energy", "Wh"),
        "total_act_ret": Part("energy", "Wh", "returned"),
        **{f"{phase}_total_act_energy": Part("energy", "Wh", phase) for phase in _PHASES},
        **{f"{phase}_total_act_ret_energy": Part("energy", "Wh", f"{phase} returned") for phase in _PHASES},
    },
    "input": {"state": Part("switch")},
}
"""By component and field; a component's number is part of the sensor's id where it is not 0."""

_FIRST_SENSORS = {
    "temperature": Part("temperature"),
    "humidity": Part("humidity"),
    "lux": Part("illuminance"),
    "battery": Part("battery"),
    "flood": Part("leak"),
    "smoke": Part("smoke"),
    "motion": Part("motion"),
    "state": Part("contact"),
}
_FIRST_METERS = {"power": Part("power"), "energy": Part("energy", "Wmin")}
_FIRST_EMETERS = {
    "power": Part("power"),
    "voltage": Part("voltage"),
    "current": Part("current"),
    "total": Part("energy", "Wh"),
    "total_returned": Part("energy", "Wh", "returned"),
}
"""``energy`` beside them says in Wmin what ``total`` says."""
_FIRST_NUMBERED = {
    "relay": Part("switch"),
    "light": Part("switch"),
    "white": Part("switch"),
    "color": Part("switch"),
    "input": Part("switch", None, "input"),
    "adc": Part("voltage"),
    "ext_temperature": Part("temperature", "°C"),
    "ext_humidity": Part("humidity"),
    "ext_switch": Part("switch", None, "external"),
}
_FIRST_METERED = ("relay", "light", "white", "color", "roller")
_FIRST_STATUS: Fields = {
    "motion": ("motion", None),
    "lux": ("illuminance", None),
    "bat": ("battery", None),
}


def observations(body: Mapping[str, Any]) -> list[Observation]:
    """A report (``?id=…&temp=…&hum=…``), or a status (``NotifyStatus``) with its components.

    Raises:
        Refused: it is neither.
    """
    if "params" in body:
        return status(text(body, "src", "a Shelly's status"), table(body, "params", "a Shelly's status"))
    if "id" in body:
        return said(body, _REPORT, text(body, "id", "a Shelly's report"))
    raise Refused("not of this form", "a Shelly's report has an id, its status has params, and this has neither")


def status(device: str, params: Mapping[str, Any], hints: tuple[str, ...] = ()) -> list[Observation]:
    """The readings in a status; one that only says what has changed has fewer.

    An input is a sensor of its own: what is switched by it is another thing.
    """
    found, time = [], params.get("ts")
    for name, part in params.items():
        component, _, number = name.partition(":")
        if component not in _PARTS or not isinstance(part, Mapping):
            continue
        flat = {**part, **{f"{outer}.{key}": value for outer, inner in part.items() for key, value in _inner(inner)}}
        for field, its in _PARTS[component].items():
            if flat.get(field) not in (None, ""):
                sensor = f"input {number or 0}" if component == "input" else _suffix(number, its)
                id_ = f"{device} {sensor}".strip()
                found.append(Observation(its.type, id_, flat[field], unit=its.unit, time=time, hints=hints))
    return found


def says_readings(component: str) -> bool:
    """Whether a component of a status (``temperature:0``) may have readings."""
    return component.partition(":")[0] in _PARTS


def first_generation(topic: Sequence[str]) -> tuple[int, Part] | None:
    """What a topic of the first generation says, by its last levels.

    Args:
        topic: its levels behind ``shellies``.

    Returns:
        how many levels name the device, and what the value is; None: no reading, or one that another topic says too
        (°F, ``info``), or the inner temperature of a relay, which is no room's.
    """
    match topic:
        case [*_, _, "emeter", number, field] if field in _FIRST_EMETERS and number.isdecimal():
            return len(topic) - 3, _numbered(_FIRST_EMETERS[field], number)
        case [*_, _, kind, number, field] if kind in _FIRST_METERED and field in _FIRST_METERS and number.isdecimal():
            return len(topic) - 3, _numbered(_FIRST_METERS[field], number)
        case [*_, _, "sensor", field] if field in _FIRST_SENSORS:
            return len(topic) - 2, _FIRST_SENSORS[field]
        case [*_, _, "relay" | "roller", field] if field in _FIRST_METERS:  # one meter for all
            return len(topic) - 2, _FIRST_METERS[field]
        case [*_, _, kind, number] if kind in _FIRST_NUMBERED and number.isdecimal():
            its = _FIRST_NUMBERED[kind]
            return len(topic) - 2, its._replace(suffix=f"input {number}") if kind == "input" else _numbered(its, number)
        case _:
            return None


def first_status(device: str, body: Mapping[str, Any], hints: tuple[str, ...] = ()) -> list[Observation]:
    """The readings in a status of a Shelly Motion or TRV. Its ``timestamp`` is that of the last motion."""
    found = said(body, _FIRST_STATUS, device, hints=hints)
    tmp = body.get("tmp")
    if isinstance(tmp, Mapping) and tmp.get("is_valid", True) is not False and tmp.get("value") is not None:
        unit = tmp.get("units")
        unit = unit if isinstance(unit, str) else "C"
        found.append(Observation("temperature", device, tmp["value"], unit=unit, hints=hints))
    return found


def _inner(value: Any) -> Sequence[tuple[str, Any]]:
    return tuple(value.items()) if isinstance(value, Mapping) else ()


def _suffix(number: str, its: Part) -> str:
    return f"{number} {its.suffix}".strip() if number not in ("", "0") else its.suffix


def _numbered(its: Part, number: str) -> Part:
    return its._replace(suffix=_suffix(number, its))
