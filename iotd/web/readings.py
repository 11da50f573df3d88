"""What the page shows of a location's readings: read from its shard, so that it is what is stored, calibrated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from time import monotonic

import numpy as np

from iotd.health.silence import FORGOTTEN, Catalogue, SilentSensor
from iotd.health.state import Watched
from iotd.model.errors import IotdError
from iotd.model.series import Series, natural
from iotd.model.types import SensorType, Types
from iotd.shards.look import ShardLook
from iotd.web.charts import Chart, Charts

_LIMIT_S = 0.8
"""How long a shard may take to answer; meanwhile the page shows what it showed before."""
_LISTED = 12
"""Sensors of one type that are shown one by one: the silent ones first, then those with names."""
_A_SECOND = 1_000
"""Series whose newest readings are read once a second; of more so many, less often."""
_RECENT_MS, _SEEN_MS = 600_000, 86_400_000
"""A sensor counts while it is no further behind the others of its type than a few of its pauses, and the first of
these; one whose pauses are not known yet, than the second."""
_STALE_MS = 10_000
_PAUSES = 3

Latest = Mapping[Series, tuple[int, float]]
"""Time (ms) and value of the newest reading of each series."""


@dataclass(frozen=True, slots=True)
class SensorNow:
    """A sensor's newest reading of one type: its time (ms) and value.

    Attributes:
        name: given by people; empty: none.
        silent: it should have spoken by now.
    """

    id: str
    name: str
    at: int
    value: float
    silent: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """One type's newest readings at a location.

    Attributes:
        at, last: time (ms) and value of the newest.
        stale_ms: older than this it is late; None: it may be as old as it is, as a state may.
        count: sensors that count: those that were taken away, or are silent, do not.
        mean: of a gauge, with ``low`` and ``high`` the smallest and the largest; None of any other kind.
        on: of a state, how many are.
        sensors: some of them; ``more`` is how many others there are.
    """

    type: str
    at: int
    last: float
    stale_ms: int | None
    count: int
    mean: float | None
    low: float | None
    high: float | None
    on: int | None
    sensors: list[SensorNow]
    more: int


@dataclass(slots=True)
class View:
    """A location's readings as they were last read; ``charts`` by type, ``units`` as the series have them."""

    readings: list[Reading] = field(default_factory=list)
    charts: dict[str, Chart] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)


class LocationReadings:
    """Reads one location's newest readings, for the page."""

    def __init__(self, look: ShardLook, daemon: Watched) -> None:
        self.view = View()
        self._look = look
        self._daemon = daemon
        self._types = daemon.settings.known_types
        self._charts = Charts(look, self._types, daemon.now_ms)
        self._current: dict[str, list[Series]] = {}
        self._read = float("-inf")
        self._pause = 0.0

    async def refresh(self, silent: Collection[SilentSensor]) -> None:
        """Brings :attr:`view` up to date, as far as the shard answers in time.

        Args:
            silent: the location's sensors that say nothing.
        """
        try:
            async with asyncio.timeout(_LIMIT_S):
                if monotonic() - self._read >= self._pause:
                    await self._read_latest(silent)
                await self._charts.refresh(self._current, self._daemon.calibrations())
                self.view.charts = self._charts.shown
        except (IotdError, TimeoutError):
            return

    async def _read_latest(self, silent: Collection[SilentSensor]) -> None:
        calibrations = self._daemon.calibrations()
        latest = {
            one: (at, calibrations.latest(one, at, value)) for one, (at, value) in (await self._look.latest()).items()
        }
        self._read, self._pause = monotonic(), len(latest) / _A_SECOND - 1
        known = Known(self._daemon.catalogue, self._daemon.names(), silent)
        self._current = current_of(latest, known, self._types)
        self.view.readings = readings_of(latest, self._current, known, self._types, self._charts.step)
        self.view.units = {one.type: one.unit for one in latest}

    async def close(self) -> None:
        """Closes the connection."""
        await self._look.close()


