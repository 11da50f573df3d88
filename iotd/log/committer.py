"""The thread that commits: what is queued goes into one frame, and a commit that fails is tried until it works."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, NamedTuple

from iotd.log.active import Call, Committed
from iotd.log.core import Core
from iotd.model.errors import IotdError
from iotd.ops.loggers import get_logger
from iotd.ops.outage import Outage
from iotd.ops.systemerrors import said

log = get_logger(__name__)

_WATCH_S = 1.0
"""Between two looks at the files while nothing is written; each commit looks at its own."""
_RETRY_S = 0.5
"""Pause before a commit that failed (disk full) is tried again; sources wait meanwhile."""
_HANGS_S = 5.0
_GROUP_BYTES = 2 * 1024 * 1024
"""In one commit, unless a single call is larger: the thread joins them while the event loop cannot run."""
_GROUP = 256
"""Calls in one commit at most: so many are told on the loop in under 10 ms."""


class Job(NamedTuple):
    """A call, its size in bytes, and who waits for it: for the one sequence, or for a list."""

    call: Call
    size: int
    done: asyncio.Future[Any]
    single: bool


class Committer:
    """Group commit without a linger of its own: what comes while one is synced goes into the next one."""

    def __init__(
        self,
        core: Core,
        committed: Callable[[Sequence[Job], Sequence[Committed | IotdError]], None],
        vanished: Callable[[Sequence[int]], None],
    ) -> None:
        """Called on the loop: ``committed``, in order, for what is durable; ``vanished`` for the numbers of segments
        that somebody has removed. Call with the event loop running."""
        self.outage = Outage()
        self._began: float | None = None
        self._core = core
        self._committed = committed
        self._vanished = vanished
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()  # None only wakes
        self._carried: Job | None = None
        self._truncations: dict[str, tuple[int, int]] = {}
        self._watched = monotonic()
        self._shrink = False  # what is truncated may make a segment needless
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-write", daemon=True)
        self._thread.start()

    @property
    def failing(self) -> str | None:
        """Why nothing can be written now, or that a write hangs; None while all is well."""
        began = self._began
        if self.outage.reason is None and began is not None and monotonic() - began > _HANGS_S:
            return f"a write has not ended for {monotonic() - began:.0f} s: the disk is very slow, or hangs"
        return self.outage.reason

    @property
    def closed(self) -> bool:
        return self._stopping.is_set()

    def put(self, job: Job) -> None:
        """Queues a job."""
        self._jobs.put(job)

    def truncate(self, name: str, upto: int, readings: int) -> None:
        """Lets go of a partition's records up to a sequence, in the background."""
        with self._lock:
            self._truncations[name] = (upto, readings)
        self._jobs.put(None)

    async def close(self) -> None:
        """Commits what is queued, unless that fails, and ends the thread."""
        self._stopping.set()
        self._jobs.put(None)
        await self._loop.run_in_executor(None, self._thread.join)

    def _run(self) -> None:
        while True:
            jobs = self._gather()
            if jobs:
                self._commit(jobs)
            if monotonic() - self._watched >= _WATCH_S:
                self._watch()
            self._let_go(rewrite=self._jobs.empty())
            if self._stopping.is_set() and self._carried is None and self._jobs.empty():
                return

    def _gather(self) -> list[Job]:
        """What is to be committed together: all that is queued, up to a size; waits for something first."""
        jobs: list[Job] = []
        size = 0
        job = self._carried
        self._carried = None
        if job is None:
            try:
                job = self._jobs.get(timeout=_WATCH_S)
            except queue.Empty:
                return jobs
        while True:
            if job is not None:
                if jobs and (size + job.size > _GROUP_BYTES or len(jobs) >= _GROUP):
                    self._carried = job
                    return jobs
                jobs.append(job)
                size += job.size
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs

    def _commit(self, jobs: Sequence[Job]) -> None:
        calls = [job.call for job in jobs]
        while True:
            self._began = monotonic()
            try:
                outcomes = self._core.commit(calls)
                break
            except Exception as e:  # whatever it is, this thread must not end while callers wait
                self._fails(e)
                if self._stopping.is_set():
                    return  # the callers were never told that it is kept
                self._let_go(rewrite=False)  # this is what makes room on a full disk
                self._stopping.wait(_RETRY_S)
            finally:
                self._began = None
        self._works()
        self._on_loop(self._committed, jobs, outcomes)

    def _watch(self) -> None:
        """Whether the next commit will find what it needs: told before a reading waits for it."""
        self._watched = monotonic()
        try:
            gone = self._core.watch()
        except OSError as e:
            self._fails(e)
            return
        self._works()
        if gone and self._on_loop(self._vanished, gone):
            for number in gone:
                self._core.writer.segments.pop(number, None)

    def _works(self) -> None:
        if (over := self.outage.ends()) is not None:
            log.info("log_recovered", path=str(self._core.folder), was=over[0], after_s=over[1])

    def _let_go(self, rewrite: bool) -> None:
        """Removes segments that are truncated, and rewrites those that are nearly so."""
        with self._lock:
            truncations, self._truncations = self._truncations, {}
        if not truncations and not self._shrink:
            return
        self._shrink = True
        core = self._core
        for name, (upto, readings) in truncations.items():
            core.writer.truncate(name, upto, readings)
        try:
            core.writer.reclaim()
            if rewrite and (moved := core.rewrite()) is not None and self._on_loop(core.moved, moved):
                core.writer.drop(moved.segments)
            self._shrink = not rewrite
        except Exception as e:
            log.warning("log_cannot_shrink", path=str(self._core.folder), reason=str(e), effect="tried again later")

    def _on_loop(self, call: Any, *args: Any) -> bool:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(call, *args)
            return True
        return False

    def _fails(self, error: Exception) -> None:
        reason = said(error) if isinstance(error, OSError) else repr(error)
        if self.outage.begins(reason):
            log.error("log_failing", path=str(self._core.folder), reason=reason, effect="sources wait; nothing is lost")
