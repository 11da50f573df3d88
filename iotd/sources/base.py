"""What a source is, and what it hands its readings to.

A source is anything with a name and ``async def run(self, intake)``: the simulator, a broker, a file, a plugin. It
registers the series it has readings of, hands over batches, and acknowledges upstream only after the intake has
answered: then the readings are on disk. Its own position (a time, a byte, a packet) is committed in the same
transaction as the readings, so that after a crash it goes on exactly behind what was acknowledged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from iotd.model.batch import Batch, Numbers
from iotd.model.held import Held
from iotd.model.observation import Message, Names, Piece
from iotd.model.series import Series
from iotd.model.types import Types
from iotd.sources.clock import Clock


class Intake(Protocol):
    """Where one source hands over its readings; each source has one of its own."""

    def patient(self, seconds: float) -> Intake:
        """The same for one who can't wait longer than so for room in the log: then LogFull is raised, a StateError."""

    async def register(self, series: Sequence[Series]) -> Numbers:
        """The catalogue's numbers of these series (int32, in their order); new ones are durable when this returns.

        Raises:
            StateError: the catalogue can't be written.
        """

    async def put(self, batch: Batch, position: bytes | None = None) -> None:
        """Returns when the batch is in the log on disk, and the source's position with it: it may be acknowledged.

        Waits while the log is full. What can't be accepted is held with the reason, and counts as handed over.

        Raises:
            UsageError: the batch's location is not served here.
            StateError: the log is closed.
        """

    async def take(self, batch: Batch, position: bytes | None = None, *, waits: bool = True) -> Awaitable[None]:
        """As :meth:`put`, in two steps: when this returns the batch has its place in the order, and when what it
        returns has been awaited the batch is on disk. So a source may have several under way.

        Args:
            waits: whether anybody upstream waits for the answer; otherwise the batch may linger for company.
        """

    async def add(self, location: str, number: int, time: int, value: float) -> Awaitable[None]:
        """As :meth:`take`, for one reading: the series' number, ms, and the value. Await it once for its place in the
        order, and once more, when it suits, for the disk."""

    async def observe(
        self,
        messages: Sequence[Message],
        position: bytes | None = None,
        *,
        key: str | None = None,
        arrived: int | None = None,
        backlog: bool = False,
        ahead: bytes | None = None,
    ) -> Awaitable[Sequence[Held]]:
        """Takes messages as their sender put them: series are found by names, values and times are read and checked.

        When this returns, they have their place in the order, and when what it returns has been awaited, all that can
        be taken is in the log on disk, and the rest, which that gives, is held with its reason.

        Args:
            position: is committed behind all of it.
            key: by which a repeat of the same message is known: what has no time of its own gets that of the first.
            arrived: ms, where the messages arrived earlier, or, with ``ahead``, where the source has noted it; None:
                now.
            ahead: another position, committed before any of it is held: it says that the messages were begun, so that
                a source that is killed then can hand over the same with the same ``arrived``.
            backlog: they were taken down earlier: their times may be as old as they are.

        Raises:
            StateError: log, catalogue or held readings can't be written now; nothing of it is to be acknowledged. Also
                when what it returns is awaited.
        """

    def hurry(self) -> None:
        """What was handed over goes to the disk at once: its sender says no more before it is there."""

    @property
    def names(self) -> Names:
        """What is known by name; another one after each change of the configuration."""

    def position(self) -> bytes | None:
        """The position that was committed last, also by an earlier run; None when there is none."""


class Source(Protocol):
    """A source of readings."""

    name: str
    """Unique, and the same after a restart: the source's position is kept under it."""

    async def run(self, intake: Intake) -> None:
        """Hands over readings until cancelled, or until there are no more."""


class Trouble(NamedTuple):
    """Something that a source has met and a person should know of.

    Attributes:
        kind: of condition, by its name (:mod:`iotd.health.kinds`).
        detail: what exactly, for people.
        about: tells several of one kind and source apart.
    """

    kind: str
    detail: str
    about: str = ""


@runtime_checkable
class Telling(Protocol):
    """A source that tells more of itself than that it speaks; it need not.

    Attributes:
        counts: messages since the start, by what they were.
    """

    counts: Mapping[str, int]

    def troubles(self) -> Iterable[Trouble]:
        """What is wrong now."""

    def pieces_of(self, held: Held, names: Names) -> Sequence[Piece]:
        """What is held of it, read again.

        Raises:
            Refused: it can't be.
        """


@dataclass(frozen=True, slots=True)
class Context:
    """What a source may need to know of the system.

    Attributes:
        locations: those that this daemon serves.
        state: the state directory; a source keeps its own files, if any, in a folder of its name there.
    """

    clock: Clock
    locations: tuple[str, ...]
    types: Types
    state: Path


class Factory(Protocol):
    """Makes a source of the table ``[sources.NAME]``; registered as the entry point ``iotd.sources`` of its kind."""

    def __call__(self, name: str, options: Mapping[str, Any], context: Context) -> Source:
        """
        Args:
            options: what the table holds beside ``kind``.

        Raises:
            ConfigError: the options are wrong; the message names the key.
        """
