"""Which series an observation belongs to: its type, its location and its sensor, by any name that they have."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from iotd.model.calibration import Calibration
from iotd.model.errors import Ignored, Refused
from iotd.model.folding import folded
from iotd.model.observation import Subject
from iotd.model.series import MAX_ID, Series
from iotd.model.types import SensorType, Types
from iotd.model.units import conversion


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a person said of a sensor (`iotd sensors assign`, `rename`, `replace`, `calibrate`).

    Attributes:
        location: where it is; None: as its source says.
        continues: the id of the sensor whose series it continues; None: it has its own.
        name: for people.
        since: when it began to speak in the series that it continues, ms; None: always.
        calibrations: by type, or by ``type:location``, which goes before it.
    """

    location: str | None = None
    continues: str | None = None
    name: str | None = None
    since: int | None = None
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)


class Resolver:
    """Finds series; made anew when the configuration or an assignment changes."""

    def __init__(
        self,
        types: Types,
        locations: Mapping[str, Iterable[str]],
        assignments: Mapping[str, Assignment],
        default: str | None = None,
        ignored: Iterable[str] = (),
    ) -> None:
        """
        Args:
            locations: by their names in keys: what else they are called.
            assignments: by sensor id.
            default: where a sensor is whose location nobody knows; None: it is refused.
            ignored: names, or patterns of names (``disk*``), of types and measurements that are no sensors'.
        """
        self._types = types
        self._assignments = assignments
        self._default = default
        self._ignored = re.compile("|".join(fnmatch.translate(folded(name)) for name in ignored) or r"(?!)")
        self._type_names = {folded(alias): row for row in types.values() for alias in row.aliases}
        self._type_names |= {folded(row.name): row for row in types.values()}
        self._locations = {folded(other): name for name, others in locations.items() for other in others if other}
        self._locations |= {folded(name): name for name in locations}

    def resolve(self, said: Subject) -> tuple[Series, str | None]:
        """The series, and the unit that comes with it where it has one.

        Raises:
            Ignored: it is no sensor.
            Refused: type, sensor or location is not known, or the location is not certain.
        """
        if self.ignores(said.type):
            raise Ignored("ignored", f"{said.type!r:.80} is among intake.ignore")
        row, unit = self._type(said.type)
        sensor = said.sensor.strip()
        if not sensor or len(sensor) > MAX_ID:
            raise Refused("no sensor's id", f"{sensor!r:.80} is empty or longer than {MAX_ID} characters")
        location, _ = self.place(said)
        continues = self._assignments.get(sensor, Assignment()).continues
        return Series(row.name, location, continues or sensor, row.unit), said.unit or unit

    def place(self, said: Subject) -> tuple[str, str]:
        """The location, and by what it was found, for people.

        Raises:
            Refused: it is not known, or not certain.
        """
        assigned = self._assignments.get(said.sensor.strip(), Assignment()).location
        return (assigned, "assigned by iotd sensors assign") if assigned else self._location(said)

    def knows(self, name: str) -> bool:
        """Whether a name is that of a sensor type, with or without a unit behind it."""
        try:
            self._type(name)
        except Refused:
            return False
        return True

    def knows_location(self, name: str) -> bool:
        """Whether a name is one of a location's."""
        return folded(name) in self._locations

    def ignores(self, name: str) -> bool:
        """See :class:`iotd.model.observation.Names`."""
        return self._ignored.fullmatch(folded(name)) is not None

    def _type(self, name: str) -> tuple[SensorType, str | None]:
        if (row := self._type_names.get(folded(name))) is not None:
            return row, None
        head, _, unit = name.rpartition("_")
        if head and not unit.isdigit() and (row := self._type_names.get(folded(head))) and conversion(unit, row.unit):
            return row, unit
        raise Refused("unknown type", f"no sensor type is called {name!r:.80}; add [types.…] or map it")

    def _location(self, said: Subject) -> tuple[str, str]:
        if said.location:
            if (found := self._locations.get(folded(said.location))) is not None:
                return found, f"called {said.location!r:.80}"
            return self._unknown(f"no location is called {said.location!r:.80}")
        if (found := self._locations.get(folded(said.sensor))) is not None:
            return found, f"called {said.sensor!r:.80}"  # an alias may be a device's address
        named = {name for text in (*said.hints, said.sensor) for name in _within(folded(text), self._locations)}
        # "salle_de_bain" is no word of "bain"
        whole = {name for name in named if not any(name != other and _within(other, (name,)) for other in named)}
        found_in = sorted({self._locations[name] for name in whole})
        if not found_in:
            return self._unknown(f"no location is named in {', '.join(said.hints) or said.sensor!r:.200}")
        if len(found_in) > 1:
            raise Refused("unknown location", f"{' and '.join(found_in)} are all named in it")
        return found_in[0], f"{sorted(whole)[0]!r} in {', '.join(said.hints) or said.sensor!r:.200}"

    def _unknown(self, detail: str) -> tuple[str, str]:
        if self._default is None:
            raise Refused("unknown location", detail)
        return self._default, f"by intake.unknown_location: {detail}"


def _within(text: str, names: Iterable[str]) -> list[str]:
    """The names that stand in a text as whole words."""
    words = f"_{text}_"
    return [name for name in names if f"_{name}_" in words]
