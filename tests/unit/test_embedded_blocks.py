"""The embedded archive's blocks: what is written is read, summed up and found damaged."""

from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotd.model.aggregate import Aggregation
from iotd.model.batch import Times, Values
from iotd.model.buckets import HOUR
from iotd.model.errors import ArchiveRefused, ArchiveRejected, ArchiveUnavailable
from iotd.model.series import Series
from iotd.stores.embedded import block
from iotd.stores.embedded.block import MAX_READINGS, BlockDamaged
from iotd.stores.embedded.reader import ArchiveReader
from iotd.stores.embedded.tables import FILE, SeriesDamaged
from iotd.stores.embedded.writer import ArchiveWriter

SALON = Series("temperature", "salon", "1")
OTHER = Series("humidity", "salon", "a:b\0 é%")
T0 = 1_790_000_000_000 // HOUR * HOUR
FOREVER = (-(2**52), 2**52)


class Archive:
    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.writer = ArchiveWriter(self.path)
        self.reader = ArchiveReader(self.path)

    def write(self, times: Any, values: Any, series: Series = SALON, **how: Any) -> tuple[ArchiveRefused, ...]:
        return self.writer.write([(series, np.array(times, np.int64), np.array(values, np.float64))], **how)

    def read(self, series: Series = SALON, first: int = FOREVER[0], last: int = FOREVER[1]) -> dict[int, float]:
        times, values = self.reader.samples(series, first, last)
        assert (np.diff(times) > 0).all()
        return dict(zip(times.tolist(), values.tolist(), strict=True))

    def close(self) -> None:
        self.reader.close()
        self.writer.close()

    def sql(self, statement: str, *values: object) -> list[Any]:
        self.close()
        db = sqlite3.connect(self.path)
        try:
            with db:
                return db.execute(statement, values).fetchall()
        finally:
            db.close()

    def flip(self, table: str, column: str, where: str, at: int = -1, bit: int = 1) -> None:
        """Flips one bit of one blob."""
        ((raw,),) = self.sql(f"SELECT {column} FROM {table} WHERE {where}")
        changed = bytearray(raw)
        changed[at] ^= bit
        self.sql(f"UPDATE {table} SET {column} = ? WHERE {where}", bytes(changed))


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    made = Archive(tmp_path)
    yield made
    made.close()


def hours(n: int, step: int = 60_000) -> tuple[Times, Values]:
    times = np.arange(T0, T0 + n * HOUR, step)
    return times, np.round(20 + np.sin(times / 1e6), 2)


def test_what_was_written_is_read_bit_for_bit(archive: Archive) -> None:
    values = [21.5, -0.0, 0.0, 1e-308, 5e-324, 19.999999999999996, -1.7976931348623157e308, 1e15 + 0.3]
    times = [T0 + 450_000 * n for n in range(len(values))]
    archive.write(times, values)
    found_times, found = archive.reader.samples(SALON, T0, T0 + HOUR)
    assert found_times.tolist() == times
    assert found.tobytes() == np.array(values).tobytes()
    summary = archive.reader.summaries(SALON, T0, T0)
    assert (summary.count[0], summary.min[0], summary.max[0]) == (8, min(values), max(values))


def test_the_sign_of_a_zero_is_in_the_summaries_too(archive: Archive) -> None:
    archive.write([T0, T0 + 1], [-0.0, -0.0])
    assert np.signbit(archive.reader.summaries(SALON, T0, T0).first_value[0])
    assert np.signbit(archive.reader.buckets(SALON, "last", T0, HOUR, first=T0, last=T0 + HOUR)[1][0])


