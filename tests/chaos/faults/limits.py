"""Faults of what the daemon is given: memory, descriptors, and a disk that is slow, or takes no writes any more."""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import psutil

from tests.chaos.faults.base import fault, fault_that_needs
from tests.chaos.world import World

_FREE = resource.RLIM_INFINITY
_STARTS_S = 15


@fault
async def daemon_out_of_descriptors(world: World, rng: Random) -> AsyncIterator[str]:
    # what it has open stays open, and nothing more can be opened
    pid = await _running(world)
    numbers = [int(path.name) for path in Path(f"/proc/{pid}/fd").glob("*")] if pid else [0]
    left = rng.choice((0, 0, 1, 3))
    with _limited(pid, resource.RLIMIT_NOFILE, len(numbers) + left):
        yield f"{len(numbers) + left} at most"


@fault
async def daemon_out_of_memory(world: World, rng: Random) -> AsyncIterator[str]:
    # its address space may not grow: what needs a thread or a large buffer fails, and it may end of that
    pid = await _running(world)
    has = psutil.Process(pid).memory_info().vms if pid else 0
    more = rng.choice((0, 1 << 20, 8 << 20))
    with world.may_die(), _limited(pid, resource.RLIMIT_AS, has + more):
        yield f"{more >> 20} MiB more than it has"


async def _running(world: World) -> int | None:
    """The daemon's process id, once it has what it needs to run; None where another fault keeps it from that."""
    with suppress(AssertionError):
        await world.daemon.running(_STARTS_S)
    return world.daemon_pid()


@contextmanager
def _limited(pid: int | None, what: int, limit: int) -> Iterator[None]:
    with suppress(ProcessLookupError, PermissionError):
        if pid is not None:
            _, hard = resource.prlimit(pid, what)
            resource.prlimit(pid, what, (limit if hard == _FREE else min(limit, hard), hard))
    try:
        yield
    finally:
        with suppress(ProcessLookupError, PermissionError):
            if pid is not None:
                _, hard = resource.prlimit(pid, what)
                resource.prlimit(pid, what, (hard, hard))


@fault_that_needs(lambda world: None if world.disk.can_be_slow else "no block device that can be throttled here")
async def disk_slow(world: World, rng: Random) -> AsyncIterator[str]:
    speed = rng.choice((2_000, 20_000, 200_000))
    with world.disk.slow(speed):
        yield f"{speed / 1000:g} kB/s"


@fault_that_needs(lambda world: None if world.disk.can_be_read_only else "no file system that can be damaged here")
async def disk_becomes_read_only(world: World, rng: Random) -> AsyncIterator[str]:
    # as it does when the kernel finds it damaged; a person stops the daemon then, and checks the disk
    world.disk.damage()
    try:
        yield "until it is repaired"
    finally:
        world.kill_daemon()
        await world.disk.repair()
        world.start_daemon()
