"""An audit of a shard: are the readings that must be there in it, each once and with its value?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotd.model.arrays import distinct
from iotd.model.batch import Batch
from iotd.model.series import Series
from iotd.shards.reader import ShardReader


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found.

    Attributes:
        due: readings that must be there.
        missing: of these, how many are not, or have another value.
        strange: readings that are there, between the first and the last time of a series, and must not be.
        first: the first one missing, ``key at ms``.
        seconds: from the first time that was looked at to the last.
    """

    due: int
    missing: int
    strange: int
    first: str | None
    seconds: float


async def audit(reader: ShardReader, expected: Batch, series: Callable[[int], Series]) -> Audit:
    """Compares a shard with what must be in it.

    Args:
        expected: in the order in which it was appended: of two values for one time the later one is due.
        series: by the number that the columns name it by.

    Raises:
        ShardError: the shard can't be asked.
    """
    if not len(expected):
        return Audit(0, 0, 0, None, 0.0)
    due = missing = strange = 0
    earliest: tuple[int, str] | None = None
    for number in distinct(expected.series).tolist():
        mine = expected.take(expected.series == number)
        times, last = _last_of_each(mine.times)
        values = mine.values[last]
        one = series(number)
        (held,) = await reader.samples([(one, int(times[0]), int(times[-1]))])
        at = np.searchsorted(times, held.times)  # never beyond the end: the range ends with the last one
        known = times[at] == held.times
        there = np.zeros(len(times), bool)
        there[at[known]] = held.values[known] == values[at[known]]
        due += len(times)
        strange += int(np.count_nonzero(~known))
        if not there.all():
            missing += int(np.count_nonzero(~there))
            earliest = min(filter(None, (earliest, (int(times[~there][0]), one.key))))
    first = f"{earliest[1]} at {earliest[0]}" if earliest else None
    return Audit(due, missing, strange, first, int(expected.times.max() - expected.times.min()) / 1000)


def _last_of_each(times: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    # the times, rising and each once, and the place at which each stands last
    order = np.argsort(times, kind="stable")
    rising = times[order]
    last = np.append(rising[1:] != rising[:-1], True)
    return rising[last], order[last]