def test_series_of_any_name_and_unit(archive: Archive) -> None:
    named = [Series("temperature", "salon", name) for name in ("2", "10", "", "x" * 200, "a:b", "\0", "é", "e\u0301")]
    custom = Series("radon", "cave", "7", "Bq/m³")
    for n, series in enumerate([*named, custom]):
        archive.write([T0], [n], series)
    assert archive.reader.series() == sorted([custom, *named])
    assert {series.unit for series in archive.reader.series()} == {"celsius", "Bq/m³"}
    assert [archive.read(series) for series in named] == [{T0: n} for n in range(len(named))]
    archive.write([T0], [1.0], Series("radon", "cave", "7"))
    assert [series.unit for series in archive.reader.series() if series == custom] == ["Bq/m³"]
    archive.write([T0], [1.0], Series("radon", "cave", "7", "pCi/L"))
    assert [series.unit for series in archive.reader.series() if series == custom] == ["pCi/L"]


def test_of_one_time_the_later_value_stands_also_within_one_call(archive: Archive) -> None:
    archive.write([T0 + 2, T0, T0 + 2, T0 + 1], [1, 2, 3, 4])
    assert archive.read() == {T0: 2, T0 + 1: 4, T0 + 2: 3}
    one, two = np.array([T0 + 1]), np.array([T0 + 1, T0 + 5])
    archive.writer.write([(SALON, one, np.array([5.0])), (OTHER, one, np.array([7.0])), (SALON, two, two / 1.0)])
    assert archive.read() == {T0: 2, T0 + 1: T0 + 1, T0 + 2: 3, T0 + 5: T0 + 5}
    assert archive.read(OTHER) == {T0 + 1: 7}


def test_keeping_leaves_what_is_there(archive: Archive) -> None:
    archive.write([T0, T0 + 2], [1, 2])
    archive.write([T0, T0 + 1], [8, 9], keep=True)
    assert archive.read() == {T0: 1, T0 + 1: 9, T0 + 2: 2}


def test_writing_again_writes_nothing(archive: Archive) -> None:
    times, values = hours(3)
    archive.write(times, values)
    archive.close()
    before = archive.path.read_bytes()
    archive.write(times, values)
    archive.write(times[70:80], values[70:80])
    archive.close()
    assert archive.path.read_bytes() == before


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_rejected_and_nothing_of_it_written(archive: Archive, value: float) -> None:
    archive.write([T0], [1])
    with pytest.raises(ArchiveRejected, match="not a finite"):
        archive.write([T0, T0 + 1], [2, value])
    assert archive.read() == {T0: 1}


def test_what_is_no_reading_is_rejected(archive: Archive) -> None:
    with pytest.raises(ArchiveRejected, match="no dates"):
        archive.write([2**60], [1])
    with pytest.raises(ArchiveRejected, match="times for"):
        archive.write([T0, T0 + 1], [1])
    with pytest.raises(ArchiveRejected, match="can't be stored"):
        archive.write([T0], [1], Series("temperature", "salon", "\ud800"))
    assert archive.write([], []) == ()


def test_times_before_the_epoch(archive: Archive) -> None:
    times = [-HOUR - 1, -HOUR, -1, 0, 1]
    archive.write(times, range(5))
    assert archive.read() == dict(zip(times, range(5), strict=True))
    assert archive.reader.summaries(SALON, -HOUR, 0).hours.tolist() == [-HOUR, 0]
    assert not list(archive.reader.check())


