"""The Things Stack (v3), MQTT server: uplinks as payload formatters have decoded them; their identity is their time.

The server speaks MQTT 3.1.1, and QoS 0 only. It leaves a field out where its value is empty, 0 or false. So an uplink
without ``decoded_payload``, or one without a ``rssi``, says nothing of it: what is not there is never read as 0. A
formatter that leaves out a contact that is closed never says that it is closed; it has to give a number or a boolean
each time.

https://www.thethingsindustries.com/docs/integrations/other-integrations/mqtt/
"""

from __future__ import annotations

from iotd.sources.devices import the_things_stack
from iotd.sources.mqtt.presets.uplinks import Uplinks


class TheThingsStack(Uplinks):
    """Its uplinks."""

    name = "the_things_stack"
    title = "The Things Stack"
    uplinks = "v3/+/devices/+/up"
    events = "v3/+/devices/+/#"
    observations = staticmethod(the_things_stack.observations)
