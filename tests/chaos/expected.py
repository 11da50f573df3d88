"""What a fault has to bring about in the status."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Expected:
    """A condition that a fault has to bring about.

    Attributes:
        since: when it struck (monotonic seconds).
        within: seconds after which it must have been said.
        once: it comes of something that happened at that moment: a daemon that began to run later knows nothing of it.
    """

    name: str
    location: str | None
    since: float
    within: float
    once: bool = False
    seen: bool = False
