"""What the log knows beside its records, and the frames that say it again: heads, the meta file, the witness."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from iotd.log.base import Epoch
from iotd.log.epochs import IN_SEGMENT, KEPT
from iotd.log.frame import (
    UNKNOWN,
    StateItem,
    epoch_item,
    frame,
    log_item,
    partition_item,
    position_item,
    source_item,
    state_item,
)
from iotd.log.recovery import Recovered, tag_of
from iotd.model.errors import StateError

_MOST = 65_535
"""Partitions or sources that a log can ever name."""


@dataclass(slots=True)
class LogState:
    """Identity, names and ends. Changed by the committing thread only, once what it says is on disk.

    Attributes:
        id: of the log, 16 random bytes.
        epochs: in order; the last one is this opening's.
        number: of the last frame.
        partitions, sources: numbers by name.
        positions: of sources, by name.
        states: by partition's number.
        dirty: partitions whose truncation is to be written, and into how many more frames.
    """

    id: bytes
    epochs: list[Epoch]
    number: int = 0
    partitions: dict[str, int] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    positions: dict[str, bytes] = field(default_factory=dict)
    states: dict[int, StateItem] = field(default_factory=dict)
    dirty: dict[int, int] = field(default_factory=dict)
    _witness: dict[int, bytes] = field(default_factory=dict)

    @property
    def epoch(self) -> Epoch:
        return self.epochs[-1]

    @property
    def truncated(self) -> dict[int, int]:
        """Per partition's number."""
        return {number: state.truncated for number, state in self.states.items()}

    def frame(self, parts: Iterable[bytes]) -> bytes:
        """The next frame; its number is used up, whether it comes to be written or not."""
        self.number += 1
        return frame(self.number, tag_of(self.epoch), parts)

    def partition(self, name: str) -> int:
        """The number of a partition, a new one for a new name.

        Raises:
            StateError: there are too many.
        """
        number = self._number(self.partitions, name)
        self.states.setdefault(number, StateItem(number, 0, 0, 0, 0))
        return number

    def source(self, name: str) -> int:
        """The number of a source, a new one for a new name.

        Raises:
            StateError: there are too many.
        """
        return self._number(self.sources, name)

    def _number(self, known: dict[str, int], name: str) -> int:
        number = known.get(name)
        if number is None:
            number = max(known.values(), default=0) + 1
            if number > _MOST or len(name.encode()) > _MOST:
                raise StateError(f"the log cannot name {name[:40]!r}: it knows {len(known)} already, {_MOST} at most")
            known[name] = number
        return number

    def reach(self, partition: int, end: int, readings: int) -> None:
        """A partition's records are on disk up to here."""
        state = self.states[partition]
        self.states[partition] = state._replace(end=end, end_readings=readings)
        self._witness.pop(partition, None)

    def truncate(self, partition: int, upto: int, readings: int) -> None:
        """A partition needs nothing any more up to a sequence."""
        state = self.states[partition]
        if upto > state.truncated:
            if readings == UNKNOWN and upto == state.end:
                readings = state.end_readings
            self.states[partition] = state._replace(truncated=upto, truncated_readings=readings)
            self.dirty[partition] = 2
            self._witness.pop(partition, None)

    def truncations(self) -> list[bytes]:
        """The items that say what was truncated since it was last written twice."""
        return [state_item(self.states[number]) for number in self.dirty]

    def written(self) -> None:
        """A frame with :meth:`truncations` is on disk."""
        self.dirty = {number: copies - 1 for number, copies in self.dirty.items() if copies > 1}

    def head(self) -> list[bytes]:
        """All that a segment must say for itself, but its series."""
        sources = [source_item(number, name) for name, number in self.sources.items()]
        positions = [position_item(self.sources[name], position) for name, position in self.positions.items()]
        epochs = [epoch_item(epoch) for epoch in self.epochs[-IN_SEGMENT:]]
        states = [state_item(state) for state in self.states.values()]
        return [log_item(self.id), *epochs, *self._names(), *states, *sources, *positions]

    def meta(self) -> bytes:
        """The meta file: identity, every epoch that is remembered, partitions."""
        epochs = [epoch_item(epoch) for epoch in self.epochs]
        return frame(0, tag_of(self.epoch), [log_item(self.id), *epochs, *self._names()])

    def witness(self) -> bytes:
        """The witness: how far everything reached at the last frame."""
        for name, number in self.partitions.items():
            if number not in self._witness:
                self._witness[number] = partition_item(number, name) + state_item(self.states[number])
        return frame(self.number, tag_of(self.epoch), [log_item(self.id), *self._witness.values()])

    def _names(self) -> list[bytes]:
        return [partition_item(number, name) for name, number in self.partitions.items()]


def begin(found: Recovered) -> LogState:
    """The state with which a new epoch begins behind all that was found."""
    known = {tag_of(epoch) for epoch in found.epochs} | set(found.descriptions) | {0}
    token = secrets.token_bytes(8)
    while int.from_bytes(token[:4], "little") in known:
        token = secrets.token_bytes(8)
    states = {
        number: StateItem(number, s.truncated, s.truncated_readings, s.end, s.end_readings)
        for number, s in found.states.items()
    }
    epoch = Epoch(
        found.next_ordinal, token, {number: (state.end + 1, state.end_readings) for number, state in states.items()}
    )
    epochs = [*found.epochs, epoch]
    if len(epochs) > 1 and epochs[-2].ordinal != epoch.ordinal - 1:
        epochs = [epoch]
    partitions = {name: number for number, name in found.partitions.items()}
    for number in states:
        if number not in partitions.values():
            partitions[f"?{number}"] = number
    sources = {name: number for number, name in found.sources.items()}
    positions = {found.sources[n]: position for n, position in found.positions.items() if n in found.sources}
    return LogState(
        found.id or secrets.token_bytes(16), epochs[-KEPT:], found.number, partitions, sources, positions, states
    )
