"""One chaos run: the world, a load, the nemesis, and the count at the end."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

from iotd.model.errors import IotdError
from iotd.ops.control import request
from tests.chaos.count import client_fates, counted, dead_letters, lacking
from tests.chaos.faults.config import add_spare
from tests.chaos.nemesis import Nemesis
from tests.chaos.truth import Truth
from tests.chaos.world import SPARE, World
from tests.servers.checker import Count
from tests.servers.system import until
from tests.servers.witness import Outcome as Witnessed

_ATTEMPTS = 20
Tell = Callable[[str], None]
_GREEN_S = 12
"""So long the status is looked at when all is well again: an error that stands then is a false one."""
_QUIET_S, _MESSAGES_S = 2, 120
"""A broker from which nothing has come for so long has nothing more, and so long that may take."""
_VERIFICATIONS = 5
"""One writes back a bounded number of readings."""


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        seed: of the nemesis; the same one strikes in the same order.
        counts: by location and node, and ``location archive``, of the simulated sensors.
        witnessed: the same of the source that can't be asked again.
        clients: the same of each client, ``mqtt`` of what has a time among them.
        arrivals: of what came over MQTT without a time of its own.
        mqtt: what came to pass there, and how often.
        held_of_clients: readings of clients that are held, by client and reason.
        bad: things of clients that nobody could take, and that are held; ``again`` are those that are held once more,
            since they were sent again without a key.
        repeated: messages of clients that were acknowledged, and had been sent more than once.
        later: answers to clients that they were to come again later (503).
        faults: how often each struck.
        tampered: locations of whose shard data was taken or altered, or whose log was harmed.
        held: readings that were set aside, being from the future.
        refused: other lines of the dead-letter files.
        deaths: ends of the daemon that no fault brought about.
        unnamed: what the log had lost, and the daemon did not name.
        wrong: what the daemon did otherwise than it has to, as a fault has seen it.
        lies: where the status was not truthful.
        named: losses that faults had caused, and the status has named.
        errors: kinds of errors that the status began to say, and how often.
        forgotten: points that InfluxDB had acknowledged and had no more, found and repaired by a verification.
        missed: readings that the archive was not given before the verification.
        memory: the daemon's resident bytes at most.
        events: what the daemon logged as a warning or an error, and how often.
    """

    seed: int
    counts: dict[str, Count] = field(default_factory=dict)
    witnessed: dict[str, Witnessed] = field(default_factory=dict)
    clients: dict[str, dict[str, Witnessed]] = field(default_factory=dict)
    arrivals: dict[str, Witnessed] = field(default_factory=dict)
    mqtt: dict[str, int] = field(default_factory=dict)
    held_of_clients: dict[str, dict[str, int]] = field(default_factory=dict)
    bad: int = 0
    again: int = 0
    repeated: int = 0
    later: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    tampered: list[str] = field(default_factory=list)
    held: int = 0
    refused: list[str] = field(default_factory=list)
    deaths: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lies: list[str] = field(default_factory=list)
    named: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    forgotten: int = 0
    missed: list[str] = field(default_factory=list)
    memory: int = 0
    seconds: float = 0
    events: dict[str, int] = field(default_factory=dict)

    @property
    def tables(self) -> dict[str, Mapping[str, Count | Witnessed]]:
        """All counts, by who handed over."""
        return {
            "simulated": self.counts,
            "witnessed": self.witnessed,
            **self.clients,
            "mqtt without times": self.arrivals,
        }

    @property
    def good(self) -> bool:
        """Nothing lost unnamed, altered, invented or refused, no lie, and no end of the daemon by itself."""
        stored = all(count.good for counts in self.tables.values() for count in counts.values())
        wrong = self.refused or self.deaths or self.unnamed or self.missed or self.wrong or self.lies
        return bool(self.counts) and stored and not wrong


async def chaos(
    seconds: float,
    seed: int,
    tell: Tell,
    *,
    locations: Sequence[str],
    per_type: int,
    faults: Iterable[str] = (),
    daemon: Sequence[str] = ("-m", "iotd"),
    hold: float | None = None,
    keep: Path | None = None,
) -> Outcome:
    """Runs faults for so many seconds and counts what is there afterwards; call it within a lab.

    Args:
        hold: seconds for which each fault is held; None: some, more or fewer.
        keep: a folder for the daemon's log and state after a run that was not good.
    """
    outcome = Outcome(seed)
    began = monotonic()

    def said(what: str) -> None:
        tell(f"{monotonic() - began:+8.1f} s  {what}")

    with tempfile.TemporaryDirectory(prefix="iotd-chaos-") as folder:
        world = World(Path(folder), locations, per_type=per_type, daemon=daemon)
        nemesis = Nemesis(world, Random(seed), said, faults, hold)
        truth = Truth(world, said)
        try:
            await world.up()
            said("all is up")
            watching = [asyncio.ensure_future(_watch(world, outcome)), asyncio.ensure_future(truth.run())]
            try:
                await nemesis.run(seconds)
                said("no more faults")
                await _settle(world, said)
            finally:
                for task in watching:
                    task.cancel()
                ended = await asyncio.gather(*watching, return_exceptions=True)
            for error in ended:
                if not isinstance(error, asyncio.CancelledError) and isinstance(error, BaseException):
                    raise error
            await _count(world, outcome, said)
            _tell_truth(truth, world, outcome)
            if not outcome.good:
                _tell_ends(world, tell, 60)
        except BaseException:
            _tell_ends(world, tell, 15)
            raise
        finally:
            await world.end_daemon()
            if keep is not None and not outcome.good:  # or it did not come to its end
                world.save(keep)
            await world.down()
    outcome.faults = dict(nemesis.struck.most_common())
    outcome.tampered = sorted(world.tampered | world.losses.harmed.keys())
    outcome.seconds = round(monotonic() - began, 1)
    return outcome


