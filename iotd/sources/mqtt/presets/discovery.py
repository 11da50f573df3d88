"""What a configuration of Home Assistant's discovery says there is: the entities that are sensors.

https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from iotd.config.topics.filters import valid_topic
from iotd.model.errors import Refused
from iotd.model.observation import Names
from iotd.sources.mqtt.presets.classes import canonical, type_of_class
from iotd.sources.mqtt.presets.templates import template_of

COMPONENTS = ("sensor", "binary_sensor", "switch")
MOST_ENTITIES = 500
"""In one configuration."""
_LONGEST = 200
"""Characters of a name."""
_FULL = {
    "avty": "availability",
    "avty_t": "availability_topic",
    "avty_tpl": "availability_template",
    "cmps": "components",
    "dev": "device",
    "dev_cla": "device_class",
    "ent_cat": "entity_category",
    "obj_id": "object_id",
    "p": "platform",
    "pl_avail": "payload_available",
    "pl_not_avail": "payload_not_available",
    "pl_off": "payload_off",
    "pl_on": "payload_on",
    "stat_off": "state_off",
    "stat_on": "state_on",
    "stat_t": "state_topic",
    "t": "topic",
    "uniq_id": "unique_id",
    "unit_of_meas": "unit_of_measurement",
    "val_tpl": "value_template",
}
"""Keys by their abbreviations; those that say nothing of sensors are left out."""
_DEVICE_FULL = {"cns": "connections", "ids": "identifiers", "sa": "suggested_area"}
_SHARED = (
    "~",
    "availability",
    "availability_topic",
    "availability_template",
    "device",
    "payload_available",
    "payload_not_available",
    "state_topic",
)
"""What the components of a device have in common, where they don't say it themselves."""
_SAYS_TYPE = {"hum": "humidity", "tem": "temperature", "tempc": "temperature", "tempf": "temperature"}
_SAYS_SWITCH = ("power", "relay", "state", "switch")


class Place(NamedTuple):
    """The topic of a configuration, ``<prefix>/<component>/[<node>/]<name>/config``, and what it says."""

    topic: str
    component: str
    node: str
    name: str


class Availability(NamedTuple):
    """A topic that says whether an entity's device is there, and how."""

    topic: str
    online: str
    offline: str
    template: str


@dataclass(frozen=True, slots=True)
class Entity:
    """A sensor that was announced.

    Attributes:
        key: unique; the topic of its configuration, and its name in it where there are several.
        sensors: ids that it may have, the best first: the first that no other entity has for this type.
        on, off: payloads of a state; empty: it is no state.
        device: whose availability it is.
    """

    key: str
    state_topic: str
    type: str
    sensors: tuple[str, ...]
    unit: str
    hints: tuple[str, ...]
    template: str
    on: str
    off: str
    device: str
    availability: tuple[Availability, ...]


@dataclass(slots=True)
class Announced:
    """What a configuration announces: sensors, and the names of what is none."""

    entities: list[Entity] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


def announced(place: Place, config: Mapping[str, Any], names: Names) -> Announced:
    """The sensors of a configuration.

    Raises:
        Refused: it announces too many, or none of its sensors can be read.
    """
    found = Announced()
    for key, one, its in _components(place, config):
        called = f"{one.component} {one.name}"
        if one.component not in COMPONENTS:
            found.passed_over.append(called)
            continue
        try:
            entity = _entity(key, one, its, names)
        except Refused as e:
            found.refused.append(e)
            continue
        if entity is None:
            found.passed_over.append(called)
        else:
            found.entities.append(entity)
    if found.refused and not found.entities:
        raise found.refused[0]
    return found


def _components(place: Place, config: Mapping[str, Any]) -> Iterator[tuple[str, Place, Mapping[str, Any]]]:
    """Of each component its key, its place as if it were announced by itself, and what is said of it."""
    whole = _unabbreviated(config, _FULL)
    if place.component != "device":
        yield place.topic, place, _with_base(whole)
        return
    components = whole.get("components")
    if not isinstance(components, Mapping):
        return
    if len(components) > MOST_ENTITIES:
        raise Refused("too many entities", f"it has {len(components)} components, and {MOST_ENTITIES} are read")
    shared = {key: whole[key] for key in _SHARED if key in whole}
    for name, one in components.items():
        if isinstance(one, Mapping):
            its = {**shared, **_unabbreviated(one, _FULL)}
            its_place = Place(place.topic, text(its.get("platform")), place.name, name)
            yield f"{place.topic}\n{name}", its_place, _with_base(its)


