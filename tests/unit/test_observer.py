"""Observations into the log: once each, with the value and the time that they have, and nothing falls between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iotd.daemon.replay import replay
from iotd.intake.observer import Counts
from iotd.model.errors import Refused, StateError
from iotd.model.held import Held
from iotd.model.observation import Message, Names, Observation, Piece, Pieces
from iotd.sources.base import Trouble
from iotd.sources.http.pieces import json_pieces
from tests.intakes import world
from tests.unit.test_intake import NOW, Rig, opened


class Observing:
    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.source = rig.intake.of("http")

    async def take(self, messages: Sequence[Message], key: str | None = None, **more: Any) -> Sequence[Held]:
        return await (await self.source.observe(messages, key=key, **more))

    async def values(self, location: str = "salon") -> list[tuple[int, float]]:
        return [(time, value) for record in await self.rig.kept(location) for _, time, value in record]


@pytest.fixture
async def observing(tmp_path: Path) -> AsyncIterator[Observing]:
    async with opened(tmp_path) as rig:
        yield Observing(rig)


def piece(*said: Observation) -> Piece:
    return Piece("lines", "line 1", b"as it came", said)


NORTH = Observation("temperature", "north", 21.5, "salon")


async def test_what_can_be_taken_is_in_the_log_and_the_rest_is_held_with_its_reason(observing: Observing) -> None:
    attic = Observation("temperature", "top", 20, "attic")
    await observing.take(
        [piece(NORTH, attic), piece(attic), Piece("lines", "line 3", b"half a li", (), Refused("not a line", "x"))]
    )
    assert await observing.values() == [(NOW, 21.5)]
    assert [(one.topic, one.payload, one.sensor, one.reason) for one in await observing.rig.held()] == [
        ("line 1", b"as it came", "temperature top", "unknown location"),
        ("line 1", b"as it came", "", "unknown location"),
        ("line 3", b"half a li", "", "not a line"),
    ]
    assert observing.rig.intake.counts["http"] == Counts(taken=1, held=3, timeless=1)


async def test_a_repeat_with_its_key_has_the_times_of_the_first(observing: Observing) -> None:
    await observing.take([piece(NORTH)], "k1")
    observing.rig.now += 5_000
    await observing.take([piece(NORTH)], "k1")
    await observing.take([piece(NORTH)], "k2")
    assert await observing.values() == [(NOW, 21.5), (NOW, 21.5), (NOW + 5_000, 21.5)]


async def test_what_was_held_keeps_the_time_at_which_it_arrived(observing: Observing) -> None:
    attic = piece(Observation("temperature", "top", 20, "attic"))
    await observing.take([attic])
    (held,) = await observing.rig.held()
    observing.rig.intake.use(world({"salon": (), "attic": ()}))
    observing.rig.intake.locations.add("attic")
    observing.rig.now += 3_600_000
    assert await observing.take([attic], arrived=held.arrived) == []
    assert await observing.values("attic") == [(NOW, 20)]


async def test_what_can_not_be_held_is_not_acknowledged(observing: Observing, tmp_path: Path) -> None:
    (tmp_path / "held.sqlite").mkdir()
    with pytest.raises(StateError, match="held"):
        await observing.take([piece(Observation("temperature", "top", 20, "attic"))])
    observing.rig.now += 1
    await observing.take([piece(NORTH)])
    assert await observing.values() == [(NOW + 1, 21.5)]


async def test_a_backlog_may_be_old_and_what_is_live_may_not(observing: Observing) -> None:
    old = piece(replace(NORTH, time=NOW - 2 * 86_400_000))
    assert [one.reason for one in await observing.take([old])] == ["too old"]
    assert await observing.take([old], backlog=True) == []
    assert await observing.values() == [(NOW - 2 * 86_400_000, 21.5)]


async def test_the_position_moves_behind_all_of_it_also_where_all_is_held(observing: Observing) -> None:
    cuisine = Observation("co2", "x", 400, "cuisine")
    await observing.take([piece(NORTH, cuisine)], position=b"1")
    assert observing.source.position() == b"1"
    await observing.take([piece(Observation("temperature", "top", 20, "attic"))], position=b"2")
    assert observing.source.position() == b"2"
    assert len(await observing.rig.held()) == 1
    await observing.take([], position=b"3")
    assert observing.source.position() == b"3"


async def test_one_source_can_not_make_any_number_of_series(observing: Observing) -> None:
    observing.rig.intake.use(world(series_limit=20))
    pieces = [piece(replace(NORTH, sensor=f"s{n}")) for n in range(30)]
    held = await observing.take(pieces)
    assert [one.reason for one in held] == ["too many series"] * 10
    assert len(await observing.take(pieces)) == 10  # the same ones: those that are known go on
    other = observing.rig.intake.of("lab")
    assert await (await other.observe([piece(replace(NORTH, sensor="t"))])) == []


async def test_what_has_a_time_of_its_own_is_held_once_however_often_it_is_sent(observing: Observing) -> None:
    attic = {"type": "temperature", "sensor": "top", "value": 20, "location": "attic"}
    for _ in range(3):
        await observing.take(json_pieces([{**attic, "time": NOW - 5}, attic]))
        observing.rig.now += 1_000
    held = await observing.rig.held()
    assert sorted(one.arrived for one in held) == [NOW, NOW, NOW + 1_000, NOW + 2_000]
    observing.rig.intake.use(world({"salon": (), "attic": ()}))
    observing.rig.intake.locations.add("attic")
    assert (await replay(observing.rig.intake, {})).taken == 4
    assert await observing.rig.held() == []
    assert {time for time, _ in await observing.values("attic")} == {NOW - 5, NOW, NOW + 1_000, NOW + 2_000}


async def test_pieces_that_came_together_are_held_each_by_itself(observing: Observing) -> None:
    attic = Observation("temperature", "top", 20, "attic")
    warm = Observation("temperature", "south", "warm", "salon")
    broken = Piece("mqtt", "t3", b"half a li", (), Refused("not a line", "x"))
    several = [
        Piece("mqtt", "t1", b"one", [NORTH]),
        Piece("mqtt", "t2", b"two", [attic]),
        broken,
        Piece("mqtt", "t4", b"four", []),
        Piece("mqtt", "t5", b"five", [replace(NORTH, value=22, time=NOW - 5), warm]),
    ]
    held = await observing.take([Pieces(several), Pieces([]), Pieces([broken])])
    assert [(one.topic, one.payload, one.sensor, one.reason) for one in held] == [
        ("t2", b"two", "", "unknown location"),
        ("t3", b"half a li", "", "not a line"),
        ("t5", b"five", "temperature south", "not a number"),
        ("t3", b"half a li", "", "not a line"),
    ]
    assert await observing.values() == [(NOW, 21.5), (NOW - 5, 22)]


async def test_what_arrives_together_without_a_time_keeps_its_order_and_none_takes_the_place_of_another(
    observing: Observing,
) -> None:
    south = Observation("temperature", "south", 5.5, "salon")
    values = [replace(NORTH, value=n) for n in range(20)]
    assert await observing.take([Pieces([piece(*values[:18], south)])]) == []
    observing.rig.now += 2
    assert await observing.take([piece(*values[18:]), piece(replace(NORTH, value=50, time=NOW - 9))]) == []
    observing.rig.now += 60
    assert await observing.take([piece(NORTH)]) == []
    taken = await observing.values()
    assert sorted((time, value) for time, value in taken if value != 5.5) == [
        (NOW - 9, 50),
        *((NOW + n, n) for n in range(20)),
        (NOW + 62, 21.5),
    ]
    assert (NOW, 5.5) in taken


async def test_a_sensor_that_says_more_than_one_value_a_millisecond_for_long_has_the_last_ones_held_apart(
    observing: Observing,
) -> None:
    ahead = observing.rig.intake.world.bounds.future
    values = [replace(NORTH, value=n / 1000) for n in range(ahead + 3)]
    held = await observing.take([Pieces([piece(one) for one in values])])
    assert held == []
    assert [one.reason for one in await observing.rig.held()] == ["superseded"] * 2
    assert max(time for time, _ in await observing.values()) == NOW + ahead


async def test_what_comes_while_its_location_is_taken_away_is_not_acknowledged_and_can_come_again(
    observing: Observing,
) -> None:
    observing.rig.intake.locations.discard("salon")  # a reload that drains it; what is known by name follows
    with pytest.raises(StateError, match="does not serve 'salon'") as raised:
        await observing.take([piece(NORTH)])
    assert raised.value.retriable
    observing.rig.intake.use(world({"cuisine": ()}))
    (held,) = await observing.take([piece(NORTH)])
    assert held.reason == "unknown location"


class Again:
    """Reads what is held of some pieces."""

    counts: Mapping[str, int] = {}

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces

    def troubles(self) -> Sequence[Trouble]:
        return ()

    def pieces_of(self, held: Held, names: Names) -> Sequence[Piece]:
        return [one for one in self._pieces if (one.topic, one.payload) == (held.topic, held.payload)]

    async def run(self, intake: object) -> None:
        """It says nothing."""

    name = "http"


def untimed(topic: str, *values: float) -> Piece:
    said = [Observation("temperature", "top", value, "attic") for value in values]
    return Piece("mqtt", topic, b"%r" % (values,), said)


async def test_what_is_held_without_a_time_gets_one_of_its_own_and_replaces_nothing_when_it_is_taken(
    observing: Observing,
) -> None:
    rig = observing.rig
    not_yet = Piece("mqtt", "t", b"1", (), Refused("not described yet", "x"))
    for n in range(3):  # within one millisecond
        taken = [Piece("mqtt", "t", b"2", [replace(NORTH, value=n / 10 + v)]) for v in (1, 2, 3)]
        await observing.take([Pieces([not_yet, taken[0], not_yet, *taken[1:], not_yet])])
    rig.now += 5
    await observing.take([Pieces([Piece("mqtt", "t", b"2", [NORTH])])])
    held = [one.arrived for one in await rig.held()]
    values = await observing.values()
    assert len(values) == 10
    assert len(held) == 9, "each of those that are equal is one"
    assert len({*held, *(time for time, _ in values)}) == 19
    assert [value for _, value in sorted(values)] == [value for _, value in values], "in their order"


@pytest.mark.parametrize("again", [False, True])
async def test_many_of_one_sensor_without_a_time_are_held_each_and_taken_each(
    observing: Observing, *, again: bool
) -> None:
    rig = observing.rig
    several = [untimed("t", n, n + 0.5, n) for n in range(5)]
    pieces = [untimed("t", 20), *several, untimed("u", 20)]
    for n, one in enumerate(pieces):
        one.known_by = b"%d" % n
    await observing.take([Pieces(pieces)], arrived=NOW, ahead=b"begun")
    if again:  # we were killed before they were acknowledged, and they come again, some by some
        rig.now += 7_000
        for some in (pieces[:3], pieces[3:4], pieces[4:]):
            await observing.take([Pieces(some)], arrived=NOW, ahead=b"begun")
    assert len(await rig.held()) == 7
    rig.intake.use(world({"salon": (), "attic": ()}))
    rig.intake.locations.add("attic")
    forms = {"http": Again(pieces)}
    for _ in range(2):  # it is cut off before it has forgotten them, and done again
        kept = await rig.held()
        assert (await replay(rig.intake, forms)).held == 0
        await rig.intake.held.add(kept)
    found = dict(await observing.values("attic"))
    assert [value for _, value in sorted(found.items())] == [20, *(v for n in range(5) for v in (n, n + 0.5, n)), 20]


async def test_what_was_held_before_a_restart_keeps_its_time_for_itself(tmp_path: Path) -> None:
    for run in range(2):
        async with opened(tmp_path) as rig:
            source = rig.intake.of("mqtt")
            await (await source.observe([Pieces([untimed("t", 20), untimed("u", 20), untimed("t", run)])]))
            held = [one.arrived for one in await rig.held()]
            assert len(set(held)) == 3 * (run + 1)
