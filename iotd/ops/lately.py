"""What happened within the last while: figures that only grow, over a window that moves."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic


class Lately:
    """By how much a total has grown within the last ``window_s`` seconds."""

    def __init__(self, window_s: float, now: Callable[[], float] = monotonic) -> None:
        self._window_s = window_s
        self._now = now
        self._grown: deque[tuple[float, int]] = deque()
        self._total = 0

    def of(self, total: int) -> int:
        """By how much, the total being this now."""
        now = self._now()
        if total > self._total:
            self._grown.append((now, total - self._total))
            self._total = total
        while self._grown and now - self._grown[0][0] > self._window_s:
            self._grown.popleft()
        return sum(count for _, count in self._grown)
