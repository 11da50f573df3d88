"""The charts of a location: of gauges their mean and spread, of counters what was added, of states how many are on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic

import numpy as np

from iotd.model.batch import Times, Values
from iotd.model.calibration import Calibrations
from iotd.model.series import Series
from iotd.model.types import Kind, Types
from iotd.shards.charts import by_type
from iotd.shards.look import ShardLook
from iotd.web.rhythm import READINGS, Rhythm, Window, rhythm_of, window_for

_RHYTHM_EVERY_S = 60.0
_SOONEST_S, _LATEST_S = 5.0, 60.0
"""Bounds of the time until a chart is drawn anew: a quarter of its bucket."""
_ASKED = 4
"""Sensors of a type whose rhythm is looked at: so many of those that spoke last, and of those that have not for
longest."""
_SINGLE = 64
"""Counters and states are added up sensor by sensor; where there are more of a type, there is no chart."""
_HOLDS = 3
"""So many steps a counter's value holds; a state's holds until it changes."""

Point = tuple[int, float, float, float]
"""Start of the bucket (ms), and what is drawn: the value, and the smallest and largest of it."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: its points in time order, the length of a bucket and of the whole, ms."""

    bucket: int
    length: int
    points: list[Point]


@dataclass(slots=True)
class _Type:
    rhythm: Rhythm | None = None
    asked: float = float("-inf")
    drawn: float = float("-inf")
    chart: Chart | None = None
    window: Window = field(default_factory=lambda: window_for(None, 1))


class Charts:
    """Keeps them up to date, as far as they are due.

    Attributes:
        shown: by type; another mapping after each change.
    """

    def __init__(self, look: ShardLook, types: Types, now_ms: Callable[[], int]) -> None:
        self.shown: dict[str, Chart] = {}
        self._look = look
        self._types = types
        self._now_ms = now_ms
        self._calibrations = Calibrations()
        self._of: dict[str, _Type] = {}

    def step(self, kind: str) -> int | None:
        """The usual pause between two readings of the slowest sensor of a type, ms; None: not known yet."""
        its = self._of.get(kind)
        return its.rhythm.step if its and its.rhythm else None

    async def refresh(self, current: Mapping[str, Sequence[Series]], calibrations: Calibrations) -> None:
        """Draws anew what is due.

        Args:
            current: by type the sensors that count, those first that have not spoken for longest.
            calibrations: of all of them.

        Raises:
            ShardError: no node, or no answer.
        """
        self._calibrations = calibrations
        self._of = {kind: self._of.get(kind, _Type()) for kind in current}
        await self._learn(current)
        now = monotonic()
        due = [kind for kind, its in self._of.items() if now - its.drawn >= _pause(its.window)]
        gauges: dict[Window, list[str]] = {}
        for kind in due:
            if self._kind(kind) == "gauge":
                gauges.setdefault(self._of[kind].window, []).append(kind)
            else:
                self._drawn(kind, now, await self._single(kind, current[kind]))
        for window, kinds in gauges.items():
            found = await by_type(self._look, self._calibrations, kinds, window.first(self._now_ms()), window.bucket)
            for kind in kinds:
                self._drawn(kind, now, _points(*found[kind]) if kind in found else [])
        if due or self.shown.keys() != self._of.keys():
            self.shown = {kind: its.chart for kind, its in self._of.items() if its.chart is not None}

    def _kind(self, kind: str) -> Kind:
        return self._types.row(kind).kind

    def _drawn(self, kind: str, now: float, points: list[Point]) -> None:
        its = self._of[kind]
        its.drawn = now
        its.chart = Chart(its.window.bucket, its.window.bucket * its.window.buckets, points)

    async def _learn(self, current: Mapping[str, Sequence[Series]]) -> None:
        now = monotonic()
        wanted: dict[str, list[Series]] = {}
        for kind, its in self._of.items():
            soon = its.rhythm is None and now - its.asked >= _SOONEST_S
            if soon or now - its.asked >= _RHYTHM_EVERY_S:
                wanted[kind] = list(dict.fromkeys((*current[kind][:_ASKED], *current[kind][-_ASKED:])))
        times = iter(await self._look.recent([one for some in wanted.values() for one in some], READINGS))
        for kind, some in wanted.items():
            its = self._of[kind]
            its.asked = now
            its.rhythm = rhythm_of([next(times) for _ in some]) or its.rhythm
            window = window_for(its.rhythm, len(current[kind]))
            if window != its.window:
                its.window, its.drawn = window, float("-inf")

    async def _single(self, kind: str, sensors: Sequence[Series]) -> list[Point]:
        if len(sensors) > _SINGLE:
            return []
        window, now = self._of[kind].window, self._now_ms()
        first = window.first(now)
        true = self._calibrations
        said = zip(sensors, await self._look.before(sensors, first - 1), strict=True)
        before = [last and (last[0], true.latest(one, *last)) for one, last in said]
        lasts = {
            one: (starts, true.of(one).readings(starts, values))
            for one, (starts, values) in (await self._look.lasts(kind, first, window.bucket)).items()
        }
        starts = np.arange(first, now + 1, window.bucket, dtype=np.int64)
        holds = None if self._kind(kind) == "state" else _HOLDS * (self.step(kind) or window.bucket)
        values = np.array(
            [held(starts, lasts.get(one), last, holds) for one, last in zip(sensors, before, strict=True)]
        )
        drawn = switched_on(values) if holds is None else added(values, [last and last[1] for last in before])
        known = ~np.isnan(drawn)
        return [(at, y, y, y) for at, y in zip(starts[known].tolist(), drawn[known].tolist(), strict=True)]


def held(
    starts: Times, found: tuple[Times, Values] | None, before: tuple[int, float] | None, holds: int | None
) -> Values:
    """What a sensor shows at the end of each bucket: its last value, nan where it has none.

    Args:
        starts: of the buckets, ms.
        found: starts of buckets in which it spoke (ms), and its last value there.
        before: its last time (ms) and value before the first bucket.
        holds: how long a value stands, ms; None: until the next one.
    """
    times, values = found if found is not None else (np.empty(0, np.int64), np.empty(0))
    if before is not None:
        times, values = np.append(np.int64(before[0]), times), np.append(before[1], values)
    if not len(times):
        return np.full(len(starts), np.nan)
    which = np.searchsorted(times, starts, "right") - 1
    shown = np.where(which >= 0, values[which], np.nan)
    if holds is not None:
        shown[starts - times[which] > holds] = np.nan
    return shown


def switched_on(values: Values) -> Values:
    """How many of some states (rows) are on in each bucket; nan where none is known."""
    return np.where(np.isnan(values).all(axis=0), np.nan, (values >= 0.5).sum(axis=0))


def added(values: Values, before: Sequence[float | None]) -> Values:
    """How much some counters (rows) have grown since the first bucket, together; nan where none has spoken.

    A value that is smaller than the one before is a counter that began at 0 again.
    """
    grown = np.zeros(values.shape)
    for row, its, known in zip(grown, values, before, strict=True):
        there = np.flatnonzero(~np.isnan(its))
        if not len(there):
            continue
        seen = its[there]
        last = np.append(seen[0] if known is None else known, seen[:-1])
        row[there] = np.where(seen >= last, seen - last, seen)
    return np.where(np.isnan(values).all(axis=0), np.nan, grown.sum(axis=0).cumsum())


def _points(starts: Times, rows: Values) -> list[Point]:
    return [(start, *row) for start, row in zip(starts.tolist(), rows.tolist(), strict=True)]


def _pause(window: Window) -> float:
    return min(_LATEST_S, max(_SOONEST_S, window.bucket / 4000))
