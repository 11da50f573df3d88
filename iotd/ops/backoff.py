"""How long to wait before the next attempt: twice as long after each failure, and never all at the same time."""

from __future__ import annotations

import random
from collections.abc import Callable


def spread() -> float:
    """A factor from 0.5 to 1, so that what failed together is not tried again together."""
    return random.uniform(0.5, 1.0)


class Backoff:
    """Pauses that double from ``first`` up to ``longest`` seconds, each times what ``jitter`` returns."""

    def __init__(self, first: float, longest: float, jitter: Callable[[], float] = spread) -> None:
        self._first = first
        self._longest = longest
        self._jitter = jitter
        self._upcoming = first

    def next(self) -> float:
        """Seconds to wait after one more failure."""
        pause = self._upcoming
        self._upcoming = min(self._longest, 2 * pause)
        return min(self._longest, pause) * self._jitter()

    def reset(self) -> None:
        """It worked: the next pause is the first one again."""
        self._upcoming = self._first
