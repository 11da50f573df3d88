"""`python -m tests.benchmarks.cli`: how long a command keeps a person waiting, beside an interpreter that does nothing.

Each run is a process of its own, against five shards with their Sentinels and a running daemon.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click

from tests.benchmarks.frame import LOCATIONS, Spread
from tests.servers.daemon import running_daemon
from tests.servers.ports import port_block
from tests.servers.system import make_settings, start_system, stop_system, until

BARE = "python -c pass"


async def measure(folder: Path, first_port: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each run, by command; the commands in turn."""
    settings = make_settings(folder, first_port, LOCATIONS)
    system = await asyncio.to_thread(start_system, settings)
    try:
        with running_daemon(settings) as daemon:
            await daemon.running()
            for location in LOCATIONS:
                await daemon.writes(location)
            iotd = [sys.executable, "-m", "iotd", "--config", str(system.config)]
            commands = {
                BARE: [sys.executable, "-c", "pass"],
                "iotd --help": [*iotd, "--help"],
                "iotd status": [*iotd, "status"],
            }

            async def healthy() -> bool:
                return await asyncio.to_thread(_run, commands["iotd status"]) is not None

            await until(healthy, 60, "the status finds nothing wrong")
            found: dict[str, list[float]] = {name: [] for name in commands}
            for _ in range(rounds):
                for name, command in commands.items():
                    took = await asyncio.to_thread(_run, command)
                    assert took is not None, f"{name} failed"
                    found[name].append(took)
            return found
    finally:
        await asyncio.to_thread(stop_system, system)


def _run(command: Sequence[str]) -> float | None:
    began = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return time.perf_counter() - began if done.returncode == 0 else None


@click.command()
@click.option("--rounds", default=20, show_default=True, type=click.IntRange(min=1), help="Runs of each command.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def bench(rounds: int, output: str) -> None:
    """Seconds that `iotd --help` and `iotd status` take."""
    with tempfile.TemporaryDirectory(prefix="iotd-bench-") as folder, port_block() as first:
        found = asyncio.run(measure(Path(folder), first, rounds))
    if output == "json":
        click.echo(json.dumps(found, indent=2))
        return
    for name, seconds in found.items():
        beside = Spread.of([took / bare for took, bare in zip(seconds, found[BARE], strict=True)])
        against = "" if name == BARE else f", {beside} times as long as {BARE}"
        click.echo(f"{name:<14} {Spread.of(seconds)} s{against}")


if __name__ == "__main__":
    bench()
