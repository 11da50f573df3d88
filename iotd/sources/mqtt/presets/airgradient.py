"""airGradient monitors that publish by themselves: ``airgradient/readings/<serial>``, each minute, without a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from iotd.sources.devices.airgradient import FIELDS, observations
from iotd.sources.mqtt.presets.base import NOTHING, Delivery, Filter, Heard, Known, Reader, json_object
from iotd.sources.mqtt.presets.words import under

DEFAULT = "airgradient"


class AirGradient:
    """See :class:`iotd.sources.mqtt.presets.base.Preset`. The sensor is the serial number."""

    name = "airgradient"

    def __init__(self, base: str = DEFAULT) -> None:
        self.base = base

    def filters(self, notes: Mapping[str, str]) -> Sequence[Filter]:
        """The readings of all monitors."""
        return (Filter(f"{self.base}/readings/+"),)

    def reader(self, topic: str) -> Reader | None:
        """Of ``<base>/readings/<serial>``."""
        match under(self.base, topic.split("/")):
            case (_, ["readings", serial]):
                return _Monitor(serial)
            case _:
                return None


class _Monitor:
    def __init__(self, serial: str) -> None:
        self._serial = serial

    def __call__(self, delivery: Delivery, known: Known) -> Heard:
        if not delivery.payload:
            return NOTHING
        body = json_object(delivery.payload, "a message of an airGradient monitor")
        return Heard(observations(body, self._serial), passed_over=tuple(name for name in body if name not in FIELDS))
