"""`iotd run` by a clock that began some time ago and goes faster: `python -m tests.soak.daemon CONFIG START FACTOR`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from time import monotonic

from iotd.config import load
from iotd.daemon.process import run_daemon
from iotd.ops.logging import logging_to


class FastClock:
    """Says ``start`` (ms since the epoch) first, and then goes ``factor`` times as fast as time does."""

    def __init__(self, start: int, factor: float) -> None:
        self._start = start
        self._factor = factor
        self._began = monotonic()

    def now(self) -> int:
        return self._start + round((monotonic() - self._began) * 1000 * self._factor)

    async def sleep(self, ms: float) -> None:
        await asyncio.sleep(ms / 1000 / self._factor)


def main() -> None:
    """Runs until SIGTERM."""
    config, start, factor = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    settings = load(config)
    with logging_to(settings) as relog:
        run_daemon(settings, reread=lambda: load(config), relog=relog, clock=FastClock(start, factor))


if __name__ == "__main__":
    main()
