"""The readings of a query in time order, chunk by chunk, as they came or aggregated; memory stays flat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from iotd.model.aggregate import Aggregation, Piece, combine, needs, piece
from iotd.model.arrays import concatenated
from iotd.model.batch import Times, Values
from iotd.model.buckets import Run
from iotd.model.errors import ArchiveError, ShardError
from iotd.model.series import Series
from iotd.query.buckets import runs
from iotd.query.engine import Query
from iotd.query.join import Part, Range, Source, parts
from iotd.query.result import Readings
from iotd.stores.base import Found

WINDOW = 50_000
"""Readings, or buckets, in a chunk, about: some MB on their way, some 50 ms of the servers."""

_STEP_MS = 1000
"""Between two readings of a sensor, as a guess for the first window; the next ones go by what came."""


async def readings(query: Query) -> AsyncIterator[Readings]:
    """The readings as they came, in chunks of about :data:`WINDOW`; at least one chunk, which may be empty."""
    await query.learn()
    at = _begins(query)
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
            yield _chunk(query, found)
    if noted < query.stop:
        query.note_missing(noted, query.stop - 1)
        yield _chunk(query, {})


async def aggregated(query: Query, what: Aggregation, bucket: int) -> AsyncIterator[Readings]:
    """The aggregation of each bucket of ``bucket`` ms, computed by the servers; at least one chunk.

    A bucket is that of :mod:`iotd.query.buckets`; its time is its start, and the first and the last hold only what
    lies in the range. An empty bucket is left out.
    """
    await query.learn()
    at_once = max(1, WINDOW // max(1, len(query.known)))
    noted = query.first
    if query.known:
        for run in runs(_begins(query), query.stop, bucket, at_once):
            found = await _Buckets(query, what, run).compute()
            last = min(run.last, query.stop - 1)
            query.note_missing(noted, last)
            noted = last + 1
            if found or noted >= query.stop:
                yield _chunk(query, found, what, bucket)
    if noted < query.stop:
        query.note_missing(noted, query.stop - 1)
        yield _chunk(query, {}, what, bucket)


def _begins(query: Query) -> int:
    return max(query.first, min(query.begins.values(), default=query.stop))


def _chunk(query: Query, found: Found, what: Aggregation | None = None, bucket: int | None = None) -> Readings:
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
    )


@dataclass(frozen=True, slots=True)
class _Segment:
    """Whole buckets of one sensor that one server computes, from ``first`` to ``last`` ms."""

    sensor: Series
    first: int
    last: int
    source: Source


@dataclass(slots=True)
class _Mixed:
    """A range of whole buckets of some sensors that no server can compute alone."""

    first: int
    last: int
    sensors: set[Series] = field(default_factory=set)


class _Buckets:
    """The buckets of one run.

    Where all of a bucket is in one place, the server there computes it. A bucket that the boundary cuts is put
    together from the archive's part and the readings after it; one that a dirty range touches, from readings only.
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
            segments, mixed = self._plan()
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
            for result in results:
                for sensor, pairs in (result or {}).items():
                    columns.setdefault(sensor, []).extend(pairs)
            for range_ in mixed:
                for sensor, pair in (await self._put_together(range_)).items():
                    columns.setdefault(sensor, []).append(pair)
            return {s: found for s, pairs in columns.items() if len((found := _sorted(pairs))[0])}

    # ── who computes what ──

    def _plan(self) -> tuple[list[_Segment], list[_Mixed]]:
        segments: list[_Segment] = []
        mixed: dict[tuple[int, int], _Mixed] = {}
        for sensor, known in self._query.known.items():
            taken = self._first
            its = parts(known, self._query.reach(sensor.location), self._first, self._last)
            for part in its:
                whole = self._whole_buckets(part)
                if whole is None or part.source == "both":
                    continue
                if taken < whole.first:
                    mixed.setdefault((taken, whole.first - 1), _Mixed(taken, whole.first - 1)).sensors.add(sensor)
                segments.append(_Segment(sensor, whole.first, whole.last, part.source))
                taken = whole.last + 1
            if its and taken <= self._last:
                mixed.setdefault((taken, self._last), _Mixed(taken, self._last)).sensors.add(sensor)
        return segments, list(mixed.values())

    def _whole_buckets(self, part: Part) -> Range | None:
        """The buckets of which all that is in the query's range lies in this part."""
        run = self._run
        first = (
            part.first
            if part.first == self._first
            else -(-(part.first - run.first) // run.width) * run.width + run.first
        )
        last = (
            part.last
            if part.last == self._last
            else (part.last + 1 - run.first) // run.width * run.width + run.first - 1
        )
        return Range(first, last) if first <= last else None

    async def _by_shards(self, segments: list[_Segment]) -> dict[Series, list[tuple[Times, Values]]] | None:
        wanted = [(s.sensor, self._what, self._run, s.first, s.last) for s in segments if s.source == "shard"]
        try:
            results = await self._query.shard_buckets(wanted)
        except ShardError:
            return None
        return _by_sensor((sensor, result) for (sensor, *_), result in zip(wanted, results, strict=True))

    async def _by_archive(self, segments: list[_Segment]) -> dict[Series, list[tuple[Times, Values]]] | None:
        # one question for all the sensors that ask for the same range
        groups: dict[Range, set[Series]] = {}
        for segment in segments:
            if segment.source == "archive":
                groups.setdefault(Range(segment.first, segment.last), set()).add(segment.sensor)
        found: list[tuple[Series, tuple[Times, Values]]] = []
        for range_, sensors in groups.items():
            result = await self._ask_archive(self._what, range_, sensors)
            if result is None:
                return None
            found += result.items()
        return _by_sensor(found)

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

    async def _expired(self, segments: list[_Segment]) -> bool:
        """Whether retention took something from a shard's segments since they were planned; the next plan knows it."""
        asked = {s.sensor: s.first for s in segments if s.source == "shard"}
        return await self._query.expired(asked)

    # ── what no server can compute alone ──

    async def _put_together(self, mixed: _Mixed) -> Found:
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

    async def _head(self, mixed: _Mixed, pieces: dict[tuple[Series, int], list[Piece]]) -> int:
        """The archive's part of a bucket that only the boundary cuts; returns the first ms that is still to be read."""
        known = [self._query.known[sensor] for sensor in mixed.sensors]
        upto = min(*(k.boundary for k in known), mixed.last)
        dirty = any(r.within(mixed.first, mixed.last) for k in known for r in (*k.dirty, *k.doubt))
        one = (mixed.first - self._run.first) // self._run.width == (mixed.last - self._run.first) // self._run.width
        if dirty or not one or upto < mixed.first:
            return mixed.first
        parts_of: dict[Series, dict[str, float]] = {}
        for need in needs(self._what):
            found = await self._ask_archive(need, Range(mixed.first, upto), mixed.sensors)
            if found is None:
                return mixed.first
            for sensor, (_, values) in found.items():
                parts_of.setdefault(sensor, {})[need] = float(values[0])
        bucket = (mixed.first - self._run.first) // self._run.width
        for sensor, its in parts_of.items():
            pieces[sensor, bucket] = [its]
        return upto + 1


def _shares(buckets: NDArray[np.int64], values: Values) -> tuple[list[int], list[Values]]:
    """The values of each bucket; ``buckets`` never falls."""
    cuts = np.flatnonzero(np.diff(buckets)) + 1
    return buckets[np.concatenate(([0], cuts)).astype(np.intp)].tolist(), np.split(values, cuts)


def _by_sensor(found: Iterable[tuple[Series, tuple[Times, Values]]]) -> dict[Series, list[tuple[Times, Values]]]:
    by: dict[Series, list[tuple[Times, Values]]] = {}
    for sensor, pair in found:
        by.setdefault(sensor, []).append(pair)
    return by


def _sorted(pairs: list[tuple[Times, Values]]) -> tuple[Times, Values]:
    times, values = concatenated(pairs)
    order = np.argsort(times, kind="stable")
    return times[order], values[order]
