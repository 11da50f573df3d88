"""How long to wait before the next attempt: twice as long after each failure, and never all at the same time."""

from __future__ import annotations

import random
from collections.abc import Callable


def spread() -> float:
    """A factor from 0.5 to 1, so that what failed together is not tried again together."""
    return random.uniform(0.5, 1.0)


class Backoff:
    """Pauses that double from ``first`` up to ``longest`` seconds, each times what ``jitter`` returns.

    Attributes:
        failures: since the last success.
    """

    def __init__(self, first: float, longest: float, jitter: Callable[[], float] = spread, *, free: int = 0) -> None:
        """
        Args:
            free: so many failures cost no pause at all.
        """
        self.longest = longest
        self.failures = 0
        self._first = first
        self._jitter = jitter
        self._free = free

    def next(self) -> float:
        """Seconds to wait after one more failure."""
        self.failures += 1
        if self.failures <= self._free:
            return 0.0
        doublings = min(self.failures - self._free - 1, 30)
        return min(self.longest, self._first * 2.0**doublings) * self._jitter()

    def reset(self) -> None:
        """It worked: the next pause is the first one again."""
        self.failures = 0
