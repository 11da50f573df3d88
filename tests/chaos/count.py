"""The count at the end of a chaos run: what the nodes and the archive of each location hold, against what they must."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from time import time_ns
from typing import TypedDict

from iotd.intake.superseded import REASON as SUPERSEDED
from iotd.model.series import Series
from iotd.sources.simulator.signal import sensors
from iotd.sources.simulator.source import Span, source_name
from tests.chaos import spans
from tests.chaos.clients.fates import Fates, Judge
from tests.chaos.clients.processes import SOURCES
from tests.chaos.mqtt.fates import MqttFates, MqttJudge, compare_arrivals, held
from tests.chaos.mqtt.notes import SOURCES as MQTT
from tests.chaos.mqtt.notes import story
from tests.chaos.servers import DAEMON
from tests.chaos.spans import Part
from tests.chaos.world import World
from tests.intakes import held_readings
from tests.servers.checker import Count, RedisStore, Store, handed_over
from tests.servers.system import until
from tests.servers.witness import Given, Outcome, Readings, compare, witnessed

_AROUND_MS = 900_000
_CAUSES = {"clock": ("in the future", "more than", "too old"), "room renamed": ("unknown location",)}
"""Words of faults' names, and for which reasons these may have had readings of clients held."""


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
    """Reads what is held, and the archive's dead letters."""
    found = DeadLetters()
    state = world.settings.state
    for one in held_readings(state, but=(*SOURCES.values(), *MQTT.values())):
        if "in the future" in one.reason:
            found.held.setdefault(one.series, {}).setdefault(one.time, set()).add(one.value)
        elif one.reason != SUPERSEDED:  # a later value of the same millisecond stands
            found.refused.append(str(one))
    for path in (state / "dead-letters").glob("*.jsonl"):
        found.refused += path.read_text().splitlines()
    return found


@dataclass
class Counts:
    """What was found, by location and node, and ``LOCATION archive``.

    Attributes:
        simulated, witnessed, clients: of the simulated sensors, of the witness, and of each client.
        arrivals: of what came over MQTT without a time; ``doubles`` are there once more, as they may be.
        unknown: series in a shard that nobody ever gave anything for.
    """

    simulated: dict[str, Count] = field(default_factory=dict)
    witnessed: dict[str, Outcome] = field(default_factory=dict)
    clients: dict[str, dict[str, Outcome]] = field(default_factory=dict)
    arrivals: dict[str, Outcome] = field(default_factory=dict)
    doubles: int = 0
    unknown: list[str] = field(default_factory=list)


async def counted(world: World, letters: DeadLetters, clients: Mapping[str, Fates], mqtt: MqttFates) -> Counts:
    """Counts; the daemon must be down.

    Args:
        clients: ``mqtt`` among them.
    """
    counts = Counts(clients={client: {} for client in clients})
    given = witnessed(world.witness, world.rooms)
    settings = world.settings
    simulated = [
        series
        for room in world.rooms
        for series in sensors(room, settings.sensors.types, settings.sensors.per_type, settings.known_types)
    ]
    everything = [*simulated, *given, *(series for fates in clients.values() for series in fates.nodes)]
    everything += mqtt.arrivals
    known = {series.key for series in everything}
    for location, due in _due(world).items():
        await _settled(world, location)

        async def see(name: str, store: Store, location: str = location, due: list[Part] = due) -> None:
            counts.simulated[name] = await spans.counted(world.settings, location, due, store, world.losses.losable)
            counts.witnessed[name] = await _witnessed(world, _of(location, given), letters.held, store)
            for client, fates in clients.items():
                its = fates.nodes if isinstance(store, RedisStore) else fates.archive
                if location in world.locations:
                    counts.clients[client][name] = await _witnessed(world, _of(location, its), {}, store)
            if location in world.locations:
                counts.arrivals[name], doubles = await _arrived(world, location, mqtt, store)
                counts.doubles = max(counts.doubles, doubles)

        await see(f"{location} archive", world.influx.store())
        for node in await world.pair(location):
            async with world.system.connection(node.name) as redis:
                await see(node.name, RedisStore(redis))
                keys = {key.decode() for key in await redis.call("TS.QUERYINDEX", f"location={location}")}
            counts.unknown += sorted(f"{key} in {node.name}" for key in keys - known)
    return counts


