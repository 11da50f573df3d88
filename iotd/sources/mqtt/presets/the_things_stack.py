"""The Things Stack (v3), MQTT server: uplinks as payload formatters have decoded them; their identity is their time.

The server speaks MQTT 3.1.1, and QoS 0 only. It leaves a field out where its value is empty, 0 or false. So an uplink
without ``decoded_payload``, or one without a ``rssi``, says nothing of it: what is not there is never read as 0. A
formatter that leaves out a contact that is closed never says that it is closed; it has to give a number or a boolean
each time.

https://www.thethingsindustries.com/docs/integrations/other-integrations/mqtt/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from iotd.config.topics.filters import matches
from iotd.sources.devices import the_things_stack
from iotd.sources.mqtt.presets.base import Delivery, Filter, Heard, Known, Reader, json_object
from iotd.sources.mqtt.presets.uplinks import heard_of

_UPLINKS = "v3/+/devices/+/up"
_EVENTS = "v3/+/devices/+/#"


class TheThingsStack:
    """Uplinks; see :class:`iotd.sources.mqtt.presets.base.Preset`."""

    name = "the_things_stack"
    base = ""

    def filters(self, notes: Mapping[str, str]) -> Sequence[Filter]:
        """Uplinks only: a join, a downlink or a location says no value."""
        return [Filter(_UPLINKS)]

    def reader(self, topic: str) -> Reader | None:
        """How the messages of a topic are read; None: it is no event of The Things Stack."""
        if matches(_UPLINKS, topic):
            return _uplink
        return _passed_over if matches(_EVENTS, topic) else None


def _uplink(delivery: Delivery, known: Known) -> Heard:
    body = json_object(delivery.payload, "an event of The Things Stack")
    return heard_of(the_things_stack.observations(body), known.names)


def _passed_over(delivery: Delivery, known: Known) -> Heard:
    return Heard(passed_over=["an event that is no uplink"])
