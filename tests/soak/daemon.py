"""`iotd run` by a clock that began some time ago and goes faster: `python -m tests.soak.daemon CONFIG START FACTOR`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from time import monotonic_ns

from iotd.config import load
from iotd.daemon.process import run_daemon
from iotd.health.clock import CheckedClock
from iotd.ops.logging import logging_to


def fast_clock(note: Path, start: int, factor: float) -> CheckedClock:
    """Says ``start`` (ms since the epoch) first, and then goes ``factor`` times as fast as time does."""
    began = monotonic_ns()

    def steady_ns() -> int:
        return round((monotonic_ns() - began) * factor)

    return CheckedClock(
        note,
        wall_ns=lambda: start * 1_000_000 + steady_ns(),
        steady_ns=steady_ns,
        synchronised=lambda: True,
        sleep=lambda seconds: asyncio.sleep(seconds / factor),
    )


def main() -> None:
    """Runs until SIGTERM."""
    config, start, factor = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    settings = load(config)
    clock = fast_clock(settings.state / "clock.json", start, factor)
    with logging_to(settings) as relog:
        run_daemon(settings, reread=lambda: load(config), relog=relog, clock=clock)


if __name__ == "__main__":
    main()
