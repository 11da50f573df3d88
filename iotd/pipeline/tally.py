"""Counting the bytes and readings of a lane by sequence, in bounded memory."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

_MARK = 65_536
_EXACT = 4_096


class Sizes:
    """How many bytes lie up to a sequence, to within 64 KiB, without remembering every entry."""

    def __init__(self) -> None:
        self._seqs: list[int] = [0]
        self._sums: list[int] = [0]
        self.total = 0
        self._open = 0

    def add(self, seq: int, size: int) -> None:
        self.total += size
        self._open += size
        if self._open >= _MARK:
            self._open = 0
            self._seqs.append(seq)
            self._sums.append(self.total)

    def upto(self, seq: int) -> int:
        return self._sums[bisect_right(self._seqs, seq) - 1]

    def last_with(self, total: int) -> int:
        """The largest marked sequence up to which there are at most ``total`` bytes."""
        return self._seqs[bisect_right(self._sums, total) - 1]

    def cut(self, seq: int) -> None:
        """Forgets the marks below a sequence."""
        n = bisect_right(self._seqs, seq) - 1
        del self._seqs[:n], self._sums[:n]


class Tally:
    """How many readings lie after a sequence, up to the newest, without remembering every entry for ever.

    Beyond 4,096 entries neighbours are merged, and a merged pair counts until the sequence has passed both.

    Attributes:
        ahead: readings after the sequence.
        passed: readings that it has passed.
    """

    def __init__(self) -> None:
        self.ahead = 0
        self.passed = 0
        self._entries: deque[tuple[int, int]] = deque()

    def add(self, seq: int, readings: int) -> None:
        """A newer entry, and how many readings it holds."""
        self._entries.append((seq, readings))
        self.ahead += readings
        if len(self._entries) > _EXACT:
            pairs = zip(*[iter(self._entries)] * 2, strict=False)
            odd = [self._entries[-1]] if len(self._entries) % 2 else []
            self._entries = deque([(later, a + b) for (_, a), (later, b) in pairs] + odd)

    def move(self, seq: int) -> None:
        """The sequence moves forward to here."""
        while self._entries and self._entries[0][0] <= seq:
            _, readings = self._entries.popleft()
            self.ahead -= readings
            self.passed += readings
