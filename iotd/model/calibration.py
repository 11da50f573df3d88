"""Calibration: what a sensor should have said, value × factor + offset, by spans of time; pure.

What is stored is what sensors said. A query calibrates what it reads of it, and what servers aggregated of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from iotd.model.aggregate import Aggregation
from iotd.model.batch import Times, Values
from iotd.model.errors import UsageError
from iotd.model.instants import ENDLESS
from iotd.model.series import Series

EVER = 0
"""Before all readings, ms."""

_MOST = 1e15
"""Beyond it no reading is plausible, so no offset is, and no factor."""

V = TypeVar("V", float, Values)


@dataclass(frozen=True, slots=True)
class Line:
    """The true value is the raw one × ``factor`` + ``offset``.

    Raises:
        UsageError: one of the two is not finite or too large, or the factor is 0.
    """

    factor: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        for name, number in (("factor", self.factor), ("offset", self.offset)):
            if not math.isfinite(number) or abs(number) > _MOST:
                raise UsageError(f"{name} {number:g}: give a number, at most {_MOST:g}")
        if abs(self.factor) < 1 / _MOST:
            raise UsageError(f"factor {self.factor:g}: with it all values would be alike; give another one than 0")

    def __str__(self) -> str:
        factor = f"× {self.factor:.10g} " if self.factor != 1.0 else ""
        offset = f"{'-' if self.offset < 0 else '+'} {abs(self.offset):.10g}" if self.offset else ""
        return (factor + offset).strip() or "none"


RAW = Line()
"""The true value is the raw one."""


class Span(NamedTuple):
    """From ``since`` (ms) on a line holds, until the next span begins."""

    since: int
    line: Line


class Calibration:
    """The spans of one series or sensor, in time order, no two neighbours alike; before the first one, values are raw.

    Attributes:
        spans: of which the first is not raw.
    """

    __slots__ = ("spans",)

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        """
        Args:
            spans: their beginnings never fall; of several that begin at once the last holds.
        """
        by_since = {span.since: span.line for span in spans}
        found: list[Span] = []
        for since, line in by_since.items():
            if line != (found[-1].line if found else RAW):
                found.append(Span(since, line))
        self.spans = tuple(found)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Calibration) and self.spans == other.spans

    def __hash__(self) -> int:
        return hash(self.spans)

    def __bool__(self) -> bool:
        return bool(self.spans)

    def __repr__(self) -> str:
        return f"Calibration({self.spans!r})"

    def at(self, time: int) -> Line:
        """The line that holds at a time (ms)."""
        return next((span.line for span in reversed(self.spans) if span.since <= time), RAW)

    def begins(self, first: int, last: int) -> list[int]:
        """The times (ms) behind ``first``, up to ``last``, at which another line begins to hold."""
        return [span.since for span in self.spans if first < span.since <= last]

    def since(self, time: int, line: Line) -> Calibration:
        """Another one, in which a line holds from a time (ms) on, in place of all that held from there on."""
        return Calibration([*(span for span in self.spans if span.since < time), Span(time, line)])

    def readings(self, times: Times, values: Values) -> Values:
        """The true values of readings; the array itself where all of it is raw.

        Args:
            times: ms, never falling.
        """
        found = values
        for which, line in self.shares(times):
            if line != RAW:
                found = found.copy() if found is values else found
                found[which] = values[which] * line.factor + line.offset
        return found

    def offsets(self, times: Times) -> Values:
        """What a raw 0 would be at each of these times (ms, never falling)."""
        found = np.zeros(len(times))
        for which, line in self.shares(times):
            found[which] = line.offset
        return found

    def shares(self, times: Times) -> Iterable[tuple[slice, Line]]:
        cuts = np.searchsorted(times, [span.since for span in self.spans]).tolist()
        for span, low, high in zip(self.spans, cuts, [*cuts, len(times)][1:], strict=True):
            if low < high:
                yield slice(low, high), span.line


UNCALIBRATED = Calibration()
"""All values are raw."""


class Calibrations:
    """How each series is calibrated, by what was said of the sensors that speak in it."""

    def __init__(
        self,
        sensors: Mapping[str, Mapping[str, Calibration]] | None = None,
        continued: Mapping[str, Sequence[tuple[int, str]]] | None = None,
    ) -> None:
        """
        Args:
            sensors: by a sensor's id: its calibration by type, or by ``type:location``, which goes before it.
            continued: by the id of a series: since when (ms) which other sensor speaks in it, in time order.
        """
        self._sensors = sensors or {}
        self._continued = continued or {}

    def __bool__(self) -> bool:
        return any(its for one in self._sensors.values() for its in one.values())

    def of(self, series: Series) -> Calibration:
        """The calibration of a series: that of each sensor, for as long as it speaks in it."""
        owners = [(EVER, series.sensor_id), *self._continued.get(series.sensor_id, ())]
        spans: list[Span] = []
        for (since, sensor), (until, _) in zip(owners, [*owners[1:], (ENDLESS, "")], strict=True):
            its = said_of(self._sensors.get(sensor, {}), series.type, series.location)
            spans.append(Span(since, its.at(since)))
            spans += [span for span in its.spans if since < span.since < until]
        return Calibration(spans)

    def latest(self, series: Series, time: int, value: float) -> float:
        """The true value of one reading of a series, at a time (ms)."""
        if series.sensor_id not in self._sensors and series.sensor_id not in self._continued:
            return value  # as of nearly all
        line = self.of(series).at(time)
        return value if line == RAW else value * line.factor + line.offset


def said_of(calibrations: Mapping[str, Calibration], kind: str, location: str) -> Calibration:
    """Of a sensor's calibrations, as :class:`Calibrations` has them, that for a type in a location."""
    return calibrations.get(f"{kind}:{location}", calibrations.get(kind, UNCALIBRATED))


# ── aggregations ──


def raw_needed(what: Aggregation, line: Line) -> tuple[Aggregation, ...]:
    """The aggregations of raw values from which that of the true ones is made."""
    if what == "sum" and line.offset:
        return "count", "sum"
    if line.factor < 0 and what in ("min", "max"):
        return ("max" if what == "min" else "min",)
    return (what,)


def calibrated(what: Aggregation, line: Line, raw: Mapping[Aggregation, V]) -> V:
    """The aggregation of true values, of one bucket or of many.

    Args:
        raw: the aggregations of :func:`raw_needed`; of each, one value or an array, all of one shape.
    """
    its = raw[raw_needed(what, line)[-1]]
    if line == RAW:
        return its
    match what:
        case "count":
            return its
        case "sum":
            return its * line.factor + (raw["count"] * line.offset if line.offset else 0.0)
        case "range" | "std.p":
            return its * abs(line.factor)
        case "avg" | "min" | "max" | "first" | "last":
            return its * line.factor + line.offset
