"""airGradient monitors: POST of JSON, from the device itself or its local server.

https://github.com/airgradienthq/arduino/blob/master/docs/local-server.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iotd.model.observation import Observation
from iotd.sources.devices.base import Fields, said, text

FIELDS: Fields = {
    "rco2": ("co2", None),
    "pm01": ("pm1", None),
    "pm02": ("pm25", None),
    "pm10": ("pm10", None),
    "atmp": ("temperature", None),
    "rhum": ("humidity", None),
    "tvocIndex": ("voc", None),
    "wifi": ("rssi", None),
}
"""The raw values: a correction is the reader's, and can be made again."""


def observations(body: Mapping[str, Any], serial: str = "") -> list[Observation]:
    """One sensor, by its serial number.

    Args:
        serial: where the body has none: some firmwares name it only in their topic.

    Raises:
        Refused: it is not of this form.
    """
    if serial and "serialno" not in body:
        return said(body, FIELDS, serial)
    return said(body, FIELDS, text(body, "serialno", "an airGradient monitor"))