class Known:
    """What is known of a location's sensors beside their readings."""

    def __init__(self, catalogue: Catalogue, names: Mapping[str, str], silent: Collection[SilentSensor]) -> None:
        self.names = names
        self._catalogue = catalogue
        self._silent = {(one.sensor, kind) for one in silent for kind in one.types}
        forgotten = np.flatnonzero(catalogue.pauses[: len(catalogue)] == FORGOTTEN)
        self._forgotten = {catalogue.series(number) for number in forgotten.tolist()}

    def silent(self, series: Series) -> bool:
        """Whether it should have spoken by now."""
        return (series.sensor_id, series.type) in self._silent

    def pause(self, series: Series) -> float | None:
        """Its longest pause of late, ms; None: not known."""
        number = self._catalogue.number_of(series)
        pause = 0.0 if number is None else float(self._catalogue.pauses[number])
        return pause if pause > 0 else None

    def forgotten(self, series: Series) -> bool:
        """Whether it is not expected any more."""
        return series in self._forgotten


def current_of(latest: Latest, known: Known, types: Types) -> dict[str, list[Series]]:
    """By type, in the table's order, the sensors that count, those first that have not spoken for longest."""
    by_type: dict[str, list[Series]] = {}
    for one in sorted(latest, key=lambda one: latest[one][0]):
        if not known.forgotten(one):
            by_type.setdefault(one.type, []).append(one)
    place = {name: i for i, name in enumerate(types)}
    order = sorted(by_type, key=lambda kind: (place.get(kind, len(place)), kind))
    return {kind: _counting(by_type[kind], latest, known, types.row(kind)) for kind in order}


def _counting(series: list[Series], latest: Latest, known: Known, row: SensorType) -> list[Series]:
    if row.kind == "state":
        return series  # it holds
    newest = latest[series[-1]][0]

    def counts(one: Series) -> bool:
        if known.silent(one):
            return False
        behind = newest - latest[one][0]
        return behind <= _RECENT_MS or behind <= _PAUSES * (known.pause(one) or _SEEN_MS / _PAUSES)

    return [one for one in series if counts(one)] or series[-1:]


def readings_of(
    latest: Latest,
    current: Mapping[str, Sequence[Series]],
    known: Known,
    types: Types,
    step: Callable[[str], int | None],
) -> list[Reading]:
    """A reading of each type.

    Args:
        current: the sensors that count, see :func:`current_of`.
        step: with a type: how often its sensors speak, ms; None where that is not known.
    """
    listed: dict[str, list[Series]] = {kind: [] for kind in current}
    for one in latest:
        if one.type in listed and not known.forgotten(one):
            listed[one.type].append(one)
    return [
        _reading(types.row(kind), step(kind), counting, listed[kind], latest=latest, known=known)
        for kind, counting in current.items()
    ]


def _reading(
    row: SensorType, step: int | None, counting: Sequence[Series], listed: list[Series], *, latest: Latest, known: Known
) -> Reading:
    values = [latest[one][1] for one in counting]
    at, last = latest[counting[-1]]
    gauge = row.kind == "gauge"

    def place(one: Series) -> tuple[bool, bool, str, object]:
        name = known.names.get(one.sensor_id, "")
        return not known.silent(one), not name, name, natural(one.sensor_id)

    some = nsmallest(_LISTED, listed, key=place)
    return Reading(
        type=row.name,
        at=at,
        last=last,
        stale_ms=None if row.kind == "state" else max(_STALE_MS, _PAUSES * step) if step else _RECENT_MS,
        count=len(values),
        mean=sum(values) / len(values) if gauge else None,
        low=min(values) if gauge else None,
        high=max(values) if gauge else None,
        on=sum(value >= 0.5 for value in values) if row.kind == "state" else None,
        sensors=[
            SensorNow(one.sensor_id, known.names.get(one.sensor_id, ""), *latest[one], known.silent(one))
            for one in some
        ],
        more=len(listed) - len(some),
    )
