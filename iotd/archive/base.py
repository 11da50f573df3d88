"""What the archiver asks of the other parts: the log it reads, the catalogue, the shard it may have to mend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from iotd.log.base import Deletion, Record
from iotd.model.batch import Batch, Times, Values
from iotd.model.series import Series


class Positions(Protocol):
    """How far the consumers of a partition have come, as sequences."""

    @property
    def acknowledged(self) -> int:
        """The last sequence that the master has answered for."""

    @property
    def durable(self) -> int:
        """The last sequence that master and replica have on disk."""

    @property
    def archived(self) -> int:
        """The last sequence that was found in the archive."""

    def advance(self, name: Literal["archived"], sequence: int, /) -> None:
        """Moves a position forward."""

    def rewind_archived(self) -> None:
        """The archive may hold less: ``archived`` goes back to where the log begins."""

    def waiting(self, name: Literal["archived"], /) -> float:
        """Seconds since it last moved, while something lies beyond it."""

    async def wait(self, name: str, beyond: int) -> int:
        """A position, once it is beyond a sequence."""


class Depth(Protocol):
    """What a partition holds beyond a position."""

    @property
    def readings(self) -> int:
        """How many readings."""

    @property
    def bytes(self) -> int:
        """Bytes in the log."""


class Partition(Protocol):
    """The log's records of one location."""

    @property
    def positions(self) -> Positions:
        """How far its consumers are."""

    @property
    def end(self) -> int:
        """The last sequence appended."""

    @property
    def full(self) -> bool:
        """Whether sources wait."""

    async def read(self, after: int, max_bytes: int, /) -> Sequence[Record]:
        """Records beyond a sequence, in order; what is damaged is passed over; empty at the end."""

    def next_deletion(self, after: int, /) -> int | None:
        """The sequence of the first deletion beyond a sequence."""

    async def deletions(self, after: int, /) -> Sequence[Deletion]:
        """The deletions beyond a sequence, in order."""

    def depth(self, position: str, /) -> Depth:
        """What lies beyond a position."""


class Log(Protocol):
    """The log, see :mod:`iotd.log.base`."""

    @property
    def id(self) -> str:
        """Names the log; random, made once."""

    @property
    def epoch(self) -> str:
        """The id of this opening's epoch."""

    def partition(self, name: str, /) -> Partition:
        """The partition of a location."""

    def position_of(self, partition: str, epoch: str, sequence: int, /) -> int | None:
        """The sequence of this opening for one that was noted in an earlier one; None when that says nothing here."""


class Catalogue(Protocol):
    """The numbers by which the log names series."""

    def series(self, number: int, /) -> Series:
        """The series of a number."""

    def number_of(self, series: Series, /) -> int | None:
        """The number of a series; None where it was never registered."""

    @property
    def newest(self) -> Times:
        """By number: newest time (ms) that was appended to the log; may be longer than there are series."""


class Shard(Protocol):
    """The shard of a location, as its service lets others mend it."""

    @property
    def lost_series(self) -> set[int]:
        """Numbers of series that lost readings which the log no longer has. The archiver takes out those for which it
        begins to write back what the archive has."""

    async def write_again(self, batch: Batch, upto: int, /) -> object:
        """Writes readings into the present master, and returns when it has answered.

        Those that it does not take are older than it keeps, or refused and held; those that a deletion beyond ``upto``
        in the log concerns are left out.

        Raises:
            ShardError: not now.
        """

    async def restore(self, series: Series, times: Times, values: Values, /) -> int:
        """Writes readings of times at which the shard has none, but for those deleted; returns how many it has now.

        Raises:
            ShardError: not now.
        """
