"""What a source hands over to, and how it learns where it left off."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from iotd.model.roster import Batch


@dataclass(frozen=True, slots=True)
class Span:
    """What was handed over for a location, from the first time to the last, ms, both included."""

    first: int
    last: int


class Intake(Protocol):
    """Where a source hands over its readings."""

    async def take(self, batch: Batch) -> Awaitable[None]:
        """Takes a batch over, in order; when what this returns has been awaited the batch is in the spool.

        A batch comes into the spool only after those that were taken before it, so that a source may have several
        under way, and what is there after a crash has no hole.
        """

    def position(self, location: str) -> Span | None:
        """What was handed over for a location so far, also by earlier runs; None when nothing was."""
