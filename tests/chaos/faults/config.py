"""Faults of the configuration: what a person changes in the file while the daemon runs under load, and changes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random
from typing import Any

from tests.chaos.faults.base import fault, fault_that_needs
from tests.chaos.world import SPARE, World


def _one_room(world: World) -> str | None:
    return "there is one room only" if len(world.locations) < 2 else None


@fault
async def seed_changed(world: World, rng: Random) -> AsyncIterator[str]:
    seed = rng.randrange(2, 10**6)

    def change(tables: dict[str, Any]) -> None:
        tables["simulator"]["seed"] = seed

    async with world.configuration.changed(change) as refused:
        yield refused or f"{seed}"


@fault
async def interval_changed(world: World, rng: Random) -> AsyncIterator[str]:
    interval = rng.choice(("50ms", "200ms", "500ms", "1s"))

    def change(tables: dict[str, Any]) -> None:
        tables["sensors"]["interval"] = interval

    async with world.configuration.changed(change) as refused:
        yield refused or interval


@fault
async def log_full(world: World, rng: Random) -> AsyncIterator[str]:
    # of the room whose nodes hang until they go on, of the others until the archive has what is in it
    room = rng.choice(world.locations)
    limit = rng.choice(("4KiB", "8KiB", "32KiB"))

    def change(tables: dict[str, Any]) -> None:
        tables["log"]["limit"] = limit

    nodes = await world.pair(room)
    async with world.configuration.changed(change) as refused:
        with world.hanging(*nodes) as names:
            yield refused or f"{limit} at most, and {names} hang"


@fault_that_needs(_one_room)
async def order_of_rooms_changed(world: World, rng: Random) -> AsyncIterator[str]:
    turn = rng.randrange(1, len(world.locations))

    def change(tables: dict[str, Any]) -> None:
        tables["locations"] = tables["locations"][turn:] + tables["locations"][:turn]

    async with world.configuration.changed(change) as refused:
        if refused:
            world.wrong.append(f"another order of locations was refused: {refused}")
        yield refused or f"the first {turn} come last"


@fault_that_needs(_one_room)
async def two_rooms_exchange_their_servers(world: World, rng: Random) -> AsyncIterator[str]:
    one, other = rng.sample(world.locations, 2)

    def change(tables: dict[str, Any]) -> None:
        shards = tables["topology"]["shards"]
        if one in shards and other in shards:
            shards[one], shards[other] = shards[other], shards[one]

    async with world.configuration.changed(change) as refused:
        if refused is None and not world.configuration.uncertain:
            world.wrong.append(f"{one} and {other} have exchanged their servers, and the reload was not refused")
        if refused is None:
            yield f"{one} and {other}, and nobody was asked to take it over"  # a daemon that only begins, or hangs
            return
        with world.expecting("reload_refused", None, within=10, once=True):
            yield f"{one} and {other}: {refused}"


@fault
async def room_added_and_taken_away(world: World, rng: Random) -> AsyncIterator[str]:
    at = rng.random()
    async with world.configuration.changed(lambda tables: add_spare(world, tables, at)) as refused:
        yield refused or SPARE


def add_spare(world: World, tables: dict[str, Any], at: float = 1.0) -> None:
    """Adds the spare room to the tables of a configuration: in front (0.0), or behind all others (1.0)."""
    if SPARE not in tables["locations"]:
        tables["locations"].insert(round(at * len(tables["locations"])), SPARE)
        tables["topology"]["shards"][SPARE] = world.shards[SPARE]


@fault
async def room_renamed_in_locations_only(world: World, rng: Random) -> AsyncIterator[str]:
    # that is another room, with servers of its own; the one before is retired, until it comes back
    room = rng.choice(world.locations)

    def change(tables: dict[str, Any]) -> None:
        if room in tables["locations"] and SPARE not in tables["locations"]:
            tables["locations"][tables["locations"].index(room)] = SPARE
            tables["topology"]["shards"][SPARE] = world.shards[SPARE]
            del tables["topology"]["shards"][room]

    async with world.configuration.changed(change) as refused:
        yield refused or f"{room} is called {SPARE}"
