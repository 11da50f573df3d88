"""How late the event loop runs what is due: the one figure that shows whether something blocks it."""

from __future__ import annotations

import asyncio
from time import monotonic

from iotd.ops.histogram import Histogram

_EVERY_S = 0.25


class LoopLag:
    """Sleeps, and looks how much later than asked it was woken.

    Attributes:
        seconds: how late, four times a second.
    """

    def __init__(self) -> None:
        self.seconds = Histogram()

    async def run(self) -> None:
        """Measures until cancelled."""
        while True:
            due = monotonic() + _EVERY_S
            await asyncio.sleep(_EVERY_S)
            self.seconds.observe(max(0.0, monotonic() - due))
