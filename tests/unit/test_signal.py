"""The simulated building: a pure function of seed, sensor and time, as a real building's sensors look."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.model.batch import Values
from iotd.model.series import Series
from iotd.model.types import BUILT_IN, SensorType
from iotd.sources.simulator.signal import Signal, sensors, values

KINDS = ("temperature", "humidity", "air_quality")

LOCATIONS = ["salon", "chambre1", "cuisine", "salle_de_bain", "bureau"]
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
T0 = 1_790_000_000_000 // DAY * DAY

seeds = st.integers(-(2**63), 2**64)
moments = st.integers(-DAY, 4_102_444_800_000)
kinds = st.sampled_from(sorted(BUILT_IN))
locations = st.sampled_from(LOCATIONS)


@given(seeds, locations, st.lists(moments, min_size=1, max_size=40))
def test_a_reading_does_not_depend_on_how_many_are_computed_at_once_nor_on_their_order(
    seed: int, location: str, some: list[int]
) -> None:
    room = Signal(seed, sensors(location, list(BUILT_IN), 2))
    together = room.values(np.array(some, np.int64))
    one_by_one = np.concatenate([room.values(np.array([t], np.int64)) for t in some])
    backwards = Signal(seed, sensors(location, list(BUILT_IN), 2)).values(np.array(some[::-1], np.int64))
    assert np.array_equal(together, one_by_one)
    assert np.array_equal(together, backwards[::-1])


@given(seeds, locations, st.lists(moments, min_size=1, max_size=10))
def test_a_reading_does_not_depend_on_the_other_sensors_of_the_roster(
    seed: int, location: str, some: list[int]
) -> None:
    times = np.array(some, np.int64)
    for roster in (sensors(location, sorted(BUILT_IN), 1), sensors(location, sorted(BUILT_IN)[::-1], 2)):
        whole = Signal(seed, roster).values(times)
        for column, sensor in enumerate(roster):
            assert np.array_equal(whole[:, column], values(seed, sensor, times))


@given(seeds, kinds, locations, st.integers(1, 100), st.lists(moments, min_size=1, max_size=20))
def test_readings_are_within_the_sensors_range_and_rounded_so_that_their_text_reads_back(
    seed: int, kind: str, location: str, number: int, some: list[int]
) -> None:
    row = BUILT_IN[kind]
    decimals = row.decimals if row.resolution is None else row.resolution
    low, high = row.range if row.kind == "counter" else row.simulated or row.range
    if row.kind == "state":
        low, high = 0, 1
    for value in values(seed, Series(kind, location, str(number)), np.array(some, np.int64)).tolist():
        assert low <= value <= high
        assert float(f"{value:.{decimals}f}") == value  # no digit more than the sensor resolves
        assert float(repr(value)) == value
        assert len(repr(value).partition(".")[2]) <= max(1, decimals)


def test_what_a_sensor_can_not_measure_reads_as_the_end_of_its_range() -> None:
    table = BUILT_IN.extended({"humidity": replace(BUILT_IN["humidity"], simulated=(45.0, 47.0))})
    times = np.arange(T0, T0 + DAY, MINUTE, dtype=np.int64)
    series = values(1, Series("humidity", "salle_de_bain", "1"), times, table)
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


def of(kind: str) -> list[str]:
    return [name for name, row in BUILT_IN.items() if row.kind == kind and name not in KINDS]


@pytest.mark.parametrize("name", of("gauge"))
def test_a_gauge_swings_slowly_in_the_plausible_part_of_its_range(name: str) -> None:
    low, high = BUILT_IN[name].simulated or (0.0, 0.0)
    resolution = 10.0 ** -BUILT_IN[name].decimals
    series = values(1, Series(name, "cuisine", "1"), MONTH)
    assert 0.3 * (high - low) < series.max() - series.min() <= high - low
    second = values(1, Series(name, "cuisine", "1"), np.arange(T0 - 1000, T0 + DAY, 1000, dtype=np.int64))
    assert np.abs(np.diff(second)).max() < 0.001 * (high - low) + 1.01 * resolution


@given(seeds, st.sampled_from(of("counter")), locations, st.lists(moments, min_size=2, max_size=40))
def test_a_counter_only_grows(seed: int, name: str, location: str, some: list[int]) -> None:
    series = values(seed, Series(name, location, "1"), np.array(sorted(some), np.int64))
    assert (np.diff(series) >= 0).all()
    assert series[0] >= 0


@given(seeds, st.sampled_from(of("counter")), locations, st.integers(0, 40_000), st.integers(-2000, 2000))
def test_a_counter_does_not_fall_between_two_days_or_hours(
    seed: int, name: str, location: str, day: int, shift: int
) -> None:
    fine = BUILT_IN.extended({name: replace(BUILT_IN[name], resolution=12)})
    for border in (day * DAY + shift, day * DAY + 7 * HOUR + shift):
        times = np.arange(border - 50, border + 50, dtype=np.int64)
        assert (np.diff(values(seed, Series(name, location, "1"), times, fine)) >= 0).all()


@pytest.mark.parametrize("name", of("counter"))
def test_a_day_adds_to_a_counter_what_its_row_says_most_of_it_while_the_room_is_used(name: str) -> None:
    low, high = BUILT_IN[name].simulated or (0.0, 0.0)
    resolution = 10.0 ** -(BUILT_IN[name].resolution or BUILT_IN[name].decimals)
    added = np.diff(values(1, Series(name, "cuisine", "1"), np.arange(T0, T0 + 60 * DAY, DAY, dtype=np.int64)))
    assert low - 1.01 * resolution <= added.min() < added.max() <= high + 1.01 * resolution
    hours = np.diff(values(1, Series(name, "cuisine", "1"), np.arange(T0, T0 + 28 * DAY + 1, HOUR, dtype=np.int64)))
    by = hours.reshape(-1, 24).mean(axis=0)
    assert by[19] > by[3]


@pytest.mark.parametrize("name", of("state"))
def test_a_state_holds_for_minutes_and_follows_the_day(name: str) -> None:
    rare = BUILT_IN[name]
    low, high = rare.simulated or (0.0, 0.0)
    times = np.arange(T0, T0 + 28 * DAY, MINUTE, dtype=np.int64)
    series = values(1, Series(name, "cuisine", "1"), times)
    assert set(series.tolist()) <= {0.0, 1.0}
    changes = np.flatnonzero(np.diff(series))
    if high < 0.01:  # alarms, which are rare
        assert series.mean() < 0.01
        return
    assert np.diff(changes).min() >= 4
    assert low <= series.mean() <= high
    night, evening = (series[np.equal(times % DAY // HOUR, hour)].mean() for hour in (3, 19))
    assert evening > night


def test_a_type_whose_row_does_not_say_how_it_is_simulated_gives_plausible_values() -> None:
    rows = (
        SensorType("radon", "becquerel_per_m3", range=(0.0, 1e5), span=20.0),
        SensorType("loss", "db", range=(-90.0, -30.0), span=1.0),
        SensorType("visits", "visit", kind="counter", decimals=0),
        SensorType("window", "open", kind="state", decimals=0),
        SensorType("temperature", "fahrenheit", range=(0.0, 130.0), simulated=(60.0, 75.0)),
    )
    table = BUILT_IN.extended({row.name: row for row in rows})
    week = np.arange(T0, T0 + 7 * DAY, MINUTE, dtype=np.int64)
    spans = {}
    for row in rows:
        series = values(1, Series(row.name, "salon", "north"), week, table)
        assert row.range[0] <= series.min() < series.max() <= row.range[1]
        spans[row.name] = (series.min(), series.max())
    assert spans["radon"][1] <= 400
    assert spans["loss"][1] <= -70
    assert spans["window"] == (0, 1)
    assert spans["temperature"][0] >= 60
