"""The guards: which readings may go into the log, as a pure function."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotd.model.batch import Batch


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


def guard(batch: Batch, now: int, limits: Limits) -> tuple[Batch, list[tuple[Batch, str]]]:
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
    batch = without(batch, batch.times > now + limits.future, f"more than {limits.future} ms in the future")
    batch = without(batch, batch.times < 0, "a time before 1970")
    if limits.past is not None:
        reason = f"older than the {limits.past} ms that the shard keeps, and there is no archive"
        batch = without(batch, batch.times < now - limits.past, reason)
    return batch, held
