"""Which readings stand, now that others of their log's partition were deleted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from iotd.log.base import Deletion, Record
from iotd.model.arrays import among
from iotd.model.batch import Numbers, Times


def standing(deletions: Sequence[Deletion], sequence: int, series: Numbers, times: Times) -> NDArray[np.bool_] | None:
    """Which readings of a record no deletion behind it concerns; None where all stand.

    Args:
        deletions: of the same partition.
        sequence: of the record.
        series, times: its columns, of shape (n,).
    """
    stands: NDArray[np.bool_] | None = None
    for deletion in deletions:
        if deletion.sequence <= sequence:
            continue
        gone = (times >= deletion.first) & (times <= deletion.last)
        if gone.any():
            gone &= among(series, deletion.series)
            if gone.any():
                stands = ~gone if stands is None else stands & ~gone
    return stands


def without(record: Record, deletions: Sequence[Deletion]) -> Record:
    """A record's readings that no deletion behind it concerns."""
    stands = standing(deletions, record.sequence, record.series, record.times)
    if stands is None:
        return record
    return Record(record.sequence, record.series[stands], record.times[stands], record.values[stands])
