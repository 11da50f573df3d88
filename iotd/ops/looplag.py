"""How late the event loop runs what is due: the one figure that shows whether something blocks it."""

from __future__ import annotations

import asyncio
from time import monotonic

from iotd.ops.histogram import loop_lag

_EVERY_S = 0.25


class LoopLag:
    """Sleeps, and looks how much later than asked it was woken.

    Attributes:
        seconds: how late, four times a second.
        largest: of these since the last :meth:`take_largest`.
    """

    def __init__(self) -> None:
        self.seconds = loop_lag()
        self.largest = 0.0

    async def run(self) -> None:
        """Measures until cancelled."""
        while True:
            due = monotonic() + _EVERY_S
            await asyncio.sleep(_EVERY_S)
            late = max(0.0, monotonic() - due)
            self.seconds.observe(late)
            self.largest = max(self.largest, late)

    def take_largest(self) -> float:
        """The largest lag since the last call, in seconds."""
        largest, self.largest = self.largest, 0.0
        return largest
