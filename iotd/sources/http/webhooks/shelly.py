"""Shelly: report URLs of the first generation, and the status of later ones as their scripts post it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iotd.model.errors import Refused
from iotd.model.observation import Observation
from iotd.sources.http.webhooks.base import Fields, said, table, text

_REPORT: Fields = {
    "temp": ("temperature", None),
    "hum": ("humidity", None),
    "batV": ("voltage", None),
    "bat": ("battery", None),
    "lux": ("illuminance", None),
    "flood": ("leak", None),
}
_PARTS: Mapping[str, Mapping[str, tuple[str, str | None]]] = {
    "temperature": {"tC": ("temperature", None)},
    "humidity": {"rh": ("humidity", None)},
    "illuminance": {"lux": ("illuminance", None)},
    "devicepower": {"percent": ("battery", None)},
    "flood": {"alarm": ("leak", None)},
    "smoke": {"alarm": ("smoke", None)},
    "wifi": {"rssi": ("rssi", None)},
    "switch": {
        "output": ("switch", None),
        "apower": ("power", None),
        "voltage": ("voltage", None),
        "current": ("current", None),
        "total": ("energy", "Wh"),
    },
}
"""By component and field; a component's number is part of the sensor's id where it is not 0."""


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


def status(device: str, params: Mapping[str, Any]) -> list[Observation]:
    """The readings in a status; one that only says what has changed has fewer."""
    found = []
    for name, part in params.items():
        component, _, number = name.partition(":")
        if component not in _PARTS or not isinstance(part, Mapping):
            continue
        flat = dict(part)
        for inner in ("battery", "aenergy"):
            if isinstance(flat.get(inner), Mapping):
                flat |= flat[inner]
        sensor = device if number in ("", "0") else f"{device} {number}"
        found += said(flat, _PARTS[component], sensor, time=params.get("ts"))
    return found
