"""What every log offers, whatever keeps it: appending, deleting, reading, positions, truncation and identity."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from iotd.log.positions import Positions
from iotd.model.batch import Numbers, Times, Values

RECORD_BYTES = 19
"""What a record takes beside its columns."""
READING_BYTES = 20
"""What a reading takes: series, time and value."""
_RANGE_BYTES = 16
_NUMBER_BYTES = 4


def record_size(readings: int) -> int:
    """Bytes that a record of so many readings takes in the log."""
    return RECORD_BYTES + READING_BYTES * readings


def deletion_size(series: int) -> int:
    """Bytes that the deletion of a range of so many series takes in the log."""
    return RECORD_BYTES + _RANGE_BYTES + _NUMBER_BYTES * series


class Numbering(Protocol):
    """The catalogue's numbers of series. A number never changes its meaning while a log is open.

    ``describe`` is called from the thread that commits, ``number`` only while the log is opened.
    """

    def describe(self, number: int) -> bytes:
        """What the series of a number is, in the catalogue's own form (at most 65,535 bytes).

        Raises:
            LookupError: there is no such number.
        """
        ...

    def number(self, description: bytes) -> int:
        """Today's number of a series that was described earlier; a new one where the catalogue has lost it.

        Raises:
            IotdError: the description cannot be understood.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Append:
    """Readings of one location that become one record.

    Attributes:
        location: names the partition.
        series, times, values: columns of one length; must not be changed once they are handed over.
    """

    location: str
    series: Numbers
    times: Times
    values: Values

    @property
    def size(self) -> int:
        """Bytes it takes in the log."""
        return record_size(len(self.series))

    @property
    def readings(self) -> int:
        """How many."""
        return len(self.series)


@dataclass(frozen=True, slots=True, eq=False)
class Delete:
    """A range of some series of one location that is to be deleted: it becomes one record.

    Attributes:
        location: names the partition.
        series: int32, shape (n,); must not be changed once it is handed over.
        first, last: ms, both included.
    """

    location: str
    series: Numbers
    first: int
    last: int

    @property
    def size(self) -> int:
        """Bytes it takes in the log."""
        return deletion_size(len(self.series))

    @property
    def readings(self) -> int:
        """None: it is no reading."""
        return 0


@dataclass(frozen=True, slots=True, eq=False)
class Deletion:
    """What was deleted of one partition: the readings of a range that stand before it in the log.

    Readings of the range that were appended after it stay.

    Attributes:
        sequence: its place in the partition, among the records.
        series: int32, shape (n,).
        first, last: ms, both included.
    """

    sequence: int
    series: Numbers
    first: int
    last: int


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """Readings of one partition that were appended together, or a deletion.

    Attributes:
        sequence: place in the partition, from 1; a record behind another has the greater one.
        series, times, values: columns of one length; empty where it is a deletion.
        deletion: None where it has readings.
    """

    sequence: int
    series: Numbers
    times: Times
    values: Values
    deletion: Deletion | None = None

    def __len__(self) -> int:
        return len(self.series)

    @property
    def size(self) -> int:
        """Bytes it takes in the log, and about as many in memory."""
        return record_size(len(self.series)) if self.deletion is None else deletion_size(len(self.deletion.series))


@dataclass(frozen=True, slots=True)
class Damage:
    """What the log has lost, or cannot read.

    Attributes:
        partition: whose readings; None where nothing of a partition was hit.
        first, last: the sequences, both included; 0 where nothing of a partition was hit.
        readings: how many; None when it cannot be known.
        reason: for people: what was found.
    """

    partition: str | None
    first: int
    last: int
    readings: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Epoch:
    """One opening of the log. Sequences are comparable within one history only.

    Attributes:
        ordinal: how many openings came before.
        token: random, 8 bytes; two histories that share an ordinal differ in it.
        firsts: by partition's number the first sequence it could give in the epoch, and the readings counted before;
            1 and none for a partition that is not listed.
    """

    ordinal: int
    token: bytes
    firsts: dict[int, tuple[int, int]] = field(default_factory=dict, hash=False)

    @property
    def id(self) -> str:
        """The name in checkpoints: ordinal and token."""
        return f"{self.ordinal}-{self.token.hex()}"


@dataclass(frozen=True, slots=True)
class Depth:
    """What a partition holds beyond a position: exact counts; a deletion is a batch without readings."""

    batches: int
    readings: int
    bytes: int