def _tell_ends(world: World, tell: Tell, lines: int) -> None:
    if world.daemon_log.exists():
        tell("── the end of daemon.log")
        tell("\n".join(world.daemon_log.read_text(errors="replace").splitlines()[-lines:]))


async def _watch(world: World, outcome: Outcome) -> None:
    while True:
        outcome.memory = max(outcome.memory, world.memory())
        await asyncio.sleep(1)


async def _settle(world: World, said: Tell) -> None:
    """All that was handed over becomes durable and archived, and the status green, while it is still looked at."""
    await world.mend()
    world.look_after_daemon()
    await world.configuration.known()
    await world.clients.stop()
    await _no_more_messages(world)
    if SPARE in world.configuration.ever:  # so that it is archived and verified too
        await world.configuration.keep(lambda tables: add_spare(world, tables))
    await world.drained()
    said("all is durable")
    # all but the last moment: what is read while this goes on is little enough for the archiver's last pass
    await _ask(world, "/archive/now")
    # a point that the proxy refused again and again is no worse for it
    await _ask(world, "/archive/retry-rejected")
    await _ask(world, "/archive/now")
    said("all is archived")
    await asyncio.sleep(_GREEN_S)


async def _no_more_messages(world: World) -> None:
    link = world.mqtt.link

    async def quiet() -> bool:
        return link.idle_s > _QUIET_S

    try:
        await until(quiet, _MESSAGES_S, "iotd has acknowledged what the broker has")
    except AssertionError as e:
        waiting = {source: len(line.waiting) for source, line in link.lines.items()}
        world.wrong.append(f"{e}; without a PUBACK: {waiting}")


def _tell_truth(truth: Truth, world: World, outcome: Outcome) -> None:
    outcome.mqtt["sessions that were lost right before the daemon died, and never told"] = truth.untold_sessions
    outcome.lies, outcome.named, outcome.errors = truth.lies, truth.acknowledged, dict(truth.errors.most_common())
    for room in world.rooms:
        stores = (f"{room} archive", f"redis-{room}-master", f"redis-{room}-replica")
        tables = outcome.tables.values()
        lost = sum(counts[store].lost for store in stores for counts in tables if store in counts)
        if lost and room not in world.losses.unnameable and not truth.named_loss(room):
            outcome.lies.append(f"{room}: {lost} readings were lost with the log, and no condition ever named a loss")


async def _count(world: World, outcome: Outcome, said: Tell) -> None:
    world.losses.look_for_names()
    await _stop(world)
    lacks = await lacking(world, dead_letters(world), client_fates(world)[0])
    outcome.forgotten, outcome.missed = lacks.forgotten, lacks.missed
    harmed = world.tampered | world.losses.harmed.keys()
    if outcome.forgotten or harmed:
        said(f"{outcome.forgotten:,} points lost by InfluxDB, tampered with: {sorted(harmed)}: verifying")
        world.start_daemon()
        await world.daemon.running(120)
        await world.drained()
        for _ in range(_VERIFICATIONS):
            found = await _ask(world, "/archive/verify", repair="1")
            if not any(comparison["gaps"] for comparison in found.values()):
                break
        await _stop(world)
    letters = dead_letters(world)
    outcome.held, outcome.refused = letters.count, letters.refused
    clients, mqtt = client_fates(world)
    outcome.deaths, outcome.unnamed = world.deaths, world.losses.unnamed
    outcome.wrong = [*world.wrong, *world.clients.ended, *world.mqtt.link.broken]
    outcome.wrong += [what for fates in clients.values() for what in fates.wrong]
    outcome.held_of_clients = {name: dict(fates.held) for name, fates in clients.items()}
    outcome.bad = sum(fates.bad for fates in clients.values())
    outcome.repeated = sum(fates.repeated for fates in clients.values())
    outcome.later = sum(fates.later for fates in clients.values())
    outcome.again = sum(fates.again for fates in clients.values())
    outcome.events = dict(
        Counter(line["event"] for line in world.daemon.lines() if line["level"] in ("warning", "error")).most_common()
    )
    found = await counted(world, letters, clients, mqtt)
    outcome.arrivals = found.arrivals
    outcome.mqtt = {**mqtt.figures, "there twice, by that or since a part of the log was lost": found.doubles}
    outcome.mqtt |= {f"sessions lost by {source}": len(line.lost) for source, line in world.mqtt.link.lines.items()}
    outcome.counts, outcome.witnessed, outcome.clients = found.simulated, found.witnessed, found.clients
    outcome.wrong += [f"a series that nobody gave anything for: {what}" for what in found.unknown]


async def _ask(world: World, path: str, **params: str) -> Any:
    """Asks the daemon for something, again while a loaded machine keeps it from that."""
    for _ in range(_ATTEMPTS):
        with suppress(IotdError):
            return await request(world.settings.state, "POST", path, params)
        await asyncio.sleep(2)
    return await request(world.settings.state, "POST", path, params)


async def _stop(world: World) -> None:
    if code := await world.stop_daemon():
        world.deaths.append(f"exit code {code} when it was asked to end")
