"""`python -m tests.benchmarks.singles`: what single readings cost on their way into the log, each one awaited."""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from functools import partial
from pathlib import Path

import click
import psutil
import uvloop

from iotd.intake.catalogue import Catalogue
from iotd.log.budget import Budget
from iotd.log.embedded import EmbeddedLog
from iotd.model.series import Series
from tests.intakes import make_intake

_TICK_S = 0.01


async def measure(folder: Path, rate: int, seconds: float) -> tuple[int, float, float]:
    """Readings acknowledged, CPU seconds, and the longest wait for an answer in seconds."""
    catalogue = Catalogue(folder / "catalogue.sqlite")
    log = EmbeddedLog(folder / "log", catalogue, budget=Budget(20 * 1024**2), limit=1024**3)
    intake = make_intake(folder, log, catalogue, linger_s=0.5, answer_s=0.02)
    source = intake.of("singles")
    numbers = (await source.register([Series("temperature", "salon", str(n)) for n in range(1_000)])).tolist()
    gc.collect()
    gc.freeze()
    longest = 0.0
    done = 0

    def answered(began: float, _: asyncio.Future[None]) -> None:
        nonlocal longest, done
        longest = max(longest, time.monotonic() - began)
        done += 1

    before = psutil.Process().cpu_times()
    began, given = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        for n in range(given, round(rate * passed)):
            # as a broker's client does it: the next message is taken while the answer to this one is awaited
            taken = await source.add("salon", numbers[n % 1_000], time.time_ns() // 1_000_000, n / 7)
            asyncio.ensure_future(taken).add_done_callback(partial(answered, time.monotonic()))
        given = round(rate * passed)
        await asyncio.sleep(_TICK_S)
    await intake.settled()
    await asyncio.sleep(0)
    after = psutil.Process().cpu_times()
    await log.close()
    catalogue.close()
    return done, after.user + after.system - before.user - before.system, longest


@click.command()
@click.option("--rate", default=10_000, show_default=True, type=click.IntRange(min=1), help="Readings a second.")
@click.option("--seconds", default=5.0, show_default=True)
def bench(rate: int, seconds: float) -> None:
    """CPU and the longest wait for an answer."""
    with tempfile.TemporaryDirectory(prefix="iotd-bench-") as folder:
        done, cpu, longest = uvloop.run(measure(Path(folder), rate, seconds))  # as the daemon
    click.echo(
        f"{done:,} readings one at a time in {seconds:g} s: {100 * cpu / seconds:.1f} % of a core, "
        f"{1e6 * cpu / done:.1f} µs each; the longest wait for an answer {1000 * longest:.0f} ms"
    )


if __name__ == "__main__":
    bench()
