"""The clock that sources go by; :class:`iotd.health.clock.CheckedClock` is the daemon's."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits for one."""

    def now(self) -> int:
        """Milliseconds since the epoch."""

    async def sleep(self, ms: float) -> None:
        """Waits so many milliseconds of real time, whatever the wall clock does meanwhile."""

    async def certain(self) -> None:
        """Returns when :meth:`now` may be stamped upon a reading: not while the machine has started in the past."""
