"""Rhythms of sensors, learned in arrays, the same as reading by reading."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.config.sections.sources import Silence as SilenceSettings
from iotd.health.silence import HALF_LIFE_MS, Patience, Rhythms, Silence, SilentSensor, patience_of
from iotd.model.instants import ENDLESS
from iotd.model.series import Series
from iotd.model.types import BUILT_IN
from tests.intakes import FewSeries

T0 = 1_796_000_000_000
MINUTE = 60_000
DAY = 1_440 * MINUTE
PATIENCE = Patience(3.0, 5 * MINUTE, DAY)


def note(rhythms: Rhythms, *readings: tuple[int, int]) -> None:
    times = np.array([t for _, t in readings], np.int64)
    rhythms.note(np.array([n for n, _ in readings], np.int32), times, np.full(len(times), ENDLESS))


def numbers(*which: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(which, np.int32)


def test_a_sensor_is_missed_after_some_of_its_own_pauses() -> None:
    rhythms = Rhythms()
    for n in range(20):
        note(rhythms, (0, T0 + n * 10 * MINUTE), (1, T0 + n * 1_000))
    end = T0 + 190 * MINUTE
    assert rhythms.silent(numbers(0), end + 29 * MINUTE, PATIENCE) == []
    assert rhythms.silent(numbers(0, 1), end + 31 * MINUTE, PATIENCE)[0][:2] == (0, end)
    # one that speaks each second is given the least
    assert [n for n, _, usual in rhythms.silent(numbers(0, 1), end, PATIENCE) if usual == 5 * MINUTE] == [1]


def test_who_has_hardly_spoken_gets_the_most_and_who_never_spoke_is_not_missed() -> None:
    rhythms = Rhythms()
    note(rhythms, (3, T0), (3, T0 + MINUTE))
    assert rhythms.silent(numbers(3, 4), T0 + DAY, PATIENCE) == []
    assert rhythms.silent(numbers(3, 4), T0 + DAY + 2 * MINUTE, PATIENCE) == [(3, T0 + MINUTE, DAY)]
    rhythms.forget(3)
    assert rhythms.silent(numbers(3, 4), T0 + 9 * DAY, PATIENCE) == []


def test_a_long_pause_of_the_past_counts_less_and_less() -> None:
    rhythms = Rhythms()
    for n in range(10):
        note(rhythms, (0, T0 + n * 6 * 60 * MINUTE))
    before = rhythms.pauses(1)[0]
    end = T0 + 54 * 60 * MINUTE
    for n in range(1, 2 * 1_440):
        note(rhythms, (0, end + n * MINUTE))
    assert rhythms.pauses(1)[0] == pytest.approx(before / 4, rel=0.01)


def test_late_readings_say_nothing_of_a_pause() -> None:
    rhythms = Rhythms()
    for n in range(10):
        note(rhythms, (0, T0 + n * MINUTE))
    before = rhythms.pauses(1)[0]
    note(rhythms, (0, T0 - DAY), (0, T0 + 30_000))
    assert rhythms.pauses(1)[0] == before


def test_what_was_learned_is_kept_over_a_restart() -> None:
    rhythms = Rhythms()
    for n in range(10):
        note(rhythms, (0, T0 + n * MINUTE))
    again = Rhythms()
    again.begin(np.array([T0 + 9 * MINUTE], np.int64), rhythms.pauses(1))
    later = T0 + 9 * MINUTE + 10 * MINUTE
    assert again.silent(numbers(0), later, PATIENCE) == rhythms.silent(numbers(0), later, PATIENCE) != []


@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 3), st.integers(0, 10**7)), min_size=1, max_size=12, unique_by=lambda one: one[0]
        ),
        max_size=80,
    )
)
def test_in_batches_it_learns_the_same_as_one_by_one(batches: list[list[tuple[int, int]]]) -> None:
    whole = Rhythms()
    newest: dict[int, int] = {}
    pause: dict[int, float] = {}
    for batch in batches:
        note(whole, *((n, T0 + t) for n, t in batch))
        for n, t in sorted(batch, key=lambda one: one[1]):
            if n in newest and t > newest[n]:
                pause[n] = max(t - newest[n], pause.get(n, 0.0) * 2 ** -((t - newest[n]) / HALF_LIFE_MS))
            newest[n] = max(t, newest.get(n, t))
    for n, its in pause.items():
        assert whole._pause[n] == pytest.approx(its, rel=1e-9)


class World:
    """Sensors that speak once a minute, and a clock."""

    def __init__(self) -> None:
        self.now = T0
        kinds = ("temperature", "battery", "contact")
        self.catalogue = FewSeries(*(Series(kind, "salon", "0x1") for kind in kinds))
        self.silence = self.begun()

    def begun(self) -> Silence:
        return Silence(self.catalogue, lambda: self.now)

    def minutes(self, count: int, *speaking: int) -> None:
        for _ in range(count):
            self.now += MINUTE
            self.catalogue.newest[list(speaking)] = self.now
            self.silence.look()

    def silent(self) -> list[SilentSensor]:
        limits = SilenceSettings(least=timedelta(minutes=5))
        return self.silence.silent(["salon"], partial(patience_of, limits, BUILT_IN))


def test_a_silent_sensor_is_named_once_with_what_it_said_of_its_battery() -> None:
    world = World()
    world.catalogue.values[1] = 12.0
    world.minutes(30, 0, 1, 2)
    assert world.silent() == []
    last = world.now
    world.minutes(6)
    assert world.silent() == [SilentSensor("salon", "0x1", ("temperature", "battery"), last, 5 * MINUTE, 12.0, None)]
    world.minutes(1, 0, 1)
    assert world.silent() == []


def test_what_is_imported_or_comes_from_a_backlog_is_no_pause() -> None:
    world = World()
    world.catalogue.newest[0] = T0 - 300 * DAY
    world.silence.look()
    for days in (250, 100, 3):  # an import, faster than it happened
        world.now += 2_000
        world.catalogue.newest[0] = T0 - days * DAY
        world.silence.look()
    world.minutes(20, 0)
    assert world.silent() == []
    world.minutes(6)
    assert [one.sensor for one in world.silent()] == ["0x1"]
    # one that was away for a day, and hands over what it had meanwhile
    world.now += DAY
    for minute in range(0, 1440, 240):
        world.catalogue.newest[0] = world.now - DAY + minute * MINUTE
        world.silence.look()
    world.minutes(20, 0)
    world.minutes(6)
    assert world.silent() == []  # it may be away as long again


def test_who_is_forgotten_is_not_missed_until_it_speaks_again_also_after_a_restart() -> None:
    world = World()
    world.minutes(30, 0)
    world.minutes(10)
    world.silence.forget(0)
    assert world.silent() == []
    world.silence = world.begun()
    world.minutes(60)
    assert world.silent() == []
    world.minutes(30, 0)
    world.minutes(10)
    assert [one.sensor for one in world.silent()] == ["0x1"]


def test_a_daemon_that_did_not_listen_misses_nobody_at_once() -> None:
    world = World()
    world.minutes(30, 0)
    world.now += 3 * DAY
    world.silence = world.begun()
    world.minutes(4)
    assert world.silent() == []
    world.minutes(2)
    assert [one.sensor for one in world.silent()] == ["0x1"]
