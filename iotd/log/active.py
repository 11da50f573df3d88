"""The segment that is written: what it has defined already, and what it still is to say again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from iotd.log.base import RECORD_BYTES, Append, Delete, Numbering
from iotd.log.frame import counted, partition_item, position_item, series_item, source_item
from iotd.log.index import Place
from iotd.log.record import appended_item
from iotd.log.segment import Segment
from iotd.log.state import LogState
from iotd.model.arrays import distinct
from iotd.model.batch import Numbers
from iotd.model.errors import IotdError, StateError, UsageError

_PAGE = 4096
"""Definitions are repeated in the next frame, and once more so far away: neither a flipped bit nor a lost page, which
hits all copies near by, may cost more than the readings in it."""


class Call(NamedTuple):
    """What one caller hands over: it is committed as a whole."""

    appends: Sequence[Append | Delete]
    positions: Sequence[tuple[str, bytes]]


Committed = list[Place | None]
"""Where the records of a call lie; None for an append without readings or series."""


class Active:
    """A segment open for writing."""

    def __init__(self, fd: int, segment: Segment, head: Sequence[bytes], size: int, state: LogState) -> None:
        self.fd = fd
        self.segment = segment
        self.head_size = size
        self.partitions = set(state.partitions.values())
        self.sources = set(state.sources.values())
        self._series = np.zeros(1024, np.bool_)
        self._repeats: list[tuple[int, list[bytes] | None]] = [(0, None), (size + _PAGE, None)]
        segment.size = size

    def unknown(self, series: Numbers) -> list[int]:
        """Numbers that the segment does not define yet."""
        if len(series) == 0:
            return []
        inside = series < len(self._series)
        if inside.all() and self._series[series].all():
            return []
        return [n for n in distinct(series).tolist() if n >= len(self._series) or not self._series[n]]

    def due(self, state: LogState) -> list[bytes]:
        """Definitions that the next frame is to repeat."""
        parts: list[bytes] = []
        for at, items in self._repeats:
            if at <= self.segment.size:
                parts += state.head() if items is None else items
        return parts

    def wrote(self, size: int, definitions: list[bytes], series: Iterable[int]) -> None:
        """A frame of so many bytes, with these new definitions in it, is on disk."""
        self._repeats = [repeat for repeat in self._repeats if repeat[0] > self.segment.size]
        self.segment.size += size
        if definitions:
            self._repeats += [(0, definitions), (self.segment.size + _PAGE, definitions)]
        numbers = list(series)
        if numbers:
            if max(numbers) >= len(self._series):
                self._series = np.append(self._series, np.zeros(max(numbers) + 1, np.bool_))
            self._series[numbers] = True


class Group:
    """Calls on their way into one frame; nothing of the log's state has changed until :meth:`done`."""

    def __init__(self, state: LogState, active: Active, numbering: Numbering) -> None:
        self._state = state
        self._active = active
        self._numbering = numbering
        self._records: list[tuple[Append | Delete, int, int, int]] = []  # with partition, sequence, readings before
        self._ends: dict[int, tuple[int, int]] = {}
        self._series: dict[int, bytes] = {}
        self._partitions: dict[int, str] = {}
        self._sources: dict[int, str] = {}
        self._positions: dict[str, bytes] = {}
        self._calls: list[list[int | None] | IotdError] = []
        self._definitions: list[bytes] = []

    def add(self, call: Call) -> None:
        """Takes a call in; one that cannot be encoded fails alone."""
        try:
            self._series |= self._described(call)
            partitions = [self._state.partition(append.location) for append in call.appends]
            sources = [(self._state.source(name), name, position) for name, position in call.positions]
        except IotdError as e:
            self._calls.append(e)
            return
        for number, name, position in sources:
            self._positions[name] = position
            if number not in self._active.sources:
                self._sources[number] = name
        self._calls.append([self._record(*pair) for pair in zip(partitions, call.appends, strict=True)])

    def _described(self, call: Call) -> dict[int, bytes]:
        new: dict[int, bytes] = {}
        for append in call.appends:
            for number in self._active.unknown(append.series):
                if number in self._series or number in new:
                    continue
                try:
                    new[number] = self._numbering.describe(number) if number >= 0 else b""
                except LookupError as e:
                    raise StateError(f"the catalogue knows no series {number} ({e})") from None
                if not 0 < len(new[number]) <= 65_535:
                    raise UsageError(f"series {number} cannot be described in the log")
        return new

    def _record(self, partition: int, append: Append | Delete) -> int | None:
        if len(append.series) == 0:
            return None
        if partition not in self._active.partitions:
            self._partitions[partition] = append.location
        state = self._state.states[partition]
        end, readings = self._ends.get(partition, (state.end, state.end_readings))
        self._records.append((append, partition, end + 1, readings))
        self._ends[partition] = (end + 1, counted(readings, append.readings))
        return len(self._records) - 1

    def parts(self) -> list[bytes]:
        """The payload; empty when there is nothing to be written."""
        if not self._records and not self._positions:
            return []
        new = [partition_item(*pair) for pair in self._partitions.items()]
        new += [source_item(*pair) for pair in self._sources.items()]
        if self._series:
            new.append(series_item(self._series))
        self._definitions = new
        parts = [*self._active.due(self._state), *new, *self._state.truncations()]
        at = sum(map(len, parts))
        self._places: list[Place] = []
        self._sizes: list[int] = []
        for append, partition, sequence, before in self._records:
            segment = self._active.segment
            place = Place(sequence, append.readings, before, segment.number, segment.size, at + RECORD_BYTES)
            self._places.append(place)
            record = appended_item(partition, sequence, before, append)
            parts.append(record)
            self._sizes.append(len(record))
            at += len(record)
        parts += [position_item(self._state.sources[name], text) for name, text in self._positions.items()]
        return parts

    def done(self, size: int) -> None:
        """The frame, of so many bytes, is durable."""
        state, active = self._state, self._active
        active.wrote(size, self._definitions, self._series)
        active.partitions.update(self._partitions)
        active.sources.update(self._sources)
        for (_, partition, sequence, _), its_size in zip(self._records, self._sizes, strict=True):
            active.segment.add(partition, sequence, its_size)
        for partition, (end, readings) in self._ends.items():
            state.reach(partition, end, readings)
        state.positions.update(self._positions)
        state.written()

    def outcomes(self) -> list[Committed | IotdError]:
        """What became of each call, in order."""
        return [
            call if isinstance(call, IotdError) else [None if at is None else self._places[at] for at in call]
            for call in self._calls
        ]