def _entity(key: str, place: Place, its: Mapping[str, Any], names: Names) -> Entity | None:
    """
    Returns:
        None: it is no sensor.

    Raises:
        Refused: it can't be read.
    """
    kind = place.component
    category = text(its.get("entity_category"))
    sensor_type = type_of_class(kind, text(its.get("device_class")), names)
    state_topic = its.get("state_topic")
    about = its.get("device")
    device = _unabbreviated(about, _DEVICE_FULL) if isinstance(about, Mapping) else {}
    is_setting = (
        category or text(device.get("model")) == "Bridge"
    )  # of a device, as a lock for children, or zigbee2mqtt's
    if sensor_type is None or state_topic is None or (kind == "switch" and is_setting):
        return None
    if not isinstance(state_topic, str) or not is_one_topic(state_topic):
        raise Refused(
            "not a topic", f"state_topic {state_topic!r:.80} of {place.name[:80]} is no topic to subscribe to"
        )
    template = _template(its.get("value_template"))
    on, off = ("", "") if kind == "sensor" else _on_and_off(kind, its)
    device_name, area, device_id = text(device.get("name")), text(device.get("suggested_area")), _id_of(device)
    return Entity(
        key=key,
        state_topic=state_topic,
        type=sensor_type,
        sensors=_ids_on_device(key, sensor_type, place, device_id, device_name)
        if device_id
        else _own_ids(key, place, its),
        unit="" if on else text(its.get("unit_of_measurement")),
        hints=tuple(hint for hint in (area, device_name, text(its.get("name")), state_topic) if hint),
        template=template,
        on=on,
        off=off,
        device=device_id or key,
        availability=tuple(_availability(its)),
    )


def _own_ids(key: str, place: Place, its: Mapping[str, Any]) -> tuple[str, ...]:
    own = text(its.get("unique_id")) or text(its.get("object_id"))
    return tuple(one for one in (own, f"{place.node} {place.name}".strip(), key) if one)


def _ids_on_device(key: str, sensor_type: str, place: Place, device_id: str, device_name: str) -> tuple[str, ...]:
    """The device's identifier, which all of its values share.

    What the entity's name says beside device and type stands behind it: it tells two values of one type apart, whatever
    order they are announced in.
    """
    rest = place.name
    for prefix in (device_id, device_id.rpartition("_")[2], place.node, device_name.replace(" ", "_")):
        if prefix and rest.casefold().startswith(prefix.casefold()):
            rest = rest[len(prefix) :].strip("_- ")
    says_type = canonical(_SAYS_TYPE.get(rest.casefold(), rest)) == canonical(sensor_type)
    plain = not rest or says_type or (sensor_type == "switch" and rest.casefold() in _SAYS_SWITCH)
    first = device_id if plain else f"{device_id} {rest}"
    return (first, f"{device_id} {place.node} {place.name}", f"{device_id} {key}")


def _on_and_off(kind: str, its: Mapping[str, Any]) -> tuple[str, str]:
    on, off = (text(its.get(f"payload_{which}"), which.upper()) for which in ("on", "off"))
    if kind == "switch":
        return text(its.get("state_on"), on), text(its.get("state_off"), off)
    return on, off


def _availability(its: Mapping[str, Any]) -> Iterator[Availability]:
    rows = its.get("availability")
    if not isinstance(rows, list):
        rows = [{**its, "topic": its.get("availability_topic"), "value_template": its.get("availability_template")}]
    for row in rows[:10]:
        if not isinstance(row, Mapping) or not is_one_topic(topic := row.get("topic")):
            continue
        online, offline = (
            text(row.get("payload_available"), "online"),
            text(row.get("payload_not_available"), "offline"),
        )
        with suppress(Refused):  # then nobody knows whether it is there; its values are read all the same
            yield Availability(str(topic), online, offline, _template(row.get("value_template")))


def _template(said: Any) -> str:
    """
    Raises:
        Refused: it can't be followed.
    """
    if not said:
        return ""
    template_of(str(said))
    return str(said)


def _id_of(device: Mapping[str, Any]) -> str:
    identifiers = device.get("identifiers")
    for one in identifiers if isinstance(identifiers, list) else [identifiers]:
        if found := text(one):
            return found
    connections = device.get("connections")
    for one in connections if isinstance(connections, list) else []:
        if isinstance(one, list) and len(one) == 2 and (found := text(one[1])):
            return found
    return ""


def is_one_topic(said: Any) -> bool:
    """Whether it is a topic, and one only: whoever may publish could have us subscribe to everything."""
    return isinstance(said, str) and valid_topic(said) and not said.startswith("$share/")


def text(said: Any, otherwise: str = "") -> str:
    """A text, or a number or boolean as Home Assistant has them as text."""
    if isinstance(said, str | int | float):
        return str(said).strip()[:_LONGEST] or otherwise
    return otherwise


def _unabbreviated(said: Mapping[str, Any], full: Mapping[str, str]) -> dict[str, Any]:
    return {full.get(key, key): value for key, value in said.items()}


def _with_base(its: dict[str, Any]) -> Mapping[str, Any]:
    """With `~` at the begin or end of topics replaced by what it stands for."""
    said = its.get("availability")
    rows = said if isinstance(said, list) else [said]
    full = [_unabbreviated(row, _FULL) for row in rows if isinstance(row, Mapping)]
    if full:
        its["availability"] = full
    base = its.get("~")
    if isinstance(base, str):
        for one in (its, *full):
            for key, value in one.items():
                if key.endswith("topic") and isinstance(value, str):
                    one[key] = _based(value, base)
    return its


def _based(topic: str, base: str) -> str:
    if topic.startswith("~"):
        topic = base + topic[1:]
    return topic[:-1] + base if topic.endswith("~") else topic
