"""What must have become of messages: the judge sees each way in which it can be otherwise, on made-up notes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from iotd.intake.held import HeldStore
from iotd.intake.superseded import REASON as SUPERSEDED
from iotd.model.held import Held
from iotd.model.series import Series
from tests.chaos.mqtt.fates import MqttFates, MqttJudge, compare_arrivals, held
from tests.chaos.mqtt.notes import Notes, story
from tests.chaos.mqtt.topics import OLD, alias
from tests.chaos.mqtt.wire import Published
from tests.chaos.servers import DAEMON, Clocks
from tests.intakes import now
from tests.servers.witness import Outcome, compare

SOURCE, MARK = "mqtt.five", "bad-0123456789abcdef"
KEEPS_MS = 8 * 86_400_000
NORTH = Series("temperature", "salon", "north")
PLAIN, TIMED = "five/plain/salon/north/temperature", "five/timed/salon/north/temperature"


class Bench:
    """What the witness has noted, and what the daemon holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes = Notes(folder / "notes")
        self.clocks = Clocks(folder / "clocks")
        self.clocks.environment(DAEMON)
        self.link = 0
        self.connects(resumed=False)

    def connects(self, *, resumed: bool = True) -> None:
        self.link += 1
        self.notes.let_in(self.link, SOURCE, resumed=resumed)

    def passes(
        self, payload: object, topic: str = PLAIN, *, id_: int = 1, again: bool = False, old: bool = False
    ) -> None:
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.notes.passes(self.link, Published(topic, raw, 1 if id_ else 0, old, again, id_))

    def acknowledges(self, id_: int = 1) -> None:
        self.notes.acknowledged(self.link, id_)

    async def holds(self, topic: str, payload: object, reason: str = "not plausible", *, arrived: int = 1) -> None:
        store = HeldStore(self.folder / "held.sqlite", lambda: 1 << 20)
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        await store.add([Held(SOURCE, "mqtt", topic, raw, arrived, reason)])
        store.close()

    def judged(self, *, causes: tuple[str, ...] = ()) -> MqttFates:
        judge = MqttJudge(
            story(self.folder / "notes"),
            held(self.folder),
            ("salon", "cuisine"),
            self.clocks,
            causes=causes,
            keeps_ms=KEEPS_MS,
            tampered=frozenset(),
        )
        return judge.fates()

    def arrived(self, *stored: tuple[int, float], lost: float | None = None, **options: Any) -> tuple[Outcome, int]:
        losable = {NORTH: {1: {lost}}} if lost is not None else {}
        return compare_arrivals(self.judged(**options).arrivals, {NORTH: stored}, losable)

    def timed(self, *stored: tuple[int, float]) -> Outcome:
        return compare(self.judged().nodes, {NORTH: dict(stored)})


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# ── without a time ──


def test_one_that_was_acknowledged_must_be_there_once(bench: Bench) -> None:
    bench.passes(21.25)
    bench.acknowledges()
    assert bench.arrived((now(), 21.25))[0].good
    missing, _ = bench.arrived()
    assert (missing.due, missing.missing) == (1, 1)
    twice, _ = bench.arrived((now(), 21.25), (now() + 1, 21.25))
    assert twice.strange == 1
    other, _ = bench.arrived((now(), 21.5))
    assert (other.missing, other.strange) == (1, 1)


def test_one_that_was_not_acknowledged_may_be_there_once(bench: Bench) -> None:
    bench.passes(21.25)
    for stored, strange in (((), 0), (((now(), 21.25),), 0), (((now(), 21.25), (now() + 1, 21.25)), 1)):
        outcome, _ = bench.arrived(*stored)
        assert (outcome.due, outcome.missing, outcome.strange) == (0, 0, strange)


