"""The clock that sources go by; injected, so that no test ever waits."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits for one."""

    def now(self) -> int:
        """Milliseconds since the epoch."""

    async def sleep(self, ms: float) -> None:
        """Waits so many milliseconds of real time, whatever the wall clock does meanwhile."""


class SystemClock:
    """The system's clock."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, ms: float) -> None:
        await asyncio.sleep(ms / 1000)
