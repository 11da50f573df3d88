"""What must be in a shard whose sensors were read at different rates, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

from iotd.config import Settings
from iotd.sources.simulator.source import Span, source_name
from tests.servers.checker import Store, count


@dataclass(frozen=True)
class Phase:
    """Readings after one time (ms) up to another, this one included, by so many sensors at this interval (ms)."""

    after: int
    upto: int
    interval: int
    sensors: int


def phases(events: Iterable[Mapping[str, Any]], location: str, last: int) -> list[Phase]:
    """The phases of a location, from the daemon's ``source_started`` events; ``last`` is its last reading (ms)."""
    starts = [e for e in events if e["source"] == source_name(location)]
    ends = [e["after"] for e in starts[1:]] + [last]
    found = [Phase(e["after"], end, e["interval_ms"], e["sensors"]) for e, end in zip(starts, ends, strict=True)]
    assert all(a.upto == b.after for a, b in pairwise(found))
    return [phase for phase in found if phase.upto > phase.after]


async def due(settings: Settings, location: str, store: Store, parts: Iterable[Phase]) -> int:
    """How many readings the phases have; asserts that the store has just these, in each phase of its sensors.

    Raises:
        AssertionError: the first reading that is missing, altered or strange.
    """
    total = 0
    for part in parts:
        then = settings.sensors.model_copy(
            update={
                "interval": timedelta(milliseconds=part.interval),
                "per_type": part.sensors // len(settings.sensors.types),
            }
        )
        span = Span(part.after + 1, part.upto)
        found = await count(settings.model_copy(update={"sensors": then}), location, span, store)
        assert found.missing == found.altered == found.strange == 0, (part, found)
        total += found.due
    return total
