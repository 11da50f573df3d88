"""What would become of observations: the steps of the intake itself, with nothing stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from iotd.intake.guards import Ranges, guard
from iotd.intake.targets import Targets
from iotd.intake.translate import translate
from iotd.intake.world import World
from iotd.model.batch import Numbers
from iotd.model.errors import Ignored, Refused
from iotd.model.observation import Columns, Observation
from iotd.model.series import Series


@dataclass(frozen=True, slots=True)
class Fate:
    """What would become of one observation.

    Attributes:
        became: ``nothing``: it says that there is no value, or is ignored.
        reason: why it would be held, or ignored.
        location, found_by: where it is, and by what that is known; empty: nobody knows.
        series: its key in Redis; empty: it can't be told.
        value, unit, symbol, decimals: what would be stored, what people see behind it, and how many decimals.
        original_unit: that the value came in, where it is another.
        time: that would be stored, ms.
        timeless: it has no time of its own, and gets that of its arrival.
        ambiguous: its local time is one of an hour that there is twice; it gets the first.
    """

    became: Literal["taken", "held", "nothing"]
    reason: str = ""
    location: str = ""
    found_by: str = ""
    series: str = ""
    value: float | None = None
    unit: str = ""
    symbol: str = ""
    decimals: int = 2
    original_unit: str = ""
    time: int | None = None
    timeless: bool = False
    ambiguous: bool = False


class Outlook:
    """Tells it for the observations of one source, which makes no more series than it may."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._series: dict[Series, int] = {}
        self._by_number: list[Series] = []
        self._ranges = Ranges(self._by_number.__getitem__, world.types)

    async def of(self, said: Observation, arrived: int, *, backlog: bool = False) -> Fate:
        """What would become of it.

        Args:
            arrived: ms.
            backlog: it may be as old as it is, as what the broker has kept may.
        """
        world = self._world
        location, found_by = self._place(said)
        if world.resolver.ignores(said.type):
            return Fate("nothing", str(Ignored("ignored", f"{said.type!r:.80} is among intake.ignore")))
        originals: dict[Series, str] = {}

        async def register(new: Sequence[Series], units: Mapping[Series, str]) -> Numbers:
            originals.update(units)
            return np.array([self._number(series) for series in new], np.int32)

        bounds = replace(world.bounds, past=None) if backlog else world.bounds
        # targets of its own: one that is known would not be registered, and its unit not be told
        found = await translate(
            Columns.of([said]),
            arrived,
            targets=Targets(world.resolver, world.types),
            bounds=bounds,
            register=register,
            admit=self._admit,
        )
        if found.refused:
            return Fate("held", str(found.refused[0]), location, found_by)
        if not found.batches:
            return Fate("nothing", "it says that there is no value", location, found_by)
        batch, held = guard(found.batches[0], arrived, world.limits, self._ranges)
        if held:
            batch = held[0][0]
        series = self._by_number[int(batch.series[0])]
        row = world.types.row(series.type, series.unit)
        return Fate(
            "held" if held else "taken",
            held[0][1] if held else "",
            location,
            found_by,
            series.key,
            float(batch.values[0]),
            series.unit,
            row.shown_unit,
            row.decimals,
            originals.get(series, ""),
            int(batch.times[0]),
            timeless=bool(found.timeless),
            ambiguous=bool(found.ambiguous),
        )

    def _place(self, said: Observation) -> tuple[str, str]:
        try:
            return self._world.resolver.place(said.subject)
        except Refused:
            return "", ""

    def _number(self, series: Series) -> int:
        if series not in self._series:
            self._series[series] = len(self._by_number)
            self._by_number.append(series)
        return self._series[series]

    def _admit(self, series: Series) -> None:
        limit = self._world.series_limit
        if series not in self._series and len(self._series) >= limit:
            raise Refused("too many series", f"one source may make {limit} (intake.series_limit)")
