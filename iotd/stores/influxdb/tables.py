"""The answer to a Flux query: CSV, which becomes arrays without an object per reading."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np

from iotd.model.batch import Times, Values
from iotd.model.errors import ArchiveUnavailable
from iotd.model.series import Series
from iotd.stores.base import Found
from iotd.stores.influxdb.lines import text_of

COLUMNS = '["_time", "_value", "_measurement", "location", "sensor_id", "unit"]'
"""What an answer must have, as a list in Flux."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table of an answer.

    Attributes:
        result: the name that the query yields it by.
        times: int64 ms, shape (n,), n > 0; ``values`` float64, shape (n,).
    """

    result: str
    series: Series
    times: Times
    values: Values


def tables(body: bytes) -> list[Table]:
    """The tables of an answer, without those that no series of ours can have.

    Raises:
        ArchiveUnavailable: the query broke off, or this is no such answer.
    """
    try:
        # a header before each block of tables that have the same columns, and an empty line between blocks
        rows = csv.reader(io.StringIO(body.decode()))
        return [table for full, block in groupby(rows, key=bool) if full for table in _block(iter(block))]
    except (ValueError, LookupError, csv.Error) as e:
        raise ArchiveUnavailable(f"the answer to a query can't be read: {e!r}") from None


def joined(found: Iterable[Table]) -> Found:
    """The readings by series; one that comes in several tables, because its unit has changed, is put together."""
    by_series: dict[Series, list[Table]] = {}
    for table in found:
        by_series.setdefault(table.series, []).append(table)
    return dict(_one(same) for same in by_series.values())


def _one(same: list[Table]) -> tuple[Series, tuple[Times, Values]]:
    if len(same) == 1:
        return same[0].series, (same[0].times, same[0].values)
    same.sort(key=lambda table: int(table.times[-1]))  # the unit that it has now, and its values, stand
    times = np.concatenate([table.times for table in same])
    values = np.concatenate([table.values for table in same])
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    stands = np.append(times[1:] != times[:-1], True)
    return same[-1].series, (times[stands], values[stands])


def _block(rows: Iterator[list[str]]) -> Iterator[Table]:
    names = {name: i for i, name in enumerate(next(rows))}
    if "error" in names:  # what went wrong after the answer had begun
        raise ArchiveUnavailable(f"the query broke off: {next(rows)[names['error']]}")
    if "_time" not in names or not names.keys() >= {"_measurement", "location", "sensor_id"}:
        return
    time, value = names["_time"], names["_value"]
    unit = names.get("unit")
    key = itemgetter(names["result"], names["_measurement"], names["location"], names["sensor_id"], unit or 0)
    for (result, kind, location, sensor_id, its_unit), table in groupby(rows, key=key):
        kept = [(row[time][:-1], row[value]) for row in table if row[value]]
        if kept and kind and sensor_id:
            series = Series(
                text_of(kind), text_of(location), text_of(sensor_id), text_of(its_unit) if unit is not None else ""
            )
            times = np.array([t for t, _ in kept], "datetime64[ms]").astype(np.int64)
            yield Table(result, series, times, np.array([v for _, v in kept]).astype(np.float64))
