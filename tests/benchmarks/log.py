"""What the log takes: `python -m tests.benchmarks.log [FOLDER]`. Large batches, small commits, ticks, reading back."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

from iotd.log.base import Append
from iotd.log.budget import Budget
from iotd.log.embedded import EmbeddedLog
from tests.unit.logs import Catalogue

LOCATIONS = ("salon", "chambre1", "chambre2", "cuisine", "salle_de_bain")


def batch(location: str, readings: int) -> Append:
    series = np.arange(readings, dtype=np.int32) % 9
    return Append(location, series, np.arange(readings, dtype=np.int64), np.random.default_rng(1).random(readings))


def said(what: str, count: int, since: tuple[float, float], unit: str = "readings") -> None:
    wall, cpu = perf_counter() - since[0], process_time() - since[1]
    sys.stdout.write(f"{what}: {count / wall:,.0f} {unit}/s, {cpu / count * 1e6:.2f} µs of CPU each\n")


def now() -> tuple[float, float]:
    return perf_counter(), process_time()


async def measure(folder: Path) -> None:
    names = Catalogue(*(f"sensor:temperature:salon:{n}" for n in range(45)))

    def opened(name: str, memory: int = 0) -> EmbeddedLog:
        return EmbeddedLog(folder / name, names, budget=Budget(memory), limit=2**34)

    log = opened("large")
    large = [batch(location, 16_384) for location in LOCATIONS]
    start = now()
    waiting: list[asyncio.Future[int]] = []
    for n in range(300):
        waiting.append(log.append("salon", *columns(large[n % 5])))
        if len(waiting) == 8:
            await waiting.pop(0)
    await asyncio.gather(*waiting)
    said("batches of 16,384, 8 under way", 300 * 16_384, start)

    start = now()
    after = 0
    while records := await log.partition("salon").read(after, 2**20):
        after = records[-1].sequence
    said("read from the files", 300 * 16_384, start)
    await log.close()
    start = now()
    log = opened("large")
    said("opened", 300 * 16_384, start)
    await log.close()

    log = opened("small")
    small = [batch(location, 9) for location in LOCATIONS]
    start = now()
    for n in range(500):
        await log.append("salon", *columns(small[n % 5]))
    said("one record of 9 readings at a time", 500, start, "commits")
    start = now()
    await asyncio.gather(*(log.append("salon", *columns(small[n % 5])) for n in range(20_000)))
    said("records of 9 readings, all under way", 20_000, start, "records")
    before = log.disk_bytes
    for n in range(1_000):
        await log.append_many(small, [("simulator", n.to_bytes(8, "little"))])
    sys.stdout.write(f"ticks of 5 × 9 readings: {(log.disk_bytes - before) / 45_000:.2f} bytes a reading\n")
    await log.close()


def columns(append: Append) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return append.series, append.times, append.values


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        asyncio.run(measure(Path(folder)))
