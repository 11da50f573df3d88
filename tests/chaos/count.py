"""The count at the end of a chaos run: what the nodes and the archive of each location hold, against what they must."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from iotd.model.series import Series
from iotd.sources.simulator.source import Span, source_name
from tests.chaos import spans
from tests.chaos.spans import Part
from tests.chaos.world import World
from tests.servers.checker import Count, RedisStore, Store, handed_over
from tests.servers.system import until
from tests.servers.witness import Given, Outcome, compare, witnessed

ALL_TIME = Span(0, 2**43)


@dataclass
class DeadLetters:
    """What iotd has set aside.

    Attributes:
        held: readings that came from the future, by series and time (ms): their values.
        refused: lines for another reason, which nothing here gives cause for.
    """

    held: dict[Series, dict[int, set[float]]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(len(values) for times in self.held.values() for values in times.values())


def dead_letters(world: World) -> DeadLetters:
    """Reads the dead-letter files."""
    found = DeadLetters()
    for path in (world.settings.state / "dead-letters").glob("*.jsonl"):
        for line in path.read_text().splitlines():
            letter = json.loads(line)
            if "in the future" in letter["reason"]:
                series = Series.from_key(letter["key"])
                found.held.setdefault(series, {}).setdefault(letter["time"], set()).add(float(letter["value"]))
            else:
                found.refused.append(line)
    return found


@dataclass
class Counts:
    """What was found, by location and node, and ``LOCATION archive``; of the simulated sensors and of the witness."""

    simulated: dict[str, Count] = field(default_factory=dict)
    witnessed: dict[str, Outcome] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return bool(self.simulated) and (
            all(c.good for c in self.simulated.values()) and all(c.good for c in self.witnessed.values())
        )


async def counted(world: World, letters: DeadLetters) -> Counts:
    """Counts; the daemon must be down."""
    counts = Counts()
    given = witnessed(world.witness, world.rooms)
    for location, due in _due(world).items():
        await _settled(world, location)
        its = {series: one for series, one in given.items() if series.location == location}

        async def see(
            name: str, store: Store, location: str = location, due: list[Part] = due, its: Mapping[Series, Given] = its
        ) -> None:
            counts.simulated[name] = await spans.counted(world.settings, location, due, store, world.losses.losable)
            counts.witnessed[name] = await _witnessed(world, its, letters, store)

        await see(f"{location} archive", world.influx.store())
        for node in await world.pair(location):
            async with world.system.connection(node.name) as redis:
                await see(node.name, RedisStore(redis))
    return counts


def _due(world: World) -> dict[str, list[Part]]:
    """What the simulated sensors had to hand over, by location; a room that was never served is not in it."""
    events = world.daemon.lines()
    begun = {event["source"] for event in events if event["event"] == "source_started"}
    rooms = [room for room in world.rooms if source_name(room) in begun]
    return {room: spans.parts(events, room, handed_over(world.settings, room), world.losses.losable) for room in rooms}


async def _witnessed(world: World, its: Mapping[Series, Given], letters: DeadLetters, store: Store) -> Outcome:
    stored, twice = {}, []
    for series, given in its.items():
        span = Span(min(given.given), max(given.given))
        samples = [sample async for sample in store.samples(series, span)]
        stored[series] = dict(samples)
        if len(samples) > len(stored[series]):
            twice.append(series)
    outcome = compare(its, stored, held=letters.held, losable=world.losses.losable)
    for series in twice:
        outcome.strange += 1
        outcome.wrong("is there twice", series, 0)
    return outcome


@dataclass
class Lacking:
    """What the archive lacks before any verification.

    Attributes:
        forgotten: readings that InfluxDB had acknowledged, and has lost itself.
        missed: readings that it was never given, which is our loss.
    """

    forgotten: int = 0
    missed: list[str] = field(default_factory=list)


async def lacking(world: World, letters: DeadLetters) -> Lacking:
    """Looks for everything that must be in the archive; the daemon must be down."""
    found = Lacking()
    given = witnessed(world.witness, world.rooms)
    archive, losable = world.influx.store(), world.losses.losable
    for location, due in _due(world).items():
        missing = await spans.missing(world.settings, location, due, archive, losable)
        for series, one in given.items():
            if series.location == location:
                there = {time async for time, _ in archive.samples(series, Span(min(one.given), max(one.given)))}
                aside, lost = letters.held.get(series, {}), losable.get(series, {})
                missing += [
                    (series, time)
                    for time in one.given.keys() - there
                    if one.may_stand(time, aside.get(time, ()), lost.get(time, ()))[1]
                ]
        for series, time in missing:
            if world.influx.witness.acknowledged(series, time):
                found.forgotten += 1
            else:
                found.missed.append(f"{series.key} at {time}")
    return found


async def _settled(world: World, location: str) -> None:
    """Waits until the replica has all that its master has."""
    master, replica = await world.pair(location)

    async def level() -> bool:
        said = [await world.system.ask(node.name, "ROLE") for node in (master, replica)]
        return bool(said[0][0] == b"master" and said[1][3] == b"connected" and said[1][4] >= said[0][1])

    await until(level, 60, f"{replica.name} has caught up")
