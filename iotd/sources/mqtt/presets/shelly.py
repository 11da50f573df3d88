"""Shelly: the topics of the first generation (``shellies/<id>/…``), and the notifications of later ones
(``<id>/events/rpc``).

Each reading is taken from one topic. Later generations say under ``<id>/status/…``, without a time, what a notification
says with one: only those are read ("RPC status notifications over MQTT" has to be on). Of the first generation that is
the topic of each value; ``info`` repeats it, as do the topics in °F.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from iotd.model.observation import Observation
from iotd.sources.devices.base import table, text
from iotd.sources.devices.shelly import Part, first_generation, first_status, says_readings, status
from iotd.sources.mqtt.presets.base import NOTHING, Delivery, Filter, Heard, Known, Reader, json_object
from iotd.sources.mqtt.presets.words import perhaps_presence, plain_value, under

DEFAULT = "shellies"
_METHODS = ("NotifyStatus", "NotifyFullStatus")


class Shelly:
    """See :class:`iotd.sources.mqtt.presets.base.Preset`.

    The base is that of the first generation, and of later ones with a prefix of more than one level. The sensor is the
    device's id, with the number of the component where it is not 0.
    """

    name = "shelly"

    def __init__(self, base: str = DEFAULT) -> None:
        self.base = base

    def filters(self, notes: Mapping[str, str]) -> Sequence[Filter]:
        """All of the first generation, and what later ones notify of."""
        return (Filter(f"{self.base}/#", announces=True), Filter("+/events/rpc"), Filter("+/online", announces=True))

    def reader(self, topic: str) -> Reader | None:
        """Of a value, a notification, or a last will."""
        levels = topic.split("/")
        parted = under(self.base, levels)
        rest = parted[1] if parted else []
        match levels:
            case [*prefix, "events", "rpc"] if prefix and (rest[:-2] or len(prefix) == 1):
                return partial(_notification, (topic,))
            case [*prefix, "online"] if prefix and (rest[:-1] or len(prefix) == 1):
                return partial(_online, "/".join(rest[:-1]) or prefix[0])
            case _ if not rest:
                return None
        if rest[-1] == "status" and len(rest) > 1 and not rest[-2].isdecimal():  # else a lamp's
            return partial(_first_status, "/".join(rest[:-1]), (topic,))
        if (found := first_generation(rest)) is not None:
            return partial(_value, "/".join(rest[: found[0]]), found[1], (topic,))
        return _nothing


def _notification(hints: tuple[str, ...], delivery: Delivery, known: Known) -> Heard:
    if not delivery.payload:
        return NOTHING
    body = json_object(delivery.payload, "a Shelly's notification")
    if body.get("method") not in _METHODS:
        return Heard(passed_over=tuple(body))
    device = text(body, "src", "a Shelly's notification")
    params = table(body, "params", "a Shelly's notification")
    others = tuple(name for name in params if not says_readings(name))
    return Heard(status(device, params, hints), passed_over=others)


def _first_status(device: str, hints: tuple[str, ...], delivery: Delivery, known: Known) -> Heard:
    if not delivery.payload:
        return NOTHING
    return Heard(first_status(device, json_object(delivery.payload, "a Shelly's status"), hints))


def _value(device: str, its: Part, hints: tuple[str, ...], delivery: Delivery, known: Known) -> Heard:
    if not delivery.payload:
        return NOTHING
    sensor = f"{device} {its.suffix}".strip()
    return Heard((Observation(its.type, sensor, plain_value(delivery.payload), unit=its.unit, hints=hints),))


def _online(device: str, delivery: Delivery, known: Known) -> Heard:
    return perhaps_presence(delivery.payload, device) if delivery.payload else NOTHING


def _nothing(delivery: Delivery, known: Known) -> Heard:
    return NOTHING
