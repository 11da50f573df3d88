"""How many points the store takes at once."""

from __future__ import annotations

_AFTER, _AFTER_LONGEST = 8, 4_096
"""Batches that are taken before a larger one is tried; four times as many whenever that one was refused."""


class BatchSize:
    """Halved when a batch is too large, and doubled again after some that were taken.

    What refuses a batch may be a proxy that was set wrong for a minute. A server with a limit of its own refuses one
    batch now and then, ever more rarely, which costs one request more.

    Attributes:
        now: points that a batch may have at present.
    """

    def __init__(self, most: int) -> None:
        self.now = self._most = most
        self._taken = 0
        self._after = _AFTER
        self._grown = False

    def too_large(self, count: int) -> bool:
        """A batch of so many points was refused; whether they are smaller from now on."""
        smaller = max(1, count // 2)
        if smaller >= self.now:
            return False  # it was under way when another one was refused
        if self._grown:
            self._after = min(4 * self._after, _AFTER_LONGEST)
        self.now, self._taken, self._grown = smaller, 0, False
        return True

    def taken(self, count: int) -> None:
        """A batch of so many points was taken."""
        if self.now == self._most or count <= self.now // 2:
            return
        self._taken += 1
        if self._taken >= self._after:
            self.now, self._taken, self._grown = min(2 * self.now, self._most), 0, True

    def unknown(self) -> None:
        """Not even one point was taken: whatever refuses them, it is not their number."""
        self.now, self._taken, self._grown = self._most, 0, False
