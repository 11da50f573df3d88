"""Who computes the buckets of an aggregation: whole ones a server, the others are put together here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from iotd.model.buckets import Run
from iotd.model.calibration import Calibration, Line
from iotd.model.series import Series
from iotd.query.engine import Query
from iotd.query.join import Part, Range, Source, parts


@dataclass(frozen=True, slots=True)
class Segment:
    """Whole buckets of one sensor that one server computes, from ``first`` to ``last`` ms; one line calibrates them."""

    sensor: Series
    first: int
    last: int
    source: Source
    line: Line


@dataclass(slots=True)
class Mixed:
    """A range of whole buckets of some sensors that no server can compute alone."""

    first: int
    last: int
    sensors: set[Series] = field(default_factory=set)


def planned(query: Query, run: Run, first: int, last: int) -> tuple[list[Segment], list[Mixed]]:
    """Who computes the buckets of a run, from ``first`` to ``last`` ms.

    A bucket that a boundary cuts is mixed: the one between archive and shard, a dirty range's, or one at which another
    calibration begins.
    """
    segments: list[Segment] = []
    mixed: dict[tuple[int, int], Mixed] = {}
    for sensor, known in query.known.items():
        taken = first
        calibration = query.calibrating.of(sensor)
        its = list(_cut(parts(known, query.reach(sensor.location), first, last), calibration))
        for part in its:
            whole = _whole_buckets(run, part, first, last)
            if whole is None or part.source == "both":
                continue
            if taken < whole.first:
                mixed.setdefault((taken, whole.first - 1), Mixed(taken, whole.first - 1)).sensors.add(sensor)
            segments.append(Segment(sensor, whole.first, whole.last, part.source, calibration.at(whole.first)))
            taken = whole.last + 1
        if its and taken <= last:
            mixed.setdefault((taken, last), Mixed(taken, last)).sensors.add(sensor)
    return segments, list(mixed.values())


def _cut(its: Iterable[Part], calibration: Calibration) -> Iterable[Part]:
    """The same parts, none of which goes on where another line begins to hold."""
    for part in its:
        first = part.first
        for begins in calibration.begins(part.first, part.last):
            yield Part(first, begins - 1, part.source)
            first = begins
        yield Part(first, part.last, part.source)


def _whole_buckets(run: Run, part: Part, first: int, last: int) -> Range | None:
    """The buckets of which all that lies from ``first`` to ``last`` lies in this part."""
    begins, ends = part.first, part.last
    if begins != first:
        begins = -(-(begins - run.first) // run.width) * run.width + run.first
    if ends != last:
        ends = (ends + 1 - run.first) // run.width * run.width + run.first - 1
    return Range(begins, ends) if begins <= ends else None
