"""What queries ask of an archive, whichever it is."""

from __future__ import annotations

from typing import Protocol

from iotd.model.batch import Times, Values
from iotd.model.series import Series
from iotd.query.aggregate import Aggregation
from iotd.query.buckets import Run
from iotd.query.names import Selection

Found = dict[Series, tuple[Times, Values]]
"""By sensor: times (int64 ms, rising) and values (float64), of one length, never empty."""


class Archive(Protocol):
    """The long-term store, to read; all ranges are in ms and hold both their ends."""

    identity: str
    """Which store this is: as the archiver calls it in the watermarks."""

    async def incarnation(self) -> str | None:
        """Which making of the store this is, see :meth:`iotd.archive.sinks.base.Sink.incarnation`.

        Raises:
            ArchiveError: it can't answer.
        """

    async def begins(self, what: Selection, first: int, last: int) -> dict[Series, int]:
        """The first time in a range, of each series that has a reading there.

        Raises:
            ArchiveError: it can't answer.
        """

    async def samples(self, what: Selection, first: int, last: int) -> Found:
        """The readings in a range.

        Raises:
            ArchiveError: it can't answer.
        """

    async def buckets(self, what: Selection, aggregation: Aggregation, run: Run, first: int, last: int) -> Found:
        """The aggregation of the readings in a range, computed by the store; times are the starts of the run's buckets.

        Args:
            first: not before the run's first ms; ``last`` not after its last.

        Raises:
            ArchiveError: it can't answer.
        """

    async def close(self) -> None:
        """Lets go of connections and files."""
