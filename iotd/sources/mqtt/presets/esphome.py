"""ESPHome over MQTT: ``<node>/sensor/<object>/state``, a plain value without a time.

What a sensor measures stands in its object id only (``salon_temperature``), so the type is the longest run of its words
that names one. Sensors whose ids name none are passed over, as are switches of other kinds (fans, lights, covers).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from iotd.model.folding import folded
from iotd.model.observation import Names, Observation
from iotd.sources.mqtt.presets.base import NOTHING, Delivery, Filter, Heard, Known, Reader
from iotd.sources.mqtt.presets.words import Memo, meaning_of, perhaps_presence, plain_value, under

DEFAULT = "+"
_DOMAINS = {"sensor": ("gauge", "counter", None), "binary_sensor": ("state", None), "switch": ("state",)}
"""Which kinds of types a domain has; None: types that are not built in."""


class EspHome:
    """See :class:`iotd.sources.mqtt.presets.base.Preset`.

    The base is what stands before ``/sensor/``, and has a ``+`` where it names the node (``esphome/+``). The sensor is
    the node, with the words of the object id that are neither the type nor the node: ``salon bme280``.
    """

    name = "esphome"

    def __init__(self, base: str = DEFAULT) -> None:
        self.base = base

    def filters(self, notes: Mapping[str, str]) -> Sequence[Filter]:
        """The states of all sensors and switches, and the last will of each node."""
        states = [Filter(f"{self.base}/{domain}/+/state") for domain in _DOMAINS]
        return (*states, Filter(f"{self.base}/status", announces=True))

    def reader(self, topic: str) -> Reader | None:
        """Of a state, or of a node's last will."""
        levels = topic.split("/")
        match under(self.base, levels):
            case (wild, [domain, object_id, "state"]) if domain in _DOMAINS:
                return _State("/".join(wild) or levels[-4], domain, object_id, topic)
            case (wild, ["status"]):
                return partial(_status, "/".join(wild) or levels[-2])
            case _:
                return None


class _State:
    def __init__(self, node: str, domain: str, object_id: str, topic: str) -> None:
        self._node, self._domain, self._object, self._topic = node, domain, object_id, topic
        self._subjects = Memo(self._subject)

    def __call__(self, delivery: Delivery, known: Known) -> Heard:
        if not delivery.payload:
            return NOTHING
        subject = self._subjects.of(self._object, known.names)
        if subject is None:
            return Heard(passed_over=(self._object,))
        kind, sensor = subject
        return Heard((Observation(kind, sensor, plain_value(delivery.payload), hints=(self._topic,)),))

    def _subject(self, object_id: str, names: Names) -> tuple[str, str] | None:
        if self._domain == "switch":
            return "switch", self._sensor(" ".join(folded(object_id).split("_")))
        meaning = meaning_of(object_id, names)
        if meaning is None or meaning.kind not in _DOMAINS[self._domain]:
            return None
        return meaning.type, self._sensor(meaning.rest)

    def _sensor(self, rest: str) -> str:
        node = " ".join(folded(self._node).split("_"))
        rest = f"{rest} ".removeprefix(f"{node} ").strip()  # `salon_temperature` of the node `salon` names it once
        return f"{self._node} {rest}".strip()


def _status(node: str, delivery: Delivery, known: Known) -> Heard:
    return perhaps_presence(delivery.payload, node) if delivery.payload else NOTHING
