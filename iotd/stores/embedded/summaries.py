"""What the headers of blocks say of each hour of a series, without decoding any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from iotd.model.batch import Times, Values
from iotd.stores.embedded.block import Headers, Place
from iotd.stores.embedded.buckets import boundaries, combined, of_headers


@dataclass(frozen=True, slots=True)
class Summaries:
    """What a series has in each hour that has something, as arrays of one length, in the order of time.

    Attributes:
        hours: int64, where each begins, ms.
        count: int64.
        sum: float64; infinite where it is beyond float64.
        squares: the sum of the squared values, float64; NaN where it was not computed.
        min: float64, as are ``max``, ``first_value`` and ``last_value``.
        first: int64, the time of the first reading, ms; ``last`` that of the last.
    """

    hours: Times
    count: NDArray[np.int64]
    sum: Values
    min: Values
    max: Values
    first: Times
    last: Times
    first_value: Values
    last_value: Values
    squares: Values


def of_blocks(places: Sequence[Place], headers: Headers, squares: Values | None = None) -> Summaries:
    """The summaries of some blocks, which are in the order of series and time; of each series its hours.

    Args:
        squares: of the values of each block, which no header has.
    """
    squares = np.full(len(places), np.nan) if squares is None else squares
    groups = _groups(places)
    whole = combined(groups, of_headers(headers))
    starts = boundaries(groups)
    ends = np.append(starts[1:], len(groups))[: len(starts)] - 1
    return Summaries(
        hours=np.array([place.hour for place in places], np.int64)[starts],
        count=whole["count"].astype(np.int64),
        sum=whole["sum"],
        min=whole["min"],
        max=whole["max"],
        first=headers["first"][starts],
        last=headers["last"][ends],
        first_value=whole["first"],
        last_value=whole["last"],
        squares=np.add.reduceat(squares, starts) if len(starts) else squares,
    )


def by_series(places: Sequence[Place], headers: Headers, squares: Values | None) -> Iterator[tuple[int, Summaries]]:
    """The same by the number of the series; all are computed at once."""
    whole = of_blocks(places, headers, squares)
    owners = np.array([place.series for place in places], np.int64)[boundaries(_groups(places))]
    starts = boundaries(owners).tolist()
    for start, stop in zip(starts, [*starts[1:], len(owners)], strict=False):
        yield int(owners[start]), Summaries(*(getattr(whole, column.name)[start:stop] for column in fields(Summaries)))


def _groups(places: Sequence[Place]) -> Times:
    """A number for each block, rising with series and hour."""
    hours = np.array([(place.series, place.hour) for place in places], np.int64).reshape(-1, 2)
    return np.cumsum(np.append([0], (hours[1:] != hours[:-1]).any(axis=1)))[: len(hours)]
