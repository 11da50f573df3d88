"""What must have become of what clients gave: the judge sees each way in which it can be otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from iotd.intake.held import HeldStore
from iotd.intake.requests import Requests
from iotd.model.held import Held
from iotd.model.series import Series
from tests.chaos.clients.book import Book, Reading, messages
from tests.chaos.clients.fates import Fates, Judge
from tests.chaos.servers import DAEMON, Clocks
from tests.intakes import now

MARK = "bad-0123456789abcdef"
KEEPS_MS = 8 * 86_400_000
NORTH = Series("temperature", "salon", "north")


def reading(value: float, time: int | None = None) -> Reading:
    return Reading("temperature", "salon", "north", time, value)


class Bench:
    """A client's book, and what the daemon holds."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "book"
        self.book = Book(self.path)
        self.clocks = Clocks(folder / "clocks")
        self.clocks.environment(DAEMON)
        self._folder = folder

    async def held(self, payload: bytes, reason: str = "not plausible", *, arrived: int = 1) -> None:
        store = HeldStore(self._folder / "held.sqlite", lambda: 1 << 20)
        await store.add([Held("http", "lines", "/write line 1", payload, arrived, reason)])
        store.close()

    async def arrived(self, key: str, at: int) -> None:
        requests = Requests(self._folder / "requests.sqlite")
        await requests.arrival(f"http {key}", at)
        requests.close()

    def judged(
        self, client: str = "http", causes: tuple[str, ...] = (), tampered: frozenset[str] = frozenset()
    ) -> Fates:
        judge = Judge(client, self.path, self._folder, self.clocks)
        return judge.fates(causes=causes, keeps_ms=KEEPS_MS, tampered=tampered)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def sent(
    bench: Bench, *readings: Reading, tries: int = 1, done: bool = True, key: str | None = None, bad: str = ""
) -> None:
    number = bench.book.give(readings, bad=[bad] if bad else [], key=key)
    for _ in range(tries):
        bench.book.tries(number)
    if done:
        bench.book.done(number)


def line(value: float) -> bytes:
    return f"temperature,location=salon,sensor_id=north value={value!r} 1".encode()


def test_a_book_cut_short_by_a_kill_tells_what_is_whole(bench: Bench) -> None:
    sent(bench, reading(21.5, 7), tries=2)
    bench.path.write_bytes(bench.path.read_bytes()[:-5])
    (message,) = messages(bench.path).values()
    assert message.readings == [reading(21.5, 7)]
    assert len(message.tries) == 2
    assert message.done is None


def test_what_was_acknowledged_must_be_stored_and_what_was_not_may_be(bench: Bench) -> None:
    t = now()
    sent(bench, reading(21.5, t))
    sent(bench, reading(22.5, t + 1), done=False)
    fates = bench.judged()
    assert fates.nodes[NORTH].acknowledged == fates.archive[NORTH].acknowledged == {t: 21.5}
    assert fates.nodes[NORTH].may_stand(t + 1, (), ()) == ({22.5}, False)
    assert not fates.wrong


async def test_a_reading_without_a_time_has_that_of_its_key(bench: Bench) -> None:
    t = now()
    sent(bench, reading(21.5), key="a")
    sent(bench, reading(22.5), key="b", done=False)  # it never came through: nothing may be there
    await bench.arrived("a", t)
    fates = bench.judged()
    assert fates.nodes[NORTH].given == {t: [(21.5, True)]}
    assert not fates.wrong


async def test_a_time_that_is_not_that_of_the_arrival_is_found(bench: Bench) -> None:
    sent(bench, reading(21.5), key="a")
    await bench.arrived("a", now() - 60_000)
    assert ["arrived at" in what for what in bench.judged().wrong] == [True]


async def test_a_step_of_the_daemons_clock_is_allowed_for(bench: Bench) -> None:
    bench.clocks.set(DAEMON, -60)
    sent(bench, reading(21.5), key="a")
    await bench.arrived("a", now() - 60_000)
    assert not bench.judged().wrong


def test_an_acknowledged_key_that_nobody_knows_is_found(bench: Bench) -> None:
    sent(bench, reading(21.5), key="a")
    assert ["key is not known" in what for what in bench.judged().wrong] == [True]


async def test_what_nobody_can_take_must_be_held(bench: Bench) -> None:
    sent(bench, reading(21.5, now()), bad=MARK)
    assert ["not held" in what for what in bench.judged().wrong] == [True]
    await bench.held(MARK.encode())
    fates = bench.judged()
    assert not fates.wrong
    assert fates.bad == 1


@pytest.mark.parametrize(("key", "tries", "wrong"), [("a", 2, True), (None, 2, False), (None, 1, True)])
async def test_it_is_held_once_or_once_for_each_attempt_without_a_key(
    bench: Bench, key: str | None, tries: int, wrong: bool
) -> None:
    sent(bench, reading(21.5, now()), bad=MARK, key=key, tries=tries)
    await bench.held(MARK.encode(), arrived=1)
    await bench.held(MARK.encode(), arrived=2)
    assert bool(bench.judged().wrong) == wrong


async def test_a_reading_that_is_held_must_have_a_cause_and_must_not_be_stored(bench: Bench) -> None:
    t = now()
    sent(bench, reading(21.5, t))
    await bench.held(line(21.5), "in the future")
    assert ["no fault gave cause" in what for what in bench.judged().wrong] == [True]
    fates = bench.judged(causes=("in the future",))
    assert not fates.wrong
    assert fates.held == {"in the future": 1}
    assert NORTH not in fates.nodes


async def test_one_that_was_sent_again_may_be_stored_and_held(bench: Bench) -> None:
    t = now()
    sent(bench, reading(21.5, t), tries=2)
    await bench.held(line(21.5), "in the future")
    assert bench.judged(causes=("in the future",)).nodes[NORTH].given == {t: [(21.5, False)]}


@pytest.mark.parametrize("payload", [line(20.25), b"bad-ffffffffffffffff", b"", b'{"value": 20.25}', b"\xff"])
async def test_what_was_never_given_and_is_held_is_found(bench: Bench, payload: bytes) -> None:
    sent(bench, reading(21.5, now()))
    await bench.held(payload)
    assert ["never given" in what for what in bench.judged().wrong] == [True]
    assert not bench.judged("python").wrong  # it is not the local source's


def test_what_the_shards_do_not_keep_only_the_archive_must_have(bench: Bench) -> None:
    t = now() - KEEPS_MS - 86_400_000
    sent(bench, reading(21.5, t))
    fates = bench.judged("python")
    assert not fates.nodes[NORTH].acknowledged
    assert fates.archive[NORTH].acknowledged == {t: 21.5}
    assert not bench.judged("python", tampered=frozenset({"salon"})).archive[NORTH].acknowledged
