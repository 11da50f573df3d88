"""The clock that readings go by, with clocks that the test sets: what is believed, and by whose word."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from iotd.health import kernel
from iotd.health.clock import CheckedClock

S = 1_000_000_000
NOON_MS = 1_800_000_000_000
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


class World:
    """A machine: its wall clock can be set, its steady one only goes on."""

    def __init__(self) -> None:
        self.wall = NOON_MS * 1_000_000
        self.steady = 5 * S
        self.synchronised: bool | None = False

    def passes(self, seconds: float) -> None:
        self.wall += round(seconds * S)
        self.steady += round(seconds * S)

    def steps(self, ms: float) -> None:
        self.wall += round(ms * 1_000_000)

    def clock(self, note: Path, boot: str = "boot") -> CheckedClock:
        return CheckedClock(
            note,
            wall_ns=lambda: self.wall,
            steady_ns=lambda: self.steady,
            synchronised=lambda: self.synchronised,
            boot=boot,
        )


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def clock(world: World, tmp_path: Path) -> CheckedClock:
    return world.clock(tmp_path / "clock.json")


@pytest.mark.parametrize("step_ms", [2 * HOUR_MS, 9 * DAY_MS, -2 * HOUR_MS, -9 * DAY_MS, 61_000, -61_000])
def test_a_step_that_nobody_confirms_changes_no_time(world: World, clock: CheckedClock, step_ms: int) -> None:
    before = clock.now()
    world.steps(step_ms)
    assert clock.now() == before
    assert clock.state.doubt is not None
    for _ in range(600):
        world.passes(1)
        clock.check()
    assert clock.now() == before + 600_000
    assert clock.state.doubt is not None
    assert not clock.state.waits  # nobody waits: the time goes on


@pytest.mark.parametrize("step_ms", [2 * HOUR_MS, 9 * DAY_MS, -2 * HOUR_MS])
def test_a_clock_that_came_back_is_over_at_once(world: World, clock: CheckedClock, step_ms: int) -> None:
    world.steps(step_ms)
    clock.now()
    world.passes(6)
    world.steps(-step_ms)
    assert clock.now() == NOON_MS + 6_000
    assert (clock.state.doubt, clock.state.stepped) == (None, None)


def test_the_kernels_word_confirms_it(world: World, clock: CheckedClock) -> None:
    world.steps(3 * HOUR_MS)
    clock.now()
    world.synchronised = True
    clock.check()
    assert clock.now() == NOON_MS + 3 * HOUR_MS
    assert "the kernel" in str(clock.state.stepped)
    for _ in range(61):
        world.passes(60)
        clock.check()
    assert clock.state.stepped is None  # it is shown for an hour


def test_a_machine_that_slept_has_made_no_step(world: World, clock: CheckedClock) -> None:
    world.passes(8 * 3600)  # both clocks go on meanwhile
    assert clock.now() == NOON_MS + 8 * HOUR_MS
    assert clock.state.doubt is None


@pytest.mark.parametrize("step_ms", [30_000, -30_000])
def test_a_small_step_is_believed_when_it_lasts(world: World, clock: CheckedClock, step_ms: int) -> None:
    world.steps(step_ms)
    for _ in range(9):
        clock.check()
        world.passes(1)
    assert clock.now() == NOON_MS + 9_000
    world.passes(2)
    clock.check()
    assert clock.now() == NOON_MS + 11_000 + step_ms


@pytest.mark.parametrize("step_ms", [100, 300, 1_900, -1_900])
def test_a_step_of_a_moment_is_followed(world: World, clock: CheckedClock, step_ms: int) -> None:
    world.steps(step_ms)
    assert clock.now() == NOON_MS + step_ms
    assert clock.state.doubt is None


def test_a_clock_that_is_slewed_is_followed(world: World, clock: CheckedClock) -> None:
    for _ in range(3600):
        world.passes(1)
        world.steps(0.5)
        clock.check()
    assert clock.now() == NOON_MS + 3_600_000 + 1_800
    assert clock.state.doubt is None


# ── the nodes' clocks ──


def test_a_node_elsewhere_confirms_a_step_that_mends(world: World, clock: CheckedClock) -> None:
    clock.heard("elsewhere", HOUR_MS)  # we are an hour behind it
    world.steps(HOUR_MS)
    clock.check()
    assert clock.state.doubt is not None  # it was not heard since
    clock.heard("elsewhere", 3)
    clock.check()
    assert clock.now() == NOON_MS + HOUR_MS
    assert "other machines" in str(clock.state.stepped)


def test_a_node_elsewhere_contradicts_a_step_also_a_small_one(world: World, clock: CheckedClock) -> None:
    clock.heard("elsewhere", 3)
    world.steps(30_000)
    clock.check()
    clock.heard("elsewhere", -29_997)
    for _ in range(60):
        world.passes(1)
        clock.check()
    assert clock.now() == NOON_MS + 60_000


def test_a_node_that_shares_our_clock_is_no_witness(world: World, clock: CheckedClock) -> None:
    clock.heard("beside us", 0)
    world.steps(2 * HOUR_MS)
    clock.check()
    clock.heard("beside us", 0)
    clock.check()
    assert clock.now() == NOON_MS


def test_two_nodes_that_disagree_confirm_nothing(world: World, clock: CheckedClock) -> None:
    clock.heard("one", 3)
    clock.heard("two", HOUR_MS)
    world.steps(HOUR_MS)
    clock.check()
    clock.heard("one", 3 - HOUR_MS)
    clock.heard("two", 3)
    clock.check()
    assert clock.now() == NOON_MS


# ── the start ──


async def test_a_machine_that_starts_in_the_past_waits(world: World, clock: CheckedClock) -> None:
    clock.begin(NOON_MS + 5 * DAY_MS, tolerance_ms=60_000)
    assert clock.state.waits
    waiting = asyncio.ensure_future(clock.certain())
    await asyncio.sleep(0)
    assert not waiting.done()
    world.steps(6 * DAY_MS)  # the time server was reached
    assert clock.now() == NOON_MS + 6 * DAY_MS
    await waiting
    assert not clock.state.waits


async def test_in_the_past_and_synchronised_is_believed(world: World, clock: CheckedClock) -> None:
    world.synchronised = True
    clock.begin(NOON_MS + 5 * DAY_MS, tolerance_ms=60_000)  # it was ahead before, and readings have that time
    await clock.certain()
    assert clock.now() == NOON_MS


async def test_a_person_may_confirm_it(world: World, clock: CheckedClock) -> None:
    clock.begin(NOON_MS + 5 * DAY_MS, tolerance_ms=60_000)
    clock.accept()
    await clock.certain()
    assert clock.now() == NOON_MS
    world.steps(9 * DAY_MS)
    clock.now()
    clock.accept()
    assert clock.now() == NOON_MS + 9 * DAY_MS


@pytest.mark.parametrize("newest", [None, NOON_MS - DAY_MS, NOON_MS + 50_000])
async def test_a_log_that_is_not_ahead_keeps_nobody(clock: CheckedClock, newest: int | None) -> None:
    clock.begin(newest, tolerance_ms=60_000)
    await asyncio.wait_for(clock.certain(), 1)


def test_a_step_while_no_daemon_ran_is_noticed_in_the_same_boot(world: World, tmp_path: Path) -> None:
    world.clock(tmp_path / "clock.json").note()
    world.passes(3600)
    world.steps(9 * DAY_MS)
    again = world.clock(tmp_path / "clock.json")
    assert again.now() == NOON_MS + HOUR_MS
    assert again.state.doubt is not None


def test_another_boot_carries_nothing_on(world: World, tmp_path: Path) -> None:
    world.clock(tmp_path / "clock.json").note()
    world.passes(3600)
    world.steps(9 * DAY_MS)
    world.steady = S
    again = world.clock(tmp_path / "clock.json", boot="another")
    assert again.now() == NOON_MS + HOUR_MS + 9 * DAY_MS


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"boot": "boot"}', json.dumps({"boot": "boot", "wall_ns": "x", "steady_ns": 0})]
)
def test_a_note_that_is_none_is_passed_over(world: World, tmp_path: Path, text: str) -> None:
    (tmp_path / "clock.json").write_text(text)
    assert world.clock(tmp_path / "clock.json").now() == NOON_MS


def test_the_kernel_answers() -> None:
    assert kernel.synchronised() in (True, False, None)
