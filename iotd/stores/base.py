"""What an archive does, whichever it is: writing, reading, summaries, and who it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from iotd.model.aggregate import Aggregation
from iotd.model.arrays import concatenated
from iotd.model.batch import Times, Values
from iotd.model.buckets import Run
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.stores.points import Points

Found = dict[Series, tuple[Times, Values]]
"""By series: times (int64 ms, rising, each once) and values (float64, in its unit), both of shape (n,), n > 0."""

Progress = Callable[[int, int], None]
"""Told how much is done, and of how much."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The readings of one series in one hour, or in the part of it that was asked for; at least one.

    Attributes:
        hour: when it begins, ms, a whole multiple of an hour since the epoch.
        sum: of the values; its last digits depend on the order in which a store adds them.
        squares: the sum of the squared values, likewise; infinite beyond float64, NaN where nobody asked for it.
    """

    hour: int
    count: int
    sum: float
    min: float
    max: float
    squares: float


class Store(Protocol):
    """A long-term store in which a series and a time make one reading, and the value written last stands.

    All times are ms since the epoch, and all ranges hold both their ends. Methods may be called at once; none keeps
    the event loop for longer than some ms. The series in an answer have the unit in which the store holds them.
    """

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

    async def delete(self, series: Series, first: int, last: int) -> None:
        """Returns when the store holds no reading of a series in a range, for good; done again, it changes nothing.

        Raises:
            ArchiveUnavailable: not now; it may or may not have deleted some.
            ArchiveRefused: not before someone mends token, organisation, bucket or file.
        """

    async def counts(self, location: str, first: int, last: int, bucket: int) -> dict[Series, dict[int, int]]:
        """How many readings it holds of a location, by series and start of the bucket; empty buckets are left out.

        Args:
            bucket: ms; buckets lie on whole multiples since the epoch, and ``first`` on one of them.

        Raises:
            ArchiveError: it can't answer.
        """

    async def summaries(
        self, location: str, first: int, last: int, *, squares: bool = True
    ) -> dict[Series, list[Summary]]:
        """What it holds of a location, summarised by series and hour, in time order; empty hours are left out.

        Args:
            squares: whether their sum is wanted, which may take longer than all else; NaN where it is not.

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

    async def incarnation(self) -> str | None:
        """Which making of the store this is; in another one, nothing that was acknowledged before is held.

        None when it can't be told: then only a verification finds out.

        Raises:
            ArchiveUnavailable, ArchiveRefused: it can't be asked now.
        """

    async def keeps(self) -> int | None:
        """For how long (ms) it keeps readings, counted from now; None: for ever.

        Raises:
            ArchiveUnavailable, ArchiveRefused: it can't be asked now.
        """

    async def started(self) -> str | None:
        """Which run of the store's server this is: what one run acknowledged, the next may have lost.

        InfluxDB 2.7 did, after its disk had been full (see :mod:`iotd.log.keep`). An empty text where a restart can
        cost nothing; None when the run can't be told: then the end of each outage counts as a restart.

        Raises:
            ArchiveUnavailable, ArchiveRefused: it can't be asked now.
        """

    def mended(self) -> bool:
        """Whether what it was refused for may have been mended since, so that trying again is worth it."""

    async def close(self) -> None:
        """Lets go of connections and files; a second call does nothing."""


@runtime_checkable
class TakesOver(Protocol):
    """A store that may find an archive in an older form."""

    async def take_over(self, progress: Progress) -> None:
        """Brings what is there into the present form; does nothing when it is. The daemon archives meanwhile.

        Raises:
            ArchiveUnavailable: not now; what was done is kept, and the next call goes on from there.
            ArchiveRefused: what is there is damaged.
        """


async def samples_of(store: Store, series: Series, first: int, last: int) -> tuple[Times, Values]:
    """The readings of one series in a range (ms, both ends included), in time order; both arrays of shape (n,).

    Raises:
        ArchiveError: the store can't answer.
    """
    return (await store.samples(Selection.of(series), first, last)).get(series, concatenated([]))
