"""How late the event loop runs what is due: the one figure that shows whether something blocks it."""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic

from iotd.ops.histogram import loop_lag

_EVERY_S = 0.25
_LATELY_S = 120.0
_LONG_S = 1.0


class LoopLag:
    """Sleeps, and looks how much later than asked it was woken.

    Attributes:
        seconds: how late, four times a second.
        largest: of these since the last :meth:`take_largest`.
    """

    def __init__(self) -> None:
        self.seconds = loop_lag()
        self.largest = 0.0
        self._long: deque[tuple[float, float]] = deque()

    async def run(self) -> None:
        """Measures until cancelled."""
        while True:
            due = monotonic() + _EVERY_S
            await asyncio.sleep(_EVERY_S)
            late = max(0.0, monotonic() - due)
            self.seconds.observe(late)
            self.largest = max(self.largest, late)
            if late > _LONG_S:
                self._long.append((monotonic(), late))

    @property
    def lately(self) -> float:
        """The largest lag within the last two minutes, in seconds; 0 when none was longer than a second."""
        while self._long and monotonic() - self._long[0][0] > _LATELY_S:
            self._long.popleft()
        return max((late for _, late in self._long), default=0.0)

    def take_largest(self) -> float:
        """The largest lag since the last call, in seconds."""
        largest, self.largest = self.largest, 0.0
        return largest
