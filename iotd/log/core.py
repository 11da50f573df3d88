"""The embedded log without threads or an event loop: opened from a folder, it commits, reads and truncates."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from iotd.log.active import Call, Committed
from iotd.log.base import Damage, Numbering
from iotd.log.compact import Compactor, Moved
from iotd.log.disk import Disk
from iotd.log.epochs import last_of
from iotd.log.index import Index, Place
from iotd.log.reader import Outcome, Reader, Tables
from iotd.log.recovery import Recovered, recover, tag_of, translations
from iotd.log.segment import segment_path
from iotd.log.state import begin
from iotd.log.writer import Writer
from iotd.model.errors import IotdError, StateError
from iotd.ops.loggers import get_logger
from iotd.ops.systemerrors import said

log = get_logger(__name__)

SEGMENT_SIZE = 8 * 1024 * 1024
_MOST_DAMAGE = 1000
"""Entries kept for status; each was logged when it was found."""


class Core:
    """The log's files, and an index a partition.

    ``commit``, ``truncate``, ``reclaim``, ``rewrite`` and ``drop`` belong to one thread, ``read`` to another one, all
    else to the one that made it. ``indexes`` change only in ``appended``, ``moved`` and ``lost``.
    """

    def __init__(
        self,
        folder: Path,
        numbering: Numbering,
        disk: Disk | None = None,
        segment_size: int = SEGMENT_SIZE,
        begins_with: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        """Opens or makes the log, and begins an epoch. Blocking.

        Raises:
            StateError: the folder cannot be used, or a newer iotd has written it.
        """
        self.folder = folder
        self.disk = disk or Disk()
        try:
            self.disk.make_folder(folder)
            for left in folder.glob("*.tmp"):
                self.disk.remove(left)
            found = recover(folder, self.disk)
        except OSError as e:
            raise StateError(
                f"{folder}: the log can't be opened ({said(e)}); it may hold readings that are nowhere else: "
                "mend the disk or its rights"
            ) from None
        self.fresh = found.id is None
        self.damage: list[Damage] = []
        for damage in found.damage:
            self.note(damage)
        self._cut_tails(found)
        self.state = begin(found)
        for source, position in begins_with.items() if not found.last_segment else ():
            self.state.source(source)
            self.state.positions.setdefault(source, position)
        self.id = self.state.id.hex()
        self.epoch = self.state.epoch
        self.tables = Tables(tag_of(self.epoch), translations(found, numbering))
        self.indexes: dict[str, Index] = {}
        self.truncated: dict[str, int] = {}
        self.ends: dict[str, int] = {}
        for name, number in self.state.partitions.items():
            self.indexes[name] = Index(found.places.get(number, ()))
            state = self.state.states.get(number)
            self.truncated[name], self.ends[name] = (state.truncated, state.end) if state else (0, 0)
        self.source_positions = dict(self.state.positions)
        self.writer = Writer(
            folder,
            self.disk,
            numbering,
            self.state,
            segments=found.segments,
            last_segment=found.last_segment,
            segment_size=segment_size,
        )
        self._compactor = Compactor(self.writer, self.tables)
        self._reader = Reader(folder, self.disk, self.tables)
        try:
            self.writer.ready()
            self.writer.witness()
            self.writer.reclaim()
        except OSError as e:  # a full disk: reading goes on, and the first commit tries again
            log.warning("log_cannot_write", path=str(folder), reason=str(e), effect="sources wait until it can")

    def _cut_tails(self, found: Recovered) -> None:
        for number, size in found.tails.items():
            path = segment_path(self.folder, number)
            log.info("log_tail_cut", path=str(path), at=size, effect="a last write that nobody was told of")
            with contextlib.suppress(OSError):
                fd = self.disk.open(path)
                try:
                    self.disk.truncate(fd, size)
                finally:
                    self.disk.close(fd)

    def note(self, damage: Damage) -> None:
        """Names a loss, once."""
        if damage in self.damage:
            return
        if len(self.damage) < _MOST_DAMAGE:
            self.damage.append(damage)
        log.error(
            "log_damaged",
            path=str(self.folder),
            shard=damage.partition,
            first=damage.first,
            last=damage.last,
            readings=damage.readings,
            reason=damage.reason,
        )

    def position_of(self, partition: str, epoch: str, sequence: int, end: int) -> int | None:
        """See :meth:`iotd.log.base.Log.position_of`; ``end`` is the partition's now."""
        last = last_of(self.state.epochs, epoch, self.state.partitions.get(partition), end)
        if last is None:
            return None
        if sequence > last:
            reason = f"a checkpoint has more of epoch {epoch}: the log has lost its tail"
            self.note(Damage(partition, last + 1, sequence, None, reason))
            return last
        return max(0, sequence)

    # ── the committing thread ──

    def commit(self, calls: Sequence[Call]) -> list[Committed | IotdError]:
        """See :meth:`Writer.commit`. The records can be read once :meth:`appended` was told of them."""
        return self.writer.commit(calls)

    def rewrite(self) -> Moved | None:
        """See :meth:`Compactor.rewrite`; pass the outcome to :meth:`moved`, then drop the old segments."""
        return self._compactor.rewrite()

    def watch(self) -> list[int]:
        """See :meth:`Writer.watch`; the segments that are gone are lost to every partition."""
        return self.writer.watch()

    # ── the indexes' owner ──

    def index(self, name: str) -> Index:
        """A partition's index, made when it is new."""
        index = self.indexes.get(name)
        if index is None:
            index = self.indexes[name] = Index()
            self.truncated[name] = self.ends[name] = 0
        return index

    def appended(self, name: str, place: Place) -> None:
        """A record is durable."""
        self.index(name).extend((place,))
        self.ends[name] = place.sequence

    def moved(self, moved: Moved) -> None:
        """Records lie elsewhere now."""
        names = {number: name for name, number in list(self.state.partitions.items())}
        segments = frozenset(moved.segments)
        for number, places in moved.places.items():
            self.index(names[number]).move(places, segments)

    def lost(self, name: str, outcome: Outcome) -> None:
        """Names what could not be read, and takes it out of the index."""
        runs: list[tuple[list[Place], str]] = []
        for place, reason in outcome.lost:
            if runs and runs[-1][1] == reason and runs[-1][0][-1].sequence == place.sequence - 1:
                runs[-1][0].append(place)
            else:
                runs.append(([place], reason))
        for run, reason in runs:
            self.note(Damage(name, run[0].sequence, run[-1].sequence, sum(p.readings for p in run), reason))
        for place, readings in outcome.unknown:
            reason = "what their series were is lost"
            self.note(Damage(name, place.sequence, place.sequence, readings, reason))
        gone = {place.sequence for place, _ in outcome.lost}
        if gone:
            self.index(name).remove(gone.__contains__)

    # ── the reading thread ──

    def read(self, places: Sequence[Place]) -> Outcome:
        """See :meth:`Reader.read`."""
        return self._reader.read(places)

    def close(self) -> None:
        """Closes the files."""
        self.writer.close()
