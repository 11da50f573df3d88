"""The guards: which readings may go into the log, as a pure function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotd.model.batch import Batch, Values
from iotd.model.series import Series
from iotd.model.types import Types


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reading must keep to.

    Attributes:
        future: ms that a time may be ahead of our clock. Retention counts from the largest time in a series, so one
            reading from the future would expire all others (TS.ADD documentation, RETENTION).
        past: ms that a time may be behind our clock; None: any. Set where no archive takes what is older than the
            shard keeps.
    """

    future: int
    past: int | None = None


class Ranges:
    """The plausible ranges of series, by their numbers in the catalogue."""

    def __init__(self, series: Callable[[int], Series], types: Types) -> None:
        self._series = series
        self._types = types
        self._known = 0
        self.low: Values = np.empty(0, np.float64)
        self.high: Values = np.empty(0, np.float64)

    def upto(self, number: int) -> None:
        """Knows all series up to this number from now on."""
        if number < self._known:
            return
        more = [self._types.row((one := self._series(n)).type, one.unit).range for n in range(self._known, number + 1)]
        low, high = zip(*more, strict=True)
        self.low, self.high = np.append(self.low, low), np.append(self.high, high)
        self._known = number + 1


def guard(batch: Batch, now: int, limits: Limits, ranges: Ranges) -> tuple[Batch, list[tuple[Batch, str]]]:
    """Parts a batch in what may go on and what is to be held.

    Args:
        now: our clock, ms.

    Returns:
        the readings that may go on, and with a reason for each kind those that may not.
    """
    held: list[tuple[Batch, str]] = []

    def without(batch: Batch, bad: NDArray[np.bool_], reason: str) -> Batch:
        if not bad.any():
            return batch
        held.append((batch.take(bad), reason))
        return batch.take(~bad)

    batch = without(batch, ~np.isfinite(batch.values), "not a finite number")
    if len(batch):
        ranges.upto(int(batch.series.max()))
    low, high = ranges.low[batch.series], ranges.high[batch.series]
    batch = without(batch, (batch.values < low) | (batch.values > high), "outside the plausible range of its type")
    batch = without(batch, batch.times > now + limits.future, f"more than {limits.future} ms in the future")
    batch = without(batch, batch.times < 0, "a time before 1970")
    if limits.past is not None:
        reason = f"older than the {limits.past} ms that the shard keeps, and there is no archive"
        batch = without(batch, batch.times < now - limits.past, reason)
    return batch, held
