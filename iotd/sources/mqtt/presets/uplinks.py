"""What LoRaWAN network servers hand over: whatever numbers a codec gives, of which only some are a sensor's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from iotd.model.observation import Names, Observation
from iotd.sources.mqtt.presets.base import Heard
from iotd.sources.mqtt.presets.classes import canonical


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
