"""The readings of a query in time order, chunk by chunk, as they came or aggregated; memory stays flat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import numpy as np
from numpy.typing import NDArray

from iotd.model.aggregate import Aggregation, Asked, Piece, combine, piece
from iotd.model.arrays import concatenated
from iotd.model.batch import Times, Values
from iotd.model.buckets import Run
from iotd.model.calibration import raw_needed
from iotd.model.errors import ArchiveError, ShardError
from iotd.model.series import Series
from iotd.query.buckets import runs
from iotd.query.calibrating import asked
from iotd.query.engine import Query
from iotd.query.join import Range
from iotd.query.result import Readings
from iotd.query.segments import Mixed, Segment, planned
from iotd.stores.base import Found

WINDOW = 50_000
"""Readings, or buckets, in a chunk, about: some MB on their way, some 50 ms of the servers."""

_STEP_MS = 1000
"""Between two readings of a sensor, as a guess for the first window; the next ones go by what came."""


async def readings(query: Query) -> AsyncIterator[Readings]:
    """The readings as they came, in chunks of about :data:`WINDOW`; at least one chunk, which may be empty."""
    await query.learn()
    at = begins(query)
    length = max(1, WINDOW // max(1, len(query.known))) * _STEP_MS
    noted = query.first
    while at < query.stop and query.known:
        last = min(at + length, query.stop) - 1
        found = await query.window(at, last)
        query.note_missing(noted, last)
        at = noted = last + 1
        count = sum(len(times) for times, _ in found.values())
        length = max(1, round(length * min(8.0, max(0.125, WINDOW / max(1, count)))))
        if count or at >= query.stop:
            yield chunk_of(query, found)
    if noted < query.stop:
        query.note_missing(noted, query.stop - 1)
        yield chunk_of(query, {})


async def aggregated(query: Query, what: Aggregation, bucket: int) -> AsyncIterator[Readings]:
    """The aggregation of each bucket of ``bucket`` ms, computed by the servers; at least one chunk.

    A bucket is that of :mod:`iotd.query.buckets`; its time is its start, and the first and the last hold only what
    lies in the range. An empty bucket is left out.
    """
    await query.learn()
    at_once = max(1, WINDOW // max(1, len(query.known)))
    noted = query.first
    if query.known:
        for run in runs(begins(query), query.stop, bucket, at_once):
            found = await _Buckets(query, what, run).compute()
            last = min(run.last, query.stop - 1)
            query.note_missing(noted, last)
            noted = last + 1
            if found or noted >= query.stop:
                yield chunk_of(query, found, what, bucket)
    if noted < query.stop:
        query.note_missing(noted, query.stop - 1)
        yield chunk_of(query, {}, what, bucket)


def begins(query: Query) -> int:
    """The time (ms) of the first reading that there may be in the range."""
    return max(query.first, min(query.begins.values(), default=query.stop))


def chunk_of(query: Query, found: Found, what: Asked | None = None, bucket: int | None = None) -> Readings:
    """What was found, in time order, with the answers so far."""
    sensors = tuple(sorted(found))
    series = np.repeat(np.arange(len(sensors), dtype=np.int32), [len(found[s][0]) for s in sensors])
    times = np.concatenate([found[s][0] for s in sensors]) if sensors else np.empty(0, np.int64)
    values = np.concatenate([found[s][1] for s in sensors]) if sensors else np.empty(0, np.float64)
    order = np.argsort(times, kind="stable")
    return Readings(
        sensors,
        series[order],
        times[order],
        values[order],
        query.first,
        query.stop,
        query.answers(),
        what,
        bucket,
        query.types,
        query.calibrating.applied and what != "count",
    )


_Answered = tuple[Segment, list[tuple[Times, Values]]]
"""A segment, and what the server said to each thing that it was asked."""


class _Buckets:
    """The buckets of one run.

    Where all of a bucket is in one place, the server there computes it. A bucket that the boundary cuts is put
    together from the archive's part and the readings after it; one that a dirty range touches, or in which another
    calibration begins, from readings only.
    """

    def __init__(self, query: Query, what: Aggregation, run: Run) -> None:
        self._query = query
        self._what = what
        self._run = run
        self._first = max(run.first, query.first)
        self._last = min(run.last, query.stop - 1)

    async def compute(self) -> Found:
        """By sensor: the starts of the buckets that are not empty, and their aggregations."""
        while True:
            segments, mixed = planned(self._query, self._run, self._first, self._last)
            *results, doubted = await asyncio.gather(
                self._by_shards(segments),
                self._by_archive(segments),
                self._query.doubted(self._first, self._last),
            )
            if doubted or None in results:
                continue  # who failed, or holds too little, is noted, so the next plan is another one
            if await self._expired(segments):
                continue
            columns: dict[Series, list[tuple[Times, Values]]] = {}
            for segment, answers in (one for result in results for one in result or ()):
                pair, moved = self._made(segment, answers)
                columns.setdefault(segment.sensor, []).append(pair)
                mixed += moved
            for range_ in mixed:
                for sensor, pair in (await self._put_together(range_)).items():
                    columns.setdefault(sensor, []).append(pair)
            return {s: found for s, pairs in columns.items() if len((found := _sorted(pairs))[0])}

    # ── what servers compute ──

    def _asks(self, segment: Segment) -> tuple[Aggregation, ...]:
        """What is asked of a segment; of several things the first once more, to see what came in between."""
        asks = raw_needed(self._what, segment.line)
        return asks if len(asks) == 1 else (*asks, asks[0])

    async def _by_shards(self, segments: Iterable[Segment]) -> list[_Answered] | None:
        its = [segment for segment in segments if segment.source == "shard"]
        wanted = [(s.sensor, what, self._run, s.first, s.last) for s in its for what in self._asks(s)]
        try:
            found = iter(await self._query.shard_buckets(wanted))
        except ShardError:
            return None
        return [(segment, [next(found) for _ in self._asks(segment)]) for segment in its]

    async def _by_archive(self, segments: Iterable[Segment]) -> list[_Answered] | None:
        # one question for all the sensors that ask for the same of the same range
        groups: dict[tuple[Range, tuple[Aggregation, ...]], list[Segment]] = {}
        for segment in segments:
            if segment.source == "archive":
                groups.setdefault((Range(segment.first, segment.last), self._asks(segment)), []).append(segment)
        answered: list[_Answered] = []
        for (range_, asks), its in groups.items():
            results = [await self._ask_archive(what, range_, {one.sensor for one in its}) for what in asks]
            if (found := [one for one in results if one is not None]) != results:
                return None
            answered += [(one, [result.get(one.sensor, concatenated([])) for result in found]) for one in its]
        return answered

    def _made(self, segment: Segment, answers: list[tuple[Times, Values]]) -> tuple[tuple[Times, Values], list[Mixed]]:
        """The aggregations of a segment; and those of its buckets in which readings came between two answers."""
        line, buckets = segment.line, self._query.calibrating.buckets
        asks = raw_needed(self._what, line)
        if len(asks) == 1:
            ((times, values),) = answers
            return (times, buckets(self._what, line, {asks[0]: values})), []
        found = [dict(zip(times.tolist(), values.tolist(), strict=True)) for times, values in answers]
        starts = set[int]().union(*found)
        steady = sorted(t for t in starts if all(t in one for one in found) and found[0][t] == found[-1][t])
        columns = [np.array([one[t] for t in steady], np.float64) for one in found]
        made = buckets(self._what, line, dict(zip(asks, columns, strict=False)))
        moved = [self._mixed(segment, start) for start in sorted(starts.difference(steady))]
        return (np.array(steady, np.int64), made), moved

    def _mixed(self, segment: Segment, start: int) -> Mixed:
        return Mixed(max(start, segment.first), min(start + self._run.width - 1, segment.last), {segment.sensor})

    async def _ask_archive(self, what: Aggregation, range_: Range, sensors: set[Series]) -> Found | None:
        query = self._query
        assert query.archive is not None
        selection = query.what.at({sensor.location for sensor in sensors})
        try:
            found = await query.archive.buckets(selection, what, self._run, range_.first, range_.last)
        except ArchiveError as e:
            query.archive_failed(e)
            return None
        return {sensor: pair for sensor, pair in found.items() if sensor in sensors}

    async def _expired(self, segments: list[Segment]) -> bool:
        """Whether retention took something from a shard's segments since they were planned; the next plan knows it."""
        asked = {s.sensor: s.first for s in segments if s.source == "shard"}
        return await self._query.expired(asked)

    # ── what no server can compute alone ──

    async def _put_together(self, mixed: Mixed) -> Found:
        pieces: dict[tuple[Series, int], list[Piece]] = {}
        at = await self._head(mixed, pieces)
        length = max(1, WINDOW // len(mixed.sensors)) * _STEP_MS
        while at <= mixed.last:
            last = min(at + length - 1, mixed.last)
            count = 0
            for sensor, (times, values) in (await self._query.window(at, last, mixed.sensors)).items():
                count += len(times)
                buckets = (times - self._run.first) // self._run.width
                for bucket, share in zip(*_shares(buckets, values), strict=True):
                    pieces.setdefault((sensor, bucket), []).append(piece(share))
            at = last + 1
            length = max(1, round(length * min(8.0, max(0.125, WINDOW / max(1, count)))))
        found: dict[Series, list[tuple[int, float]]] = {}
        for (sensor, bucket), its in pieces.items():
            start = self._run.first + bucket * self._run.width
            found.setdefault(sensor, []).append((start, combine(self._what, its)))
        return {
            sensor: (np.array([t for t, _ in rows], np.int64), np.array([v for _, v in rows], np.float64))
            for sensor, rows in found.items()
        }

    async def _head(self, mixed: Mixed, pieces: dict[tuple[Series, int], list[Piece]]) -> int:
        """The archive's part of a bucket that only the boundary cuts; returns the first ms that is still to be read."""
        known = [self._query.known[sensor] for sensor in mixed.sensors]
        upto = min(*(k.boundary for k in known), mixed.last)
        dirty = any(r.within(mixed.first, mixed.last) for k in known for r in (*k.dirty, *k.doubt))
        one = (mixed.first - self._run.first) // self._run.width == (mixed.last - self._run.first) // self._run.width
        another = any(self._query.calibrating.of(sensor).begins(mixed.first, upto) for sensor in mixed.sensors)
        if dirty or another or not one or upto < mixed.first or not self._query.reach("").archive:
            return mixed.first
        calibrating = self._query.calibrating
        lines = {sensor: calibrating.of(sensor).at(mixed.first) for sensor in mixed.sensors}
        raw: dict[Series, dict[Aggregation, float]] = {}
        for need in asked(self._what, lines.values()):
            found = await self._ask_archive(need, Range(mixed.first, upto), mixed.sensors)
            if found is None:
                return mixed.first
            for sensor, (_, values) in found.items():
                raw.setdefault(sensor, {})[need] = float(values[0])
        bucket = (mixed.first - self._run.first) // self._run.width
        for sensor, its in raw.items():
            pieces[sensor, bucket] = [calibrating.piece(self._what, lines[sensor], its)]
        return upto + 1


def _shares(buckets: NDArray[np.int64], values: Values) -> tuple[list[int], list[Values]]:
    """The values of each bucket; ``buckets`` never falls."""
    cuts = np.flatnonzero(np.diff(buckets)) + 1
    return buckets[np.concatenate(([0], cuts)).astype(np.intp)].tolist(), np.split(values, cuts)


def _sorted(pairs: list[tuple[Times, Values]]) -> tuple[Times, Values]:
    times, values = concatenated(pairs)
    order = np.argsort(times, kind="stable")
    return times[order], values[order]