def test_an_hour_with_more_readings_than_a_block_holds(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iotd.stores.embedded.writer.MAX_READINGS", 100)
    expected: dict[int, float] = {}
    for times in (range(250), range(250, 260), range(255, 1000, 3), range(120, 130), range(0, 3000, 7)):
        archive.write([T0 + t for t in times], times)
        expected |= {T0 + t: float(t) for t in times}
        assert archive.read() == expected
    counts = [int.from_bytes(header[:8], "little") for (header,) in archive.sql("SELECT header FROM blocks")]
    assert counts[:-1] == [100] * (len(counts) - 1)
    summary = archive.reader.summaries(SALON, T0, T0)
    assert (summary.count.tolist(), summary.first.tolist(), summary.last.tolist()) == (
        [len(expected)],
        [T0],
        [max(expected)],
    )
    assert archive.writer.delete(SALON, T0 + 50, T0 + 2500)[0] == sum(50 <= t - T0 <= 2500 for t in expected)
    assert archive.read() == {t: v for t, v in expected.items() if not 50 <= t - T0 <= 2500}
    assert archive.sql("SELECT count(*) FROM blocks") == archive.sql("SELECT count(*) FROM columns")


def test_a_block_holds_65536_readings(archive: Archive) -> None:
    times = np.arange(T0, T0 + MAX_READINGS + 1)
    archive.write(times, times % 100)
    assert archive.sql("SELECT part FROM blocks") == [(0,), (1,)]
    assert archive.reader.summaries(SALON, T0, T0).count.tolist() == [MAX_READINGS + 1]


def test_deleting(archive: Archive) -> None:
    times, values = hours(4)
    archive.write(times, values)
    assert archive.writer.delete(OTHER, *FOREVER) == (0, ())
    assert archive.writer.delete(SALON, T0 + 1, T0 + 59_999) == (0, ())
    assert archive.writer.delete(SALON, T0 + 60_000, T0 + 3 * HOUR) == (180, ())
    assert list(archive.read()) == [T0, *range(T0 + 3 * HOUR + 60_000, T0 + 4 * HOUR, 60_000)]
    assert archive.sql("SELECT count(*) FROM columns") == [(2,)]


def test_nothing_is_found_where_nothing_is(archive: Archive) -> None:
    archive.write([T0 + 10], [1])
    for series, first, last in ((OTHER, T0, T0 + HOUR), (SALON, T0, T0 + 9), (SALON, T0 + 11, T0 + HOUR)):
        assert archive.read(series, first, last) == {}
        assert archive.reader.begins(series, first, last) is None
        assert not len(archive.reader.buckets(series, "avg", T0, 1000, first=first, last=last)[0])
    assert len(archive.reader.summaries(OTHER, T0, T0).hours) == 0


def test_a_reader_without_a_file_is_told(archive: Archive) -> None:
    with pytest.raises(ArchiveUnavailable, match="no such file"):
        archive.reader.series()


def test_every_file_has_a_name_of_its_own(archive: Archive) -> None:
    archive.write([T0], [1])
    name = archive.writer.incarnation()
    assert archive.reader.incarnation() == name
    archive.path.rename(archive.path.with_name("away"))
    archive.write([T0 + 1], [2])  # the series' number is not remembered from the other file
    assert archive.writer.incarnation() != name
    assert archive.read() == {T0 + 1: 2}


def test_a_file_of_another_format_is_refused(archive: Archive) -> None:
    archive.write([T0], [1])
    archive.sql("UPDATE meta SET value = '2' WHERE name = 'format'")
    for call in (archive.writer.incarnation, archive.reader.series, archive.read):
        with pytest.raises(ArchiveRefused, match="format '2'"):
            call()


def test_counts_of_a_location(archive: Archive) -> None:
    times, values = hours(3)
    archive.write(times, values)
    archive.write(times[:5], values[:5], OTHER)
    archive.write(times, values, Series("temperature", "cuisine", "1"))
    assert archive.reader.counts("salon", T0, T0 + 2 * HOUR, HOUR) == {
        SALON: {T0: 60, T0 + HOUR: 60, T0 + 2 * HOUR: 1},
        OTHER: {T0: 5},
    }


def test_whole_hours_are_summed_up_without_decoding(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    times, values = hours(48)
    archive.write(times, values)
    decoded: list[int] = []

    def counting(place: block.Place, *rest: Any) -> Any:
        decoded.append(place.hour)
        return block.decode(place, *rest)

    monkeypatch.setattr("iotd.stores.embedded.reader.decode", counting)
    found, _ = archive.reader.buckets(SALON, "avg", T0, 24 * HOUR, first=T0 + 1, last=T0 + 47 * HOUR)
    assert found.tolist() == [T0, T0 + 24 * HOUR]
    assert decoded == [T0, T0 + 47 * HOUR]
    archive.reader.buckets(SALON, "max", T0, HOUR, first=T0, last=T0 + 48 * HOUR)
    archive.reader.summaries(SALON, *FOREVER)
    assert archive.reader.begins(SALON, T0 + HOUR - 59_999, T0 + 9 * HOUR) == T0 + HOUR
    assert len(decoded) == 2


def test_sums_beyond_float64_are_infinite(archive: Archive) -> None:
    archive.write([T0, T0 + 1, T0 + 2], [1.7e308, 1.7e308, -1.0])
    assert archive.reader.summaries(SALON, T0, T0).sum.tolist() == [math.inf]


# -- damage --

DAMAGE: dict[str, Callable[[Archive, str], object]] = {
    "values": lambda archive, where: archive.flip("columns", "vals", f"id = {where}"),
    "times": lambda archive, where: archive.flip("columns", "times", f"id = {where}", at=20, bit=64),
    "column of another type": lambda a, where: a.sql(f"UPDATE columns SET vals = 5 WHERE id = {where}"),
    "columns gone": lambda a, where: a.sql(f"DELETE FROM columns WHERE id = {where}"),
    "header": lambda archive, _: archive.flip("blocks", "header", f"hour = {T0 + HOUR}", at=30),
    "header of another type": lambda a, _: a.sql("UPDATE blocks SET header = 'x' WHERE hour = ?", T0 + HOUR),
    "header of another hour": lambda a, _: a.sql(
        "UPDATE blocks SET header = (SELECT header FROM blocks WHERE hour = ?) WHERE hour = ?", T0, T0 + HOUR
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_block_is_named_and_the_others_go_on(archive: Archive, kind: str) -> None:
    times, values = hours(3)
    archive.write(times, values)
    archive.write(times, values, OTHER)
    expected = dict(zip(times.tolist(), values.tolist(), strict=True))
    archive.sql("DELETE FROM blocks WHERE series = 2 AND hour = ?", T0 + HOUR)  # so that `hour = …` names one row
    DAMAGE[kind](archive, str(block.Place(1, T0 + HOUR, 0).id))
    with pytest.raises(BlockDamaged, match=r"sensor:temperature:salon:1 from \d+-") as caught:
        archive.read()
    assert (caught.value.series, caught.value.hour) == (SALON, T0 + HOUR)
    skipped: list[ArchiveRefused] = []
    found, _ = archive.reader.samples(SALON, *FOREVER, skipped=skipped)
    rest = {t: v for t, v in expected.items() if not T0 + HOUR <= t < T0 + 2 * HOUR}
    assert (found.tolist(), len(skipped)) == (list(rest), 1)
    assert len(archive.read(OTHER)) == 120
    assert [type(damage) for damage in archive.reader.check()] == [BlockDamaged]

    # what is written next sets it aside, and begins the hour anew
    damage = archive.write([T0 + HOUR + 1, T0 + 1], [5, 6])
    assert [(d.series, d.hour) for d in damage if isinstance(d, BlockDamaged)] == [(SALON, T0 + HOUR)]
    assert archive.read() == rest | {T0 + HOUR + 1: 5, T0 + 1: 6}
    assert archive.sql("SELECT hour, part FROM damaged") == [(T0 + HOUR, 0)]
    assert not list(archive.reader.check())


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_flipped_bit_is_read_as_a_reading(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        archive = Archive(Path(folder))
        archive.write([T0 + n * 1000 for n in range(40)], np.round(np.sin(range(40)), 2))
        table, column = data.draw(st.sampled_from([("columns", "times"), ("columns", "vals"), ("blocks", "header")]))
        ((length,),) = archive.sql(f"SELECT length({column}) FROM {table}")
        archive.flip(table, column, "true", data.draw(st.integers(0, length - 1)), 1 << data.draw(st.integers(0, 7)))
        with pytest.raises(BlockDamaged):
            archive.read()
        archive.close()


def test_a_damaged_row_of_a_series_is_named_and_begun_anew(archive: Archive) -> None:
    archive.write([T0], [1])
    archive.write([T0], [2], OTHER)
    archive.sql("UPDATE series SET id = 2 WHERE sensor_id = '1'")  # it would be another's readings
    with pytest.raises(SeriesDamaged, match="salon"):
        archive.read()
    with pytest.raises(SeriesDamaged):
        archive.reader.series()
    skipped: list[ArchiveRefused] = []
    assert archive.reader.series(skipped=skipped) == [OTHER]
    assert archive.read(OTHER) == {T0: 2}
    assert [type(damage) for damage in archive.write([T0 + 1], [3])] == [SeriesDamaged]
    assert archive.read() == {T0 + 1: 3}
    assert archive.read(OTHER) == {T0: 2}
    assert [str(damage) for damage in archive.reader.check()] == [
        f"{archive.path}: 1 blocks of the series number 1, which is lost"
    ]


def test_a_damaged_page_is_an_error_of_ours(archive: Archive) -> None:
    times, values = hours(60)
    archive.write(times, values)
    archive.close()
    size = archive.path.stat().st_size // 4096
    for page in range(size):
        raw = bytearray(archive.path.read_bytes())
        raw[page * 4096 : page * 4096 + 4096] = bytes(4096)
        other = archive.path.with_name(f"copy{page}.db")
        other.write_bytes(raw)
        reader, writer = ArchiveReader(other), ArchiveWriter(other)
        for call in (
            lambda r=reader: r.samples(SALON, *FOREVER),
            lambda r=reader: list(r.check()),
            lambda w=writer: w.write([(SALON, times[::7], values[::7] + 1)]),
        ):
            try:
                call()
            except (ArchiveRefused, ArchiveUnavailable):
                continue
        reader.close()
        writer.close()


# -- against a model --

RUN = st.tuples(
    st.sampled_from([SALON, OTHER]),
    st.integers(0, 4 * HOUR // 1000),
    st.lists(st.tuples(st.integers(0, 90), st.floats(-1e6, 1e6)), max_size=25),
    st.sampled_from([1, 1000, 60_000]),
)


def made(run: tuple[Series, int, list[tuple[int, float]], int]) -> tuple[Series, Times, Values]:
    series, start, readings, step = run
    times = np.array([T0 + start * 1000 + offset * step for offset, _ in readings], np.int64)
    return series, times, np.array([value for _, value in readings], np.float64)


@given(
    calls=st.lists(st.tuples(st.lists(RUN, max_size=4), st.booleans()), min_size=1, max_size=6),
    cut=st.tuples(st.integers(0, 6 * HOUR), st.integers(0, 6 * HOUR)),
    limit=st.sampled_from([7, MAX_READINGS]),
    run=st.tuples(st.integers(-HOUR, HOUR), st.sampled_from([1000, 90_000, HOUR, 5 * HOUR // 2, 24 * HOUR])),
)
@settings(max_examples=60, deadline=None)
def test_any_writes_are_read_as_a_dictionary_would_have_them(
    calls: list[Any], cut: tuple[int, int], limit: int, run: tuple[int, int]
) -> None:
    model: dict[Series, dict[int, float]] = {SALON: {}, OTHER: {}}
    first, last = T0 + min(cut), T0 + max(cut)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("iotd.stores.embedded.writer.MAX_READINGS", limit)
        archive = Archive(Path(folder))
        archive.write([T0], [0.5])
        model[SALON][T0] = 0.5
        for runs, keep in calls:
            arrays = [made(run) for run in runs]
            assert archive.writer.write(arrays, keep=keep) == ()
            new: dict[Series, dict[int, float]] = {SALON: {}, OTHER: {}}
            for series, times, values in arrays:
                new[series].update(zip(times.tolist(), values.tolist(), strict=True))
            for series, readings in new.items():
                model[series] = readings | model[series] if keep else model[series] | readings
        for series, readings in model.items():
            assert archive.read(series) == readings
            inside = {t: v for t, v in sorted(readings.items()) if first <= t <= last}
            assert archive.read(series, first, last) == inside
            assert archive.reader.begins(series, first, last) == min(inside, default=None)
            check_summaries(archive, series, readings)
            for aggregation in get_args(Aggregation):
                check_buckets(archive, series, inside, aggregation, (T0 + run[0], run[1], first, last))
        deleted, _ = archive.writer.delete(SALON, first, last)
        kept = {t: v for t, v in model[SALON].items() if not first <= t <= last}
        assert (archive.read(), deleted) == (kept, len(model[SALON]) - len(kept))
        assert not list(archive.reader.check())
        archive.close()


def check_summaries(archive: Archive, series: Series, readings: dict[int, float]) -> None:
    found = archive.reader.summaries(series, *FOREVER)
    expected: dict[int, list[float]] = {}
    for t, v in sorted(readings.items()):
        expected.setdefault(t // HOUR * HOUR, []).append(v)
    assert found.hours.tolist() == list(expected)
    assert found.count.tolist() == [len(values) for values in expected.values()]
    assert found.min.tolist() == [min(values) for values in expected.values()]
    assert found.max.tolist() == [max(values) for values in expected.values()]
    assert found.first_value.tolist() == [values[0] for values in expected.values()]
    assert found.last_value.tolist() == [values[-1] for values in expected.values()]
    for hour, first, last in zip(found.hours.tolist(), found.first.tolist(), found.last.tolist(), strict=True):
        times = [t for t in readings if hour <= t < hour + HOUR]
        assert (first, last) == (min(times), max(times))
    for total, values in zip(found.sum.tolist(), expected.values(), strict=True):
        assert math.isclose(total, math.fsum(values), rel_tol=0, abs_tol=1e-12 * math.fsum(map(abs, values)))


EXACT: dict[str, Callable[[list[float]], float]] = {
    "min": min,
    "max": max,
    "count": len,
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
    "range": lambda values: max(values) - min(values),
}
ROUNDED: dict[str, Callable[[list[float]], float]] = {
    "sum": math.fsum,
    "avg": lambda values: math.fsum(values) / len(values),
    "std.p": lambda values: float(np.std(values)),
}


def check_buckets(
    archive: Archive,
    series: Series,
    inside: dict[int, float],
    aggregation: Aggregation,
    of: tuple[int, int, int, int],
) -> None:
    run_first, width, first, last = of
    expected: dict[int, list[float]] = {}
    for t, v in inside.items():
        expected.setdefault((t - run_first) // width * width + run_first, []).append(v)
    starts, values = archive.reader.buckets(series, aggregation, run_first, width, first=first, last=last)
    assert starts.tolist() == list(expected)
    for value, readings in zip(values.tolist(), expected.values(), strict=True):
        if aggregation in EXACT:
            assert value == EXACT[aggregation](readings)
            continue
        scale = math.fsum(map(abs, readings))
        tolerance = 1e-7 if aggregation == "std.p" else 1e-12  # a square root of what rounds to almost nothing
        assert math.isclose(value, ROUNDED[aggregation](readings), rel_tol=0, abs_tol=tolerance * scale)


# -- other processes --

READER = """
import sys
from pathlib import Path
from iotd.model.series import Series
from iotd.stores.embedded.reader import ArchiveReader
reader, series, seen = ArchiveReader(Path(sys.argv[1])), Series("temperature", "salon", "1"), 0
print("ready", flush=True)
while seen < int(sys.argv[3]):
    times, values = reader.samples(series, 0, 2**52)
    summary = reader.summaries(series, 0, 2**52)
    assert len(times) >= seen and len(times) % 100 == 0 and (values == times - int(sys.argv[2])).all()
    assert summary.count.sum() >= len(times)
    seen = len(times)
print(seen)
"""


def test_another_process_reads_while_it_is_written(archive: Archive) -> None:
    archive.write([T0 + n * 9000 for n in range(100)], [n * 9000 for n in range(100)])
    command = [sys.executable, "-c", READER, str(archive.path), str(T0), "6000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for call in range(1, 60):
            offsets = np.arange(call * 100, call * 100 + 100) * 9000
            archive.write(T0 + offsets, offsets)
        assert process.stdout.read() == "6000\n"
    assert process.returncode == 0


def test_a_reader_alone_reads_what_a_writer_left(archive: Archive) -> None:
    archive.write([T0], [1])
    archive.writer.close()
    assert archive.read() == {T0: 1}