def _due(world: World) -> dict[str, list[Part]]:
    """What the simulated sensors had to hand over, by location; a room that was never served is not in it."""
    events = world.daemon.lines()
    begun = {event["source"] for event in events if event["event"] == "source_started"}
    rooms = [room for room in world.rooms if source_name(room) in begun]
    return {room: spans.parts(events, room, handed_over(world.settings, room), world.losses.losable) for room in rooms}


def client_fates(world: World) -> tuple[dict[str, Fates], MqttFates]:
    """What must have become of what each client gave, ``mqtt`` among them, which comes apart too.

    The daemon must be down.
    """
    state, clocks = world.settings.state, world.clocks
    given = _Circumstances(
        causes=[reason for word, reasons in _CAUSES.items() for reason in reasons if word in " ".join(world.struck)],
        keeps_ms=round(world.settings.redis.retention.total_seconds() * 1_000),
        tampered=frozenset(world.tampered),
    )
    mqtt = MqttJudge(story(world.mqtt.notes), held(state), world.rooms, clocks, **given).fates()
    books = world.clients.books.items()
    return {**{name: Judge(name, book, state, clocks).fates(**given) for name, book in books}, "mqtt": mqtt}, mqtt


class _Circumstances(TypedDict):
    causes: Sequence[str]
    keeps_ms: int
    tampered: frozenset[str]


async def _arrived(world: World, location: str, mqtt: MqttFates, store: Store) -> tuple[Outcome, int]:
    its = {series: expected for series, expected in mqtt.arrivals.items() if series.location == location}
    spans_ = list(_ever(world))
    stored = {series: [one for span in spans_ async for one in store.samples(series, span)] for series in its}
    return compare_arrivals(its, stored, world.losses.losable)


def _ever(world: World) -> Iterator[Span]:
    """All that the daemon's clock may have said in this run."""
    now, begun = time_ns() // 1_000_000, round(world.clocks.wall_ms(world.mqtt.began))
    last = None
    for by in world.clocks.ever(DAEMON):
        first = begun + round(by * 1_000) - _AROUND_MS
        if last is not None:
            first = max(first, last + 1)
        last = now + round(by * 1_000) + _AROUND_MS
        yield Span(first, last)


def _of(location: str, given: Mapping[Series, Given]) -> dict[Series, Given]:
    return {series: one for series, one in given.items() if series.location == location}


def _spans(given: Given) -> Iterator[Span]:
    """Where what was given may stand: around its times, since a repeat might be given another one."""
    times = sorted(given.given)
    ends = [time for time, following in pairwise(times) if following - time > 2 * _AROUND_MS]
    begins = [following for time, following in pairwise(times) if following - time > 2 * _AROUND_MS]
    for first, last in zip([times[0], *begins], [*ends, times[-1]], strict=True):
        yield Span(first - _AROUND_MS, last + _AROUND_MS)


async def _witnessed(world: World, its: Mapping[Series, Given], held: Readings, store: Store) -> Outcome:
    stored, twice = {}, []
    for series, given in its.items():
        samples = [sample for span in _spans(given) async for sample in store.samples(series, span)]
        stored[series] = dict(samples)
        if len(samples) > len(stored[series]):
            twice.append(series)
    outcome = compare(its, stored, held=held, losable=world.losses.losable)
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


async def lacking(world: World, letters: DeadLetters, clients: Mapping[str, Fates]) -> Lacking:
    """Looks for everything that must be in the archive; the daemon must be down."""
    found = Lacking()
    given = witnessed(world.witness, world.rooms)  # its sensors are none of the clients'
    for fates in clients.values():
        given |= fates.archive
    archive, losable = world.influx.store(), world.losses.losable
    for location, due in _due(world).items():
        missing = await spans.missing(world.settings, location, due, archive, losable)
        for series, one in given.items():
            if series.location == location:
                there = {time for span in _spans(one) async for time, _ in archive.samples(series, span)}
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
