"""The Things Stack (v3), webhook with JSON: one uplink each, as its payload formatter has decoded it.

https://www.thethingsindustries.com/docs/integrations/webhooks/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iotd.model.observation import Observation
from iotd.sources.devices.base import decoded, strongest, table, text


def observations(body: Mapping[str, Any]) -> list[Observation]:
    """Every number of the decoded payload is one; a join or a downlink event has none.

    Raises:
        Refused: it is not of this form.
    """
    ids = table(body, "end_device_ids", "an event of The Things Stack")
    sensor = text(ids, "dev_eui" if "dev_eui" in ids else "device_id", "end_device_ids")
    uplink = body.get("uplink_message")
    if not isinstance(uplink, Mapping):
        return []
    hints = (str(ids.get("device_id", "")),)
    time = uplink.get("received_at") or body.get("received_at")
    found = decoded(uplink.get("decoded_payload") or {}, sensor, time=time, hints=hints)
    return [*found, *strongest(uplink.get("rx_metadata"), sensor, time=time, hints=hints)]
