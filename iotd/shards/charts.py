"""What sensors of a type say together, calibrated: what a shard joins over sensors must be calibrated before it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from iotd.model.aggregate import Aggregation
from iotd.model.batch import Times, Values
from iotd.model.calibration import Calibrations, calibrated
from iotd.model.instants import ENDLESS
from iotd.model.series import Series
from iotd.shards.look import ShardLook

_HOW: tuple[Aggregation, ...] = ("avg", "min", "max")

_Columns = tuple[Times, dict[Aggregation, Values]]
"""The starts of one series' buckets, ms, and its mean, smallest and largest value in each."""


async def by_type(
    reader: ShardLook, calibrations: Calibrations, types: Sequence[str], first: int, bucket: int
) -> dict[str, tuple[Times, Values]]:
    """As :meth:`ShardLook.by_type`, of true values; only types of which a series is calibrated are not joined there.

    Raises:
        ShardError: no node, or no answer.
    """
    found = await reader.by_type(types, first, bucket)
    every = await reader.series(types) if calibrations else []
    for kind in {one.type for one in every if calibrations.of(one)}:
        its = [one for one in every if one.type == kind]
        changing = [one for one in its if calibrations.of(one).begins(first, ENDLESS)]
        columns = await _from_server(reader, calibrations, [s for s in its if s not in changing], first, bucket)
        held = await reader.samples([(one, first, ENDLESS) for one in changing])
        for one, its_own in zip(changing, held, strict=True):
            if len(its_own.times):
                true = calibrations.of(one).readings(its_own.times, its_own.values)
                columns.append(_columns(its_own.times, true, bucket))
        if columns:
            found[kind] = _joined(columns)
    return found


async def _from_server(
    reader: ShardLook, calibrations: Calibrations, its: list[Series], first: int, bucket: int
) -> list[_Columns]:
    answers = await reader.buckets([(one, how, 0, bucket, first, ENDLESS) for one in its for how in _HOW])
    found = []
    for at, one in enumerate(its):
        mine = answers[at * len(_HOW) : (at + 1) * len(_HOW)]
        length = min(len(times) for times, _ in mine)  # a bucket may begin between two answers
        raw = {how: values[:length] for how, (_, values) in zip(_HOW, mine, strict=True)}
        line = calibrations.of(one).at(first)
        found.append((mine[0][0][:length], {how: calibrated(how, line, raw) for how in _HOW}))
    return found


def _columns(times: Times, values: Values, bucket: int) -> _Columns:
    starts, places = np.unique(times // bucket * bucket, return_index=True)
    counts = np.diff([*places.tolist(), len(times)])
    return starts, {
        "avg": np.add.reduceat(values, places) / counts,
        "min": np.minimum.reduceat(values, places),
        "max": np.maximum.reduceat(values, places),
    }


def _joined(columns: Iterable[_Columns]) -> tuple[Times, Values]:
    buckets: dict[int, list[tuple[float, float, float]]] = {}
    for starts, its in columns:
        rows = zip(*(its[how].tolist() for how in _HOW), strict=True)
        for start, row in zip(starts.tolist(), rows, strict=True):
            buckets.setdefault(start, []).append(row)
    means_and_ends = []
    for there in (rows_there for _, rows_there in sorted(buckets.items())):
        means, lows, highs = zip(*there, strict=True)
        means_and_ends.append((sum(means) / len(means), min(lows), max(highs)))
    return np.array(sorted(buckets), np.int64), np.array(means_and_ends)
