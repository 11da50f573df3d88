"""The attributes of zigbee2mqtt: which sensor type each is, and what its values mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from iotd.model.observation import Names

NO_READING: Final = object()
"""What a value means that says nothing of its type."""


class Attribute(NamedTuple):
    """What an attribute is.

    Attributes:
        suffix: of the sensor's id, where a device has several of a type; empty: it has not.
        unit: of the values, where the device's definition names none; None: that of the type.
        unless: an attribute that says the same better; empty: none does.
    """

    type: str
    suffix: str = ""
    unit: str | None = None
    unless: str = ""


_ATTRIBUTES = {
    "temperature": Attribute("temperature"),
    "local_temperature": Attribute("temperature", unless="temperature"),
    "humidity": Attribute("humidity"),
    "pressure": Attribute("pressure"),
    "co2": Attribute("co2"),
    "pm1": Attribute("pm1"),
    "pm25": Attribute("pm25"),
    "pm10": Attribute("pm10"),
    "voc": Attribute("voc", unless="voc_index"),
    "voc_index": Attribute("voc"),
    "aqi": Attribute("air_quality"),
    "air_quality": Attribute("air_quality", unless="aqi"),
    "illuminance": Attribute("illuminance", unless="illuminance_lux"),
    "illuminance_lux": Attribute("illuminance"),
    "noise": Attribute("noise"),
    "power": Attribute("power"),
    "voltage": Attribute("voltage"),
    "current": Attribute("current"),
    "energy": Attribute("energy"),
    "produced_energy": Attribute("energy", "produced"),
    "battery": Attribute("battery"),
    "occupancy": Attribute("motion"),
    "presence": Attribute("motion", unless="occupancy"),
    "motion": Attribute("motion", unless="occupancy"),
    "contact": Attribute("contact"),
    "water_leak": Attribute("leak"),
    "smoke": Attribute("smoke"),
    "gas": Attribute("gas"),
    "state": Attribute("switch"),
}
_ENDPOINT = re.compile(
    r"(.+)_(l?[0-9]{1,2}|(?:(?:top|bottom|center)_)?(?:left|right)|center|top|bottom|phase_[abc]|external|internal|probe)"
)
_ANOTHERS = frozenset({"moisture"})
"""Names of types that mean another thing here: this is the soil's, in %."""


def attribute_of(name: str, names: Names) -> Attribute | None:
    """What an attribute is, by its name; ``power_l2`` is that of an endpoint. None: it is no sensor's."""
    if name in _ATTRIBUTES:
        return _ATTRIBUTES[name]
    if (match := _ENDPOINT.fullmatch(name)) is not None and (its := _ATTRIBUTES.get(match[1])) is not None:
        return its._replace(suffix=f"{its.suffix} {match[2].replace('_', ' ')}".lstrip(), unless="")
    return Attribute(name) if name not in _ANOTHERS and names.knows(name) else None


def meant(attribute: Attribute, value: object) -> object:
    """A value as the type has it; :data:`NO_READING` for one that says nothing of it."""
    how = _MEANT.get(attribute.type)
    return value if how is None else how(value)


def _contact(value: object) -> object:
    """True is a closed one here, and an open one as a reading."""
    if isinstance(value, bool):
        return not value
    said = value.strip().casefold() if isinstance(value, str) else ""
    return {"true": False, "false": True}.get(said, value)


def _switch(value: object) -> object:
    """The state of a switch; those of covers and locks have other words."""
    word = value.strip().casefold() if isinstance(value, str) else ""
    return value if isinstance(value, bool) or word in ("on", "off") else NO_READING


def _gas(value: object) -> object:
    """What a meter counts; an alarm is true or false."""
    return NO_READING if isinstance(value, bool) or value in ("true", "false") else value


def _air_quality(value: object) -> object:
    """A number; many devices have words."""
    return NO_READING if isinstance(value, str) and not value[:1].isdigit() else value


_MEANT: Mapping[str, Callable[[object], object]] = {
    "contact": _contact,
    "switch": _switch,
    "gas": _gas,
    "air_quality": _air_quality,
}
