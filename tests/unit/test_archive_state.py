"""Watermarks: never back, by store; dirty ranges: none forgotten, whatever is noted and cleaned meanwhile."""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from iotd.archive.state import ArchiveState, Proven
from iotd.model.errors import ArchiveUnavailable
from iotd.model.series import Series

SALON = Series("temperature", "salon", "1")
OTHER = Series("humidity", "salon", "2")
KITCHEN = Series("humidity", "cuisine", "2")


@given(moves=st.lists(st.tuples(st.sampled_from([SALON, OTHER, KITCHEN]), st.integers(0, 1_000)), max_size=20))
@settings(max_examples=30)
def test_a_watermark_is_the_highest_that_was_acknowledged(
    moves: list[tuple[Series, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("state") / "watermarks.sqlite"
    state = ArchiveState(path)
    for series, ms in moves:
        state.move("a", {series: ms})
    state.close()
    again = ArchiveState(path)
    for location in ("salon", "cuisine"):
        here = {s for s, _ in moves if s.location == location}
        assert again.watermarks("a", location) == {s: max(ms for o, ms in moves if o == s) for s in here}
    assert again.watermarks("b", "salon") == {}
    again.close()


spans = st.tuples(st.sampled_from([SALON, OTHER]), st.integers(0, 100), st.integers(0, 20)).map(
    lambda s: (s[0], s[1], s[1] + s[2])
)


@example(noted=[(SALON, 20, 30), (SALON, 10, 20)])
@example(noted=[(SALON, 10, 20), (SALON, 21, 30)])
@given(noted=st.lists(spans, min_size=1, max_size=15))
@settings(max_examples=40)
def test_dirty_ranges_cover_exactly_what_was_noted_of_each_series_and_never_touch(
    noted: list[tuple[Series, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    state = ArchiveState(tmp_path_factory.mktemp("state") / "watermarks.sqlite")
    state.use("a")
    state.note_dirty(noted[:5])
    for one in noted[5:]:
        state.note_dirty([one])
    ranges = state.dirty("a", "salon")
    for series in (SALON, OTHER):
        mine = [r for r in ranges if r.series == series]
        covered = [t for r in mine for t in range(r.first, r.last + 1)]
        assert covered == sorted({t for s, first, last in noted if s == series for t in range(first, last + 1)})
        assert all(later.first > earlier.last + 1 for earlier, later in itertools.pairwise(mine))
    assert state.dirty("a", "cuisine") == []
    assert state.dirty("b", "salon") == []
    state.close()


def test_a_range_that_was_noted_again_while_it_was_archived_stays(tmp_path: Path) -> None:
    state = ArchiveState(tmp_path / "watermarks.sqlite")
    state.use("a")
    state.note_dirty([(SALON, 10, 20), (OTHER, 10, 20)])
    other, before = state.dirty("a", "salon")
    state.note_dirty([(SALON, 15, 30)])
    state.cleaned([(before, 20), (other, 20)], state.epoch)
    (left,) = state.dirty("a", "salon")
    assert (left.series, left.first, left.last) == (SALON, 10, 30)
    state.cleaned([(left, 14)], state.epoch)
    (left,) = state.dirty("a", "salon")
    assert (left.first, left.last) == (15, 30)
    state.cleaned([(left, 9)], state.epoch)
    assert state.dirty("a", "salon") == [left]
    state.cleaned([(left, 30)], state.epoch)
    assert state.dirty("a", "salon") == []
    state.close()


def test_every_store_ever_used_learns_of_a_dirty_range_also_after_a_restart(tmp_path: Path) -> None:
    state = ArchiveState(tmp_path / "watermarks.sqlite")
    state.use("a")
    state.close()
    state = ArchiveState(tmp_path / "watermarks.sqlite")
    state.use("b")
    state.note_dirty([(SALON, 10, 20)])
    assert [len(state.dirty(store, "salon")) for store in ("a", "b", "c")] == [1, 1, 0]
    state.close()


def test_a_store_that_was_made_anew_has_nothing_and_what_was_read_for_the_old_one_is_refused(tmp_path: Path) -> None:
    state = ArchiveState(tmp_path / "watermarks.sqlite")
    state.use("a")
    assert not state.incarnate("a", "first")
    state.move("a", {SALON: 5})
    state.note_dirty([(SALON, 1, 2)])
    epoch = state.epoch
    state.prove("a", "log", "salon", Proven("0-x", 7, "monday"), {SALON: 7}, epoch=epoch)
    assert state.proven("a", "log", "salon") == Proven("0-x", 7, "monday")
    assert not state.incarnate("a", "first")
    assert state.incarnate("a", "second")
    assert state.watermarks("a", "salon") == {}
    assert state.dirty("a", "salon") == []
    assert state.proven("a", "log", "salon") is None
    with pytest.raises(ArchiveUnavailable, match="begun anew"):
        state.move("a", {SALON: 6}, epoch)
    with pytest.raises(ArchiveUnavailable, match="begun anew"):
        state.prove("a", "log", "salon", Proven("0-x", 8, "monday"), {SALON: 8}, epoch=epoch)
    assert state.watermarks("a", "salon") == {}
    state.close()


def test_dirty_ranges_of_a_whole_location_become_those_of_its_series(tmp_path: Path) -> None:
    path = tmp_path / "watermarks.sqlite"
    with closing(sqlite3.connect(path)) as db:  # as 0.1 made it
        db.executescript(
            "CREATE TABLE sinks (sink TEXT PRIMARY KEY) WITHOUT ROWID;"
            "CREATE TABLE watermarks (sink TEXT NOT NULL, key TEXT NOT NULL, ms INTEGER NOT NULL,"
            " PRIMARY KEY (sink, key)) WITHOUT ROWID;"
            "CREATE TABLE dirty (id INTEGER PRIMARY KEY AUTOINCREMENT, sink TEXT NOT NULL, location TEXT NOT NULL,"
            " first INTEGER NOT NULL, last INTEGER NOT NULL);"
            "INSERT INTO sinks VALUES ('a'), ('b');"
            f"INSERT INTO watermarks VALUES ('a', '{SALON.key}', 50), ('a', '{OTHER.key}', 60),"
            f" ('a', '{KITCHEN.key}', 70), ('b', '{SALON.key}', 80);"
            "INSERT INTO dirty (sink, location, first, last) VALUES ('a', 'salon', 10, 20), ('a', 'salon', 30, 40);"
        )
        db.commit()
    for _ in range(2):
        state = ArchiveState(path)
        assert state.watermarks("a", "salon") == {SALON: 50, OTHER: 60}
        assert [(d.series, d.first, d.last) for d in state.dirty("a", "salon")] == [
            (OTHER, 10, 20),
            (OTHER, 30, 40),
            (SALON, 10, 20),
            (SALON, 30, 40),
        ]
        assert state.dirty("a", "cuisine") == state.dirty("b", "salon") == []
        state.close()
