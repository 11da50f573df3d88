"""`python -m tests.benchmarks.wear`: bytes of the log's files for a reading.

Ticks of 45 sensors in five locations, as the simulator hands them over, and batches as history has them. Nothing is
truncated meanwhile, so that all that was written is there: records, names of series, positions, heads of segments.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from iotd.model.batch import Batch
from iotd.model.series import Series
from iotd.sources.simulator.source import Span, source_name
from tests.benchmarks.core import Core
from tests.benchmarks.frame import LOCATIONS, tell
from tests.servers.system import make_settings

_FIRST = 1_790_000_000_000


@dataclass(frozen=True)
class Wear:
    """Readings in records of one size, and the bytes of the segments that hold them."""

    readings: int
    record: int
    bytes: int


async def measure(folder: Path, sensors: int, ticks_at_once: int, batches: int) -> Wear:
    """Batches of each location, each of so many ticks of so many sensors."""
    core = Core(make_settings(folder, 10_000), folder, LOCATIONS)
    size = sensors * ticks_at_once
    done = 0
    for n in range(batches):
        times = _FIRST + 1_000 * np.arange(n * ticks_at_once, (n + 1) * ticks_at_once, dtype=np.int64)
        under_way = []
        for location in LOCATIONS:
            source = core.intake.of(source_name(location))
            numbers = await source.register([Series("temperature", location, str(i)) for i in range(sensors)])
            values = np.round(np.random.default_rng(n).normal(20, 3, size), 2)
            batch = Batch(location, np.tile(numbers, ticks_at_once), np.repeat(times, sensors), values)
            position = Span(_FIRST, int(times[-1])).to_bytes()
            under_way.append(await source.take(batch, position, waits=False))
            done += size
        core.intake.accumulator.flush()  # what lingering does, without the waiting
        await asyncio.gather(*under_way)
    await core.close()
    written = sum(path.stat().st_size for path in (folder / "log").glob("*") if path.suffix)
    return Wear(done, size, written)


@click.command()
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def bench(output: str) -> None:
    """Bytes a reading, by the size of the records."""
    found = []
    for ticks_at_once, batches in ((1, 3_600), (60, 200), (1_820, 10)):
        with tempfile.TemporaryDirectory(prefix="iotd-bench-") as folder:
            found.append(asyncio.run(measure(Path(folder), 9, ticks_at_once, batches)))
    tell(found, output, _line)


def _line(one: Wear) -> str:
    each = one.bytes / one.readings
    return f"{one.readings:,} readings in records of {one.record:,}: {one.bytes:,} bytes in the log, {each:.1f} each"


if __name__ == "__main__":
    bench()
