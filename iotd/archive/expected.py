"""What the log says that shard and archive must hold, as sorted arrays, and its comparison with what a shard gave.

Values are compared as doubles: the text that Redis returns, read back, must give the very double that was logged. Zero
is the one exception: 0.0 and -0.0 are equal here, because their sign says nothing of a reading.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotd.log.base import Deletion, Record
from iotd.log.deletions import without
from iotd.model.arrays import columns_of
from iotd.model.batch import Times, Values

Numbers = NDArray[np.int32]
"""The catalogue's numbers of series."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Readings sorted by series and time, each time of a series once.

    Attributes:
        numbers: the series, rising.
        bounds: where each series begins in the columns, and where the last one ends; one longer than ``numbers``.
        times, values: columns.
    """

    numbers: Numbers
    bounds: NDArray[np.intp]
    times: Times
    values: Values

    @classmethod
    def of(cls, records: Sequence[Record], deletions: Sequence[Deletion] = ()) -> Expected:
        """Sorts records that are in log order; of two values for one series and time the later one stands.

        About 100 ns a reading: for many readings, call it in a thread.

        Args:
            deletions: those that are in the log behind the first of the records: what they concern is not expected.
        """
        if deletions:
            records = [without(record, deletions) for record in records]
        series, times, values = columns_of(records)
        # 16 bits are sorted by radix, some times as fast
        small = series.astype(np.uint16) if len(series) and series.max() < 2**16 else series
        order = np.argsort(small, kind="stable")
        if not _rising(series[order], times[order]):
            order = np.lexsort((times, series))  # stable: what is later in the log stays later
        series, times, values = series[order], times[order], values[order]
        last = np.ones(len(times), bool)
        last[:-1] = (series[1:] != series[:-1]) | (times[1:] != times[:-1])
        if not last.all():
            series, times, values = series[last], times[last], values[last]
        starts = np.flatnonzero(np.diff(series, prepend=-1))
        return cls(series[starts], np.append(starts, len(series)), times, values)

    def __len__(self) -> int:
        return len(self.times)

    def each(self) -> Iterator[tuple[int, Times, Values]]:
        """Number, times and values of each series."""
        for i, number in enumerate(self.numbers.tolist()):
            part = slice(self.bounds[i], self.bounds[i + 1])
            yield number, self.times[part], self.values[part]


def found(times: Times, values: Values, there: Times, values_there: Values) -> NDArray[np.bool_]:
    """Which of the expected readings of a series are there with the same value.

    Args:
        times, values: expected; times rise.
        there, values_there: what a store gave; times rise.
    """
    if not len(there):
        return np.zeros(len(times), bool)
    at = np.searchsorted(there, times)
    at[at == len(there)] = 0
    same: NDArray[np.bool_] = (there[at] == times) & (values_there[at] == values)
    return same


def clusters(times: Times, gap: int) -> list[tuple[int, int]]:
    """The first and last of each run of times that lie at most ``gap`` ms apart; times rise."""
    if not len(times):
        return []
    breaks = np.flatnonzero(np.diff(times) > gap)
    firsts = times[np.concatenate(([0], breaks + 1))]
    lasts = times[np.concatenate((breaks, [len(times) - 1]))]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def late(newest: Times, series: Numbers, times: Times) -> NDArray[np.bool_]:
    """Which readings are not later than the newest of their series before them.

    Args:
        newest: newest time (ms) so far by number of the series, moved forward in place.
        series, times: readings in log order.
    """
    if not len(series):
        return np.zeros(0, bool)
    order = None if len(series) == 1 or (series[1:] > series[:-1]).all() else np.argsort(series, kind="stable")
    s, t = (series, times) if order is None else (series[order], times[order])
    begins = np.ones(len(s), bool)
    begins[1:] = s[1:] != s[:-1]
    ends = np.append(begins[1:], True)
    before = np.empty_like(t)
    before[1:] = t[:-1]
    before[begins] = newest[s[begins]]
    if (t > before).all():
        newest[s[ends]] = t[ends]
        return np.zeros(len(s), bool)
    # the running maximum of each series at once: each series is lifted above the one before it
    base = t.min() - 1
    known = np.maximum(newest[s] - base, 0)
    lift = (np.cumsum(begins) - 1) * (max(t.max() - base, known.max()) + 1)
    lifted = t - base + lift
    running = np.maximum.accumulate(np.maximum(lifted, known + lift))
    before = np.empty_like(t)
    before[1:] = running[:-1]
    before[begins] = (known + lift)[begins]
    newest[s[ends]] = np.maximum(newest[s[ends]], (running - lift)[ends] + base)
    found_late: NDArray[np.bool_] = lifted <= before
    if order is None:
        return found_late
    unsorted = np.empty(len(s), bool)
    unsorted[order] = found_late
    return unsorted


def _rising(series: Numbers, times: Times) -> bool:
    return bool(((series[1:] != series[:-1]) | (times[1:] > times[:-1])).all())
