"""What an archive does, whichever it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from iotd.archive.points import Points
from iotd.model.series import Series


class Sink(Protocol):
    """A long-term store in which the same sensor and time is one point, and the later value stands."""

    identity: str
    """Which store this is, for people and as the key of the watermarks: no secret in it."""

    async def write(self, batch: Sequence[Points]) -> None:
        """Returns when the store has acknowledged all of the batch; writing it again changes nothing.

        An empty batch changes nothing either, and finds out whether the store would take another.

        Raises:
            ArchiveUnavailable: not now; it may or may not have stored some.
            ArchiveRefused: not before someone mends token, organisation, bucket or file.
            ArchiveTooLarge: not at once.
            ArchiveRejected: some of these points it will never take.
        """

    async def counts(self, location: str, first: int, last: int, bucket: int) -> dict[Series, dict[int, int]]:
        """How many points it holds from ``first`` to ``last`` (ms, both included), by sensor and start of the bucket.

        Args:
            bucket: ms; buckets lie on whole multiples since the epoch, and ``first`` on one of them.

        Raises:
            ArchiveError: it can't answer.
        """

    async def read(self, sensor: Series, first: int, last: int) -> list[tuple[int, float]]:
        """A sensor's points from ``first`` to ``last`` (ms, both included), in time order.

        Raises:
            ArchiveError: it can't answer.
        """

    async def incarnation(self) -> str | None:
        """Which making of the store this is; in another one, nothing that was acknowledged before is held.

        None when it can't be told: then only a verification finds out.

        Raises:
            ArchiveUnavailable, ArchiveRefused: it can't be asked now.
        """

    def mended(self) -> bool:
        """Whether what it was refused for may have been mended since, so that trying again is worth it."""

    async def close(self) -> None:
        """Lets go of connections and files."""
