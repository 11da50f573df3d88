"""rtl_433: ``rtl_433/<host>/events``, JSON of one transmission each.

By default rtl_433 also publishes each value under a topic of its device (``rtl_433/<host>/devices/…``), and its own
states (``…/states``). The former say again, without the time, what an event says: they are left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from iotd.sources.devices.rtl_433 import field_of, observations
from iotd.sources.mqtt.presets.base import NOTHING, Delivery, Filter, Heard, Known, Reader, json_object
from iotd.sources.mqtt.presets.words import presence, under

DEFAULT = "rtl_433"


class Rtl433:
    """See :class:`iotd.sources.mqtt.presets.base.Preset`. The sensor is model, channel and id: ``Nexus-TH-1-90``."""

    name = "rtl_433"

    def __init__(self, base: str = DEFAULT) -> None:
        self.base = base

    def filters(self, notes: Mapping[str, str]) -> Sequence[Filter]:
        """The events of all receivers, and whether the receivers are there."""
        return (Filter(f"{self.base}/+/events"), Filter(f"{self.base}/+/availability", announces=True))

    def reader(self, topic: str) -> Reader | None:
        """Of events, and of a receiver's last will."""
        match under(self.base, topic.split("/")):
            case (_, [_, "events"]):
                return event
            case (_, [host, "availability"]):
                return partial(_availability, host)
            case _:
                return None


def event(delivery: Delivery, known: Known) -> Heard:
    """One transmission."""
    if not delivery.payload:
        return NOTHING
    body = json_object(delivery.payload, "an event of rtl_433")
    return Heard(observations(body), passed_over=tuple(name for name in body if field_of(name) is None))


def _availability(host: str, delivery: Delivery, known: Known) -> Heard:
    return presence(delivery.payload, host, gateway=True) if delivery.payload else NOTHING
