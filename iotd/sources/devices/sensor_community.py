"""Sensor.Community (luftdaten) firmware, "send data to own API": POST of JSON, values as text.

https://github.com/opendata-stuttgart/meta/wiki/APIs
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iotd.model.errors import Refused
from iotd.model.observation import Observation
from iotd.sources.devices.base import text

_KINDS = {
    "temperature": ("temperature", None),
    "humidity": ("humidity", None),
    "pressure": ("pressure", "Pa"),
    "P0": ("pm1", None),
    "P1": ("pm10", None),
    "P2": ("pm25", None),
    "noise_LAeq": ("noise", None),
    "signal": ("rssi", None),
    "co2_ppm": ("co2", None),
}


def observations(body: Mapping[str, Any]) -> list[Observation]:
    """Each chip of a device is a sensor of its own (``BME280_temperature``); a value without a chip is the device's.

    Raises:
        Refused: it is not of this form.
    """
    device = text(body, "esp8266id" if "esp8266id" in body else "sensor", "a Sensor.Community device")
    values = body.get("sensordatavalues")
    if not isinstance(values, list):
        raise Refused("not of this form", "a Sensor.Community device has a list sensordatavalues, and this has none")
    found = []
    for row in values:
        if not isinstance(row, Mapping):
            raise Refused("not of this form", f"sensordatavalues holds {row!r:.80}")
        name = str(row.get("value_type", ""))
        chip, _, rest = name.partition("_")
        if name in _KINDS:
            found.append(Observation(_KINDS[name][0], device, row.get("value"), unit=_KINDS[name][1]))
        elif rest in _KINDS:
            found.append(Observation(_KINDS[rest][0], f"{device} {chip}", row.get("value"), unit=_KINDS[rest][1]))
    return found
