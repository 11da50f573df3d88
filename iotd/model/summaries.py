"""Summaries of hours that another program made: what is kept of a sensor where its readings are gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from iotd.model.observation import Observation

Hour = tuple[int, float | None, float | None, float | None, float | None, float | None]
"""(hour since the epoch, mean, min, max, state at its end, sum at its end); a counter has the last two."""


@dataclass(frozen=True, slots=True)
class HourlySummaries:
    """Some hours of one sensor.

    Attributes:
        of: the sensor, as its source says it; no value and no time.
        hours: each once.
    """

    of: Observation
    hours: Sequence[Hour]

    def as_dict(self) -> dict[str, Any]:
        """The object that says this, for the socket of imports."""
        one = self.of
        said = {"type": one.type, "sensor": one.sensor, "location": one.location, "unit": one.unit}
        return said | {"hints": [hint for hint in one.hints if hint], "hours": list(self.hours)}
