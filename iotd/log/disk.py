"""The few things the log does to files, in one place, so that a test can make each of them fail."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path


class Disk:
    """Plain files. Every method raises OSError when the system refuses."""

    def create(self, path: Path) -> int:
        """Opens a new file for writing; it must not exist."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)

    def open(self, path: Path) -> int:
        """Opens a file for writing, made when it is missing."""
        return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Writes all of the data at an offset."""
        view = memoryview(data)
        while view:
            written = os.pwrite(fd, view, offset)
            view, offset = view[written:], offset + written

    def sync(self, fd: int) -> None:
        """Returns when what was written is on the disk."""
        getattr(os, "fdatasync", os.fsync)(fd)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def close(self, fd: int) -> None:
        os.close(fd)

    def same(self, fd: int, path: Path) -> bool:
        """Whether the open file is still the one of this name."""
        try:
            named = path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(fd))

    def exists(self, path: Path) -> bool:
        return path.exists()

    def make_folder(self, folder: Path) -> None:
        """Makes a folder that is to be ours alone."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.sync_folder(folder.parent)

    def identity(self, path: Path) -> tuple[int, int] | None:
        """Tells a folder from another one of the same name; None when there is none."""
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None

    def read_only(self, folder: Path) -> bool:
        """Whether the file system takes no writes at present."""
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)

    def size(self, path: Path) -> int:
        return path.stat().st_size

    def read(self, path: Path) -> bytes:
        """All of a file."""
        return path.read_bytes()

    @contextlib.contextmanager
    def reading(self, path: Path) -> Iterator[int]:
        """A file open for :meth:`read_at`."""
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            yield fd
        finally:
            os.close(fd)

    def read_at(self, fd: int, size: int, offset: int) -> bytes:
        """Up to so many bytes from an offset; fewer only at the end of the file."""
        return os.pread(fd, size, offset)

    def rename(self, source: Path, target: Path) -> None:
        """Gives a file its name, durably; an older file of that name is replaced."""
        source.replace(target)
        self.sync_folder(target.parent)

    def replace(self, path: Path, data: bytes) -> None:
        """Writes a small file so that after a crash either the old or the new one is there, whole."""
        new = path.with_name(path.name + ".tmp")
        fd = self.open(new)
        try:
            self.truncate(fd, 0)
            self.write(fd, data, 0)
            self.sync(fd)
        finally:
            self.close(fd)
        self.rename(new, path)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def sync_folder(self, folder: Path) -> None:
        """Makes names that were added to a folder durable."""
        if os.name == "nt":
            return
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
