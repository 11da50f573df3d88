"""Ecowitt stations and gateways, "customized upload" in the form Ecowitt: POST of a form, US units."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from iotd.model.observation import Observation
from iotd.sources.devices.base import said, text, without_secrets

_INDOOR = {"tempinf": ("temperature", "°F"), "humidityin": ("humidity", None), "co2in": ("co2", None)}
_OUTDOOR = {
    "tempf": ("temperature", "°F"),
    "humidity": ("humidity", None),
    "windspeedmph": ("wind", "mph"),
    "totalrainin": ("rain", "in"),
    "baromabsin": ("pressure", "inHg"),
    "pm25": ("pm25", None),
    "co2": ("co2", None),
}
_SEA_LEVEL = {"baromrelin": ("pressure", "inHg")}
_CHANNELS = {
    r"temp(\d)f": ("temperature", "°F"),
    r"tf_ch(\d)": ("temperature", "°F"),
    r"humidity(\d)": ("humidity", None),
    r"pm25_ch(\d)": ("pm25", None),
    r"leak_ch(\d)": ("leak", None),
}
"""Rain is the total since ever, a counter. The pressure at the station and the one reduced to sea level are of two
sensors."""


def observations(body: Mapping[str, Any]) -> list[Observation]:
    """Indoors, outdoors and each channel are sensors of their own.

    Raises:
        Refused: it is not of this form.
    """
    key = text(without_secrets(body), "PASSKEY", "an Ecowitt station")
    station = f"ecowitt-{key.removeprefix('masked-')}"
    time = utc(text(body, "dateutc", "an Ecowitt station"))
    found = said(body, _INDOOR, f"{station} indoor", time=time)
    found += said(body, _OUTDOOR, f"{station} outdoor", time=time)
    found += said(body, _SEA_LEVEL, f"{station} sea level", time=time)
    for name, value in body.items():
        for pattern, (kind, unit) in _CHANNELS.items():
            if (match := re.fullmatch(pattern, name)) and value != "":
                found.append(Observation(kind, f"{station} channel {match[1]}", value, unit=unit, time=time))
    return found


def utc(time: str) -> str | None:
    """``dateutc`` as ISO 8601; None for ``now``."""
    return None if time == "now" else f"{time.replace('+', ' ').replace(' ', 'T')}Z"
