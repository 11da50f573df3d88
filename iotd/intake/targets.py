"""Where the values of a subject go: found once, and known until the configuration or an assignment changes."""

from __future__ import annotations

from dataclasses import dataclass

from iotd.intake.resolve import Resolver
from iotd.model.observation import Subject
from iotd.model.series import Series
from iotd.model.types import SensorType, Types
from iotd.model.units import conversion

_MOST = 100_000
"""Subjects that are known; when there are more, all are found anew."""


@dataclass(slots=True)
class Target:
    """What the values of a subject become.

    Attributes:
        unit: that they come in, as the source says it; None: the type's own, unless a value has one behind it.
        plain: they come in the type's own unit: a float of its range is taken as it is.
        number: of the series in the catalogue; None: it has none yet.
    """

    series: Series
    row: SensorType
    unit: str | None
    plain: bool
    number: int | None = None


class Targets:
    """The targets of all subjects that speak."""

    def __init__(self, resolver: Resolver, types: Types) -> None:
        self._resolver = resolver
        self._types = types
        self._known: dict[Subject, Target] = {}

    def of(self, subject: Subject) -> Target:
        """Where its values go.

        Raises:
            Refused: type, sensor or location is not known, or the location is not certain.
        """
        if (target := self._known.get(subject)) is None:
            series, unit = self._resolver.resolve(subject)
            row = self._types[series.type]
            target = Target(series, row, unit, _plain(unit, row))
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[subject] = target
        return target


def _plain(unit: str | None, row: SensorType) -> bool:
    if not unit:
        return True
    convert = conversion(unit, row.unit)
    return convert is not None and convert.same
