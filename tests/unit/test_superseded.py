"""Two values for one series and millisecond: the later stands, and each earlier one is held, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.daemon.replay import Replayed, replay
from iotd.intake.superseded import superseded
from tests.unit.test_intake import NOW, READINGS, batch, opened
from tests.unit.test_observer import NORTH, Observing, piece


@pytest.fixture
async def observing(tmp_path: Path) -> AsyncIterator[Observing]:
    async with opened(tmp_path) as rig:
        yield Observing(rig)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(5, 8), st.sampled_from([1.0, 2.0])), max_size=12),
    st.lists(st.tuples(st.integers(4, 7), st.sampled_from([1.0, 2.0, float("nan")])), min_size=3, max_size=3),
)
def test_what_no_longer_stands_is_found_with_its_value(readings: READINGS, newest: list[tuple[int, float]]) -> None:
    times, values = np.array([t for t, _ in newest], np.int64), np.array([v for _, v in newest])
    standing = {(n, t): v for n, (t, v) in enumerate(newest)}
    within = []
    final = {(n, t): v for n, t, v in readings}
    before = [(n, t, v) for (n, t), v in standing.items() if not np.isnan(v) and final.get((n, t), v) != v]
    for at, (n, t, v) in enumerate(readings):
        later = [value for number, time, value in readings[at + 1 :] if (number, time) == (n, t)]
        if later and later[0] != v:
            within.append((n, t, v))
    found = superseded(batch(readings), times, values)
    rows = list(zip(found.series.tolist(), found.times.tolist(), found.values.tolist(), strict=True))
    assert sorted(rows[: len(before)]) == sorted(before)
    assert sorted(rows[len(before) :]) == sorted(within)


async def held_values(observing: Observing) -> list[tuple[str, bytes]]:
    return [(one.reason, one.payload.rpartition(b'"value":')[2].split(b",")[0]) for one in await observing.rig.held()]


async def test_the_earlier_value_is_held_and_a_repeat_changes_nothing(observing: Observing) -> None:
    first, second = replace(NORTH, value=20.5, time=NOW - 5), replace(NORTH, value=20.75, time=NOW - 5)
    for _ in range(3):  # the sender does not know that it was taken
        await observing.take([piece(first, second)])
        assert await held_values(observing) == [("superseded", b"20.5")]
    assert observing.rig.catalogue.latest(0) == 20.75
    await observing.take([piece(second)])
    await observing.take([piece(replace(first, value=20.25))])
    assert await held_values(observing) == [("superseded", b"20.5"), ("superseded", b"20.75")]
    assert (await observing.values())[-1] == (NOW - 5, 20.25)


async def test_one_reading_at_a_time_is_found_too(observing: Observing) -> None:
    source, catalogue = observing.source, observing.rig.catalogue
    await source.register([observing.rig.intake.world.resolver.resolve(NORTH.subject)[0]])
    for value in (20.0, 20.0, 21.0):
        await (await source.add("salon", 0, NOW, value))
    assert (catalogue.latest(0), await held_values(observing)) == (21.0, [("superseded", b"20.0")])


@pytest.mark.parametrize("way", ["put", "observe", "one by one"])
async def test_of_many_that_speak_at_once_all_but_the_last_are_held(observing: Observing, way: str) -> None:
    source = observing.source
    await source.register([observing.rig.intake.world.resolver.resolve(NORTH.subject)[0]])

    async def speak(value: float) -> None:
        if way == "put":
            await source.put(batch([(0, NOW, value)]))
        elif way == "observe":
            await observing.take([piece(replace(NORTH, value=value, time=NOW))])
        else:
            await (await source.add("salon", 0, NOW, value))

    values = [20.0 + n / 4 for n in range(12)]
    await asyncio.gather(*map(speak, values))
    order = [value for time, value in await observing.values() if time == NOW]
    assert sorted(order) == values
    assert observing.rig.catalogue.latest(0) == order[-1]
    held = [float(payload) for _, payload in await held_values(observing)]
    assert sorted(held) == sorted(order[:-1])


async def test_what_was_superseded_is_tried_again_only_when_it_is_asked_for(observing: Observing) -> None:
    await observing.take([piece(replace(NORTH, time=NOW), replace(NORTH, value=3.0, time=NOW))])
    assert await replay(observing.rig.intake, {}) == Replayed()
    assert await replay(observing.rig.intake, {}, reason="superseded") == Replayed(taken=1)
    assert (await observing.values())[-1] == (NOW, 21.5)
    assert await held_values(observing) == [("superseded", b"3.0")]
