"""One chaos run: the world, a load, the nemesis, and the count at the end."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic

from iotd.ops.control import request
from tests.chaos.nemesis import Nemesis
from tests.chaos.world import World
from tests.servers.checker import Count, Ledger, RedisStore, Store, count, handed_over
from tests.servers.system import until

Tell = Callable[[str], None]


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        seed: of the nemesis; the same one strikes in the same order.
        counts: by location and node, and ``location archive``.
        faults: how often each struck.
        emptied: locations whose shard lost all its data, so that shard and archive together hold everything.
        refused: readings in the dead-letter files.
        deaths: ends of the daemon that no fault brought about.
        forgotten: points that InfluxDB had acknowledged and had no more, found and repaired by a verification.
        memory: the daemon's resident bytes at most.
        events: what the daemon logged as a warning or an error, and how often.
    """

    seed: int
    counts: dict[str, Count] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    emptied: list[str] = field(default_factory=list)
    refused: int = 0
    deaths: list[str] = field(default_factory=list)
    forgotten: int = 0
    memory: int = 0
    seconds: float = 0
    events: dict[str, int] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Nothing lost, altered, invented or refused, and the daemon never ended by itself."""
        return bool(self.counts) and all(c.good for c in self.counts.values()) and not (self.refused or self.deaths)


async def chaos(
    seconds: float,
    seed: int,
    tell: Tell,
    *,
    locations: Sequence[str],
    per_type: int,
    faults: Iterable[str] = (),
    daemon: Sequence[str] = ("-m", "iotd"),
) -> Outcome:
    """Runs faults for so many seconds and counts what is there afterwards; call it within a lab."""
    outcome = Outcome(seed)
    began = monotonic()

    def said(what: str) -> None:
        tell(f"{monotonic() - began:+8.1f} s  {what}")

    with tempfile.TemporaryDirectory(prefix="iotd-chaos-") as folder:
        world = World(Path(folder), locations, per_type=per_type, daemon=daemon)
        nemesis = Nemesis(world, Random(seed), said, faults)
        try:
            await world.up()
            said("all is up")
            watching = asyncio.ensure_future(_watch(world, outcome))
            try:
                await nemesis.run(seconds)
            finally:
                watching.cancel()
            said("no more faults")
            await _count(world, outcome, said)
            if not all(counted.good for counted in outcome.counts.values()):
                _tell_ends(world, tell, 60)
        except BaseException:
            _tell_ends(world, tell, 15)
            raise
        finally:
            await world.down()
    outcome.faults = dict(nemesis.struck.most_common())
    outcome.emptied = sorted(world.emptied)
    outcome.deaths = world.deaths
    outcome.seconds = round(monotonic() - began, 1)
    return outcome


def _tell_ends(world: World, tell: Tell, lines: int) -> None:
    for path in (world.disk.path.parent / "daemon.log", *world.system.settings.state.glob("nodes/*/log")):
        if path.exists():
            tell(f"── the end of {path.name} of {path.parent.name}")
            tell("\n".join(path.read_text(errors="replace").splitlines()[-lines:]))


async def _watch(world: World, outcome: Outcome) -> None:
    while True:
        outcome.memory = max(outcome.memory, world.memory())
        await asyncio.sleep(1)


async def _count(world: World, outcome: Outcome, said: Tell) -> None:
    await world.mend()
    world.look_after_daemon()
    await world.drained()
    said("all is confirmed")
    # all but the last moment: what is read while this goes on is little enough for the archiver's last pass
    await request(world.settings.state, "POST", "/archive/now")
    # a point that the proxy refused again and again is no worse for it
    await request(world.settings.state, "POST", "/archive/retry-rejected")
    await request(world.settings.state, "POST", "/archive/now")
    said("all is archived")
    await _stop(world)
    if gone := await _forgotten(world):
        said(f"InfluxDB has lost {gone:,} points that it had acknowledged: verifying")
        outcome.forgotten = gone
        world.start_daemon()
        await world.daemon.running()
        await request(world.settings.state, "POST", "/archive/verify", {"repair": "1"})
        await _stop(world)
    for location in world.locations:
        await _settled(world, location)
        span = handed_over(world.settings, location)
        archive = world.influx.store()
        outcome.counts[f"{location} archive"] = await count(world.settings, location, span, archive)
        for node in await world.pair(location):
            async with world.system.connection(node.name) as redis:
                stores: list[Store] = [RedisStore(redis), *([archive] if location in world.emptied else [])]
                outcome.counts[node.name] = await count(world.settings, location, span, *stores)
    outcome.events = dict(
        Counter(line["event"] for line in world.daemon.lines() if line["level"] in ("warning", "error")).most_common()
    )
    for letters in (world.settings.state / "dead-letters").glob("*.jsonl"):
        outcome.refused += len(letters.read_text().splitlines())


async def _stop(world: World) -> None:
    if code := await world.stop_daemon():
        world.deaths.append(f"exit code {code} when it was asked to end")


async def _forgotten(world: World) -> int:
    """How many points the archive lacks that it had acknowledged; 0 when one was not: that one is our loss."""
    gone = 0
    for location in world.locations:
        ledger = Ledger(world.settings, location, handed_over(world.settings, location))
        await ledger.see(world.influx.store())
        for sensor, time in ledger.missing():
            if not world.influx.witness.acknowledged(sensor, time):
                return 0
            gone += 1
    return gone


async def _settled(world: World, location: str) -> None:
    """Waits until the replica has all that its master has."""
    master, replica = await world.pair(location)

    async def level() -> bool:
        said = [await world.system.ask(node.name, "ROLE") for node in (master, replica)]
        return bool(said[0][0] == b"master" and said[1][3] == b"connected" and said[1][4] >= said[0][1])

    await until(level, 60, f"{replica.name} has caught up")
