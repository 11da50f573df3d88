"""The spool: batches on disk until they are confirmed. The asynchronous face of :class:`Journal`, with group commit."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Literal

import structlog

from iotd.model.errors import StateError
from iotd.ops.outage import Outage
from iotd.pipeline.journal import Entry, Journal, LaneRecord
from iotd.sources.source import Span

log = structlog.get_logger(__name__)

_RETRY_S = 0.5
"""Pause before a commit that failed (disk full) is tried again; sources wait meanwhile."""
_GROUP = 4096
"""Entries in one commit at most."""
_LINGER_S = 0.005
"""So long a small group waits for more: rooms tick at the same time, and one fsync is enough for all of them."""
_SMALL = 65_536
"""Bytes; a larger group is committed as it is."""


@dataclass(frozen=True, slots=True)
class _Append:
    lane: int
    entry: Entry
    span: Span
    written: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Forget:
    lane: int
    upto: int


class _Stop:
    pass


class Spool:
    """Appends are committed in groups by a thread of its own; reading has another one."""

    def __init__(self, path: Path, sync: Literal["full", "normal"] = "full") -> None:
        """Opens the spool and starts its thread; call it with the event loop running.

        Raises:
            StateError: the file can't be opened, or is damaged.
        """
        self._journal = Journal(path, sync)
        self.path = path
        self.producer = self._journal.producer
        self.outage = Outage()
        """Why commits fail at present (``disk full``)."""
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[_Append | _Forget | _Stop] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="spool-read")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spool-write", daemon=True)
        self._thread.start()

    def lane(self, location: str) -> LaneRecord:
        """What the journal knows of a location's lane; blocking, for start-up."""
        return self._journal.lane(location)

    def append(self, lane: int, entry: Entry, span: Span, written: Callable[[], None]) -> asyncio.Future[None]:
        """Queues an entry; the future is done when it is committed, and ``written`` is called just before, on the loop.

        Commits are in the order of the calls. One that fails (disk full) is tried again until it succeeds.

        Raises:
            StateError: the spool was closed.
        """
        done: asyncio.Future[None] = self._loop.create_future()

        def finished() -> None:
            written()
            if not done.done():
                done.set_result(None)

        if self._stopping.is_set():
            raise StateError(f"{self.path}: the spool is closed")
        self._work.put(_Append(lane, entry, span, finished))
        return done

    async def read(self, lane: int, after: int, max_bytes: int) -> list[Entry]:
        """Entries after a sequence, in order, about ``max_bytes`` bytes of them."""
        return await self._loop.run_in_executor(self._readers, self._journal.read, lane, after, max_bytes)

    def forget(self, lane: int, upto: int) -> None:
        """Lets go of a lane's entries up to a sequence, in the background."""
        self._work.put(_Forget(lane, upto))

    def renew_producer(self) -> str:
        """A new producer name: see :meth:`Journal.renew_producer`. For the first moments of a session only."""
        self.producer = self._journal.renew_producer()
        return self.producer

    async def close(self) -> None:
        """Commits what is under way and closes the file."""
        self._stopping.set()
        self._work.put(_Stop())
        await self._loop.run_in_executor(None, self._thread.join)
        self._readers.shutdown()
        self._journal.close()

    def _run(self) -> None:
        forgets: dict[int, int] = {}
        stop = False
        while not stop:
            group, stop = self._gather(forgets)
            if group:
                self._commit(group)
            if forgets:
                self._forget_some(forgets)

    def _gather(self, forgets: dict[int, int]) -> tuple[list[_Append], bool]:
        """What is to be committed together, and whether this is the end; waits for something unless there is more."""
        group: list[_Append] = []
        size = 0
        wait = 0.0 if forgets else None
        lingers_until = 0.0
        while len(group) < _GROUP:
            try:
                item = self._work.get(timeout=wait)
            except queue.Empty:
                break
            if isinstance(item, _Stop):
                return group, True
            if isinstance(item, _Forget):
                forgets[item.lane] = max(item.upto, forgets.get(item.lane, 0))
            else:
                lingers_until = lingers_until or monotonic() + _LINGER_S
                group.append(item)
                size += len(item.entry.packed.payload)
            wait = max(0.0, lingers_until - monotonic()) if size < _SMALL else 0.0
        return group, False

    def _commit(self, group: list[_Append]) -> None:
        spans: dict[int, Span] = {}
        for a in group:
            known = spans.get(a.lane, a.span)
            spans[a.lane] = Span(min(known.first, a.span.first), max(known.last, a.span.last))
        while True:
            try:
                self._journal.write([(a.lane, a.entry) for a in group], spans)
                break
            except sqlite3.Error as e:
                self._fails(str(e))
                if self._stopping.wait(_RETRY_S):
                    return  # the callers were never told that it is kept
        self._works()
        self._tell(group)

    def _tell(self, group: list[_Append]) -> None:
        def all_written() -> None:
            for a in group:
                a.written()

        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(all_written)

    def _forget_some(self, forgets: dict[int, int]) -> None:
        lane, upto = next(iter(forgets.items()))
        try:
            if self._journal.forget(lane, upto):
                del forgets[lane]
            if not forgets:
                self._journal.shrink()
        except sqlite3.Error as e:
            self._fails(str(e))
            forgets.clear()  # the next confirmation asks again

    def _fails(self, reason: str) -> None:
        if self.outage.begins(reason):
            log.error("spool_failing", path=str(self.path), reason=reason, effect="sources wait; nothing is lost")

    def _works(self) -> None:
        if (over := self.outage.ends()) is not None:
            log.info("spool_recovered", path=str(self.path), was=over[0], after_s=over[1])
