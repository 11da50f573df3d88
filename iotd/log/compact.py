"""Rewrites segments of which little is still needed, so that one partition that lags does not keep whole files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from iotd.log.active import Active
from iotd.log.base import RECORD_BYTES, Append, Delete
from iotd.log.frame import HEADER as FRAME_HEADER
from iotd.log.frame import series_item
from iotd.log.index import Place
from iotd.log.reader import Tables, renumbered
from iotd.log.record import RecordItem, appended, appended_item
from iotd.log.segment import Bad, Segment, scan, segment_path
from iotd.log.writer import Writer
from iotd.model.arrays import distinct
from iotd.model.errors import StateError

_MANY = 16
"""Small segments, of restarts, that are worth being made one."""
_CHUNK = 1024 * 1024
"""Bytes of records in a frame."""


@dataclass(slots=True)
class Moved:
    """Records that lie elsewhere now.

    Attributes:
        segments: that are needed no more, once readers know the new places.
        places: by partition's number and sequence.
    """

    segments: list[int]
    places: dict[int, dict[int, Place]] = field(default_factory=dict)


class _Damaged(Exception):
    """A segment that is not whole is left as it is."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Compactor:
    """Chooses segments and rewrites them, in the committing thread."""

    def __init__(self, writer: Writer, tables: Tables) -> None:
        self._writer = writer
        self._tables = tables
        self._kept: set[int] = set()

    def choose(self) -> list[int]:
        """Sealed segments that are worth rewriting into one; none when it would not pay."""
        writer = self._writer
        active = None if writer.active is None else writer.active.segment.number
        truncated = writer.state.truncated
        chosen: list[int] = []
        size = live = 0
        for number, segment in sorted(writer.segments.items()):
            needed = segment.live(truncated)
            small = segment.size <= writer.segment_size // _MANY
            if number == active or number in self._kept or not (small or needed <= segment.size // 2):
                continue
            if chosen and live + needed > writer.segment_size:
                break
            chosen.append(number)
            size, live = size + segment.size, live + needed
        pays = size - live >= max(writer.segment_size // 2, live) or len(chosen) >= _MANY
        return chosen if pays and len(chosen) > 1 else []

    def rewrite(self) -> Moved | None:
        """Copies what is needed into a new segment, durably; the old ones are still there.

        Raises:
            OSError: nothing has changed.
        """
        chosen = self.choose()
        if not chosen:
            return None
        try:
            return self._rewrite(chosen)
        except _Damaged as e:
            self._kept.add(e.number)
            return None

    def _rewrite(self, chosen: list[int]) -> Moved:
        writer = self._writer
        disk = writer.disk
        number = writer.new_number()
        path = segment_path(writer.folder, number)
        new = path.with_suffix(".tmp")
        head = writer.state.head()
        data = writer.state.frame(head)
        fd = disk.create(new)
        try:
            disk.write(fd, data, 0)
            active = Active(fd, Segment(number), head, len(data), writer.state)
            moved = Moved(chosen)
            for old in chosen:
                self._copy(old, active, moved)
            disk.sync(fd)
            disk.rename(new, path)
        except (OSError, _Damaged):
            disk.remove(new)
            raise
        finally:
            disk.close(fd)
        writer.segments[number] = active.segment
        writer.written += active.segment.size
        return moved

    def _copy(self, old: int, active: Active, moved: Moved) -> None:
        writer = self._writer
        truncated = writer.state.truncated
        data = writer.disk.read(segment_path(writer.folder, old))
        view = memoryview(data)
        chunk: list[tuple[RecordItem, Append | Delete]] = []
        size = 0
        for part in scan(data[: writer.segments[old].size]):
            if isinstance(part, Bad):
                raise _Damaged(old)
            payload = view[part.offset + FRAME_HEADER :]
            for item in part.items:
                if isinstance(item, RecordItem) and item.sequence > truncated.get(item.partition, 0):
                    if item.sequence in moved.places.get(item.partition, ()):
                        continue
                    chunk.append((item, self._translated(old, part.head.tag, payload, item)))
                    size += item.size
            if size >= _CHUNK:
                self._write(chunk, active, moved)
                chunk, size = [], 0
        if chunk:
            self._write(chunk, active, moved)

    def _translated(self, old: int, tag: int, payload: memoryview, item: RecordItem) -> Append | Delete:
        found = appended(payload, item.offset, item.readings)
        series, known = self._tables.translate(tag, found.series)
        if known is not None:
            raise _Damaged(old)
        return renumbered(found, series, known)

    def _write(self, chunk: Sequence[tuple[RecordItem, Append | Delete]], active: Active, moved: Moved) -> None:
        writer = self._writer
        wanted = distinct(np.concatenate([append.series for _, append in chunk]))
        try:
            series = {n: writer.numbering.describe(n) for n in active.unknown(wanted)}
        except LookupError as e:
            raise StateError(f"the catalogue has forgotten a series ({e})") from None
        new = [series_item(series)] if series else []
        parts = [*active.due(writer.state), *new]
        at = sum(map(len, parts))
        segment = active.segment
        for item, append in chunk:
            place = Place(item.sequence, item.readings, item.before, segment.number, segment.size, at + RECORD_BYTES)
            moved.places.setdefault(item.partition, {})[item.sequence] = place
            record = appended_item(item.partition, item.sequence, item.before, append)
            parts.append(record)
            at += len(record)
            segment.add(item.partition, item.sequence, len(record))
        data = writer.state.frame(parts)
        writer.disk.write(active.fd, data, segment.size)
        active.wrote(len(data), new, series)
