"""Faults of the log's files: a power cut that takes the tail, a bit that flips, files that somebody removes."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random

from tests.chaos.faults.base import fault
from tests.chaos.world import World


@fault
async def log_tail_lost(world: World, rng: Random) -> AsyncIterator[str]:
    async with _dark(world, rng):
        with world.losses.harming(named=True) as folder:
            cut = _cut(folder, rng)
    yield f"{cut} bytes; the witness of the end is there"


@fault
async def log_tail_lost_with_the_witness(world: World, rng: Random) -> AsyncIterator[str]:
    # nobody can name what was beyond every checkpoint: it counts as lost with the disk
    async with _dark(world, rng):
        with world.losses.harming(named=False) as folder:
            cut = _cut(folder, rng)
            (folder / "witness").unlink(missing_ok=True)
    yield f"{cut} bytes"


@fault
async def bit_flipped_in_the_log(world: World, rng: Random) -> AsyncIterator[str]:
    async with _dark(world, rng):
        with world.losses.harming(named=True) as folder:
            path = rng.choice(sorted(folder.glob("*.seg")))
            bit = _flip(path, rng)
    yield f"bit {bit} of {path.name}"


@fault
async def bit_flipped_beside_the_log(world: World, rng: Random) -> AsyncIterator[str]:
    # in the small files, which the segments make up for
    world.kill_daemon()
    with world.losses.harming(named=True) as folder:
        path = folder / rng.choice(("meta", "witness"))
        bit = _flip(path, rng) if path.exists() else None
    world.start_daemon()
    yield f"bit {bit} of {path.name}"


@fault
async def log_file_removed_under_the_daemon(world: World, rng: Random) -> AsyncIterator[str]:
    # the one that is written is written anew from what is still open; what only a sealed one had is lost
    files = sorted(world.losses.folder.glob("*.seg"))
    chosen = [rng.choice((files[-1], rng.choice(files)))] if files else []
    await world.losses.harm_running(chosen, lambda path: path.unlink(missing_ok=True))
    yield ", ".join(path.name for path in chosen)


@fault
async def log_file_replaced_under_the_daemon(world: World, rng: Random) -> AsyncIterator[str]:
    # as a restored backup would: an older copy comes to stand under the name of the file that is written
    files = sorted(world.losses.folder.glob("*.seg"))[-1:]
    await world.losses.harm_running(files, _replace)
    yield ", ".join(path.name for path in files)


@fault
async def log_folder_removed_under_the_daemon(world: World, rng: Random) -> AsyncIterator[str]:
    # with all that is in it; only what is being written is still open
    files = sorted(world.losses.folder.glob("*.seg"))

    def remove(path: Path) -> None:
        if path.parent == world.losses.folder:
            shutil.rmtree(path.parent, ignore_errors=True)
        path.unlink(missing_ok=True)

    world.losses.emptied = True  # a daemon that is only starting finds no log at all
    await world.losses.harm_running(files, remove)
    yield f"{len(files)} files"


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


def _replace(path: Path) -> None:
    older = path.with_suffix(".old")
    with suppress(OSError):
        data = path.read_bytes()
        older.write_bytes(data[: len(data) // 2])
        older.replace(path)


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
