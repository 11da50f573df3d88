"""Home Assistant's `mqtt_statestream`: each entity's state and attributes, on topics of their own, all retained.

A value that arrives live has the time of its arrival: ``last_updated`` comes after it. A retained value has the time of
a ``last_updated`` that was retained with it, whichever of the two comes last; without one nobody knows how old it is,
and it is no reading. The two belong together if they were handed over by one connection, and the entity has not spoken
live between them: what is noted of the first of them holds for its connection only.

Without ``publish_attributes`` the type is read from the entity's id, and its values are in the type's own unit. With it
a new sensor's value comes before its unit, so it is refused until its attributes are known.

https://www.home-assistant.io/integrations/mqtt_statestream/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import orjson

from iotd.model.errors import Refused
from iotd.model.observation import Names, Observation
from iotd.sources.mqtt.presets.base import NOTHING, Delivery, Filter, Heard, Known, Reader, plain_text
from iotd.sources.mqtt.presets.classes import is_state, type_of_class
from iotd.sources.mqtt.presets.words import type_in

DEFAULT = "homeassistant"
_DOMAINS = ("sensor", "binary_sensor", "switch")
_ATTRIBUTES = ("unit_of_measurement", "device_class", "friendly_name")
_ANY = "attributes"
"""The note that attributes are published at all."""
_LONGEST = 200


class Statestream:
    """What Home Assistant publishes of its entities; see :class:`iotd.sources.mqtt.presets.base.Preset`."""

    name = "statestream"

    def __init__(self, base: str = DEFAULT) -> None:
        self.base = base

    def filters(self, notes: Mapping[str, str]) -> Sequence[Filter]:
        """Attributes before states, so that a retained value meets its unit."""
        told = [(name, True) for name in _ATTRIBUTES] + [("state", False), ("last_updated", False)]
        return [Filter(f"{self.base}/{domain}/+/{name}", announces) for name, announces in told for domain in _DOMAINS]

    def reader(self, topic: str) -> Reader | None:
        """How the messages of a topic are read; None: it is none of those of an entity that may be a sensor."""
        if not topic.startswith(f"{self.base}/"):
            return None
        levels = topic[len(self.base) + 1 :].split("/")
        if len(levels) != 3 or levels[0] not in _DOMAINS or not levels[1]:
            return None
        domain, name, told = levels
        if told == "state":
            return partial(_state, f"{domain}.{name}")
        if told == "last_updated":
            return partial(_last_updated, f"{domain}.{name}")
        return partial(_attribute, f"{told} {domain}.{name}") if told in _ATTRIBUTES else None


def _attribute(key: str, delivery: Delivery, known: Known) -> Heard:
    text = plain_text(delivery.payload)
    try:
        said = orjson.loads(text)
    except orjson.JSONDecodeError:
        said = text  # as some automations publish them
    noted = said[:_LONGEST] if isinstance(said, str) and said else None
    return _noted({key: noted, _ANY: "published"}, known)


def _state(entity: str, delivery: Delivery, known: Known) -> Heard:
    text = plain_text(delivery.payload)
    if not delivery.retained:
        return _said(entity, (text, None), known, f"{delivery.connection} live")
    kind, time = _waiting(entity, delivery, known)
    if kind == "time":
        return _said(entity, (text, time), known, None)
    return NOTHING if kind == "live" else _waits(entity, "value", text, delivery, known)


def _last_updated(entity: str, delivery: Delivery, known: Known) -> Heard:
    time = plain_text(delivery.payload).strip('"')
    kind, text = _waiting(entity, delivery, known)
    if not delivery.retained or kind == "live":
        return NOTHING
    if kind == "value":
        return _said(entity, (text, time), known, None)
    return _waits(entity, "time", time, delivery, known)


def _waiting(entity: str, delivery: Delivery, known: Known) -> tuple[str, str]:
    """What an entity has said by this connection that waits for its other half: ``value`` or ``time``, and which; or
    ``live``: nothing that is retained belongs together any more."""
    connection, _, rest = known.notes.get(f"waiting {entity}", "").partition(" ")
    kind, _, said = rest.partition(" ")
    return (kind, said) if connection == str(delivery.connection) else ("", "")


def _waits(entity: str, kind: str, said: str, delivery: Delivery, known: Known) -> Heard:
    return _noted({f"waiting {entity}": f"{delivery.connection} {kind} {said[:_LONGEST]}"}, known)


def _said(entity: str, said: tuple[str, str | None], known: Known, waiting: str | None) -> Heard:
    """
    Args:
        said: the value, and its time.
        waiting: what is to be noted.
    """
    value, time = said
    domain, _, name = entity.partition(".")
    unit, device_class, friendly = (known.notes.get(f"{told} {entity}") for told in _ATTRIBUTES)
    changed = _noted({f"waiting {entity}": waiting}, known).notes
    kind = _type(domain, name, device_class or "", known.names)
    # unit, class and name come in this order, and may be half there when a second value comes
    described = friendly or (unit and kind if domain == "sensor" else device_class)
    if domain != "switch" and time is None and _ANY in known.notes and not described:
        raise Refused("not described yet", f"the attributes of {entity:.80} have not come: they say what it is")
    if kind is None:
        return Heard(notes=changed, passed_over=[entity])
    if domain == "sensor" and friendly and not (unit or device_class):
        return Heard(notes=changed, passed_over=[entity])  # its state is a text
    hints = tuple(hint for hint in (friendly, name) if hint)
    return Heard([Observation(kind, entity, value, unit=unit, time=time, hints=hints)], notes=changed)


def _type(domain: str, name: str, device_class: str, names: Names) -> str | None:
    if device_class or domain == "switch":
        return type_of_class(domain, device_class, names)
    kind = type_in(name, names)
    return kind if kind is not None and is_state(kind) is (domain == "binary_sensor") else None


def _noted(notes: Mapping[str, str | None], known: Known) -> Heard:
    changed = {key: value for key, value in notes.items() if known.notes.get(key) != value}
    return Heard(notes=changed) if changed else NOTHING
