"""What would become of observations is what does become of them, and nothing is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.intake.guards import Limits
from iotd.intake.outlook import Outlook
from iotd.intake.resolve import Assignment, Resolver
from iotd.intake.world import World
from iotd.model.observation import Moment, Observation, Piece
from iotd.model.types import BUILT_IN
from tests.intakes import world
from tests.unit.test_intake import NOW, Rig, opened

DAY = 86_400_000
OBSERVATIONS = [
    Observation("temperature", "north", 21.5, "salon"),
    Observation("temperature_F", "north", "70.5", "salon"),
    Observation("temperature", "north", "70,5 °F", "salon"),
    Observation("temperature", "north", 21.5, hints=("home/salon/temp",)),
    Observation("temperature", "north", 21.5, hints=("salon et cuisine",)),
    Observation("temperature", "north", 21.5, "attic"),
    Observation("temperature", "north", 300, "salon"),
    Observation("temperature", "north", "warm", "salon"),
    Observation("temperature", "north", float("inf"), "salon"),
    Observation("temperature", "north", None, "salon"),
    Observation("temperature", "north", "unavailable", "nowhere"),
    Observation("temperature", "north", 20, "salon", "percent"),
    Observation("warmth", "north", 20, "salon"),
    Observation("temperature", "", 20, "salon"),
    Observation("contact", "door", "open", "salon"),
    Observation("contact", "door", 0.5, "salon"),
    Observation("temperature", "north", 21.5, "salon", time=Moment(NOW - 5_000)),
    Observation("temperature", "north", 21.5, "salon", time=Moment(NOW + 3_600_000)),
    Observation("temperature", "north", 21.5, "salon", time=Moment(NOW - 2 * DAY)),
    Observation("temperature", "north", 21.5, "salon", time="yesterday"),
    Observation("temperature", "north", 21.5, "salon", time="1970-01-01T00:00:05"),
    Observation("temperature", "moved", 21.5, "salon"),
]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with opened(tmp_path) as opened_:
        opened_.intake.use(world(assignments=ASSIGNED))
        yield opened_


ASSIGNED = {"moved": Assignment(location="cuisine", continues="old")}


@pytest.mark.parametrize("said", OBSERVATIONS, ids=repr)
async def test_it_is_what_becomes_of_it(rig: Rig, said: Observation) -> None:
    fate = await Outlook(rig.intake.world).of(said, NOW)
    source = rig.intake.of("mqtt.attic")
    held = await (await source.observe([Piece("mqtt", "a topic", b"a payload", (said,))]))
    taken = [
        (rig.catalogue.series(number).key, time, value)
        for location in ("salon", "cuisine")
        for record in await rig.kept(location)
        for number, time, value in record
    ]
    if fate.became == "taken":
        assert taken == [(fate.series, fate.time, fate.value)]
        assert not held
    else:
        assert not taken
        assert [f"{one.reason}: {one.detail}" for one in held] == ([fate.reason] if fate.became == "held" else [])


async def test_each_step_is_told() -> None:
    outlook = Outlook(world({"salon": ("Living room",), "cuisine": ()}, assignments=ASSIGNED))
    fate = await outlook.of(Observation("temperature_F", "thermo", 70.5, hints=("z/living room/thermo",)), NOW)
    assert (fate.location, fate.found_by) == ("salon", "'living_room' in 'z/living room/thermo'")
    assert (fate.value, fate.unit, fate.original_unit, fate.symbol) == (21.38888888888889, "celsius", "F", "°C")
    assert (fate.time, fate.timeless) == (NOW, True)
    moved = await outlook.of(Observation("temperature", "moved", 20, "salon"), NOW)
    assert (moved.location, moved.found_by) == ("cuisine", "assigned by iotd sensors assign")
    assert moved.series == "sensor:temperature:cuisine:old"


async def test_what_the_guards_hold_is_held_with_its_value() -> None:
    outlook = Outlook(world(limits=Limits(60_000, past=1_000)))
    fate = await outlook.of(Observation("temperature", "north", 20, "salon", time=Moment(NOW - 2_000)), NOW)
    assert (fate.became, fate.value) == ("held", 20)
    assert "there is no archive" in fate.reason


async def test_a_backlog_may_be_old() -> None:
    old = Observation("temperature", "north", 20, "salon", time=Moment(NOW - 30 * DAY))
    assert (await Outlook(world()).of(old, NOW)).became == "held"
    assert (await Outlook(world()).of(old, NOW, backlog=True)).became == "taken"


async def test_what_is_ignored_is_no_reading() -> None:
    seen = world()
    ignoring = World(Resolver(BUILT_IN, {"salon": ()}, {}, ignored=["temp*"]), BUILT_IN, seen.limits, seen.bounds, 10)
    fate = await Outlook(ignoring).of(Observation("temperature", "north", 20, "salon"), NOW)
    assert (fate.became, fate.reason) == ("nothing", "ignored: 'temperature' is among intake.ignore")


async def test_more_series_than_a_source_may_make_are_held() -> None:
    outlook = Outlook(world(series_limit=2))
    fates = [await outlook.of(Observation("temperature", f"s{n % 3}", 20, "salon"), NOW) for n in range(6)]
    assert [one.became for one in fates] == ["taken", "taken", "held"] * 2
    assert "intake.series_limit" in fates[2].reason


@given(
    st.builds(
        Observation,
        st.text(max_size=20) | st.sampled_from(["temperature", "contact"]),
        st.text(max_size=20),
        st.none() | st.floats() | st.integers() | st.text(max_size=20) | st.booleans(),
        st.text(max_size=10) | st.just("salon"),
        st.none() | st.text(max_size=5),
        st.none() | st.integers() | st.floats() | st.text(max_size=30),
        st.lists(st.text(max_size=10), max_size=2).map(tuple),
    )
)
async def test_anything_has_a_fate(said: Observation) -> None:
    fate = await Outlook(world()).of(said, NOW)
    assert fate.became in ("taken", "held", "nothing")
    assert (fate.became == "taken") == (not fate.reason)
