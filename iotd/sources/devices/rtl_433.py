"""rtl_433: JSON of one transmission each, as it prints or publishes it; OpenMQTTGateway's receiver says the same.

https://github.com/merbanan/rtl_433/blob/master/docs/DATA_FORMAT.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from iotd.model.observation import Observation
from iotd.sources.devices.base import text

_NAMED_BY = ("model", "subtype", "channel", "id")
_UNITS = {
    "C": "°C",
    "F": "°F",
    "hPa": "hPa",
    "kPa": "kPa",
    "inHg": "inHg",
    "mm": "mm",
    "in": "in",
    "km_h": "km/h",
    "mi_h": "mph",
    "m_s": "m/s",
    "lux": "lx",
    "klx": "klx",
    "ppm": "ppm",
    "ppb": "ppb",
    "ug_m3": "µg/m³",
    "W": "W",
    "kW": "kW",
    "V": "V",
    "mV": "mV",
    "A": "A",
    "mA": "mA",
    "kWh": "kWh",
    "Wh": "Wh",
    "dB": "dB",
}
_ENDINGS = [f"_{unit}" for unit in sorted(_UNITS, key=len, reverse=True)]
_TYPES = {
    "temperature": ("temperature", ""),
    "humidity": ("humidity", ""),
    "pressure": ("pressure", ""),
    "wind_avg": ("wind", ""),
    "wind_speed": ("wind", ""),
    "wind_max": ("wind", "max"),
    "gust_speed": ("wind", "max"),
    "rain": ("rain", ""),
    "light": ("illuminance", ""),
    "co2": ("co2", ""),
    "pm1": ("pm1", ""),
    "pm1_0": ("pm1", ""),
    "pm2_5": ("pm25", ""),
    "pm10": ("pm10", ""),
    "pm10_0": ("pm10", ""),
    "power": ("power", ""),
    "energy": ("energy", ""),
    "current": ("current", ""),
    "voltage": ("voltage", ""),
    "battery": ("voltage", "battery"),
    "detect_wet": ("leak", ""),
    "contact_open": ("contact", ""),
    "opened": ("contact", ""),
    "motion": ("motion", ""),
}
"""By a field's name without number and unit: the type, and what tells it from another of the same type."""
_UNITLESS = {"humidity", "detect_wet", "contact_open", "opened", "motion"}
"""Fields that have no unit in their names; all others are readings only with one."""


class Field(NamedTuple):
    """What a field says.

    Attributes:
        suffix: what tells it from other fields of the same type; empty: nothing has to.
    """

    type: str
    suffix: str
    unit: str | None


@lru_cache(maxsize=1_024)
def field_of(name: str) -> Field | None:
    """What a field says by its name: ``temperature_2_C`` is the second temperature, in °C; None: it is no reading's.

    ``battery_ok`` is no charge, ``rssi`` and ``noise`` are relative to the receiver, ``moisture`` is the soil's.
    """
    ending = next((ending for ending in _ENDINGS if name.endswith(ending)), "")
    bare = name.removesuffix(ending)
    number = ""
    if bare not in _TYPES:
        bare, _, number = bare.rpartition("_")
        if not (number.isdecimal() and number.isascii()):
            return None
    if bare not in _TYPES or bool(ending) == (bare in _UNITLESS):
        return None
    kind, suffix = _TYPES[bare]
    return Field(kind, f"{suffix} {number}".strip(), _UNITS[ending[1:]] if ending else None)


def observations(body: Mapping[str, Any]) -> list[Observation]:
    """The readings of a transmission; a tyre's says nothing that a building wants to know.

    The sensor is model, subtype, channel and id, as in rtl_433's topics of devices. Repeats of a transmission have the
    same second. A time as it was asked for: local, or with a zone (``-M time:utc:tz``), or seconds (``time:unix``).

    Raises:
        Refused: it is not of this form.
    """
    model = text(body, "model", "an event of rtl_433")
    if body.get("type") == "TPMS":
        return []
    sensor = "-".join(_names(body))
    said = body.get("time")
    time = None if isinstance(said, str) and said.startswith("@") else said  # a place in a file
    found: dict[tuple[str, str], Observation] = {}
    for name, field in ((name, field_of(name)) for name in body):
        if field is None or body[name] is None:
            continue
        its = f"{sensor} {field.suffix}".strip()
        one = Observation(field.type, its, body[name], unit=field.unit, time=time, hints=(model,))
        found.setdefault((field.type, its), one)  # °C and °F, said both, are one reading
    return list(found.values())


def _names(body: Mapping[str, Any]) -> Iterator[str]:
    for name in _NAMED_BY:
        value = body.get(name)
        if isinstance(value, str | int) and str(value).strip():
            yield str(value).strip()
