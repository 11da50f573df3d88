"""A selection: which series are asked for, by location, type and id."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from iotd.model.series import Series


@dataclass(frozen=True, slots=True)
class Selection:
    """Which series are asked for.

    Attributes:
        ids: of sensors; None: all.
    """

    locations: tuple[str, ...]
    types: tuple[str, ...]
    ids: tuple[str, ...] | None = None

    @classmethod
    def of(cls, series: Series) -> Selection:
        """One series alone."""
        return cls((series.location,), (series.type,), (series.sensor_id,))

    def __contains__(self, series: object) -> bool:
        return (
            isinstance(series, Series)
            and series.location in self.locations
            and series.type in self.types
            and (self.ids is None or series.sensor_id in self.ids)
        )

    def at(self, locations: Iterable[str]) -> Selection:
        """The same, at these locations only."""
        return Selection(tuple(locations), self.types, self.ids)
