"""What is known of the way between the broker and one source: since when it is open, and what waits on it."""

from __future__ import annotations

from collections import deque
from time import monotonic

_HURRIED_S = 5.0
"""A connection that lasted no longer looks as if somebody had ended it."""


class Line:
    """What is known of the way of one source.

    Attributes:
        since: since when the broker has let it in, and bytes pass; None: they do not.
        away_since: since when they do not.
        lost: when the broker began a session though there had been one (monotonic seconds).
        hurried: when connections ended that had lasted for a few seconds only.
        waiting: messages that wait for a PUBACK of the present connection, by packet id: since when.
        client: the id that it connects with; ``intruders``: how many others do, or did.
    """

    def __init__(self) -> None:
        self.since: float | None = None
        self.away_since = monotonic()
        self.lost: list[float] = []
        self.hurried: deque[float] = deque(maxlen=50)
        self.waiting: dict[int, float] = {}
        self.passed_at = monotonic()
        self.client = ""
        self.intruders = 0
        self._known = False
        self._present: object = None

    def let_in(self, passage: object, *, resumed: bool) -> None:
        """The broker has let it in."""
        if self._known and not resumed:
            self.lost.append(monotonic())
        self._known = True
        self._present = passage
        self.waiting.clear()
        self.opens()

    def opens(self) -> None:
        """Bytes pass."""
        if self.since is None:
            self.since = monotonic()

    def shuts(self) -> None:
        """They do not any more."""
        if self.since is not None:
            self.since, self.away_since = None, monotonic()

    def ended(self, passage: object, lasted: float) -> None:
        """A connection of it has ended."""
        if lasted < _HURRIED_S:
            self.hurried.append(monotonic())
        if passage is self._present:
            self.waiting.clear()
            self.shuts()
