"""What a source hands over to, and how it learns where it left off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from iotd.sensors import Batch


@dataclass(frozen=True, slots=True)
class Span:
    """What was handed over for a location, from the first time to the last, ms, both included."""

    first: int
    last: int


class Intake(Protocol):
    """Where a source hands over its readings."""

    async def put(self, batch: Batch) -> None:
        """Takes a batch over; when this returns the batch is in the spool."""

    def position(self, location: str) -> Span | None:
        """What was handed over for a location so far, also by earlier runs; None when nothing was."""
