"""Handing over: what can be kept goes into the spool, what can't be stored into the dead letters, nothing away."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotd.config import Tree
from iotd.model.roster import Batch, Roster
from iotd.pipeline.queue import Queue
from iotd.sources.source import Span
from iotd.wire.commands import elements

NOW = 1_790_000_000_000
ROSTER = Roster.of("salon", ["temperature"], 2)
TREE = Tree.model_validate({"spool": {"sync": "normal"}})


def batch(readings: list[tuple[int, int, float]]) -> Batch:
    series, times, values = zip(*readings, strict=True) if readings else ((), (), ())
    return Batch(ROSTER, np.array(series, np.int32), np.array(times, np.int64), np.array(values, np.float64))


@asynccontextmanager
async def opened(state: Path) -> AsyncIterator[Queue]:
    queue = Queue(TREE, state, [ROSTER, Roster.of("cuisine", ["humidity"], 1)], now_ms=lambda: NOW)
    try:
        yield queue
    finally:
        await queue.close()


async def kept(queue: Queue) -> list[tuple[str, int, float]]:
    lane = queue.lanes["salon"]
    found = []
    while lane._cursor < lane.handed:
        for entry in await asyncio.wait_for(lane.next(1_000_000), 10):
            found += [(e.key, e.time, float(e.value)) for command in elements(entry.packed.payload) for e in command]
    return found


def letters(state: Path) -> list[dict[str, Any]]:
    path = state / "dead-letters" / "readings.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def test_a_reading_from_the_future_goes_to_the_dead_letters_and_the_rest_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        await queue.put(batch([(0, NOW, 20.5), (1, NOW + 60_000, 20.6), (0, NOW + 60_001, 20.7)]))
        assert await kept(queue) == [
            ("sensor:temperature:salon:1", NOW, 20.5),
            ("sensor:temperature:salon:2", NOW + 60_000, 20.6),
        ]
        assert queue.position("salon") == Span(NOW, NOW + 60_000)
    (letter,) = letters(tmp_path)
    assert (letter["location"], letter["key"]) == ("salon", "sensor:temperature:salon:1")
    assert (letter["time"], letter["value"]) == (NOW + 60_001, "20.7")
    assert letter["reason"] == "more than 60000 ms in the future"


async def test_a_batch_of_which_nothing_can_be_kept_leaves_the_lane_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        await queue.put(batch([(0, NOW, math.nan), (1, NOW + 10**9, math.inf)]))
        await queue.put(batch([]))
        assert queue.lanes["salon"].handed == 0
        assert queue.position("salon") is None
    assert [letter["reason"] for letter in letters(tmp_path)] == ["not a finite number"] * 2


async def test_what_can_not_be_written_to_the_dead_letters_is_not_taken_over(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        (tmp_path / "dead-letters").write_text("a file where the folder is to be")
        with pytest.raises(OSError, match="dead-letters"):
            await queue.put(batch([(0, NOW, math.nan), (1, NOW, 20.0)]))
        assert queue.lanes["salon"].handed == 0


async def test_a_batch_goes_into_the_lane_of_its_location(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        await queue.put(batch([(0, NOW, 20.5)]))
        assert queue.lanes["cuisine"].handed == 0
        assert queue.position("cuisine") is None


readings = st.lists(
    st.tuples(st.integers(0, 1), st.integers(NOW - 10_000, NOW + 120_000), st.floats(width=32)), max_size=30
)


@settings(max_examples=30)
@given(some=readings)
def test_every_reading_is_either_kept_as_it_is_or_a_dead_letter(
    some: list[tuple[int, int, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    state = tmp_path_factory.mktemp("queue")
    some = sorted(some, key=lambda reading: reading[1])

    async def play() -> list[tuple[str, int, float]]:
        async with opened(state) as queue:
            await queue.put(batch(some))
            return await kept(queue)

    in_lane = asyncio.run(play())
    sound = [r for r in some if math.isfinite(r[2]) and r[1] <= NOW + 60_000]
    assert in_lane == [(ROSTER[series].key, time, value) for series, time, value in sound]
    dead = letters(state)
    assert len(dead) == len(some) - len(sound)
    assert sorted((d["time"], d["value"]) for d in dead) == sorted(
        (time, repr(value)) for series, time, value in some if (series, time, value) not in sound
    )


async def test_who_reads_for_the_archive_waits_for_what_was_handed_over_before_and_for_nothing_later(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as queue:
        await asyncio.wait_for(queue.written("salon", 60), 10)  # nothing waits: at once
        await queue.put(batch([(0, NOW, 20.5)]))
        waiting = asyncio.create_task(queue.written("salon", 60))
        await queue.put(batch([(0, NOW + 1, 20.6)]))
        assert not waiting.done()
        await queue.lanes["salon"].apply(1)
        await asyncio.wait_for(waiting, 10)
        await asyncio.wait_for(queue.written("salon", 0.01), 10)  # not for ever, when the shard takes nothing
        assert queue.lanes["salon"].applied == 1
