"""`python -m tests.benchmarks.scrape`: what a scrape of /metrics costs the event loop, by the number of sensors.

The daemon runs in this process, on real shards and at one reading a second, so that its event loop can be looked at:
the time in which a scrape is made is the time in which nothing else runs. Beside it a bare Prometheus registry with as
many samples, which is the least that the format itself takes.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, process_time

import click
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from iotd.config import Settings
from iotd.daemon.daemon import Daemon
from iotd.web.metrics import Metrics
from tests.benchmarks.frame import LOCATIONS
from tests.servers.ports import port_block
from tests.servers.system import make_settings, start_system, stop_system, until


async def measure(settings: Settings, scrapes: int) -> tuple[list[float], list[float], int]:
    """Seconds of loop time of each scrape, of each bare one with as many samples, and how many samples."""
    daemon = Daemon(settings, reread=lambda: settings)
    life = asyncio.create_task(daemon.run())
    try:

        async def confirmed() -> bool:
            return hasattr(daemon, "runtime") and all(s.durable > 0 for s in daemon.runtime.state().shards)

        await until(confirmed, 60, "readings are durable in every location")
        metrics = Metrics(daemon.runtime)
        samples = sum(not line.startswith(b"#") for line in metrics.text().splitlines())
        bare = CollectorRegistry()
        gauge = Gauge("bare", "As many samples.", ["n"], registry=bare)
        for n in range(samples):
            gauge.labels(n).set(n)
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(scrapes):
            for found, scrape in ((ours, metrics.text), (theirs, lambda: generate_latest(bare))):
                began = process_time(), perf_counter()
                scrape()
                # the thread may be put off while it scrapes: only what it computed is the scrape's
                found.append(min(process_time() - began[0], perf_counter() - began[1]))
            await asyncio.sleep(0.02)
        return ours, theirs, samples
    finally:
        daemon.stop()
        await life


@click.command()
@click.option("--scrapes", default=200, show_default=True, type=click.IntRange(min=2))
def main(scrapes: int) -> None:
    """Prints a line for each number of sensors."""
    for per_type in (3, 67, 667):
        with tempfile.TemporaryDirectory(prefix="iotd-scrape-") as folder, port_block() as first:
            system = start_system(
                make_settings(
                    Path(folder), first, LOCATIONS, sensors={"per_type": per_type}, logging={"level": "error"}
                )
            )
            try:
                ours, theirs, samples = asyncio.run(measure(system.settings, scrapes))
            finally:
                stop_system(system)
        click.echo(
            f"{per_type * 3 * len(LOCATIONS):6,} sensors, {samples} samples: "
            f"median {1000 * median(ours):.2f} ms, 99 % {1000 * quantiles(ours, n=100)[-1]:.2f} ms, "
            f"{median(ours) / median(theirs):.2f} times a bare registry of as many"
        )


if __name__ == "__main__":
    main()
