"""Weather stations that upload to Weather Underground: GET with everything in the URL, US units.

The protocol: https://support.weather.com/s/article/PWS-Upload-Protocol
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iotd.model.observation import Observation
from iotd.sources.devices.base import said, text
from iotd.sources.devices.ecowitt import utc

_INDOOR = {"indoortempf": ("temperature", "°F"), "indoorhumidity": ("humidity", None)}
_OUTDOOR = {
    "tempf": ("temperature", "°F"),
    "humidity": ("humidity", None),
    "windspeedmph": ("wind", "mph"),
    "absbaromin": ("pressure", "inHg"),
    "AqPM2.5": ("pm25", None),
    "AqPM10": ("pm10", None),
}
_SEA_LEVEL = {"baromin": ("pressure", "inHg")}


def observations(body: Mapping[str, Any]) -> list[Observation]:
    """Indoors and outdoors are sensors of their own.

    Rain is left out: these stations send what fell today, which is no counter. The pressure at the station and the one
    reduced to sea level are of two sensors.

    Raises:
        Refused: it is not of this form.
    """
    station = f"wu-{text(body, 'ID', 'a Weather Underground upload')}"
    time = utc(text(body, "dateutc", "a Weather Underground upload"))
    found = said(body, _INDOOR, f"{station} indoor", time=time) + said(body, _OUTDOOR, f"{station} outdoor", time=time)
    return found + said(body, _SEA_LEVEL, f"{station} sea level", time=time)