def test_qos_0_is_never_claimed_and_is_there_once_at_most(bench: Bench) -> None:
    bench.passes(21.25, id_=0)
    assert bench.arrived()[0].missing == 0
    assert bench.arrived((now(), 21.25), (now() + 1, 21.25))[0].strange == 1
    assert bench.judged().figures["QoS 0"] == 1


def test_what_was_redelivered_as_it_has_to_be_is_there_once(bench: Bench) -> None:
    bench.passes(21.25)
    for _ in range(3):
        bench.connects()
        bench.passes(21.25, again=True)
    bench.acknowledges()  # of the last one
    assert bench.arrived((now(), 21.25)) == (bench.arrived((now(), 21.25))[0], 0)
    assert bench.arrived((now(), 21.25), (now() + 1, 21.25))[0].strange == 1
    assert bench.judged().figures["sent once, and repeated by the broker as if it were another message"] == 0


def test_a_puback_that_the_broker_may_not_have_got_excuses_no_double(bench: Bench) -> None:
    bench.passes(21.25)
    bench.acknowledges()
    bench.connects()
    bench.passes(21.25, again=True)
    bench.acknowledges()
    assert bench.arrived((now(), 21.25), (now() + 1, 21.25))[0].strange == 1


def _without_dup(bench: Bench) -> None:
    bench.connects()
    bench.passes(21.25)


def _under_another_id(bench: Bench) -> None:
    bench.connects()
    bench.passes(21.25, id_=9, again=True)


def _in_another_session(bench: Bench) -> None:
    bench.connects(resumed=False)
    bench.passes(21.25, again=True)


def _though_it_had_the_puback(bench: Bench) -> None:
    bench.notes.confirmed(bench.link, 1)
    bench.connects()
    bench.passes(21.25, again=True)


@pytest.mark.parametrize("repeats", [_without_dup, _under_another_id, _in_another_session, _though_it_had_the_puback])
def test_each_repeat_that_nobody_can_tell_from_a_new_message_may_be_there_and_is_counted(
    bench: Bench, repeats: Any
) -> None:
    bench.passes(21.25)
    bench.acknowledges()
    repeats(bench)
    t = now()
    assert bench.judged().figures["sent once, and repeated by the broker as if it were another message"] == 1
    outcome, doubles = bench.arrived((t, 21.25))
    assert (outcome.good, doubles) == (True, 0)
    outcome, doubles = bench.arrived((t, 21.25), (t + 1, 21.25))
    assert (outcome.good, doubles) == (True, 1)
    assert bench.arrived((t, 21.25), (t + 1, 21.25), (t + 2, 21.25))[0].strange == 1
    assert bench.arrived()[0].missing == 1


def test_one_at_a_time_that_is_not_that_of_its_first_arrival_is_altered(bench: Bench) -> None:
    bench.passes(21.25)
    bench.acknowledges()
    assert bench.arrived((now() - 60_000, 21.25))[0].altered == 1
    assert bench.arrived((now() + 60_000, 21.25))[0].altered == 1


def test_steps_of_the_daemons_clock_are_allowed_for(bench: Bench) -> None:
    bench.clocks.set(DAEMON, -60)
    bench.passes(21.25)
    bench.acknowledges()
    assert bench.arrived((now() - 60_000, 21.25))[0].good


def test_one_that_only_a_destroyed_log_had_is_lost_and_not_missing(bench: Bench) -> None:
    bench.passes(21.25)
    bench.acknowledges()
    outcome, _ = bench.arrived(lost=21.25)
    assert (outcome.missing, outcome.lost) == (0, 1)


async def test_one_that_made_place_for_another_of_its_millisecond_is_wrong(bench: Bench) -> None:
    bench.passes(21.25)
    bench.acknowledges()
    await bench.holds("", {"value": 21.25, "time": 1}, SUPERSEDED)
    assert ["superseded" in what for what in bench.judged().wrong] == [True]


