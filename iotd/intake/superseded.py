"""Two values for one series and millisecond: the later in the order of the log stands, and the earlier is held."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from iotd.model.batch import Batch, Times, Values

REASON = "superseded"


def superseded(batch: Batch, newest: Times, values: Values) -> Batch:
    """What no longer stands once a batch is taken, each with the value that it had.

    It is found within the batch, and where a reading has the newest time of its series. Whether a shard has another
    value at an older time is not asked.

    Args:
        newest, values: of each series the newest time (ms) and its value, nan where that is not known.
    """
    last, gone = _within(batch)
    its = batch.series
    stood = last & (batch.times == newest[its]) & (batch.values != values[its]) & ~np.isnan(values[its])
    return Batch(
        batch.location,
        np.concatenate((its[stood], its[gone])),
        np.concatenate((newest[its[stood]], batch.times[gone])),
        np.concatenate((values[its[stood]], batch.values[gone])),
    )


def _within(batch: Batch) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Which are the last of their series and time, and the places of those before them that have another value."""
    times, series = batch.times, batch.series
    last = np.ones(len(batch), np.bool_)
    if ((times[1:] > times[:-1]) | ((times[1:] == times[:-1]) & (series[1:] > series[:-1]))).all():
        return last, np.zeros(0, np.intp)
    order = np.lexsort((series, times))  # stable
    repeated = (times[order][1:] == times[order][:-1]) & (series[order][1:] == series[order][:-1])
    if not repeated.any():
        return last, np.zeros(0, np.intp)
    last[order[:-1][repeated]] = False
    differs = repeated & (batch.values[order][1:] != batch.values[order][:-1])
    return last, np.sort(order[:-1][differs])
