"""Shard and archive joined: whatever has happened to both, every reading once, with its last value."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from iotd.query.join import Known, Part, Range, Reach, assemble, missing, overtaken, parts
from tests.unit.worlds import END, RETENTION, World, events, lived, with_loss


def query(world: World, known: Known, reach: Reach, first: int, last: int) -> dict[int, float]:
    plan = parts(known, reach, first, last)
    held = [_samples(world.shard, part.first, part.last) for part in plan if part.source != "archive"]
    found = assemble(plan, held, _samples(world.archive, first, last) if reach.archive else None)
    if found is None:
        return {}
    times, values = found
    assert (np.diff(times) > 0).all(), "a reading came twice, or out of order"
    return dict(zip(times.tolist(), values.tolist(), strict=True))


def _samples(store: dict[int, float], first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    inside = sorted(t for t in store if first <= t <= last)
    return np.array(inside, np.int64), np.array([store[t] for t in inside], np.float64)


ranges = st.tuples(st.integers(0, END), st.integers(0, END)).map(sorted)


def within(truth: dict[int, float], first: int, last: int) -> dict[int, float]:
    return {t: v for t, v in truth.items() if first <= t <= last}


@settings(max_examples=400, deadline=None)
@given(st.lists(with_loss, max_size=25), ranges)
def test_with_watermarks_every_reading_comes_once_with_its_last_value(
    history: list[tuple[str, int, float]], span: list[int]
) -> None:
    world = lived(history)
    found = query(world, world.known(watermarks=True), Reach(), *span)
    assert found == within(world.truth, *span)


@settings(max_examples=300, deadline=None)
@given(st.lists(events, max_size=25), ranges)
def test_without_watermarks_the_shards_first_reading_is_the_boundary(
    history: list[tuple[str, int, float]], span: list[int]
) -> None:
    world = lived(history)
    found = query(world, world.known(watermarks=False), Reach(), *span)
    assert found == within(world.truth, *span)


@settings(max_examples=300, deadline=None)
@given(st.lists(with_loss, max_size=25), st.lists(events, max_size=5), ranges)
def test_a_plan_stays_right_while_watermarks_and_retention_move_on(
    history: list[tuple[str, int, float]], meanwhile: list[tuple[str, int, float]], span: list[int]
) -> None:
    world = lived(history)
    known, before = world.known(watermarks=True), within(world.truth, *span)
    for kind, number, value in meanwhile:
        if kind == "live" and max(world.truth, default=0) + number < (known.mark or 0) + RETENTION:
            for _ in range(number):
                world.live(value)
        elif kind == "archived":
            world.archived(number)
    found = query(world, known, Reach(), *span)
    assert before.items() <= found.items()
    assert found.items() <= within(world.truth, *span).items()


@settings(max_examples=300, deadline=None)
@given(st.lists(with_loss, max_size=25), ranges, st.booleans(), st.booleans())
def test_whatever_is_not_there_while_one_is_away_is_named_as_missing(
    history: list[tuple[str, int, float]], span: list[int], shard: bool, watermarks: bool
) -> None:
    world = lived(history)
    known, reach = world.known(watermarks=watermarks), Reach(shard=shard, archive=not shard)
    # a shard alone may lack, behind its first reading, only what it lost together with its nodes
    if shard and known.first is not None:
        world.truth = {t: v for t, v in world.truth.items() if t < known.first or t in world.shard}
    found = query(world, known, reach, *span)
    holes = missing(known, reach, *span)
    for time, value in within(world.truth, *span).items():
        assert found.get(time) == value or any(hole.within(time, time) for hole in holes), time


@given(
    st.one_of(st.none(), st.integers(0, END)),
    st.lists(st.tuples(st.integers(0, END), st.integers(0, 20)), max_size=4),
    st.one_of(st.none(), st.integers(0, END)),
    st.sampled_from([Reach(), Reach(shard=False), Reach(archive=False)]),
    ranges,
)
def test_parts_touch_and_never_overlap(
    mark: int | None, dirtied: list[tuple[int, int]], first: int | None, reach: Reach, span: list[int]
) -> None:
    dirty = tuple(Range(a, a + length) for a, length in dirtied)
    at = span[0]
    for part in parts(Known(mark, dirty, first), reach, *span):
        assert part.first == at <= part.last
        at = part.last + 1
    assert at == span[1] + 1


def test_what_retention_took_between_plan_and_reading_is_asked_of_the_archive() -> None:
    known = Known(first=100)
    part = Part(100, 200, "shard")
    assert overtaken(known, part, first_now=100) is None
    assert overtaken(known, part, first_now=130) == Range(100, 129)
    assert overtaken(known, part, first_now=500) == Range(100, 200)
    assert overtaken(known, part, first_now=None) == Range(100, 200)
    assert overtaken(known, Part(150, 200, "shard"), first_now=130) is None


def test_nobody_to_ask_leaves_everything_missing() -> None:
    nobody = Reach(shard=False, archive=False)
    assert parts(Known(), nobody, 0, 9) == []
    assert missing(Known(), nobody, 0, 9) == [Range(0, 9)]


def test_what_the_archive_took_beyond_its_watermark_is_asked_for_where_the_shard_has_nothing() -> None:
    known = Known(mark=50, first=100)  # retention passed the watermark, or the shard came back empty
    assert parts(known, Reach(), 0, 200) == [Part(0, 99, "archive"), Part(100, 200, "shard")]
