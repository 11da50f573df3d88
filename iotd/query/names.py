"""What a query asks for: locations, types, units and sensors by name, as people write them."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from iotd.errors import UsageError
from iotd.sensors import UNITS, Sensor
from iotd.settings.tree import Tree

ALL = ("all", "*", "tous", "toutes")

_TYPES = {"temp": "temperature", "humidite": "humidity", "air": "air_quality", "qualite_de_l_air": "air_quality"}
_UNITS = {"c": "celsius", "°c": "celsius", "degres": "celsius", "%": "percent", "pourcent": "percent", "iqa": "aqi"}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which series are asked for.

    Attributes:
        ids: numbers of sensors; None: all.
    """

    locations: tuple[str, ...]
    types: tuple[str, ...]
    ids: tuple[int, ...] | None = None

    def __contains__(self, sensor: object) -> bool:
        return (
            isinstance(sensor, Sensor)
            and sensor.location in self.locations
            and sensor.type in self.types
            and (self.ids is None or sensor.sensor_id in self.ids)
        )

    def at(self, locations: Iterable[str]) -> Selection:
        """The same, at these locations only."""
        return Selection(tuple(locations), self.types, self.ids)


def select(
    settings: Tree,
    *,
    location: str | None = None,
    sensor_type: str | None = None,
    unit: str | None = None,
    sensor_ids: int | Sequence[int] | None = None,
) -> Selection:
    """The selection that these names describe; None, ``all`` and ``*`` mean all.

    Accents, case, spaces and hyphens don't matter: ``Salle de bain`` is ``salle_de_bain``.

    Raises:
        UsageError: there is no such location, type, unit or sensor number; the message names the nearest.
    """
    if unit is None:
        types = (
            _types(settings) if _is_all(sensor_type) else (_one("type", str(sensor_type), _types(settings), _TYPES),)
        )
    else:
        known = tuple(dict.fromkeys(UNITS[t] for t in _types(settings)))
        found = _one("unit", unit, known, _UNITS)
        types = tuple(t for t in _types(settings) if UNITS[t] == found)
    locations = settings.locations
    if not _is_all(location):
        locations = (_one("location", str(location), settings.locations, {}),)
    return Selection(locations, types, _ids(sensor_ids))


def _types(settings: Tree) -> tuple[str, ...]:
    return settings.sensors.types


def _is_all(name: str | None) -> bool:
    return name is None or name.strip().lower() in ALL


def _ids(sensor_ids: int | Sequence[int] | None) -> tuple[int, ...] | None:
    if sensor_ids is None:
        return None
    ids = (sensor_ids,) if isinstance(sensor_ids, int) else tuple(sensor_ids)
    if not ids or not all(type(i) is int and i >= 0 for i in ids):
        raise UsageError(f"sensor: {sensor_ids!r} is not a sensor's number; give one like 1, or several like 1 and 3")
    return tuple(sorted(set(ids)))


def _one(what: str, name: str, known: Sequence[str], others: Mapping[str, str]) -> str:
    wanted = folded(name)
    by_fold = {folded(k): k for k in known}
    also = {folded(other): k for other, k in others.items() if k in known}
    names = also | by_fold
    if wanted in names:
        return names[wanted]
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
    there = f"there are {', '.join(known)}" if len(known) > 1 else f"there is only {known[0]}"
    if near:
        raise UsageError(f"no {what} {name!r}; did you mean {names[near[0]]!r}? ({there})")
    raise UsageError(f"no {what} {name!r}; {there}")


def folded(name: str) -> str:
    """A name without what people write differently: accents, case, spaces, hyphens, apostrophes."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", name.strip()) if not unicodedata.combining(c))
    return "_".join("".join(c if c.isalnum() or c in "°%*" else " " for c in bare.casefold()).split())
