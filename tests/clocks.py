"""Clocks for what runs without a daemon."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """The machine's, as it is: :class:`iotd.sources.clock.Clock`."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, ms: float) -> None:
        await asyncio.sleep(ms / 1000)

    async def certain(self) -> None:
        return
