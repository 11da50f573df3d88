"""What LoRaWAN network servers hand over: whatever numbers a codec gives, of which only some are a sensor's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from iotd.config.topics.filters import matches
from iotd.model.observation import Names, Observation
from iotd.sources.mqtt.presets.base import Delivery, Filter, Heard, Known, Reader, json_object
from iotd.sources.mqtt.presets.classes import canonical


class Uplinks:
    """A network server's; see :class:`iotd.sources.mqtt.presets.base.Preset`.

    Attributes:
        title: for people.
        uplinks, events: topic filters of uplinks, and of all that is said of devices.
        observations: what the JSON object of an uplink says.
    """

    name: str
    title: str
    base = ""
    uplinks: str
    events: str
    observations: Callable[[Mapping[str, object]], Sequence[Observation]]

    def filters(self, notes: Mapping[str, str]) -> Sequence[Filter]:
        """Uplinks only: a join, a status, a downlink or a location says no value."""
        return [Filter(self.uplinks)]

    def reader(self, topic: str) -> Reader | None:
        """How the messages of a topic are read; None: it is nothing of this server's."""
        if matches(self.uplinks, topic):
            return self._uplink
        return _passed_over if matches(self.events, topic) else None

    def _uplink(self, delivery: Delivery, known: Known) -> Heard:
        body = json_object(delivery.payload, f"an event of {self.title}")
        return heard_of(self.observations(body), known.names)


def _passed_over(delivery: Delivery, known: Known) -> Heard:
    return Heard(passed_over=["an event that is no uplink"])


def heard_of(said: Sequence[Observation], names: Names) -> Heard:
    """The values whose type is known; names of the others.

    Of several values of one type that a device says at once, as `temp` and `temperature`, those after the first have
    their name behind the sensor's id.
    """
    found: list[Observation] = []
    passed_over: list[str] = []
    seen: set[tuple[str, str]] = set()
    for one in said:
        if not _is_sensors(one.type, names):
            passed_over.append(one.type)
            continue
        key = canonical(one.type), one.sensor
        found.append(replace(one, sensor=f"{one.sensor} {one.type}") if key in seen else one)
        seen.add(key)
    return Heard(found, passed_over=passed_over)


@lru_cache(maxsize=4_096)
def _is_sensors(name: str, names: Names) -> bool:
    return names.knows(name) and not names.ignores(name)
