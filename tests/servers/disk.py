"""Disks that are in the way: a file system of its own, in memory, that can be full; a file that another one holds."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from tests.servers.needs import lacking


class Disk:
    """Mounted at a folder, which it makes."""

    def __init__(self, path: Path, megabytes: int) -> None:
        """
        Raises:
            OSError: we may not mount.
        """
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        if mounted.returncode:
            raise OSError(mounted.stderr.strip())

    @contextmanager
    def full(self) -> Iterator[None]:
        """Not a byte is left meanwhile."""
        ballast = self.path / "ballast"
        with ballast.open("wb", buffering=0) as f:
            for size in (1 << 20, 1 << 12, 1):
                with suppress(OSError):
                    while True:
                        f.write(bytes(size))
        try:
            yield
        finally:
            ballast.unlink()

    def unmount(self) -> None:
        """Takes it away; who still has a file of it open keeps that."""
        subprocess.run(["umount", "--lazy", self.path], check=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """A SQLite file into which another process is writing: nobody else can meanwhile."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[Disk]:
    """A disk for one test, which lacks the lab (:mod:`tests.servers.needs`) where none can be mounted."""
    try:
        disk = Disk(path, megabytes)
    except OSError as e:
        lacking("lab", f"a small file system can't be mounted: {e}")
    try:
        yield disk
    finally:
        disk.unmount()
