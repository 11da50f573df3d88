"""How far each consumer of a partition has come, and how far the partition may therefore be truncated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Literal

from iotd.model.errors import UsageError

Position = Literal["acknowledged", "durable", "archived"]
_NAMES: tuple[Position, ...] = ("acknowledged", "durable", "archived")


class Signal:
    """Wakes everyone who waits for a change; each then checks for itself."""

    def __init__(self) -> None:
        self._event: asyncio.Event | None = None

    def notify(self) -> None:
        """Wakes all who wait now."""
        if self._event is not None:
            self._event.set()
            self._event = None

    async def wait(self) -> None:
        """Returns at the next :meth:`notify`."""
        if self._event is None:
            self._event = asyncio.Event()
        await self._event.wait()


class Pin:
    """Holds truncation back to a sequence while a reader works beyond it. A context manager."""

    def __init__(self, positions: Positions, sequence: int) -> None:
        self.sequence = sequence
        self._positions = positions

    def move(self, sequence: int) -> None:
        """Holds back to a later sequence from now on."""
        self.sequence = max(self.sequence, sequence)
        self._positions.settle()

    def release(self) -> None:
        """Holds nothing back any more."""
        self._positions.unpin(self)

    def __enter__(self) -> Pin:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Positions:
    """Sequences, each the last one of which something is true.

    ``end``           appended: it is on disk
    ``acknowledged``  the master has answered; back where a new master holds less
    ``durable``       master and replica have it on disk; back likewise
    ``archived``      the archive was compared with it; back where the archive may have lost it since
    ``truncated``     the log no longer has it
    """

    def __init__(
        self, truncated: int = 0, end: int = 0, required: Iterable[Position] = ("durable", "archived")
    ) -> None:
        """Starts where the log was truncated: what consumers had beyond that is theirs to prove again."""
        self.end = max(end, truncated)
        self.truncated = truncated
        self.on_truncate: Callable[[], None] = lambda: None
        """Called when ``truncated`` has moved."""
        self.keep: Callable[[int], int] = lambda passed: passed
        """Up to where it may, of what all required positions have passed; see :class:`iotd.log.keep.Keep`."""
        self._at: dict[Position, int] = dict.fromkeys(_NAMES, truncated)
        self._since: dict[Position, float] = dict.fromkeys(_NAMES, monotonic())
        self._pins: set[Pin] = set()
        self._changed = Signal()
        self._waiters: list[tuple[str, int, asyncio.Future[None]]] = []
        self._required: frozenset[Position] = frozenset()
        self.require(required)

    @property
    def acknowledged(self) -> int:
        """The last sequence that the master has answered for."""
        return self._at["acknowledged"]

    @property
    def durable(self) -> int:
        """The last sequence that master and replica have on disk."""
        return self._at["durable"]

    @property
    def archived(self) -> int:
        """The last sequence that the archive was compared with."""
        return self._at["archived"]

    @property
    def required(self) -> frozenset[Position]:
        """The positions that truncation waits for."""
        return self._required

    def require(self, names: Iterable[Position]) -> None:
        """Truncates at the lowest of these from now on.

        Raises:
            UsageError: none is named, or one that does not exist.
        """
        required = frozenset(names)
        if not required or not required <= set(_NAMES):
            raise UsageError(f"truncation must wait for one of {', '.join(_NAMES)}, not for {sorted(required)}")
        self._required = required
        self.settle()

    def of(self, name: str) -> int:
        """A position by its name: ``end`` and ``truncated`` too.

        Raises:
            UsageError: there is none of that name.
        """
        if name == "end":
            return self.end
        if name == "truncated":
            return self.truncated
        for known in _NAMES:
            if known == name:
                return self._at[known]
        raise UsageError(f"no position is called {name}")

    def advance(self, name: Position, sequence: int) -> None:
        """Moves a position forward, never beyond the end; one that is further on already stays."""
        sequence = min(sequence, self.end)
        if sequence > self._at[name]:
            self._at[name] = sequence
            self._since[name] = monotonic()
            self.settle()
            self._moved()

    def rewind(self, acknowledged: int) -> None:
        """A master holds less: ``acknowledged`` and ``durable`` go back to a sequence, never below ``truncated``."""
        self._back(("acknowledged", "durable"), max(acknowledged, self.truncated))

    def rewind_archived(self) -> None:
        """The archive may hold less: ``archived`` goes back to ``truncated``."""
        self._back(("archived",), self.truncated)

    def _back(self, names: Iterable[Position], sequence: int) -> None:
        for name in names:
            if self._at[name] > sequence:
                self._at[name] = sequence
                self._since[name] = monotonic()
        self._changed.notify()

    async def wait(self, name: str, beyond: int) -> int:
        """A position, once it is beyond a sequence."""
        while (at := self.of(name)) <= beyond:
            waiter = name, beyond, asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter[2]
            finally:
                self._waiters.remove(waiter)
        return at

    def _moved(self) -> None:
        # each tick moves all positions in turn; whoever waits for one of them is not woken by the others
        for name, beyond, reached in self._waiters:
            if not reached.done() and self.of(name) > beyond:
                reached.set_result(None)
        self._changed.notify()

    def notify(self) -> None:
        """Wakes those who wait for a change."""
        self._changed.notify()

    async def changed(self) -> None:
        """Returns when any of the positions has moved."""
        await self._changed.wait()

    def waiting(self, name: Position) -> float:
        """Seconds since a position last moved while something lies beyond it; 0 when nothing does."""
        return monotonic() - self._since[name] if self._at[name] < self.end else 0.0

    def begin(self) -> None:
        """Consumers begin now: what lies beyond the positions waits for them from now on, and not since they ended."""
        self._since = dict.fromkeys(_NAMES, monotonic())

    def pin(self, sequence: int | None = None) -> Pin:
        """Holds truncation back to a sequence (by default to what is truncated now) until the pin is released."""
        pin = Pin(self, max(self.truncated, sequence or 0))
        self._pins.add(pin)
        return pin

    def unpin(self, pin: Pin) -> None:
        """See :meth:`Pin.release`."""
        self._pins.discard(pin)
        self.settle()

    def appended(self, end: int) -> None:
        """The log's own: records up to ``end`` are on disk."""
        for name in _NAMES:
            if self._at[name] >= self.end:
                self._since[name] = monotonic()  # it starts to wait only now
        self.end = end
        self._moved()

    def discard(self) -> None:
        """Truncates up to the end, whatever is required or pinned."""
        self._truncate(self.end)

    def settle(self) -> None:
        """Truncates as far as positions, pins and what is kept allow."""
        floor = self.keep(min(self._at[name] for name in self._required))
        self._truncate(min([floor, *(pin.sequence for pin in self._pins)]))

    def _truncate(self, sequence: int) -> None:
        if sequence <= self.truncated:
            return
        self.truncated = sequence
        for name in _NAMES:  # a position that is not required may lie behind; there is nothing left for it
            self._at[name] = max(self._at[name], sequence)
        self.on_truncate()
        self._moved()
