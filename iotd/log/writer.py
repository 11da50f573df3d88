"""Writes segments: a frame a commit, a new file when one is full, the witness; removes what nobody needs any more."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Sequence
from pathlib import Path

from iotd.log.active import Active, Call, Committed, Group
from iotd.log.base import Numbering
from iotd.log.disk import Disk
from iotd.log.recovery import META, WITNESS
from iotd.log.segment import Segment, segment_path
from iotd.log.state import LogState
from iotd.model.errors import IotdError
from iotd.ops.loggers import get_logger

log = get_logger(__name__)


class Writer:
    """The log's files as one thread writes them. Every method may raise OSError; the same call may be made again."""

    def __init__(
        self,
        folder: Path,
        disk: Disk,
        numbering: Numbering,
        state: LogState,
        *,
        segments: dict[int, Segment],
        last_segment: int,
        segment_size: int,
    ) -> None:
        self.folder = folder
        self.disk = disk
        self.numbering = numbering
        self.state = state
        self.segments = segments
        self.segment_size = segment_size
        self.active: Active | None = None
        self._last_segment = last_segment
        self._broken = False
        self._meta_due = True
        self._witness: int | None = None
        self._folder = disk.identity(folder)
        self.written = 0
        """Bytes written to segments since the log was opened."""
        self.replaced = 0
        """How often a file that was removed, or replaced by another one, was written anew."""

    def commit(self, calls: Sequence[Call]) -> list[Committed | IotdError]:
        """Makes calls durable in one frame. Those that cannot be encoded fail alone.

        Raises:
            OSError: nothing of it is acknowledged; what may have been written was cut off again.
        """
        group = Group(self.state, self.ready(), self.numbering)
        for call in calls:
            group.add(call)
        parts = group.parts()
        if parts:
            group.done(self._frame(parts))
            self.witness()
        return group.outcomes()

    def ready(self) -> Active:
        """The segment that is written, a new one where there is none, or it is full."""
        active = self.active
        if active is None or self._broken or active.segment.size - active.head_size >= self.segment_size:
            active = self._roll()
        return active

    def new_number(self) -> int:
        """A number that no segment had."""
        self._last_segment += 1
        return self._last_segment

    def _roll(self) -> Active:
        number = self.new_number()
        path = segment_path(self.folder, number)
        head = self.state.head()
        data = self.state.frame(head)
        fd = self.disk.create(path)
        try:
            self.disk.write(fd, data, 0)
            self.disk.sync(fd)
            self.disk.sync_folder(self.folder)
        except OSError:
            self.disk.close(fd)
            with contextlib.suppress(OSError):
                self.disk.remove(path)
            raise
        if self.active is not None:
            self.disk.close(self.active.fd)
        segment = self.segments[number] = Segment(number)
        self.active = Active(fd, segment, head, len(data), self.state)
        self._broken = False
        self.written += len(data)
        self._meta()
        return self.active

    def _frame(self, parts: Sequence[bytes]) -> int:
        """Appends a frame durably; its size."""
        active = self.ready()
        data = self.state.frame(parts)
        try:
            self.disk.write(active.fd, data, active.segment.size)
        except OSError:
            self._cut(active)
            raise
        try:
            self.disk.sync(active.fd)
        except OSError:
            # after a sync that failed nobody knows which pages of the file are on disk: go on in another one
            self._broken = True
            self._cut(active)
            raise
        try:
            self._keep_named(active, active.segment.size + len(data))
        except OSError:
            self._cut(active)
            raise
        self.written += len(data)
        return len(data)

    def _cut(self, active: Active) -> None:
        try:
            self.disk.truncate(active.fd, active.segment.size)
        except OSError:
            self._broken = True  # the torn frame stays; a copy of it is dropped when the log is opened

    # ── whether the files are still ours ──

    def watch(self) -> list[int]:
        """Looks whether the files are still there, and the disk still takes writes.

        Returns:
            numbers of sealed segments that somebody has removed: what was in them is lost to the log.

        Raises:
            OSError: nothing can be written now.
        """
        active = self.active
        if active is not None:
            self._keep_named(active, active.segment.size)
        else:
            self._keep_folder()
        if self.disk.read_only(self.folder):
            raise OSError(errno.EROFS, "")
        gone = [n for n in self.segments if active is None or n != active.segment.number]
        return [n for n in gone if not self.disk.exists(segment_path(self.folder, n))]

    def _keep_named(self, active: Active, size: int) -> None:
        """What is written into a file that lost its name is gone at the next start: the file is written anew."""
        path = segment_path(self.folder, active.segment.number)
        if self.disk.same(active.fd, path):
            return
        self._keep_folder()
        data = self.disk.read_at(active.fd, size, 0)
        if len(data) < size:
            raise OSError(errno.EIO, f"{path} was removed, and what was in it can't be read any more")
        self.disk.replace(path, data)
        fd = self.disk.open(path)
        self.disk.close(active.fd)
        active.fd = fd
        if self._witness is not None:
            self.disk.close(self._witness)
            self._witness = None
        self._meta_due = True
        self._meta()
        effect = "it was written anew from what was still open; nothing of it is lost"
        log.error("log_file_replaced", path=str(path), bytes=size, effect=effect)
        self.replaced += 1

    def _keep_folder(self) -> None:
        """The log's folder, made anew when it was removed.

        Raises:
            OSError: another one is in its place: a disk was mounted over it, or taken away from under it.
        """
        now = self.disk.identity(self.folder)
        if now == self._folder:
            return
        if now is not None:
            reason = f"{self.folder} is another folder than the one that was opened: put that back, or start iotd again"
            raise OSError(errno.ESTALE, reason)
        self.disk.make_folder(self.folder)
        self._folder = self.disk.identity(self.folder)

    def _meta(self) -> None:
        if not self._meta_due:
            return
        try:
            self.disk.replace(self.folder / META, self.state.meta())
            self._meta_due = False
        except OSError as e:
            log.warning("log_file_unwritable", path=str(self.folder / META), reason=str(e), effect="done without it")

    def witness(self, sync: bool = False) -> None:
        """Notes outside of the segments how far they reach. Not synced, unless asked: it costs no wear to speak of."""
        try:
            if self._witness is None:
                self._witness = self.disk.open(self.folder / WITNESS)
            self.disk.write(self._witness, self.state.witness(), 0)
        except OSError:
            if sync:
                raise
            return  # an older witness only says less
        if sync:
            self.disk.sync(self._witness)

    # ── letting go ──

    def truncate(self, name: str, upto: int, readings: int) -> None:
        """A partition needs nothing any more up to a sequence; ``readings`` were counted until there."""
        number = self.state.partitions.get(name)
        if number is not None:
            self.state.truncate(number, upto, readings)

    def reclaim(self) -> list[int]:
        """Removes the segments that hold only what is truncated; their numbers."""
        active = None if self.active is None else self.active.segment.number
        truncated = self.state.truncated
        dead = [n for n, segment in self.segments.items() if n != active and segment.live(truncated) == 0]
        if dead:
            self._note_truncation()
            self.drop(dead)
        return dead

    def drop(self, numbers: Sequence[int]) -> None:
        """Removes segments."""
        for number in numbers:
            self.disk.remove(segment_path(self.folder, number))
            self.segments.pop(number, None)

    def _note_truncation(self) -> None:
        """Makes durable what is truncated, before records vanish that would otherwise be missed at the next opening."""
        try:
            while self.state.dirty:
                active = self.ready()
                due = active.due(self.state)
                active.wrote(self._frame([*due, *self.state.truncations()]), [], ())
                self.state.written()
        except OSError:
            # a full disk takes no frame, but removing segments is what makes room: the witness is overwritten in place
            self.witness(sync=True)
        else:
            self.witness()

    def close(self) -> None:
        """Closes the files."""
        if self.active is not None:
            self.disk.close(self.active.fd)
            self.active = None
        if self._witness is not None:
            self.disk.close(self._witness)
            self._witness = None
