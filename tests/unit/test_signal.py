"""The simulated building: a pure function of seed, sensor and time, as a real building's sensors look."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.model.batch import Values
from iotd.model.roster import Roster
from iotd.model.series import Series
from iotd.sources import signal
from iotd.sources.signal import Signal, values

KINDS = ("temperature", "humidity", "air_quality")

LOCATIONS = ["salon", "chambre1", "cuisine", "salle_de_bain", "bureau"]
RANGES = {"temperature": (-20, 60), "humidity": (0, 100), "air_quality": (0, 500)}
DECIMALS = {"temperature": 2, "humidity": 1, "air_quality": 0}
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
T0 = 1_790_000_000_000 // DAY * DAY

seeds = st.integers(-(2**63), 2**64)
moments = st.integers(-DAY, 4_102_444_800_000)
kinds = st.sampled_from(sorted(KINDS))
locations = st.sampled_from(LOCATIONS)


@given(seeds, locations, st.lists(moments, min_size=1, max_size=40))
def test_a_reading_does_not_depend_on_how_many_are_computed_at_once_nor_on_their_order(
    seed: int, location: str, some: list[int]
) -> None:
    room = Signal(seed, Roster.of(location, list(KINDS), 2))
    together = room.values(np.array(some, np.int64))
    one_by_one = np.concatenate([room.values(np.array([t], np.int64)) for t in some])
    backwards = Signal(seed, Roster.of(location, list(KINDS), 2)).values(np.array(some[::-1], np.int64))
    assert np.array_equal(together, one_by_one)
    assert np.array_equal(together, backwards[::-1])


@given(seeds, locations, st.lists(moments, min_size=1, max_size=10))
def test_a_reading_does_not_depend_on_the_other_sensors_of_the_roster(
    seed: int, location: str, some: list[int]
) -> None:
    times = np.array(some, np.int64)
    for roster in (Roster.of(location, sorted(KINDS), 3), Roster.of(location, sorted(KINDS)[::-1], 5)):
        whole = Signal(seed, roster).values(times)
        for column, sensor in enumerate(roster):
            assert np.array_equal(whole[:, column], values(seed, sensor, times))


@given(seeds, kinds, locations, st.integers(1, 100), st.lists(moments, min_size=1, max_size=20))
def test_readings_are_within_the_sensors_range_and_rounded_so_that_their_text_reads_back(
    seed: int, kind: str, location: str, number: int, some: list[int]
) -> None:
    low, high = RANGES[kind]
    for value in values(seed, Series(kind, location, str(number)), np.array(some, np.int64)).tolist():
        assert low <= value <= high
        assert float(f"{value:.{DECIMALS[kind]}f}") == value  # no digit more than the sensor resolves
        assert float(repr(value)) == value
        assert len(repr(value).partition(".")[2]) <= max(1, DECIMALS[kind])


def test_what_a_sensor_can_not_measure_reads_as_the_end_of_its_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(signal._RANGE, "humidity", (45.0, 47.0))
    series = values(1, Series("humidity", "salle_de_bain", "1"), np.arange(T0, T0 + DAY, MINUTE, dtype=np.int64))
    assert (series.min(), series.max()) == (45.0, 47.0)


def test_seed_sensor_and_time_all_matter() -> None:
    times = np.arange(T0, T0 + DAY, MINUTE, dtype=np.int64)
    one = values(1, Series("temperature", "salon", "1"), times)
    for other in (
        values(2, Series("temperature", "salon", "1"), times),
        values(1, Series("temperature", "salon", "2"), times),
        values(1, Series("temperature", "chambre1", "1"), times),
        values(1, Series("temperature", "salon", "1"), times + DAY),
    ):
        assert (one != other).mean() > 0.9


def test_the_readings_are_the_ones_that_every_earlier_version_gave() -> None:
    """The function is a promise: what a store holds can be computed years later, on any machine."""
    times = np.array([T0, T0 + 12_345_000, T0 + 15 * HOUR], np.int64)
    readings = {
        sensor.key: values(1, sensor, times).tolist()
        for sensor in (
            Series("temperature", "salon", "1"),
            Series("humidity", "salle_de_bain", "2"),
            Series("air_quality", "cuisine", "3"),
            Series("temperature", "bureau", "1"),
        )
    }
    assert readings == {
        "sensor:temperature:salon:1": [19.94, 19.47, 21.58],
        "sensor:humidity:salle_de_bain:2": [49.7, 49.8, 43.9],
        "sensor:air_quality:cuisine:3": [33.0, 49.0, 24.0],
        "sensor:temperature:bureau:1": [18.88, 17.08, 20.34],
    }


MONTH = np.arange(T0, T0 + 28 * DAY, MINUTE * 10, dtype=np.int64)


HOURS = MONTH % DAY // HOUR


def by_hour(series: Values) -> Values:
    return np.array([series[np.equal(HOURS, hour)].mean() for hour in range(24)])


@pytest.mark.parametrize(
    ("location", "mean"),
    [("salon", 21.0), ("cuisine", 21.5), ("salle_de_bain", 22.5), ("chambre1", 19.0), ("chambre2", 18.5)],
)
def test_each_room_has_its_mean_and_is_warmest_in_the_afternoon(location: str, mean: float) -> None:
    series = values(1, Series("temperature", location, "1"), MONTH)
    assert abs(series.mean() - mean) < 0.6
    daily = by_hour(series)
    assert 13 <= int(daily.argmax()) <= 17
    assert 2.0 < daily.max() - daily.min() < 4.0


def test_the_air_is_worst_when_a_room_is_used() -> None:
    kitchen = by_hour(values(1, Series("air_quality", "cuisine", "1"), MONTH))
    bedroom = by_hour(values(1, Series("air_quality", "chambre1", "1"), MONTH))
    assert kitchen[12] > kitchen[3] + 30
    assert bedroom[3] > bedroom[12] + 30


def test_humidity_falls_when_it_gets_warmer_and_rises_when_someone_showers() -> None:
    warm = values(1, Series("temperature", "salon", "1"), MONTH)
    humid = values(1, Series("humidity", "salon", "1"), MONTH)
    assert np.corrcoef(warm, humid)[0, 1] < -0.5
    bathroom = by_hour(values(1, Series("humidity", "salle_de_bain", "1"), MONTH))
    assert bathroom[7] > bathroom[10] + 10


def test_the_sensors_of_a_room_agree_roughly_and_not_exactly() -> None:
    first, second = (values(1, Series("temperature", "salon", str(n)), MONTH) for n in (1, 2))
    difference = np.abs(first - second)
    assert 0 < difference.mean() < 1.5


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_from_one_second_to_the_next_nothing_jumps(kind: str) -> None:
    times = np.arange(T0 - 1000, T0 + DAY, 1000, dtype=np.int64)
    steps = np.abs(np.diff(values(1, Series(kind, "cuisine", "1"), times)))
    assert steps.max() <= {"temperature": 0.05, "humidity": 0.3, "air_quality": 2}[kind]
    assert steps.mean() > 0
