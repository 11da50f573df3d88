"""ChirpStack v4, MQTT integration with JSON: uplinks as codecs have decoded them; a reading's identity is its time.

https://www.chirpstack.io/docs/chirpstack/integrations/mqtt.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from iotd.config.topics.filters import matches
from iotd.sources.devices import chirpstack
from iotd.sources.mqtt.presets.base import Delivery, Filter, Heard, Known, Reader, json_object
from iotd.sources.mqtt.presets.uplinks import heard_of

_UPLINKS = "application/+/device/+/event/up"
_EVENTS = "application/+/device/+/event/+"


class ChirpStack:
    """Uplinks; see :class:`iotd.sources.mqtt.presets.base.Preset`."""

    name = "chirpstack"
    base = ""

    def filters(self, notes: Mapping[str, str]) -> Sequence[Filter]:
        """Uplinks only: a join, a status or an acknowledgement says no value."""
        return [Filter(_UPLINKS)]

    def reader(self, topic: str) -> Reader | None:
        """How the messages of a topic are read; None: it is no event of ChirpStack."""
        if matches(_UPLINKS, topic):
            return _uplink
        return _passed_over if matches(_EVENTS, topic) else None


def _uplink(delivery: Delivery, known: Known) -> Heard:
    return heard_of(chirpstack.observations(json_object(delivery.payload, "an event of ChirpStack")), known.names)


def _passed_over(delivery: Delivery, known: Known) -> Heard:
    return Heard(passed_over=["an event that is no uplink"])
