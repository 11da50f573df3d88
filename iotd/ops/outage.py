"""Trouble that lasts: when it began, so that its end can say how long it was."""

from __future__ import annotations

from time import monotonic


class Outage:
    """Whether something fails at present; a log line when it begins and one when it ends is all that is said of it.

    Attributes:
        reason: why it fails now, None while all is well.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._since = 0.0

    def begins(self, reason: str) -> bool:
        """It fails (still), for this reason; True when it did not before."""
        new = self.reason is None
        if new:
            self._since = monotonic()
        self.reason = reason
        return new

    def ends(self) -> tuple[str, float] | None:
        """It works; when it did not before: why, and for how many seconds."""
        if self.reason is None:
            return None
        was, self.reason = self.reason, None
        return was, round(monotonic() - self._since, 3)

    @property
    def seconds(self) -> float:
        """How long it has failed by now; 0 while all is well."""
        return 0.0 if self.reason is None else monotonic() - self._since
