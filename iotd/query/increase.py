"""How much counters grew in each bucket: what they show jumps back when a device begins anew, and that is no loss."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import numpy as np
from numpy.typing import NDArray

from iotd.model.batch import Times, Values
from iotd.model.calibration import UNCALIBRATED, Calibration
from iotd.model.series import Series
from iotd.query.buckets import runs
from iotd.query.engine import Query
from iotd.query.result import Readings
from iotd.query.stream import begins, chunk_of, readings
from iotd.stores.base import Found

_AT_ONCE = 1 << 16
"""Buckets of a run."""


async def increases(query: Query, bucket: int) -> AsyncIterator[Readings]:
    """The increase of each bucket of ``bucket`` ms, from the readings themselves; at least one chunk.

    What a counter grew by between two readings belongs to the bucket of the later one. A value that is smaller than the
    one before is a counter that began at 0 again. Before its first reading in the range nothing is known of it.

    All of this is meant of calibrated values, in which a counter begins at its offset: one that counts down has a
    negative factor, and one whose offset lets it go on where the one before it ended has not grown by being put there.
    """
    counting = _Counting(query.calibrating.of)
    starts: Times | None = None
    async for chunk in readings(query):
        if starts is None:
            starts = _starts(query, bucket)
        counting.add(chunk, starts)
        done = counting.upto(int(chunk.times[-1]), starts) if len(chunk) else {}
        if done:
            yield chunk_of(query, done, "increase", bucket)
    yield chunk_of(query, counting.rest(starts if starts is not None else np.empty(0, np.int64)), "increase", bucket)


def _starts(query: Query, bucket: int) -> Times:
    found = [
        np.arange(run.first, run.last + 1, run.width, dtype=np.int64)
        for run in runs(begins(query), query.stop, bucket, _AT_ONCE)
    ]
    return np.concatenate(found) if found else np.empty(0, np.int64)


class _Counting:
    """What each counter showed last, and how much it grew in the buckets that are not handed out yet."""

    def __init__(self, calibration: Callable[[Series], Calibration] = lambda _: UNCALIBRATED) -> None:
        self._calibration = calibration
        self._last: dict[Series, float] = {}
        self._grown: dict[Series, dict[int, float]] = {}

    def add(self, chunk: Readings, starts: Times) -> None:
        """Readings in time order, calibrated, behind those of before."""
        for number, sensor in enumerate(chunk.sensors):
            which = chunk.series == number
            times, values = chunk.times[which], chunk.values[which]
            if not len(times):
                continue
            known = sensor in self._last
            before = np.concatenate(([self._last[sensor] if known else values[0]], values[:-1]))
            self._last[sensor] = float(values[-1])
            grown = values - before
            if (anew := grown < 0).any():
                grown[anew] = np.maximum(values[anew] - self._calibration(sensor).offsets(times[anew]), 0.0)
            places = np.searchsorted(starts, times, "right") - 1
            if not known:
                grown, places = grown[1:], places[1:]
            its = self._grown.setdefault(sensor, {})
            for place, total in _summed(places, grown):
                its[place] = its.get(place, 0.0) + total

    def upto(self, time: int, starts: Times) -> Found:
        """The buckets that end before a time (ms) of the readings so far."""
        return self._taken(int(np.searchsorted(starts, time, "right")) - 1, starts)

    def rest(self, starts: Times) -> Found:
        """All that is left."""
        return self._taken(len(starts), starts)

    def _taken(self, before: int, starts: Times) -> Found:
        found: dict[Series, tuple[Times, Values]] = {}
        for sensor, its in self._grown.items():
            places = sorted(place for place in its if place < before)
            if places:
                found[sensor] = starts[places], np.array([its.pop(place) for place in places])
        return found


def _summed(places: NDArray[np.intp], grown: Values) -> list[tuple[int, float]]:
    if not len(places):
        return []
    first = np.flatnonzero(np.concatenate(([True], places[1:] != places[:-1])))
    return list(zip(places[first].tolist(), np.add.reduceat(grown, first).tolist(), strict=True))
