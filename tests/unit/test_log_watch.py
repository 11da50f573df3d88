"""The embedded log's files are watched: removed, replaced, on a read-only disk, out of descriptors."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from iotd.log.budget import Budget
from iotd.log.embedded import EmbeddedLog
from iotd.log.segment import segment_numbers, segment_path
from iotd.model.errors import StateError
from tests.unit.logs import Catalogue, FaultyDisk, readings

_LIMIT_S = 10.0


async def until(condition: Callable[[], bool], what: str) -> None:
    """Returns once it is so."""
    try:
        async with asyncio.timeout(_LIMIT_S):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"waited in vain: {what}") from None


def open_log(folder: Path, *, disk: FaultyDisk | None = None, memory: int = 0, size: int = 2**20) -> EmbeddedLog:
    names = Catalogue(*(f"series {n}" for n in range(100)))
    return EmbeddedLog(folder, names, budget=Budget(memory), limit=2**30, segment_size=size, disk=disk)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EmbeddedLog]:
    log = open_log(tmp_path / "log")
    yield log
    await log.close()


async def put(log: EmbeddedLog, value: float) -> int:
    append = readings("salon", (0, 1_000, value))
    return await log.append("salon", append.series, append.times, append.values)


async def values(log: EmbeddedLog) -> list[float]:
    found: list[float] = []
    after = 0
    while records := await log.partition("salon").read(after, 10_000):
        after = records[-1].sequence
        found += [value for record in records for value in record.values.tolist()]
    return found


def active(log: EmbeddedLog) -> Path:
    return segment_path(log.folder, segment_numbers(log.folder)[-1])


def remove(path: Path) -> None:
    path.unlink()


def replace_by_nothing(path: Path) -> None:
    path.rename(path.with_name("moved-away"))
    path.write_bytes(b"")


def replace_by_a_copy(path: Path) -> None:
    """As who restores a backup, or edits with a tool that writes a new file."""
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def rename(path: Path) -> None:
    path.rename(path.with_suffix(".old"))


def remove_the_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("fault", [remove, replace_by_nothing, replace_by_a_copy, rename, remove_the_folder])
@pytest.mark.parametrize("idle", [True, False])
async def test_a_file_that_is_taken_away_is_written_anew(
    tmp_path: Path, log: EmbeddedLog, fault: Callable[[Path], None], idle: bool
) -> None:
    await put(log, 1)
    await put(log, 2)
    fault(active(log))
    if idle:
        await until(lambda: log.replaced == 1, "its absence is noticed without a reading")
    await put(log, 3)
    assert log.replaced == 1
    assert (log.failing, log.damage) == (None, ())
    assert await values(log) == [1, 2, 3]
    await log.close()
    again = open_log(tmp_path / "log")
    try:
        assert await values(again) == [1, 2, 3]
        assert again.damage == ()
        assert again.id == log.id
    finally:
        await again.close()


async def test_another_folder_in_its_place_takes_nothing_and_is_told(log: EmbeddedLog) -> None:
    """A disk that was mounted over it, or went away from under it: nothing there is the log."""
    await put(log, 1)
    away = log.folder.with_name("away")
    log.folder.rename(away)
    log.folder.mkdir()
    await until(lambda: log.failing is not None, "told while nothing is written")
    waiting = asyncio.ensure_future(put(log, 2))
    assert "another folder" in str(log.failing)
    done, _ = await asyncio.wait([waiting], timeout=1)
    assert not done  # it is not said to be safe
    log.folder.rmdir()
    away.rename(log.folder)
    await waiting
    assert log.failing is None
    assert await values(log) == [1, 2]


async def test_a_sealed_segment_that_is_removed_is_named_before_anybody_reads_it(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", size=256)
    try:
        for value in range(20):
            await put(log, value)
        first = segment_numbers(log.folder)[0]
        segment_path(log.folder, first).unlink()
        await until(lambda: len(log.damage) == 1, "what was in it is named")
        (damage,) = log.damage
        assert (damage.partition, damage.first) == ("salon", 1)
        assert await values(log) == list(range(damage.last, 20))
        assert damage.readings == damage.last
        await put(log, 20)
    finally:
        await log.close()


class ReadOnlyDisk(FaultyDisk):
    """A file system that the kernel has made read-only."""

    gone = False

    def read_only(self, folder: Path) -> bool:
        return self.gone


async def test_a_disk_gone_read_only_is_told_at_once(tmp_path: Path) -> None:
    disk = ReadOnlyDisk()
    log = open_log(tmp_path / "log", disk=disk)
    try:
        await put(log, 1)
        disk.gone = True
        await until(lambda: log.failing is not None, "told while nothing is written")
        assert "read-only" in str(log.failing)
        disk.gone = False
        await until(lambda: log.failing is None, "and that it is over")
    finally:
        await log.close()


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """This process can open nothing; what is open stays open."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_without_a_file_descriptor_nothing_counts_as_lost(log: EmbeddedLog) -> None:
    for value in range(3):
        await put(log, value)
    with no_descriptor_left():
        reading = asyncio.ensure_future(values(log))
        await until(lambda: log.partition("salon").unreadable is not None, "that it can't be read")
        assert "out of file descriptors" in str(log.partition("salon").unreadable)
        await asyncio.wait([reading], timeout=1.5)  # longer than a disk error is tried again
        assert not reading.done()
    assert await reading == [0, 1, 2]
    assert log.partition("salon").unreadable is None
    assert log.damage == ()


async def test_out_of_descriptors_is_what_a_writer_says(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log = open_log(tmp_path / "log", disk=disk, size=200)
    try:
        await put(log, 1)
        disk.error = errno.EMFILE
        waiting = asyncio.ensure_future(put(log, 2))
        await until(lambda: log.failing is not None, "told")
        assert "out of file descriptors" in str(log.failing)
        assert "LimitNOFILE" in str(log.failing)
        disk.error = None
        await waiting
    finally:
        await log.close()


class Forbidding(FaultyDisk):
    """Lets nobody read a segment: its rights were changed."""

    def read(self, path: Path) -> bytes:
        if path.suffix == ".seg":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return super().read(path)


async def test_a_log_that_may_not_be_read_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    await put(log, 1)
    await log.close()
    with pytest.raises(StateError, match="can't be opened"):
        open_log(tmp_path / "log", disk=Forbidding())
    again = open_log(tmp_path / "log")
    try:
        assert await values(again) == [1]
    finally:
        await again.close()
