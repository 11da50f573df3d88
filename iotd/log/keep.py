"""What all consumers of a partition have passed, and the log keeps for a while all the same.

An archive may lose what it has acknowledged. InfluxDB 2.7, started again after its disk was full, goes on behind an
entry of its write-ahead log that is incomplete; at the next start it cuts the log there, and what it acknowledged in
between is gone (seen with 2.7.12: 1,000 points of 1,000). Who notices takes the readings from here again.
"""

from __future__ import annotations

from collections import deque
from time import monotonic

from iotd.log.index import Index

_SHARE = 32
"""One part in so many of the partition's limit may be taken by what is only kept."""
_RECORDS = 100_000
"""Records that are only kept: 4 MB of index."""
_MARKS = 64
"""So finely the time is divided."""


class Keep:
    """One partition's.

    Attributes:
        seconds: for how long.
        limit: of the partition, bytes.
    """

    def __init__(self, index: Index) -> None:
        self.seconds = 0.0
        self.limit = 0
        self._index = index
        self._marks: deque[tuple[float, int]] = deque()
        """(since when, sequence): up to there all was passed by then; both rise."""

    def until(self, passed: int) -> int:
        """The sequence up to which the log may be truncated.

        Args:
            passed: up to which all consumers are through with it; may have gone back.
        """
        marks, now = self._marks, monotonic()
        while marks and marks[-1][1] > passed:
            marks.pop()
        last, known = marks[-1] if marks else (-float("inf"), -1)
        if passed > known and now - last >= self.seconds / _MARKS:
            marks.append((now, passed))
        upto = 0
        while marks and marks[0][0] <= now - self.seconds:
            upto = marks.popleft()[1]
        while self._much(upto, passed):
            upto = marks.popleft()[1] if marks else passed
        return upto

    def _much(self, upto: int, passed: int) -> bool:
        if upto >= passed:
            return False
        all_, needed = self._index.beyond(upto), self._index.beyond(passed)
        return all_.bytes - needed.bytes > self.limit // _SHARE or all_.batches - needed.batches > _RECORDS
