"""What the simulated sensors were to hand over, where seed and interval changed on the way: span by span.

The daemon's log says with each `source_started` from which time on, at which interval and of which seed. What was
handed over twice, because the tail of the log was lost or a clock went back, may stand as either of the two says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np

from iotd.config import Settings
from iotd.model.series import Series
from iotd.sources.simulator.signal import Signal, sensors
from iotd.sources.simulator.source import Span, source_name
from tests.servers.checker import Checklist, Count, Store

Losable = Mapping[Series, Mapping[int, set[float]]]


@dataclass(frozen=True)
class Part:
    """A span in which one or several seeds and intervals (ms) were gone by."""

    span: Span
    how: tuple[tuple[int, int], ...]

    @property
    def times(self) -> int:
        """How many times of the grid lie in it, of the first way."""
        step = self.how[0][1]
        return self.span.last // step - (self.span.first - 1) // step

    def settings(self, settings: Settings) -> list[Settings]:
        """As they were, one for each way."""
        return [
            settings.model_copy(
                update={
                    "sensors": settings.sensors.model_copy(update={"interval": timedelta(milliseconds=interval)}),
                    "simulator": settings.simulator.model_copy(update={"seed": seed}),
                }
            )
            for seed, interval in self.how
        ]


def parts(events: Iterable[Mapping[str, Any]], location: str, whole: Span, losable: Losable) -> list[Part]:
    """The spans of a location, in order.

    Args:
        events: the lines of the daemon's log.
        whole: all that was handed over.
        losable: what a log had and has lost: it was handed over before, perhaps in another way.
    """
    starts: list[tuple[int, tuple[int, int]]] = []
    twice: list[Span] = []
    lost = [time for series, times in losable.items() if series.location == location for time in times]
    for event in events:
        if event["event"] == "source_started" and event["source"] == source_name(location):
            after, how = int(event["after"]), (int(event["seed"]), int(event["interval_ms"]))
            if not starts or starts[-1][1] != how:
                if starts and (beyond := max((t for t in lost if t > after), default=0)):
                    twice.append(Span(after + 1, beyond))
                starts.append((after, how))
        elif event["event"] == "clock_went_back" and event["shard"] == location and len(starts) > 1:
            twice.append(Span(starts[-1][0] + 1 - int(event["by_ms"]), starts[-1][0]))
    found = []
    for place, (after, how) in enumerate(starts):
        first = whole.first if place == 0 else max(whole.first, after + 1)
        last = whole.last if place + 1 == len(starts) else min(whole.last, starts[place + 1][0])
        if first <= last:
            found.append(Part(Span(first, last), (how,)))
    return list(_softened(found, twice))


def _softened(found: Sequence[Part], twice: Sequence[Span]) -> Iterator[Part]:
    everything = tuple(dict.fromkeys(how for part in found for how in part.how))
    for part in found:
        first = part.span.first
        edges = {edge for span in twice for edge in (span.first, span.last + 1) if first < edge <= part.span.last}
        for begin, end in zip([first, *sorted(edges)], [*sorted(edges), part.span.last + 1], strict=True):
            soft = any(span.first <= begin <= span.last for span in twice)
            yield Part(Span(begin, end - 1), everything if soft else part.how)


async def counted(settings: Settings, location: str, spans: Sequence[Part], store: Store, losable: Losable) -> Count:
    """Compares a store with all that was due."""
    total = Count(0, 0, 0, 0, None)
    for part in spans:
        ways = part.settings(settings)
        if len(ways) > 1 or not part.times:
            one = await _either(ways, location, part.span, store, losable)
        else:
            checklist = Checklist(ways[0], location, part.span)
            await checklist.see(store)
            checklist.forgive(losable)
            one = checklist.count()
        total = Count(
            total.due + one.due,
            total.missing + one.missing,
            total.altered + one.altered,
            total.strange + one.strange,
            total.first or one.first,
            total.lost + one.lost,
        )
    return total


async def missing(
    settings: Settings, location: str, spans: Sequence[Part], store: Store, losable: Losable
) -> list[tuple[Series, int]]:
    """Series and times (ms) that a store lacks and must have; where two ways are possible nothing is asked for."""
    found = []
    for part in spans:
        ways = part.settings(settings)
        if len(ways) == 1 and part.times:
            checklist = Checklist(ways[0], location, part.span)
            await checklist.see(store)
            checklist.forgive(losable)
            found += checklist.missing()
    return found


async def _either(ways: Sequence[Settings], location: str, span: Span, store: Store, losable: Losable) -> Count:
    series = sensors(location, ways[0].sensors.types, ways[0].sensors.per_type, ways[0].known_types)
    allowed: list[dict[int, list[float]]] = [{} for _ in series]
    common: set[int] | None = None
    for way in ways:
        step = round(way.sensors.interval.total_seconds() * 1000)
        times = np.arange(-(-span.first // step) * step, span.last + 1, step, dtype=np.int64)
        common = set(times.tolist()) if common is None else common & set(times.tolist())
        if len(times):
            values = Signal(way.simulator.seed, series, way.known_types).values(times)
            for column, its in enumerate(allowed):
                for time, value in zip(times.tolist(), values[:, column].tolist(), strict=True):
                    its.setdefault(time, []).append(value)
    count = Count(0, 0, 0, 0, None)
    for sensor, its in zip(series, allowed, strict=True):
        there = [sample async for sample in store.samples(sensor, span)]
        seen = {time for time, _ in there}
        due = (common or set()) - losable.get(sensor, {}).keys()
        altered = [time for time, value in there if time in its and value not in its[time]]
        strange = [time for time, _ in there if time not in its]
        gone = sorted(due - seen)
        wrong = next((f"{sensor.key} at {t} in a span of two ways" for t in [*gone, *altered, *strange]), None)
        count = replace(
            count,
            due=count.due + len(due),
            missing=count.missing + len(gone),
            altered=count.altered + len(altered),
            strange=count.strange + len(strange) + len(there) - len(seen),
            first=count.first or wrong,
        )
    return count
