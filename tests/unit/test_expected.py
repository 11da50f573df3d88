"""What the log expects of shard and archive, against the same said in plain Python."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from iotd.archive.expected import Expected, clusters, found, late
from iotd.log.base import Deletion, Record
from iotd.model.instants import NEVER

READINGS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 30), st.floats(-1e6, 1e6, allow_nan=False)), max_size=60
)


def columns(readings: list[tuple[int, int, float]], sequence: int = 0) -> Record:
    return Record(
        sequence,
        np.array([s for s, _, _ in readings], np.int32),
        np.array([t for _, t, _ in readings], np.int64),
        np.array([v for _, _, v in readings], np.float64),
    )


@given(st.lists(READINGS, max_size=4))
def test_the_last_in_log_order_stands_and_times_rise(records: list[list[tuple[int, int, float]]]) -> None:
    wanted = {(s, t): v for record in records for s, t, v in record}
    expected = Expected.of([columns(record) for record in records])
    got = [(number, t, v) for number, times, values in expected.each() for t, v in zip(times, values, strict=True)]
    assert got == [(s, t, v) for (s, t), v in sorted(wanted.items())]
    assert len(expected) == len(wanted)


RANGES = st.tuples(st.sets(st.integers(0, 5), min_size=1), st.integers(-1, 31), st.integers(-1, 31))


@given(st.lists(st.one_of(READINGS, RANGES), max_size=8), st.integers(0, 8))
def test_what_a_later_deletion_concerns_is_not_expected(
    entries: list[list[tuple[int, int, float]] | tuple[set[int], int, int]], cut: int
) -> None:
    """The log up to a sequence, and deletions behind it too; readings handed over after a deletion stay."""
    records, deletions = [], []
    wanted: dict[tuple[int, int], float] = {}
    for sequence, entry in enumerate(entries):
        if isinstance(entry, tuple):
            series, first, last = entry
            deletions.append(Deletion(sequence, np.array(sorted(series), np.int32), first, last))
            wanted = {(s, t): v for (s, t), v in wanted.items() if s not in series or not first <= t <= last}
        elif sequence <= cut:
            records.append(columns(entry, sequence))
            wanted |= {(s, t): v for s, t, v in entry}
    expected = Expected.of(records, deletions)
    got = [(number, t, v) for number, times, values in expected.each() for t, v in zip(times, values, strict=True)]
    assert got == [(s, t, v) for (s, t), v in sorted(wanted.items())]


def test_numbers_beyond_16_bits_keep_apart() -> None:
    record = columns([(70_000, 5, 1.0), (70_000 - 2**16, 5, 2.0), (70_000, 4, 3.0)])
    expected = Expected.of([record])
    assert [(n, times.tolist(), values.tolist()) for n, times, values in expected.each()] == [
        (70_000 - 2**16, [5], [2.0]),
        (70_000, [4, 5], [3.0, 1.0]),
    ]


PAIRS = st.dictionaries(st.integers(0, 30), st.sampled_from([0.0, -0.0, 1.5, 1.5000000000000002, -7.25]))


@given(PAIRS, PAIRS)
def test_a_reading_is_found_where_time_and_value_are_the_same(
    wanted: dict[int, float], there: dict[int, float]
) -> None:
    def arrays(pairs: dict[int, float]) -> tuple[np.ndarray, np.ndarray]:
        items = sorted(pairs.items())
        return np.array([t for t, _ in items], np.int64), np.array([v for _, v in items], np.float64)

    times, values = arrays(wanted)
    same = found(times, values, *arrays(there))
    assert same.tolist() == [there.get(t) == v for t, v in sorted(wanted.items())]


@given(st.sets(st.integers(0, 200)), st.integers(1, 20))
def test_clusters_hold_all_times_and_are_further_apart_than_the_gap(times: set[int], gap: int) -> None:
    ranges = clusters(np.array(sorted(times), np.int64), gap)
    assert all(any(first <= t <= last for first, last in ranges) for t in times)
    assert all(first in times and last in times for first, last in ranges)
    assert all(b[0] - a[1] > gap for a, b in itertools.pairwise(ranges))


@given(st.lists(READINGS, max_size=4), st.dictionaries(st.integers(0, 5), st.integers(0, 40)))
def test_late_is_what_is_not_later_than_the_newest_of_its_own_series(
    records: list[list[tuple[int, int, float]]], known: dict[int, int]
) -> None:
    newest = np.full(8, NEVER, np.int64)
    for number, time in known.items():
        newest[number] = time
    plain = dict(known)
    for record in records:
        wanted = []
        for s, t, _ in record:
            wanted.append(t <= plain.get(s, -1))
            plain[s] = max(t, plain.get(s, -1))
        data = columns(record)
        assert late(newest, data.series, data.times).tolist() == wanted
        assert all(newest[s] == t for s, t in plain.items())


def test_another_series_that_runs_ahead_makes_nothing_late() -> None:
    newest = np.full(2, NEVER, np.int64)
    for second in range(100):
        times = np.array([second * 1000, second * 1000 + 2000], np.int64)
        assert not late(newest, np.array([0, 1], np.int32), times).any()
