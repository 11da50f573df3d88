"""The daemon: start, main loop, stop; signals; supervision."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from iotd.archive.archiver import Archiver
from iotd.archive.sinks.choose import make_sink
from iotd.archive.watermarks import Watermarks
from iotd.errors import IotdError, ShardUnavailable, UsageError
from iotd.ops.control import ControlServer
from iotd.ops.statedir import held
from iotd.ops.supervise import Supervisor
from iotd.ops.tasks import together
from iotd.pipeline.queue import Queue
from iotd.sensors import Roster
from iotd.settings import Address, Settings
from iotd.shards.audit import Audit, audit
from iotd.shards.reader import ShardReader
from iotd.shards.service import ShardService, ShardState
from iotd.sources.clock import SystemClock
from iotd.sources.simulator import Simulator
from iotd.topology import topology

log = structlog.get_logger(__name__)

_CHECKED_MS = 120_000
_CHECK_LIMIT_S = 30

Progress = Callable[[str, int, int], None]
"""Told (what, done, total) while history is loaded and archived."""


@dataclass(frozen=True, slots=True)
class DaemonState:
    """What `iotd status` shows of the daemon."""

    started: str
    phase: str
    shards: list[ShardState]
    archive: Any
    restarts: Mapping[str, int]
    memory_used: int
    memory_limit: int
    spool_failing: str | None


class Daemon:
    """All parts of one running system; :meth:`run` is its life from start to end."""

    def __init__(
        self,
        settings: Settings,
        *,
        history: bool = False,
        progress: Progress | None = None,
        ready: Callable[[str | None], None] = lambda archive: None,
    ) -> None:
        """
        Args:
            history: a location that never had readings begins ``simulator.history_days`` ago rather than now.
            ready: called once, when history is handed over and all works, with where the archive is.
        """
        self._settings = settings
        self._state = settings.state
        self._history = history
        self._progress = progress or (lambda what, done, total: None)
        self._ready = ready
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self._began_ms = SystemClock().now()
        self._phase = "starting"
        self._stopping = asyncio.Event()
        self._supervisor = Supervisor()
        self._rosters = {
            location: Roster.of(location, settings.sensors.types, settings.sensors.per_type)
            for location in settings.served
        }

    def stop(self) -> None:
        """Asks the daemon to end: no new readings, drain within the limit, then leave."""
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    async def run(self) -> None:
        """Runs until :meth:`stop`, or until a fault that cannot mend.

        Raises:
            IotdError: that fault.
        """
        async with AsyncExitStack() as life:
            life.enter_context(held(self._state))
            await self._start(life)
            try:
                await self._main_loop()
            finally:
                self._phase = "stopped"
                log.info("stopped")

    # ── start ──

    async def _start(self, life: AsyncExitStack) -> None:
        settings, state = self._settings, self._state
        self._queue = Queue(settings, state, self._rosters.values())
        life.push_async_callback(self._queue.close)
        self._marks = Watermarks(state / "watermarks.sqlite")
        life.callback(self._marks.close)
        self._shards = {
            shard.location: ShardService(
                shard, self._rosters[shard.location], self._queue, settings, state, late=self._mark_dirty
            )
            for shard in topology(settings).shards
            if shard.location in self._rosters
        }
        sink = make_sink(settings)
        if sink is not None:
            life.push_async_callback(sink.close)
        self._archiver = Archiver(
            settings,
            readers={location: ShardReader(location, settings, self._master_of(location)) for location in self._shards},
            sink=sink,
            watermarks=self._marks,
            budget=self._queue.budget,
            keeper=self._queue,
            state=state,
        )
        self._simulators = {
            location: Simulator(settings, roster, self._queue, SystemClock())
            for location, roster in self._rosters.items()
        }
        self._loaded = {location: asyncio.Event() for location in self._rosters}
        await life.enter_async_context(
            ControlServer(
                state,
                {
                    ("GET", "/status"): self._answer_status,
                    ("POST", "/archive/now"): self._answer_archive,
                    ("POST", "/archive/verify"): self._answer_verify,
                    ("POST", "/history"): self._answer_history,
                    ("POST", "/check"): self._answer_check,
                },
            )
        )
        log.info("started", state=str(state), locations=list(self._shards), archive=sink.identity if sink else None)

    def _master_of(self, location: str) -> Callable[[], Awaitable[Address]]:
        patience = self._settings.redis.response_timeout.total_seconds()

        async def master() -> Address:
            try:
                async with asyncio.timeout(patience):
                    return (await self._shards[location].watcher.accepting()).address
            except TimeoutError:
                raise ShardUnavailable(f"{location}: no master at present") from None

        return master

    async def _mark_dirty(self, location: str, first: int, last: int) -> None:
        await asyncio.to_thread(self._marks.mark_dirty, location, first, last)

    # ── main loop ──

    async def _main_loop(self) -> None:
        watch = self._supervisor.keep
        async with together() as group:
            shards = [group.create_task(watch(f"shard {n}", s.run)) for n, s in self._shards.items()]
            sources = [group.create_task(watch(f"source {n}", self._source(n))) for n in self._simulators]
            archiver = group.create_task(watch("archiver", self._archiver.run))
            begun = group.create_task(self._begin(), name="begin")
            self._phase = "running"
            await self._stopping.wait()
            self._phase = "draining"
            await self._end(begun, *sources)
            await self._drain()
            await self._end(archiver, *shards)

    async def _begin(self) -> None:
        for loaded in self._loaded.values():
            await loaded.wait()
        self._ready(self._archiver.status.sink)
        if self._history:
            await self._queue.drained()
            with contextlib.suppress(IotdError):  # the archiver says itself what keeps it, and goes on trying
                await self._archiver.cycle()

    def _source(self, location: str) -> Callable[[], Awaitable[None]]:
        simulator, loaded = self._simulators[location], self._loaded[location]

        async def run() -> None:
            if self._history and not loaded.is_set():
                await simulator.history(self._settings.simulator.history_days, self._told(f"history {location}"))
            loaded.set()
            await simulator.run()

        return run

    def _told(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self._progress(what, done, total)

    # ── stop ──

    async def _drain(self) -> None:
        limit = self._settings.shutdown.drain.total_seconds()
        log.info("draining", limit_s=limit)
        try:
            async with asyncio.timeout(limit):
                await self._queue.drained()
                with contextlib.suppress(IotdError):  # what is not archived now is archived after the next start
                    await self._archiver.cycle()
        except TimeoutError:
            left = sum(lane.depth().batches for lane in self._queue.lanes.values())
            if left:
                log.warning(
                    "not_drained", batches=left, effect="they are in the spool, and are written at the next start"
                )

    async def _end(self, *tasks: asyncio.Task[Any]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ── what the control socket answers ──

    def state(self) -> DaemonState:
        """What there is to say of the daemon now."""
        return DaemonState(
            started=self._started,
            phase=self._phase,
            shards=[shard.state() for shard in self._shards.values()],
            archive=self._archiver.status,
            restarts=dict(self._supervisor.restarts),
            memory_used=self._queue.budget.used,
            memory_limit=self._queue.budget.capacity,
            spool_failing=self._queue.spool.failing,
        )

    async def _answer_status(self, params: Mapping[str, str]) -> DaemonState:
        return self.state()

    async def _answer_archive(self, params: Mapping[str, str]) -> Any:
        return await self._archiver.cycle()

    async def _answer_verify(self, params: Mapping[str, str]) -> Any:
        return await self._archiver.verify(deep=params.get("deep") == "1", repair=params.get("repair") == "1")

    async def _answer_history(self, params: Mapping[str, str]) -> dict[str, int]:
        days = float(params.get("days", self._settings.simulator.history_days))
        done = await asyncio.gather(*(s.history(days, lambda done, total: None) for s in self._simulators.values()))
        return dict(zip(self._simulators, done, strict=True))

    async def _answer_check(self, params: Mapping[str, str]) -> Audit:
        location = params.get("location", "")
        if location not in self._simulators:
            raise UsageError(f"this daemon does not serve {location!r}")
        # sensors read at their full rate since we run; the last minutes of that are enough
        times, values = self._simulators[location].expected(max(self._began_ms, SystemClock().now() - _CHECKED_MS))
        lane = self._queue.lanes[location]
        try:
            async with asyncio.timeout(_CHECK_LIMIT_S):
                await lane.wait_applied(lane.handed - 1)
        except TimeoutError:
            raise ShardUnavailable(f"{location}: readings still wait in the spool; see `iotd status`") from None
        reader = ShardReader(location, self._settings, self._master_of(location))
        try:
            return await audit(reader, self._rosters[location], times, values)
        finally:
            await reader.close()


def run_daemon(
    settings: Settings,
    *,
    history: bool = False,
    progress: Progress | None = None,
    ready: Callable[[str | None], None] = lambda archive: None,
) -> None:
    """Runs the daemon until SIGTERM or SIGINT; a second one leaves at once, the spool keeps what is not confirmed.

    Raises:
        IotdError: a fault that cannot mend.
    """

    async def main() -> None:
        daemon = Daemon(settings, history=history, progress=progress, ready=ready)
        loop = asyncio.get_running_loop()
        life = asyncio.current_task()
        assert life is not None

        def asked() -> None:
            if daemon.stopping:
                log.warning("leaving_at_once")
                life.cancel()
            daemon.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C arrives as KeyboardInterrupt
                loop.add_signal_handler(number, asked)
        try:
            await daemon.run()
        except asyncio.CancelledError:
            if not daemon.stopping:
                raise

    try:
        import uvloop  # noqa: PLC0415  # not on Windows
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())
