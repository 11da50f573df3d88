"""What was verified: counts by series and hour, kept small, and forgotten whenever something changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotd.archive.state import ArchiveState
from iotd.model.buckets import HOUR
from iotd.model.series import Series
from iotd.query.marks import read_marks

SALON = Series("temperature", "salon", "1")
OTHER = Series("humidity", "salon", "a b:c")
KITCHEN = Series("humidity", "cuisine", "2")
DAY = 24 * HOUR
FOREVER = (-(2**52), 2**52)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[ArchiveState]:
    state = ArchiveState(tmp_path / "watermarks.sqlite")
    state.use("a")
    yield state
    state.close()


def note(state: ArchiveState, series: Series, hours: dict[int, int], store: str = "a") -> None:
    state.note_verified(store, {series: hours}, since=state.forgotten)


def test_counts_are_kept_by_store_series_and_hour_and_found_by_range(state: ArchiveState) -> None:
    note(state, SALON, {0: 3600, HOUR: 3599, 30 * HOUR: 1})
    note(state, OTHER, {0: 7})
    note(state, KITCHEN, {0: 8})
    note(state, SALON, {0: 5}, "b")
    assert state.verified("a", "salon", *FOREVER) == {SALON: {0: 3600, HOUR: 3599, 30 * HOUR: 1}, OTHER: {0: 7}}
    assert state.verified("a", "salon", HOUR + 5, 29 * HOUR) == {SALON: {HOUR: 3599}}
    assert state.verified("a", "salon", HOUR - 1, HOUR - 1) == {SALON: {0: 3600}, OTHER: {0: 7}}
    assert state.verified("b", "salon", *FOREVER) == {SALON: {0: 5}}
    note(state, SALON, {HOUR: 4000, 0: 3000})  # more, and fewer
    assert state.verified("a", "salon", *FOREVER)[SALON] == {0: 3000, HOUR: 4000, 30 * HOUR: 1}


operations = st.lists(
    st.tuples(st.sampled_from(["note", "dirty", "purpose"]), st.integers(-30, 60), st.integers(0, 30)), max_size=12
)


@given(operations=operations)
@settings(max_examples=60, deadline=None)
def test_what_changes_is_forgotten_and_nothing_else(
    operations: list[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with closing(ArchiveState(tmp_path_factory.mktemp("state") / "watermarks.sqlite")) as state:
        state.use("a")
        model: dict[int, int] = {}
        dirty: set[int] = set()
        for n, (kind, first, length) in enumerate(operations, 1):
            hours = range(first, first + length + 1)
            if kind == "note":
                note(state, SALON, {hour * HOUR: n for hour in hours})
                model |= {hour: n for hour in hours if hour not in dirty}
            else:
                begin, end = first * HOUR + 5, (first + length) * HOUR + 5
                if kind == "dirty":
                    state.note_dirty([(SALON, begin, end)])
                    dirty |= set(hours)
                else:
                    state.forget_verified(SALON, begin, end)
                model = {hour: count for hour, count in model.items() if hour not in hours}
            found = state.verified("a", "salon", *FOREVER).get(SALON, {})
            assert found == {hour * HOUR: count for hour, count in model.items()}


def test_what_changed_while_it_was_verified_is_not_noted(state: ArchiveState) -> None:
    since = state.forgotten
    state.note_dirty([(SALON, 5, 6)])
    state.cleaned([(one, one.last) for one in state.dirty("a", "salon")], state.epoch)
    state.note_verified("a", {SALON: {0: 10}, OTHER: {0: 11}}, since=since)
    assert state.verified("a", "salon", *FOREVER) == {OTHER: {0: 11}}
    since = state.forgotten
    state.forget_verified(OTHER, 5, 6)
    state.note_verified("a", {SALON: {0: 10}, OTHER: {0: 12}}, since=since)
    assert state.verified("a", "salon", *FOREVER) == {SALON: {0: 10}}


def test_another_making_of_the_store_forgets_and_a_renamed_location_keeps(state: ArchiveState) -> None:
    state.incarnate("a", "one")
    note(state, SALON, {0: 3600})
    note(state, SALON, {0: 9}, "b")
    state.rename("salon", "sejour")
    state.rename("salon", "sejour")
    assert state.verified("a", "salon", *FOREVER) == {}
    assert state.verified("a", "sejour", *FOREVER) == {Series("temperature", "sejour", "1"): {0: 3600}}
    state.incarnate("a", "two")
    assert state.verified("a", "sejour", *FOREVER) == {}
    assert len(state.verified("b", "sejour", *FOREVER)) == 1


def test_the_reading_at_a_watermark_is_present_unless_something_is_known_of_it(state: ArchiveState) -> None:
    state.move("a", {SALON: 50, OTHER: 60, KITCHEN: 70})
    assert state.present("a", "salon") == {SALON: 50, OTHER: 60}
    state.forget_verified(SALON, 51, 99)
    state.reject("a", [(OTHER, 60)])
    assert state.present("a", "salon") == {SALON: 50}
    state.forget_verified(SALON, 40, 50)
    state.accept("a", [(OTHER, 60)])
    assert state.present("a", "salon") == {OTHER: 60}
    state.move("a", {SALON: 51})
    state.note_dirty([(OTHER, 55, 60)])
    assert state.present("a", "salon") == {SALON: 51, OTHER: 60}


def test_a_query_reads_the_same_from_the_file(state: ArchiveState) -> None:
    note(state, SALON, {0: 3600, 2 * DAY: 5})
    state.move("a", {SALON: 50})
    marks = read_marks(state.path.parent, "a")
    assert marks is not None
    assert marks.present == {SALON.key: 50}
    assert marks.verified(["salon", "cuisine"], *FOREVER) == {SALON: {0: 3600, 2 * DAY: 5}}
    assert marks.verified(["cuisine"], *FOREVER) == {}
    other = read_marks(state.path.parent, "b")
    assert other is not None
    assert (other.elsewhere, list(other.gone)) == ("a", [SALON.key])


def test_a_file_of_before_is_taken_over_and_counts_that_are_damaged_are_unknown(tmp_path: Path) -> None:
    with closing(ArchiveState(tmp_path / "watermarks.sqlite")) as state:
        note(state, SALON, {0: 3600})
    with closing(sqlite3.connect(tmp_path / "watermarks.sqlite")) as db:
        db.execute("UPDATE verified SET counts = x'00'")
        db.commit()
    marks = read_marks(tmp_path, "a")
    assert marks is not None
    assert marks.verified(["salon"], *FOREVER) == {}
    with closing(sqlite3.connect(tmp_path / "watermarks.sqlite")) as db:
        for table in ("verified", "verified_series", "absent"):
            db.execute(f"DROP TABLE {table}")
        db.execute("INSERT INTO watermarks VALUES ('a', ?, 50)", (SALON.key,))
        db.commit()
    marks = read_marks(tmp_path, "a")
    assert marks is not None
    assert (marks.marks, marks.present, marks.verified(["salon"], *FOREVER)) == ({SALON.key: 50}, {}, {})
    with closing(ArchiveState(tmp_path / "watermarks.sqlite")) as state:
        assert state.verified("a", "salon", *FOREVER) == {}


def test_a_year_of_45_series_takes_about_a_megabyte(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    with closing(ArchiveState(tmp_path / "watermarks.sqlite")) as state:
        series = [Series(kind, "salon", str(n)) for kind in ("temperature", "humidity", "gas") for n in range(15)]
        for day in range(0, 360, 30):
            hours = [DAY * day + HOUR * n for n in range(24 * 30)]
            found = {
                one: dict(zip(hours, (3600 - rng.integers(0, 2, len(hours))).tolist(), strict=True)) for one in series
            }
            state.note_verified("a", found, since=state.forgotten)
    assert (tmp_path / "watermarks.sqlite").stat().st_size < 1_500_000
