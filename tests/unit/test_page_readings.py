"""What the page shows of a room's newest readings, by the kind of their type."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from iotd.health.silence import FORGOTTEN, SilentSensor
from iotd.model.series import Series
from iotd.model.types import BUILT_IN
from iotd.web.readings import Known, Reading, current_of, readings_of
from tests.intakes import FewSeries

NOW = 1_796_000_000_000
MINUTE, HOUR = 60_000, 3_600_000


def of(kind: str, sensor: str) -> Series:
    return Series(kind, "salon", sensor)


def shown(
    latest: Mapping[Series, tuple[int, float]],
    *,
    pauses: Mapping[Series, float] | None = None,
    names: Mapping[str, str] | None = None,
    silent: tuple[SilentSensor, ...] = (),
    step: int | None = 1_000,
) -> dict[str, Reading]:
    catalogue = FewSeries(*(pauses or {}))
    catalogue.pauses[: len(catalogue)] = list((pauses or {}).values())
    known = Known(catalogue, names or {}, silent)
    current = current_of(latest, known, BUILT_IN)
    return {one.type: one for one in readings_of(latest, current, known, BUILT_IN, lambda kind: step)}


def test_no_reading_no_type() -> None:
    assert shown({}) == {}


def test_of_a_gauge_the_mean_and_the_spread() -> None:
    one = shown({of("temperature", "1"): (NOW, 20.0), of("temperature", "2"): (NOW - 500, 22.0)})["temperature"]
    assert (one.mean, one.low, one.high, one.on, one.count, one.last) == (21.0, 20.0, 22.0, None, 2, 20.0)


def test_of_a_state_how_many_are_on_and_no_mean_however_old_it_is() -> None:
    doors = {of("contact", "1"): (NOW, 0.0), of("contact", "2"): (NOW - 900 * HOUR, 1.0)}
    one = shown(doors)["contact"]
    assert (one.mean, one.low, one.on, one.count, one.last, one.stale_ms) == (None, None, 1, 2, 0.0, None)


def test_of_a_counter_the_last_and_no_mean() -> None:
    one = shown({of("energy", "1"): (NOW - 9, 512.0), of("energy", "2"): (NOW, 9_000.0)})["energy"]
    assert (one.mean, one.on, one.last, one.at) == (None, None, 9_000.0, NOW)


def test_types_come_in_the_tables_order_and_one_that_is_not_in_it_is_a_gauge() -> None:
    some = [of("contact", "1"), Series("radon", "salon", "1", "bq"), of("temperature", "1")]
    found = shown(dict.fromkeys(some, (NOW, 1.0)))
    assert list(found) == ["temperature", "contact", "radon"]
    assert found["radon"].mean == 1.0


@pytest.mark.parametrize(
    ("behind", "pause", "counts"),
    [
        (9 * MINUTE, None, True),
        (23 * HOUR, None, True),
        (25 * HOUR, None, False),
        (11 * MINUTE, 1_000.0, False),
        (11 * MINUTE, 5.0 * MINUTE, True),
        (3 * HOUR, 5.0 * MINUTE, False),
        (70 * HOUR, 24.0 * HOUR, True),
    ],
)
def test_a_sensor_counts_as_long_as_it_may_be_silent(behind: int, pause: float | None, counts: bool) -> None:
    old, new = of("temperature", "old"), of("temperature", "new")
    pauses = {} if pause is None else {old: pause}
    one = shown({old: (NOW - behind, 5.0), new: (NOW, 20.0)}, pauses=pauses)["temperature"]
    assert one.count == 1 + counts
    assert {sensor.id for sensor in one.sensors} == {"old", "new"}


def test_a_silent_sensor_is_listed_first_and_does_not_count_and_a_forgotten_one_is_not_there() -> None:
    dead, gone, well = of("temperature", "z"), of("temperature", "gone"), of("temperature", "a")
    silent = SilentSensor("salon", "z", ("temperature",), NOW - MINUTE, MINUTE, 12.0, None)
    latest = {dead: (NOW - MINUTE, 5.0), gone: (NOW, 99.0), well: (NOW, 20.0)}
    one = shown(latest, pauses={gone: FORGOTTEN}, silent=(silent,), names={"a": "window"})["temperature"]
    assert (one.mean, one.count) == (20.0, 1)
    assert [(s.id, s.name, s.silent) for s in one.sensors] == [("z", "", True), ("a", "window", False)]


def test_where_all_are_silent_the_last_word_stands() -> None:
    silent = SilentSensor("salon", "1", ("temperature",), NOW, MINUTE, None, None)
    assert shown({of("temperature", "1"): (NOW, 5.0)}, silent=(silent,))["temperature"].mean == 5.0
    assert shown({of("temperature", "1"): (NOW, 5.0)}, pauses={of("temperature", "1"): FORGOTTEN}) == {}


def test_of_thousands_a_few_are_listed_those_with_names_first() -> None:
    latest = {of("temperature", str(n)): (NOW, 20.0) for n in range(3_000)}
    one = shown(latest, names={"2999": "north"})["temperature"]
    assert [s.id for s in one.sensors] == ["2999", *(str(n) for n in range(11))]
    assert (one.more, one.count) == (2_988, 3_000)


@pytest.mark.parametrize(
    ("kind", "step", "stale_ms"),
    [
        ("temperature", None, 600_000),
        ("temperature", 1_000, 10_000),
        ("temperature", 60_000, 180_000),
        ("contact", 60_000, None),
    ],
)
def test_when_a_type_is_late_goes_by_how_often_its_sensors_speak(
    kind: str, step: int | None, stale_ms: int | None
) -> None:
    assert shown({of(kind, "1"): (NOW, 1.0)}, step=step)[kind].stale_ms == stale_ms