class Partition(Protocol):
    """The records of one location."""

    name: str
    positions: Positions

    @property
    def begin(self) -> int:
        """The first sequence that is not truncated."""
        ...

    @property
    def end(self) -> int:
        """The last sequence appended; ``begin - 1`` while there is none."""
        ...

    @property
    def full(self) -> bool:
        """Whether it holds as many bytes as it may: sources wait in ``Log.room``."""
        ...

    @property
    def unreadable(self) -> str | None:
        """Why it can't be read now; None while it can."""
        ...

    async def read(self, after: int, max_bytes: int) -> list[Record]:
        """Records beyond a sequence, in order: about ``max_bytes`` of them, one at least if there is one.

        What was truncated, or is damaged, is passed over: the first sequence may lie further on. Empty at the end.
        """
        ...

    def next_deletion(self, after: int) -> int | None:
        """The sequence of the first deletion beyond a sequence; None where there is none. Costs next to nothing."""
        ...

    async def deletions(self, after: int) -> list[Deletion]:
        """The deletions beyond a sequence, in order; those that were truncated are not among them."""
        ...

    async def appended_beyond(self, sequence: int) -> int:
        """The last sequence appended, once it is beyond the given one."""
        ...

    def release(self, upto: int) -> None:
        """The reader that memory serves has read up to a sequence: what lies before it may leave memory."""
        ...

    def depth(self, position: str) -> Depth:
        """What lies beyond a position (``durable``, ``archived``, …), for status."""
        ...

    def discard(self) -> None:
        """Truncates all there is, proven or not: the location was deleted by its owner."""
        ...


SYSTEM = "iotd:system"
"""The name under which a system that was adopted keeps its id, among the sources' positions."""


class Log(Protocol):
    """Partitions of records, appended durably and read from any position."""

    @property
    def id(self) -> str:
        """Random, made once; names the checkpoints of this log."""
        ...

    @property
    def epoch(self) -> str:
        """The id of this opening's epoch."""
        ...

    @property
    def fresh(self) -> bool:
        """Whether there was none when it was opened."""
        ...

    @property
    def damage(self) -> Sequence[Damage]:
        """What is known to be lost, oldest first."""
        ...

    def note(self, damage: Damage) -> None:
        """Adds what is known from elsewhere to be lost to the damage, once."""
        ...

    @property
    def partitions(self) -> tuple[str, ...]:
        """Names of the partitions that hold records, those of locations of the past among them."""
        ...

    def partition(self, name: str) -> Partition:
        """The partition of a location, made when it is new."""
        ...

    def append(
        self,
        location: str,
        series: Numbers,
        times: Times,
        values: Values,
        positions: Sequence[tuple[str, bytes]] = (),
    ) -> asyncio.Future[int]:
        """Appends readings as one record, in the order of the calls; the future gives its sequence once it is durable.

        ``positions`` are (source, position) pairs, committed together with the readings. Without readings only they
        are committed, and the future gives the partition's end.

        Raises:
            StateError: the log is closed.
            UsageError: the columns differ in length, or are too long for one record.
        """
        ...

    def append_many(
        self, appends: Sequence[Append], positions: Sequence[tuple[str, bytes]] = ()
    ) -> asyncio.Future[list[int]]:
        """The same for several locations: all of them and the positions become durable together, or none."""
        ...

    def delete(self, location: str, series: Numbers, first: int, last: int) -> asyncio.Future[int]:
        """Records that a range (ms, both ends included) of some series is deleted; the future is :meth:`append`'s.

        What was appended before it is deleted, what is appended after it stays.

        Raises:
            StateError: the log is closed.
            UsageError: no series is named, too many are, or the range is empty.
        """
        ...

    async def room(self, location: str, share: float = 1.0) -> None:
        """Waits while the partition holds ``share`` of the bytes it may hold, or more. Those under way count."""
        ...

    def source_position(self, source: str) -> bytes | None:
        """The last position a source committed."""
        ...

    def position_of(self, partition: str, epoch: str, sequence: int) -> int | None:
        """What a checkpoint proves: the sequence up to which its holder has all of this log's records.

        None when the epoch is not one of this log's. Where the sequence lies beyond what this log knows of the epoch,
        the log has lost its tail: that is added to the damage, and the epoch's last sequence is returned.
        """
        ...

    async def close(self) -> None:
        """Commits what can be committed at once, and closes. What was not committed is never acknowledged."""
        ...