async def test_one_that_is_held_must_have_a_cause_and_must_not_be_stored(bench: Bench) -> None:
    bench.passes(21.25)
    bench.acknowledges()
    await bench.holds(PLAIN, 21.25, "unknown location")
    assert ["no fault gave cause" in what for what in bench.judged().wrong] == [True]
    assert not bench.judged(causes=("unknown location",)).wrong
    assert bench.arrived(causes=("unknown location",))[0].missing == 0
    assert bench.arrived((now(), 21.25), causes=("unknown location",))[0].strange == 1


# ── with a time ──


def test_one_with_a_time_is_there_with_it_whatever_was_repeated(bench: Bench) -> None:
    t = now()
    bench.passes({"v": 21.25, "ts": t}, TIMED)
    bench.connects(resumed=False)
    bench.passes({"v": 21.25, "ts": t}, TIMED, id_=4)
    bench.acknowledges(4)
    assert bench.timed((t, 21.25)).good
    assert bench.timed().missing == 1
    assert bench.timed((t, 21.5)).altered == 1
    assert bench.timed((t, 21.25), (t + 1, 21.25)).strange == 1


def test_a_room_is_known_by_its_alias(bench: Bench) -> None:
    t = now()
    bench.passes({"v": 21.25, "ts": t}, TIMED.replace("salon", alias("salon")))
    bench.acknowledges()
    assert bench.timed((t, 21.25)).good


# ── what nobody can take, and what says nothing ──


@pytest.mark.parametrize("topic", [f"five/plain/salon/{MARK}/temperature", f"five/timed/nowhere/{MARK}/temperature"])
async def test_what_nobody_can_take_must_be_held_once(bench: Bench, topic: str) -> None:
    bench.passes("hot", topic)
    bench.acknowledges()
    assert ["is not held" in what for what in bench.judged().wrong] == [True]
    await bench.holds(topic, "hot", arrived=1)
    assert not bench.judged().wrong
    await bench.holds(topic, "hot", arrived=2)
    assert ["held 2 times" in what for what in bench.judged().wrong] == [True]


async def test_it_may_be_held_once_for_each_time_it_came_before_it_was_acknowledged(bench: Bench) -> None:
    topic = f"five/plain/salon/{MARK}/temperature"
    bench.passes("hot", topic)
    bench.connects()
    bench.passes("hot", topic, again=True)
    bench.acknowledges()
    for arrived in (1, 2):
        await bench.holds(topic, "hot", arrived=arrived)
        assert not bench.judged().wrong
    assert bench.judged().again == 1


@pytest.mark.parametrize(
    ("payload", "sensor"), [(b"unavailable", "north"), (21.5, f"{OLD}-kept"), (b"", "north"), (b"nan", "north")]
)
async def test_what_says_nothing_and_what_is_old_becomes_no_reading_and_is_not_held(
    bench: Bench, payload: object, sensor: str
) -> None:
    topic = f"five/plain/salon/{sensor}/temperature"
    bench.passes(payload, topic, old=True)
    bench.acknowledges()
    fates = bench.judged()
    assert not fates.arrivals
    assert not fates.nodes
    assert not fates.wrong
    await bench.holds(topic, payload)
    assert ["never passed on" in what for what in bench.judged().wrong] == [True]


# ── PUBACKs ──


def test_pubacks_out_of_turn_or_for_nothing_are_found(bench: Bench) -> None:
    bench.passes(21.25, id_=1)
    bench.passes(22.25, id_=2)
    bench.acknowledges(2)
    bench.acknowledges(1)
    bench.acknowledges(1)
    assert ["before that of 1" in bench.judged().wrong[0], "no such packet" in bench.judged().wrong[1]] == [True, True]


def test_notes_cut_short_by_a_kill_tell_what_is_whole(bench: Bench) -> None:
    bench.passes(21.25)
    bench.acknowledges()
    path = bench.folder / "notes"
    path.write_bytes(path.read_bytes()[:-5])
    (message,) = story(path).messages
    assert message.acknowledged is None
