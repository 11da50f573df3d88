"""ChirpStack v4, HTTP integration with JSON: one uplink each, as its codec has decoded it.

https://www.chirpstack.io/docs/chirpstack/integrations/http.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iotd.model.observation import Observation
from iotd.sources.devices.base import decoded, strongest, table, text


def observations(body: Mapping[str, Any]) -> list[Observation]:
    """Every number of the decoded object is one; a join or a status has none.

    Raises:
        Refused: it is not of this form.
    """
    info = table(body, "deviceInfo", "a ChirpStack event")
    sensor = text(info, "devEui", "deviceInfo")
    if "object" not in body:
        return []
    tags = info.get("tags")
    hints = (str(info.get("deviceName", "")), *(map(str, tags.values()) if isinstance(tags, Mapping) else ()))
    time = body.get("time")
    found = decoded(table(body, "object", "a ChirpStack uplink"), sensor, time=time, hints=hints)
    return [*found, *strongest(body.get("rxInfo"), sensor, time=time, hints=hints)]
