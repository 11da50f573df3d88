"""From observations to batches: nothing is dropped, and nothing is altered on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from iotd.intake.resolve import Resolver
from iotd.intake.targets import Targets
from iotd.intake.translate import Bounds, Readings, translate
from iotd.model.batch import Numbers
from iotd.model.observation import Columns, Moment, Observation
from iotd.model.series import Series
from iotd.model.types import BUILT_IN

NOW = 1_796_000_000_000
DAY = 86_400_000
RESOLVER = Resolver(BUILT_IN, {"salon": ("living room",), "cuisine": ()}, {})
BOUNDS = Bounds(future=300_000, past=7 * DAY, zone=ZoneInfo("Europe/Paris"))


class Numbering:
    def __init__(self) -> None:
        self.known: list[Series] = []
        self.originals: dict[Series, str] = {}

    async def register(self, series: Sequence[Series], originals: Mapping[Series, str]) -> Numbers:
        self.originals.update(originals)
        for one in series:
            if one not in self.known:
                self.known.append(one)
        return np.array([self.known.index(one) for one in series], np.int32)


async def translated(*said: Observation, bounds: Bounds = BOUNDS) -> tuple[Readings, list[Series]]:
    numbering = Numbering()
    found = await translate(
        Columns.of(said),
        NOW,
        targets=Targets(RESOLVER, BUILT_IN),
        bounds=bounds,
        register=numbering.register,
        admit=lambda series: None,
    )
    return found, numbering.known


async def test_each_location_gets_a_batch_in_the_order_of_what_was_said() -> None:
    found, known = await translated(
        Observation("temperature", "1", "70.7 °F", "salon", time=NOW - 5),
        Observation("humidity", "1", 45, "cuisine"),
        Observation("temperature", "1", 21, "living room"),
    )
    assert known == [Series("temperature", "salon", "1"), Series("humidity", "cuisine", "1")]
    salon, cuisine = found.batches
    assert (salon.series.tolist(), salon.times.tolist(), salon.values.tolist()) == ([0, 0], [NOW - 5, NOW], [21.5, 21])
    assert (cuisine.location, cuisine.series.tolist(), cuisine.times.tolist()) == ("cuisine", [1], [NOW])
    assert found.timeless == 2
    assert not found.refused


async def test_what_can_not_be_taken_is_named_by_its_place_and_the_rest_goes_on() -> None:
    found, _ = await translated(
        Observation("temperature", "1", "warm", "salon"),
        Observation("temperature", "1", "unavailable", "salon"),
        Observation("temperature", "1", 20, "attic"),
        Observation("temperature", "1", 20, "salon", time=NOW + 300_001),
        Observation("temperature", "1", 20, "salon", time=NOW - 7 * DAY - 1),
        Observation("temperature", "1", 20, "salon", time=12),  # its clock was not set yet
        Observation("temperature", "1", 20, "salon", time="2026-10-25T02:30:00"),
    )
    assert {at: e.reason for at, e in found.refused.items()} == {
        0: "not a number",
        2: "unknown location",
        3: "in the future",
        4: "too old",
        6: "too old",
    }
    assert found.nothing == 1
    assert found.batches[0].times.tolist() == [NOW]


async def test_a_backlog_may_be_as_old_as_it_is_and_a_repeated_hour_is_marked() -> None:
    found, _ = await translated(
        Observation("temperature", "1", 20, "salon", time="2026-10-25T02:30:00"),
        bounds=Bounds(300_000, None, BOUNDS.zone),
    )
    assert found.ambiguous == 1
    assert len(found.batches[0]) == 1


texts = st.one_of(
    st.text(max_size=8), st.sampled_from(["temperature", "humidity_%", "salon", "living room", "21", "°F"])
)


@given(
    st.lists(
        st.builds(
            Observation,
            texts,
            texts,
            st.one_of(texts, st.floats(), st.none(), st.booleans()),
            texts,
            st.one_of(st.none(), texts),
            st.one_of(st.none(), st.integers(), st.floats(), texts),
        ),
        max_size=20,
    )
)
async def test_each_is_taken_or_refused_or_says_nothing(said: list[Observation]) -> None:
    found, _ = await translated(*said)
    assert sum(map(len, found.batches)) + len(found.refused) + found.nothing == len(said)
    assert len({batch.location for batch in found.batches}) == len(found.batches)


times = st.one_of(
    st.none(),
    st.integers(NOW - 8 * DAY, NOW + 400_000).map(Moment),
    st.sampled_from(
        [Moment(5), Moment(-1), Moment(10**30), "x", 12, Moment(NOW, ambiguous=True), True, 10**30, 10**50]
    ),
    st.integers(NOW - 8 * DAY, NOW + 400_000),
    st.integers((NOW - 8 * DAY) * 1_000_000, (NOW + 400_000) * 1_000_000),
    st.floats((NOW - 8 * DAY) / 1_000, (NOW + 400_000) / 1_000),
    st.sampled_from([float("inf"), float("nan"), 1e300, -1e300, -5.5, 10**30, 10**50]),
)
numbers = st.one_of(
    st.integers(-100, 200),
    st.sampled_from([20.5, 0.0, 1.0, 0.5, -61.0, 125.0, float("inf"), float("nan"), 10**400, True, "21", None]),
    st.floats(-100, 200),
)
known = st.builds(
    Observation,
    st.sampled_from(["temperature", "temperature_F", "contact", "humidity", "radiation"]),
    st.sampled_from(["1", "2"]),
    numbers,
    st.sampled_from(["salon", "cuisine", "attic"]),
    time=times,
)


@given(st.lists(known, min_size=16, max_size=60))
async def test_many_at_once_become_what_each_becomes_by_itself(said: list[Observation]) -> None:
    together, series = await translated(*said)
    alone: list[tuple[Series, int, float]] = []
    refused: dict[int, tuple[str, str]] = {}
    timeless = 0
    for at, one in enumerate(said):
        found, (*its,) = await translated(one)
        timeless += found.timeless
        if found.refused:
            refused[at] = found.refused[0].reason, found.refused[0].detail
        alone += [(its[0], int(batch.times[0]), float(batch.values[0])) for batch in found.batches]
    rows = [
        (series[number], time, value)
        for batch in together.batches
        for number, time, value in zip(batch.series, batch.times.tolist(), batch.values.tolist(), strict=True)
    ]
    assert {at: (why.reason, why.detail) for at, why in together.refused.items()} == refused
    assert together.timeless == timeless
    for location in ("salon", "cuisine"):
        assert [row for row in rows if row[0].location == location] == [
            row for row in alone if row[0].location == location
        ]
