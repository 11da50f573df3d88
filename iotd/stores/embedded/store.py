"""The embedded archive as a store: one SQLite file, written by the daemon and read by any number of processes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from iotd.config import Settings
from iotd.model.aggregate import Aggregation
from iotd.model.buckets import HOUR, Run
from iotd.model.errors import ArchiveMissing, ArchiveRefused, ArchiveRejected, ArchiveUnavailable
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.ops.database import Database
from iotd.ops.loggers import get_logger
from iotd.stores.base import Found, Progress, Summary
from iotd.stores.embedded import former
from iotd.stores.embedded.block import squares, total
from iotd.stores.embedded.reader import ArchiveReader
from iotd.stores.embedded.tables import FILE
from iotd.stores.embedded.writer import ArchiveWriter, Readings
from iotd.stores.points import Points

log = get_logger(__name__)

T = TypeVar("T")


def open_embedded(settings: Settings, url: str, *, read_only: bool) -> EmbeddedStore:
    """See :class:`iotd.stores.registry.Open`; the file is ``archive.sqlite`` in the state directory, or the URL's."""
    path = url.partition(":")[2]
    return EmbeddedStore(Path(path).expanduser().absolute() if path else settings.state / FILE, read_only=read_only)


class EmbeddedStore:
    """One file, written and read over two connections with a thread each: neither waits for the other (WAL).

    What is found damaged is logged and left out where the daemon asks, so that verification finds it missing and
    archives it again. It is an error where a query asks, so that nobody takes what is left for everything.

    See :class:`iotd.stores.base.Store` and :class:`iotd.stores.base.TakesOver`.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.identity = f"embedded {path}"
        self._writer = None if read_only else ArchiveWriter(path)
        self._reader = ArchiveReader(path)
        self._begun: tuple[int, int] | None = None  # the file that was found fit to be written
        self._present: tuple[int, int] | None = None  # and to be read
        self._told: set[str] = set()
        self._closed = False

    # ── writing ──

    async def write(self, batch: Sequence[Points]) -> None:
        """See :meth:`iotd.stores.base.Store.write`."""
        self._tell(await self._write(lambda writer: _write(writer, batch)))

    async def delete(self, series: Series, first: int, last: int) -> None:
        """See :meth:`iotd.stores.base.Store.delete`; not while an archive of the form before may bring it back."""

        def work(writer: ArchiveWriter) -> Sequence[ArchiveRefused]:
            former.refuse_while_waiting(self.path)
            _, damage = writer.delete(series, first, last)
            return damage

        self._tell(await self._write(work))

    async def take_over(self, progress: Progress) -> None:
        """See :meth:`iotd.stores.base.TakesOver.take_over`; one of the form before, with a row a reading."""
        writer = await self._write(lambda writer: writer)
        if not former.waits(self.path):
            return
        loop, stopped = asyncio.get_running_loop(), threading.Event()

        def told(done: int, total: int) -> None:
            if stopped.is_set():
                raise ArchiveUnavailable(f"{self.path}: the take-over was stopped")
            loop.call_soon_threadsafe(progress, done, total)

        with ThreadPoolExecutor(1, thread_name_prefix="archive-take-over") as thread:  # what is written needn't wait
            work = loop.run_in_executor(thread, former.take_over, writer, told)
            try:
                done = await asyncio.shield(work)
            except asyncio.CancelledError:
                stopped.set()
                await asyncio.wait([work])
                raise
        log.info(
            "archive_taken_over",
            archive=self.identity,
            readings=done.readings,
            skipped=done.skipped,
            kept=str(done.kept),
        )

    # ── reading ──

    async def counts(self, location: str, first: int, last: int, bucket: int) -> dict[Series, dict[int, int]]:
        """See :meth:`iotd.stores.base.Store.counts`."""
        return await self._read(
            lambda reader, skipped: reader.counts(location, first, last, bucket, skipped=skipped),
        )

    async def summaries(
        self, location: str, first: int, last: int, *, squares: bool = True
    ) -> dict[Series, list[Summary]]:
        """See :meth:`iotd.stores.base.Store.summaries`; of whole hours from headers and values."""

        return await self._read(
            lambda reader, skipped: _summaries(reader, location, first, last, skipped, squared=squares)
        )

    async def begins(self, what: Selection, first: int, last: int) -> dict[Series, int]:
        """See :meth:`iotd.stores.base.Store.begins`."""
        found = await self._each(
            what, lambda reader, series, skipped: reader.begins(series, first, last, skipped=skipped)
        )
        return {series: begins for series, begins in found.items() if begins is not None}

    async def samples(self, what: Selection, first: int, last: int) -> Found:
        """See :meth:`iotd.stores.base.Store.samples`."""
        found = await self._each(
            what, lambda reader, series, skipped: reader.samples(series, first, last, skipped=skipped)
        )
        return {series: its for series, its in found.items() if len(its[0])}

    async def buckets(self, what: Selection, aggregation: Aggregation, run: Run, first: int, last: int) -> Found:
        """See :meth:`iotd.stores.base.Store.buckets`; what lies whole in a bucket from the headers of the blocks."""
        found = await self._each(
            what,
            lambda reader, series, skipped: reader.buckets(
                series, aggregation, run.first, run.width, first=first, last=last, skipped=skipped
            ),
        )
        return {series: its for series, its in found.items() if len(its[0])}

    # ── who it is ──

    async def incarnation(self) -> str | None:
        """See :meth:`iotd.stores.base.Store.incarnation`: a random name that every new file gets."""
        if self._writer is not None:
            return await self._write(lambda writer: writer.incarnation())
        return await self._read(lambda reader, _: reader.incarnation())

    async def keeps(self) -> int | None:
        """See :meth:`iotd.stores.base.Store.keeps`: for ever."""
        return None

    async def started(self) -> str | None:
        """See :meth:`iotd.stores.base.Store.started`: nothing depends on it, a transaction is whole on disk or not at
        all."""
        return ""

    def mended(self) -> bool:
        """See :meth:`iotd.stores.base.Store.mended`: whether a damaged file was moved away."""
        # a write that was under way may have begun a new file since
        return not self.path.exists() or (self._writer is not None and self._writer.database.replaced)

    async def close(self) -> None:
        """See :meth:`iotd.stores.base.Store.close`."""
        self._closed = True
        databases = [self._reader.database]
        if self._writer is not None:
            databases.append(self._writer.database)  # the last one copies the write-ahead log into the file
        for database in databases:
            try:
                await asyncio.to_thread(database.close)
            except RuntimeError:  # the program ends, and threads take nothing more
                database.close()

    async def _write(self, work: Callable[[ArchiveWriter], T]) -> T:
        writer = self._writer
        if writer is None:
            raise ArchiveUnavailable(f"{self.path}: opened to be read only")

        def begun() -> T:
            if self._begun is None or self._begun != _file(self.path):
                former.begin(writer)
                self._begun = _file(self.path)
            return work(writer)

        return await self._run(writer.database, begun)

    async def _read(self, work: Callable[[ArchiveReader, list[ArchiveRefused] | None], T]) -> T:
        if self._writer is not None and not self.path.exists():
            await self._write(lambda writer: writer.incarnation())  # makes it
        skipped: list[ArchiveRefused] | None = None if self._writer is None else []

        def ready() -> T:
            former.refuse_while_waiting(self.path)
            if (file := _file(self.path)) is None:
                raise ArchiveMissing(
                    f"no archive at {self.path}: it was moved away or deleted, or is on another machine: set "
                    "state_dir, or influxdb.url and influxdb.token_file"
                )
            if file != self._present:
                former.refuse(self.path)
                self._present = file
            return work(self._reader, skipped)

        found = await self._run(self._reader.database, ready)
        self._tell(skipped or ())
        return found

    async def _each(
        self, what: Selection, ask: Callable[[ArchiveReader, Series, list[ArchiveRefused] | None], T]
    ) -> dict[Series, T]:
        return await self._read(
            lambda reader, skipped: {
                series: ask(reader, series, skipped) for series in reader.series(skipped=skipped) if series in what
            }
        )

    async def _run(self, database: Database, work: Callable[[], T]) -> T:
        if self._closed:
            raise ArchiveUnavailable(f"{self.path}: closed")
        try:
            return await database.run(work)
        except RuntimeError as e:
            raise ArchiveUnavailable(f"{self.path}: {e}") from None  # the program ends

    def _tell(self, damage: Sequence[ArchiveRefused]) -> None:
        for one in damage:
            if (text := str(one)) not in self._told:
                self._told.add(text)
                log.error("archive_damaged", archive=self.identity, reason=text)


def _write(writer: ArchiveWriter, batch: Sequence[Points]) -> Sequence[ArchiveRefused]:
    if not batch:
        writer.database.write(lambda db: None)  # whether it can be written
        return ()
    return writer.write([_readings(points) for points in batch])


def _readings(points: Points) -> Readings:
    try:
        return points.sensor, *points.arrays()
    except ValueError as e:
        raise ArchiveRejected(f"{points.sensor.key}: {e}") from None


def _summaries(
    reader: ArchiveReader, location: str, first: int, last: int, skipped: list[ArchiveRefused] | None, *, squared: bool
) -> dict[Series, list[Summary]]:
    """Of whole hours from the headers; an hour that is asked for in part, from its readings."""
    begin, end = -(-first // HOUR) * HOUR, (last + 1) // HOUR * HOUR  # the whole hours
    if begin > end:  # a part of one hour
        return _of_readings(reader, location, first, last, skipped)
    found = _of_readings(reader, location, first, begin - 1, skipped) if first < begin else {}
    if begin < end:
        for series, its in reader.location_summaries(
            location, begin, end - 1, squared=squared, skipped=skipped
        ).items():
            columns = (column.tolist() for column in (its.hours, its.count, its.sum, its.min, its.max, its.squares))
            found.setdefault(series, []).extend(map(Summary, *columns))
    if end <= last:
        for series, part in _of_readings(reader, location, end, last, skipped).items():
            found.setdefault(series, []).extend(part)
    return found


def _of_readings(
    reader: ArchiveReader, location: str, first: int, last: int, skipped: list[ArchiveRefused] | None
) -> dict[Series, list[Summary]]:
    """The summaries of a part of one hour."""
    found: dict[Series, list[Summary]] = {}
    for series in reader.series(skipped=skipped):
        if series.location == location:
            _, values = reader.samples(series, first, last, skipped=skipped)
            if len(values):
                hour = first // HOUR * HOUR
                ends = float(values.min()), float(values.max())
                found[series] = [Summary(hour, len(values), total(values), *ends, squares(values))]
    return found


def _file(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
