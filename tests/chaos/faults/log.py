"""Faults of the log's files: a power cut that takes the tail, a bit that flips."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from tests.chaos.faults.base import fault
from tests.chaos.world import World


@fault
async def log_tail_lost(world: World, rng: Random) -> AsyncIterator[str]:
    async with _dark(world, rng):
        with world.harmed_log(named=True) as folder:
            cut = _cut(folder, rng)
    yield f"{cut} bytes; the witness of the end is there"


@fault
async def log_tail_lost_with_the_witness(world: World, rng: Random) -> AsyncIterator[str]:
    # nobody can name what was beyond every checkpoint: it counts as lost with the disk
    async with _dark(world, rng):
        with world.harmed_log(named=False) as folder:
            cut = _cut(folder, rng)
            (folder / "witness").unlink(missing_ok=True)
    yield f"{cut} bytes"


@fault
async def bit_flipped_in_the_log(world: World, rng: Random) -> AsyncIterator[str]:
    async with _dark(world, rng):
        with world.harmed_log(named=True) as folder:
            path = rng.choice(sorted(folder.glob("*.seg")))
            bit = _flip(path, rng)
    yield f"bit {bit} of {path.name}"


@fault
async def bit_flipped_beside_the_log(world: World, rng: Random) -> AsyncIterator[str]:
    # in the small files, which the segments make up for
    world.kill_daemon()
    with world.harmed_log(named=True) as folder:
        path = folder / rng.choice(("meta", "witness"))
        bit = _flip(path, rng) if path.exists() else None
    world.start_daemon()
    yield f"bit {bit} of {path.name}"


@asynccontextmanager
async def _dark(world: World, rng: Random) -> AsyncIterator[None]:
    """The daemon is down; mostly a shard was away before, so that only the log has what came meanwhile."""
    if rng.random() < 0.7:
        world.kill(*await world.pair(rng.choice(world.locations)))
    await asyncio.sleep(rng.uniform(0.5, 4))
    world.kill_daemon()
    try:
        yield
    finally:
        world.start_daemon()


def _cut(folder: Path, rng: Random) -> int:
    path = max(folder.glob("*.seg"))
    size = path.stat().st_size
    cut = rng.randrange(1, min(size, rng.choice((200, 20_000, 500_000))) + 1)
    with path.open("r+b") as f:
        f.truncate(size - cut)
    return cut


def _flip(path: Path, rng: Random) -> int:
    data = bytearray(path.read_bytes())
    bit = rng.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    return bit
