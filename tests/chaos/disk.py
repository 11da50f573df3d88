"""The daemon's disk: a real file system on a block device of its own, that can be full, slow, and read-only."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.servers.disk import Disk

_BLKIO = Path("/sys/fs/cgroup/blkio")
_SETTLES_S = 20


class BlockDisk(Disk):
    """An ext4 on a loop device, whose image is in memory; where there is none, a tmpfs, that can only be full.

    Attributes:
        device: its number, ``MAJOR:MINOR``; None on a tmpfs.
    """

    def __init__(self, path: Path, megabytes: int) -> None:
        """
        Raises:
            OSError: we may not mount.
        """
        self._megabytes = megabytes
        self._behind = path.with_name(f"{path.name}-device")
        self.device: str | None = None
        super().__init__(self._behind if self._has_loop() else path, megabytes + megabytes // 10)
        self.path = path
        if self._behind.exists():
            self._image = self._behind / "image"
            with self._image.open("wb") as image:
                image.truncate(megabytes << 20)
            _run("mkfs.ext4", "-q", "-m", "0", str(self._image))
            path.mkdir(parents=True)
            self._mount()

    @staticmethod
    def _has_loop() -> bool:
        return os.geteuid() == 0 and Path("/dev/loop-control").exists() and shutil.which("mkfs.ext4") is not None

    def _mount(self) -> None:
        # what a kernel does with a file system that it finds damaged: no more writes
        _run("mount", "-o", "loop,errors=remount-ro", str(self._image), str(self.path))
        number = self.path.stat().st_dev
        self.device = f"{os.major(number)}:{os.minor(number)}"
        self._throttle(0)

    @property
    def can_be_slow(self) -> bool:
        """Whether :meth:`slow` works here."""
        return self.device is not None and (self._cgroup / "blkio.throttle.write_bps_device").exists()

    @property
    def can_be_read_only(self) -> bool:
        """Whether :meth:`damage` works here."""
        return self._trigger.exists()

    @contextmanager
    def full(self) -> Iterator[None]:
        """Not a byte is left meanwhile."""
        ballast = self.path / "ballast"
        with ballast.open("wb", buffering=0) as f:
            size = 1 << 28
            while size:
                try:
                    os.posix_fallocate(f.fileno(), os.fstat(f.fileno()).st_size, size)
                except OSError:
                    size >>= 1
        try:
            yield
        finally:
            with suppress(OSError):  # the disk may have become read-only meanwhile; then it goes with the repair
                ballast.unlink()

    @contextmanager
    def slow(self, bytes_per_s: int) -> Iterator[None]:
        """The device takes so many bytes a second meanwhile (block throttling of the cgroup that we are in)."""
        self._throttle(bytes_per_s)
        try:
            yield
        finally:
            self._throttle(0)

    def hurry(self) -> None:
        """It is as fast as it can be again: who waits for it can't even be killed."""
        self._throttle(0)

    def damage(self) -> None:
        """The kernel finds the file system damaged: from now on it takes no more writes, until :meth:`repair`."""
        self._trigger.write_text("1")

    async def repair(self) -> None:
        """What a person does then: take it out, check it, put it in again. Nobody may have a file of it open."""
        out = False
        for _ in range(_SETTLES_S * 10):
            out = out or subprocess.run(["umount", self.path], capture_output=True, check=False).returncode == 0
            if out and not self._trigger.exists():  # the kernel has let go of it too
                break
            await asyncio.sleep(0.1)
        else:
            raise OSError(f"{self.path} is still in use")
        _run("e2fsck", "-p", "-f", str(self._image), good=(0, 1))
        self._mount()
        (self.path / "ballast").unlink(missing_ok=True)

    def unmount(self) -> None:
        """Takes it away; who still has a file of it open keeps that."""
        self._throttle(0)
        super().unmount()
        if self.device is not None:
            subprocess.run(["umount", "--lazy", self._behind], check=True)

    @property
    def _trigger(self) -> Path:
        name = Path(f"/sys/dev/block/{self.device}").resolve().name
        return Path("/sys/fs/ext4") / name / "trigger_fs_error"

    @property
    def _cgroup(self) -> Path:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        own = next((line.split(":")[2] for line in lines if ":blkio:" in line), "/")
        return _BLKIO / own.lstrip("/")

    def _throttle(self, bytes_per_s: int) -> None:
        if self.can_be_slow:
            (self._cgroup / "blkio.throttle.write_bps_device").write_text(f"{self.device} {bytes_per_s}")


def _run(*command: str, good: tuple[int, ...] = (0,)) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in good:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
