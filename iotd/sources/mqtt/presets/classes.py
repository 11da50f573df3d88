"""What Home Assistant's device classes, and ids that name a type, say about the type of a value."""

from __future__ import annotations

from functools import lru_cache

from iotd.model.folding import folded
from iotd.model.observation import Names
from iotd.model.types import BUILT_IN
from iotd.model.units import conversion

_LEVELS = frozenset(
    {"battery", "cold", "current", "gas", "heat", "humidity", "light", "power", "sound", "temperature", "voltage"}
)
"""Classes of binary sensors that say that a level is low, or that there is some: none is a level itself."""
_STATES = frozenset(
    name
    for row in BUILT_IN.values()
    if row.kind == "state"
    for name in (folded(row.name), *(folded(alias) for alias in row.aliases))
)
_ALIASES = {folded(alias): row.name for row in BUILT_IN.values() for alias in row.aliases}


@lru_cache(maxsize=4_096)
def type_of_class(component: str, device_class: str, names: Names) -> str | None:
    """The type of an entity by its device class; None: it is no sensor type's.

    A class may mean another thing by component: the battery of a binary sensor is 1 when it is low, and the moisture of
    a sensor is a share of water in the soil, where that of a binary sensor is a leak.

    Args:
        component: ``sensor``, ``binary_sensor`` or ``switch``.
        device_class: empty: it has none.
    """
    if component == "switch":
        return "switch" if device_class in ("", "switch", "outlet") else None
    is_state = folded(device_class) in _STATES
    if component == "sensor":
        return device_class if device_class and not is_state and names.knows(device_class) else None
    return device_class if is_state or (device_class not in _LEVELS and names.knows(device_class)) else None


@lru_cache(maxsize=4_096)
def is_state(kind: str) -> bool:
    """Whether a name is that of a built-in type with two states."""
    return folded(kind) in _STATES


@lru_cache(maxsize=4_096)
def canonical(kind: str) -> str:
    """The type's own name, of a name of a built-in type, with or without a unit behind it; any other as it is."""
    plain = folded(kind)
    if plain in BUILT_IN or plain in _ALIASES:
        return _ALIASES.get(plain, plain)
    head, _, unit = plain.rpartition("_")
    name = _ALIASES.get(head, head)
    return name if name in BUILT_IN and conversion(unit, BUILT_IN[name].unit) else plain


@lru_cache(maxsize=4_096)
def is_plain(word: str, kind: str) -> bool:
    """Whether an id says no more than the type's name; an alias does, as one device may have both.

    What is plain needs no place in the sensor's id: one device has at most one such value of a type.
    """
    return folded(word) == canonical(kind)
