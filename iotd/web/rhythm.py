"""How often the sensors of a type speak, and the window and the buckets of a chart that fit that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from iotd.model.batch import Times

READINGS = 20
"""The newest readings of a sensor by which its rhythm is told."""
_LEAST = 3
"""With fewer, a sensor has no rhythm yet."""
_USUAL = 0.8
"""So many of a sensor's pauses are no longer than its step: an outage among them does not count."""
_ROOMY = 1.5
"""A bucket is so many steps long at least, so that each sensor has a reading in it, whenever exactly it speaks."""
_BUCKETS_MS = (
    *(1000 * s for s in (5, 10, 15, 30)),
    *(60_000 * m for m in (1, 2, 5, 10, 15, 30, 60, 120)),
)
_POINTS, _FEWEST = 120, 12
_LONGEST_MS = 172_800_000
_SAMPLES = 3_000_000
"""Readings that a shard may have to look at for one chart: some 30 ms of it."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Of the sensors of one type: ``step``, the usual pause of the slowest, and ``quickest``, of the quickest; ms."""

    step: int
    quickest: int


@dataclass(frozen=True, slots=True)
class Window:
    """What a chart shows: so many buckets of so many ms."""

    bucket: int
    buckets: int

    def first(self, now: int) -> int:
        """The start of its first bucket, ms; the last one holds ``now``."""
        return (now // self.bucket - self.buckets + 1) * self.bucket


def rhythm_of(times: Iterable[Times]) -> Rhythm | None:
    """The rhythm of sensors with these times (ms, rising) of their newest readings; None where there is none yet."""
    steps = [round(float(np.quantile(np.diff(its), _USUAL))) for its in times if len(its) >= _LEAST]
    return Rhythm(max(1, *steps), max(1, min(steps))) if steps else None


def window_for(rhythm: Rhythm | None, sensors: int) -> Window:
    """The window for so many sensors."""
    if rhythm is None:
        return Window(_BUCKETS_MS[0], _POINTS)
    bucket = next((b for b in _BUCKETS_MS if b >= _ROOMY * rhythm.step), _BUCKETS_MS[-1])
    affordable = _SAMPLES * rhythm.quickest // max(1, sensors) // bucket
    return Window(bucket, max(_FEWEST, min(_POINTS, _LONGEST_MS // bucket, affordable)))
