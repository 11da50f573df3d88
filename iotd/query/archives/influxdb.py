"""Reading InfluxDB 2 by Flux; the answer is CSV, which becomes arrays without an object per reading."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter

import numpy as np

from iotd.archive.sinks.flux import flux_text, flux_time
from iotd.archive.sinks.influxdb import InfluxSink
from iotd.config import Settings
from iotd.model.batch import Times, Values
from iotd.model.errors import ArchiveUnavailable
from iotd.model.series import Series
from iotd.query.aggregate import Aggregation
from iotd.query.archives.base import Found
from iotd.query.buckets import Run
from iotd.query.names import Selection

_AGGREGATIONS: dict[Aggregation, str] = {
    "avg": "mean",
    "min": "min",
    "max": "max",
    "sum": "sum",
    "count": "count",
    "first": "first",
    "last": "last",
    "range": "spread",
    "std.p": '(tables=<-, column="_value") => tables |> stddev(column: column, mode: "population")',
}


class InfluxArchive:
    """One bucket, asked through the archiver's own client: its token, its timeouts, its words for what goes wrong."""

    def __init__(self, settings: Settings, sink: InfluxSink) -> None:
        self._sink = sink
        self._bucket = settings.influxdb.bucket
        self.identity = sink.identity

    async def incarnation(self) -> str | None:
        """See :meth:`iotd.query.archives.base.Archive.incarnation`."""
        return await self._sink.incarnation()

    async def begins(self, what: Selection, first: int, last: int) -> dict[Series, int]:
        """See :meth:`iotd.query.archives.base.Archive.begins`."""
        found = _found(await self._ask(f"{self._from(what, first, last)} |> first()"))
        return {sensor: int(times[0]) for sensor, (times, _) in found.items() if sensor in what}

    async def samples(self, what: Selection, first: int, last: int) -> Found:
        """See :meth:`iotd.query.archives.base.Archive.samples`."""
        return _found(await self._ask(self._from(what, first, last)))

    async def buckets(self, what: Selection, aggregation: Aggregation, run: Run, first: int, last: int) -> Found:
        """See :meth:`iotd.query.archives.base.Archive.buckets`."""
        window = (
            f"every: {run.width}ms, offset: {run.first % run.width}ms, fn: {_AGGREGATIONS[aggregation]}, "
            'createEmpty: false, timeSrc: "_start"'
        )
        found = _found(await self._ask(f"{self._from(what, first, last)} |> aggregateWindow({window})"))
        # a window that begins before the range is said to begin with it
        return {s: (run.first + (t - run.first) // run.width * run.width, v) for s, (t, v) in found.items()}

    async def close(self) -> None:
        """See :meth:`iotd.query.archives.base.Archive.close`."""
        await self._sink.close()

    def _from(self, what: Selection, first: int, last: int) -> str:
        tests = [_any("_measurement", what.types), _any("location", what.locations)]
        if what.ids is not None:
            tests.append(_any("sensor_id", what.ids))
        return (
            f"from(bucket: {flux_text(self._bucket)}) |> range(start: {flux_time(first)}, stop: {flux_time(last + 1)}) "
            f'|> filter(fn: (r) => r._field == "value" and {" and ".join(tests)})'
        )

    async def _ask(self, flux: str) -> str:
        columns = '["_time", "_value", "_measurement", "location", "sensor_id", "unit"]'
        return await self._sink.query_csv(f"{flux} |> keep(columns: {columns})")


def _found(text: str) -> Found:
    """The tables of an answer; one series may come in several, and is put together in time order."""
    found: dict[Series, list[tuple[Times, Values]]] = {}
    for sensor, times, values in _tables(text):
        found.setdefault(sensor, []).append((times, values))
    return {sensor: _one(tables) for sensor, tables in found.items()}


def _one(tables: list[tuple[Times, Values]]) -> tuple[Times, Values]:
    if len(tables) == 1:
        return tables[0]
    times, values = (np.concatenate(columns) for columns in zip(*tables, strict=True))
    order = np.argsort(times, kind="stable")
    return times[order], values[order]


def _tables(text: str) -> Iterator[tuple[Series, Times, Values]]:
    # a header before each block of tables that have the same columns, and an empty line between blocks
    rows = csv.reader(io.StringIO(text))
    for full, block in groupby(rows, key=bool):
        if full:
            yield from _block(iter(block))


def _block(rows: Iterator[list[str]]) -> Iterator[tuple[Series, Times, Values]]:
    names = {name: i for i, name in enumerate(next(rows))}
    if "error" in names:  # what went wrong after the answer had begun
        raise ArchiveUnavailable(f"the query broke off: {next(rows)[names['error']]}")
    if "_time" not in names:
        return
    time, value = names["_time"], names["_value"]
    series = itemgetter(names["_measurement"], names["location"], names["sensor_id"], names["unit"])
    for (kind, location, sensor_id, unit), table in groupby(rows, key=series):
        kept = [(row[time][:-1], row[value]) for row in table if row[value]]
        if kept and sensor_id:
            times = np.array([t for t, _ in kept], "datetime64[ms]").astype(np.int64)
            yield Series(kind, location, sensor_id, unit), times, np.array([v for _, v in kept]).astype(np.float64)


def _any(tag: str, names: Iterable[str]) -> str:
    return f"({' or '.join(f'r.{tag} == {flux_text(name)}' for name in names)})"
