"""Summaries of hours that were imported, in queries: where there are no readings, they stand for them.

An aggregated query whose buckets are whole hours uses the summary of each hour in which neither shard nor archive has a
reading of the series. In a bucket with such an hour each hour counts alike: its avg is the mean of the hours' means, be
they of readings or of a summary. A counter's increase is taken from the summaries of the hours before its first
reading: what it grew by after that, its readings say. Nothing else is answered by summaries: the result then says that
there are some.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from iotd.intake.summaries import Span, Summaries
from iotd.model.aggregate import Aggregation, Asked
from iotd.model.arrays import among, concatenated, distinct
from iotd.model.batch import Times, Values
from iotd.model.buckets import HOUR, Run
from iotd.model.errors import StateError
from iotd.model.series import Series
from iotd.query.buckets import runs
from iotd.query.engine import Query
from iotd.query.result import Readings
from iotd.query.stream import aggregated, chunk_of
from iotd.query.times import show
from iotd.stores.base import Found

Read = Callable[[Query], AsyncIterator[Readings]]

_NONE: Times = np.empty(0, np.int64)
_DAY = 24 * HOUR
_HOURS = 200_000
"""Hours that are looked at at once: some MB."""
_OF: dict[str, tuple[Aggregation, ...]] = {"avg": ("avg",), "min": ("min",), "max": ("max",), "range": ("min", "max")}
"""By what is asked for: what must be known of each hour."""


def with_summaries(
    read: Read,
    summaries: Summaries,
    again: Callable[[int, int], Query],
    asked: Asked | None = None,
    bucket: int | None = None,
) -> Read:
    """Reads a query, with what the summaries have beside it.

    Args:
        read: gives the chunks of readings, or of buckets, in time order.
        again: a query for the same series from a ms to before another one.
        asked, bucket: what of each bucket, and its length in ms; None: readings as they came.
    """

    async def reading(query: Query) -> AsyncIterator[Readings]:
        trouble: tuple[str, ...] = ()
        try:
            spans = await asyncio.to_thread(_spans, summaries, query)
        except StateError as e:
            spans, trouble = [], (str(e),)
        used = [span for span in spans if _answers(span, asked, bucket)]
        if asked is None or bucket is None or not used:
            chunks = read(query)
        else:
            chunks = _Merging(query, summaries, used, again, asked=asked, bucket=bucket).of(read(query))
        last: Readings | None = None
        count = 0
        async for chunk in chunks:
            if last is not None:
                yield last
            last, count = chunk, count + chunk.imported
        assert last is not None
        unused = [span for span in spans if span not in used]
        yield replace(last, notes=(*last.notes, *trouble, *_notes(query, unused, count)))

    return reading


def _spans(summaries: Summaries, query: Query) -> list[Span]:
    return [
        span
        for span in summaries.spans()
        if span.series in query.what and span.first * HOUR < query.stop and (span.last + 1) * HOUR > query.first
    ]


def _answers(span: Span, asked: Asked | None, bucket: int | None) -> bool:
    # a bucket such as 5 h has no place of its own in a day, so that it begins elsewhere for another query
    if bucket is None or bucket % HOUR or (_DAY % bucket and bucket % _DAY):
        return False
    return asked == "increase" if span.counts else asked in _OF


def _notes(query: Query, unused: Sequence[Span], count: int) -> Iterator[str]:
    if count:
        yield f"{count:,} of these buckets hold imported hourly summaries, where there are no readings"
    begins = query.begins
    lacking = [span for span in unused if span.first * HOUR < begins.get(span.series, query.stop)]
    if lacking:
        first = max(query.first, min(span.first for span in lacking) * HOUR)
        ends = [min((span.last + 1) * HOUR, begins.get(span.series, query.stop) // HOUR * HOUR) for span in lacking]
        how = "increase" if all(span.counts for span in lacking) else "avg"
        yield (
            f"hourly summaries exist from {show(first)} to {show(min(query.stop, max(ends)))}, where there are no "
            f"readings; ask for --agg {how} --bucket 1h"
        )


class _Merging:
    """Buckets of readings and buckets of summaries, in time order."""

    def __init__(
        self,
        query: Query,
        summaries: Summaries,
        spans: Sequence[Span],
        again: Callable[[int, int], Query],
        *,
        asked: Asked,
        bucket: int,
    ) -> None:
        self._query = query
        self._summaries = summaries
        self._spans = spans
        self._again = again
        self._asked = asked
        self._bucket = bucket

    async def of(self, chunks: AsyncIterator[Readings]) -> AsyncIterator[Readings]:
        """The chunks, each with the buckets that belong before its last one; at least one."""
        query = self._query
        at_once = max(1, _HOURS * HOUR // (self._bucket * len(self._spans)))
        begin = max(query.first, min(span.first for span in self._spans) * HOUR)
        ahead = runs(begin, query.stop, self._bucket, at_once)
        run = next(ahead, None)
        chunk: Readings | None = None
        async for following in chunks:
            if chunk is not None:
                # all buckets up to the last of a chunk are in it: those behind it come later
                while run is not None and len(chunk) and run.first <= (end := int(chunk.times[-1])):
                    part, run = _cut(run, end)
                    run = run or next(ahead, None)
                    piece, chunk = _parted(chunk, part.last)
                    if len(merged := await self._merged(piece, part)):
                        yield merged
                if len(chunk):
                    yield chunk
            chunk = following
        assert chunk is not None
        while run is not None:
            piece, chunk = _parted(chunk, run.last)
            if len(merged := await self._merged(piece, run)):
                yield merged
            run = next(ahead, None)
        yield chunk

    async def _merged(self, chunk: Readings, run: Run) -> Readings:
        """A chunk whose buckets all lie before the end of the run, with the run's buckets of summaries."""
        first, stop = max(run.first, self._query.first), min(run.last + 1, self._query.stop)
        hours = -(-first // HOUR), stop // HOUR - 1
        if run.first % HOUR or run.width % HOUR or hours[0] > hours[1]:
            return chunk
        found = chunk.by_sensor()
        add = self._grown if self._asked == "increase" else self._hours
        count = await add(found, run, *hours)
        return replace(chunk_of(self._query, found, self._asked, self._bucket), imported=count) if count else chunk

    async def _grown(self, found: Found, run: Run, first: int, last: int) -> int:
        """Adds what counters grew by; in how many buckets."""
        count = 0
        begins = self._query.begins
        for span in self._spans:
            upto = min(last, begins[span.series] // HOUR - 1) if span.series in begins else last
            if upto < max(first, span.first):
                continue
            rows = await asyncio.to_thread(self._summaries.growth, span.series, first, upto)
            times = np.array([hour * HOUR for hour, _ in rows], np.int64)
            grown: dict[int, float] = {}
            values = self._query.calibrating.grown(span.series, times, np.array([value for _, value in rows]))
            for start, value in zip(run.start_of(times).tolist(), values.tolist(), strict=True):
                grown[start] = grown.get(start, 0.0) + value
            count += len(grown)
            if grown:
                there = found.get(span.series)
                for start, value in zip(there[0].tolist(), there[1].tolist(), strict=True) if there else ():
                    grown[start] = grown.get(start, 0.0) + value
                found[span.series] = _columns(grown)
        return count

    async def _hours(self, found: Found, run: Run, first: int, last: int) -> int:
        """Adds aggregations of hours that have no readings; in how many buckets."""
        summed: dict[Series, tuple[Times, Mapping[Aggregation, Values]]] = {}
        shared: set[int] = set()
        for span in self._spans:
            if span.first > last or span.last < first:
                continue
            rows = await asyncio.to_thread(self._summaries.hours, span.series, first, last)
            table = np.array(rows, np.float64).reshape(len(rows), 4)
            times = table[:, 0].astype(np.int64) * HOUR
            raw: dict[Aggregation, Values] = {"avg": table[:, 1], "min": table[:, 2], "max": table[:, 3]}
            summed[span.series] = times, self._query.calibrating.hours(span.series, times, raw)
            if span.series in found:
                starts = run.start_of(times)
                shared.update(starts[among(starts, found[span.series][0])].tolist())
        by_hour = await self._by_hour(run, shared) if run.width > HOUR and shared else {}
        count = 0
        for series, (times, values) in summed.items():
            read, of_readings = by_hour.get(series, (_NONE, {}))
            starts, there = run.start_of(times), found.get(series)
            # hours of a bucket that has readings: where hours are longer than that, those without a reading
            lacking = ~among(starts, there[0]) if there else np.ones(len(times), bool)
            if run.width > HOUR:
                lacking |= ~among(times, read)
            new = distinct(starts[lacking])
            if not len(new):
                continue
            count += len(new)
            mine = among(run.start_of(read), new)
            hours = {
                need: np.concatenate((values[need][lacking], of_readings[need][mine] if len(read) else _NONE))
                for need in _OF[self._asked]
            }
            joined = _combined(self._asked, np.concatenate((starts[lacking], run.start_of(read)[mine])), new, hours)
            kept = ~among(there[0], new) if there else None
            columns = [(there[0][kept], there[1][kept])] if there else []
            found[series] = _sorted(concatenated([*columns, (new, joined)]))
        return count

    async def _by_hour(self, run: Run, shared: set[int]) -> dict[Series, tuple[Times, dict[Aggregation, Values]]]:
        """Of the buckets that have both: the hours that have readings, and their aggregations."""
        first, stop = max(min(shared), self._query.first), min(max(shared) + run.width, self._query.stop)
        found: dict[Series, tuple[Times, dict[Aggregation, Values]]] = {}
        for need in _OF[self._asked]:
            query = self._again(first, stop)
            try:
                columns: dict[Series, list[tuple[Times, Values]]] = {}
                async for chunk in aggregated(query, need, HOUR):
                    for series, pair in chunk.by_sensor().items():
                        columns.setdefault(series, []).append(pair)
            finally:
                await query.close()
            for series, pairs in columns.items():
                times, values = concatenated(pairs)
                found.setdefault(series, (times, {}))[1][need] = values
        return found


def _combined(asked: Asked, starts: Times, buckets: Times, hours: dict[Aggregation, Values]) -> Values:
    """The aggregation of each bucket, of hours that count alike.

    Args:
        starts: of the bucket of each hour; ``hours``: what is known of each.
    """
    places = np.searchsorted(buckets, starts)
    if asked == "avg":
        sums = np.bincount(places, hours["avg"], len(buckets)).astype(np.float64)
        return np.divide(sums, np.bincount(places, minlength=len(buckets)), dtype=np.float64)
    low, high = np.full(len(buckets), np.inf), np.full(len(buckets), -np.inf)
    if "min" in hours:
        np.minimum.at(low, places, hours["min"])
    if "max" in hours:
        np.maximum.at(high, places, hours["max"])
    if asked == "range":
        high -= low
        return high
    return low if asked == "min" else high


def _sorted(columns: tuple[Times, Values]) -> tuple[Times, Values]:
    order = np.argsort(columns[0], kind="stable")
    return columns[0][order], columns[1][order]


def _cut(run: Run, end: int) -> tuple[Run, Run | None]:
    """A run up to the bucket that begins at ``end``, and what is behind it."""
    if end >= run.last + 1 - run.width:
        return run, None
    last = int(run.start_of(np.array([end]))[0]) + run.width - 1
    return Run(run.first, last, run.width), Run(last + 1, run.last, run.width)


def _parted(chunk: Readings, last: int) -> tuple[Readings, Readings]:
    """The buckets that begin up to ``last`` ms, and those behind them."""
    at = int(np.searchsorted(chunk.times, last, "right"))
    return chunk[:at], chunk[at:]


def _columns(by_start: dict[int, float]) -> tuple[Times, Values]:
    starts = sorted(by_start)
    return np.array(starts, np.int64), np.array([by_start[start] for start in starts], np.float64)
