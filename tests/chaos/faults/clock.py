"""Faults of wall clocks: the daemon's alone, a node's alone, and the machine's, which all processes share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from random import Random

from tests.chaos.faults.base import fault_that_needs
from tests.chaos.servers import DAEMON
from tests.chaos.world import World

_FAR_S = (2 * 3_600, 9 * 86_400)
"""By so much a machine's clock is off: more than an hour, and more than a shard keeps."""


def _no_clock(world: World) -> str | None:
    return None if world.clocks.there else "no libfaketime here: clocks do not step"


@contextmanager
def _off(world: World, by: float, process: str | None = None) -> Iterator[None]:
    """A process's clock, or that of all, is so many seconds ahead (behind: negative)."""
    turn = world.clocks.set_all if process is None else partial(world.clocks.set, process)
    turn(by)
    try:
        yield
    finally:
        turn(0)


@fault_that_needs(_no_clock)
async def clock_steps_back(world: World, rng: Random) -> AsyncIterator[str]:
    # the nodes contradict, so that it is not believed: readings go by the time before, carried on
    by = rng.choice((rng.uniform(1, 20), *_FAR_S))
    with _off(world, -by, DAEMON):
        yield f"the daemon's, by {by:.1f} s"


@fault_that_needs(_no_clock)
async def clock_jumps_ahead(world: World, rng: Random) -> AsyncIterator[str]:
    # less than two seconds are believed at once: what was read meanwhile is from the future, what comes then is late
    by = rng.choice((rng.uniform(1, 20), *_FAR_S))
    with _off(world, by, DAEMON):
        yield f"the daemon's, by {by:.1f} s"


@fault_that_needs(_no_clock)
async def clock_of_a_node_is_off(world: World, rng: Random) -> AsyncIterator[str]:
    location = rng.choice(world.locations)
    node = rng.choice(await world.pair(location))
    by = rng.choice((-1, 1)) * rng.choice((5, *_FAR_S))
    # asked for its time once in `sentinel.poll_interval`, and told when it has lasted
    with _off(world, by, node.name), world.expecting("node_clock", location, within=5 + 10 + 5):
        yield f"{node.name}, by {by} s"


@fault_that_needs(_no_clock)
async def clock_of_the_machine_jumps_ahead(world: World, rng: Random) -> AsyncIterator[str]:
    # no node contradicts: they have made the same step, and are no witnesses
    by = rng.choice(_FAR_S)
    with _off(world, by), world.expecting("clock_doubted", None, within=10, once=True):
        yield f"all processes, by {by / 3600:g} h"


@fault_that_needs(_no_clock)
async def clock_of_the_machine_steps_back(world: World, rng: Random) -> AsyncIterator[str]:
    by = rng.choice(_FAR_S)
    with _off(world, -by), world.expecting("clock_doubted", None, within=10, once=True):
        yield f"all processes, by {by / 3600:g} h"
