"""Watermarks: never back, by sink; dirty ranges: none forgotten, whatever is marked and cleaned meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from iotd.archive.watermarks import Watermarks
from iotd.model.errors import ArchiveUnavailable
from iotd.model.series import Series

SALON = Series("temperature", "salon", "1")
OTHER = Series("humidity", "salon", "2")


@given(moves=st.lists(st.tuples(st.sampled_from([SALON, OTHER]), st.integers(0, 1_000)), max_size=20))
@settings(max_examples=30)
def test_a_watermark_is_the_highest_that_was_acknowledged(
    moves: list[tuple[Series, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("marks") / "watermarks.sqlite"
    marks = Watermarks(path)
    for sensor, ms in moves:
        marks.move("a", {sensor: ms})
    marks.close()
    again = Watermarks(path)
    expected = {sensor: max(ms for s, ms in moves if s == sensor) for sensor in {s for s, _ in moves}}
    assert again.marks("a", [SALON, OTHER]) == expected
    assert again.marks("b", [SALON, OTHER]) == {}
    again.close()


spans = st.tuples(st.integers(0, 100), st.integers(0, 20)).map(lambda s: (s[0], s[0] + s[1]))


@example(marked=[(20, 30), (10, 20)])
@example(marked=[(10, 20), (20, 30)])
@given(marked=st.lists(spans, min_size=1, max_size=15))
@settings(max_examples=40)
def test_dirty_ranges_cover_exactly_what_was_marked_and_never_overlap(
    marked: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    marks = Watermarks(tmp_path_factory.mktemp("marks") / "watermarks.sqlite")
    marks.use("a")
    for first, last in marked:
        marks.mark_dirty("salon", first, last)
    ranges = marks.dirty("a", "salon")
    covered = [t for r in ranges for t in range(r.first, r.last + 1)]
    assert sorted(covered) == sorted({t for first, last in marked for t in range(first, last + 1)})
    assert marks.dirty("a", "cuisine") == []
    assert marks.dirty("b", "salon") == []
    marks.close()


def test_a_range_that_was_marked_again_while_it_was_archived_stays(tmp_path: Path) -> None:
    marks = Watermarks(tmp_path / "watermarks.sqlite")
    marks.use("a")
    marks.mark_dirty("salon", 10, 20)
    (stain,) = marks.dirty("a", "salon")
    marks.mark_dirty("salon", 15, 30)
    marks.cleaned(stain, stain.last, marks.epoch)
    (left,) = marks.dirty("a", "salon")
    assert (left.first, left.last) == (10, 30)
    marks.cleaned(left, 14, marks.epoch)
    (left,) = marks.dirty("a", "salon")
    assert (left.first, left.last) == (15, 30)
    marks.cleaned(left, 30, marks.epoch)
    assert marks.dirty("a", "salon") == []
    marks.close()


def test_every_sink_ever_used_learns_of_a_dirty_range_also_after_a_restart(tmp_path: Path) -> None:
    marks = Watermarks(tmp_path / "watermarks.sqlite")
    marks.use("a")
    marks.close()
    marks = Watermarks(tmp_path / "watermarks.sqlite")
    marks.use("b")
    marks.mark_dirty("salon", 10, 20)
    assert [len(marks.dirty(sink, "salon")) for sink in ("a", "b", "c")] == [1, 1, 0]
    marks.close()


def test_a_store_that_was_made_anew_has_nothing_and_what_was_read_for_the_old_one_is_refused(tmp_path: Path) -> None:
    marks = Watermarks(tmp_path / "watermarks.sqlite")
    marks.use("a")
    assert not marks.incarnate("a", "first")
    marks.move("a", {SALON: 5})
    marks.mark_dirty("salon", 1, 2)
    epoch = marks.epoch
    assert not marks.incarnate("a", "first")
    assert marks.incarnate("a", "second")
    assert marks.marks("a", [SALON]) == {}
    assert marks.dirty("a", "salon") == []
    with pytest.raises(ArchiveUnavailable, match="begun anew"):
        marks.move("a", {SALON: 6}, epoch)
    assert marks.marks("a", [SALON]) == {}
    marks.close()
