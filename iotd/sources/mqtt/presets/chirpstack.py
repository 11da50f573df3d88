"""ChirpStack v4, MQTT integration with JSON: uplinks as codecs have decoded them; a reading's identity is its time.

https://www.chirpstack.io/docs/chirpstack/integrations/mqtt.html
"""

from __future__ import annotations

from iotd.sources.devices import chirpstack
from iotd.sources.mqtt.presets.uplinks import Uplinks


class ChirpStack(Uplinks):
    """Its uplinks."""

    name = "chirpstack"
    title = "ChirpStack"
    uplinks = "application/+/device/+/event/up"
    events = "application/+/device/+/event/+"
    observations = staticmethod(chirpstack.observations)
