"""The daemon: start, main loop, reload, stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import structlog
from prometheus_client import Histogram

from iotd import __version__
from iotd.archive.sinks.choose import make_sink
from iotd.archive.watermarks import Watermarks
from iotd.config import Settings
from iotd.config.diff import Change
from iotd.daemon.answers import answers
from iotd.daemon.archiving import Archiving
from iotd.daemon.location import Common, Location
from iotd.daemon.reload import Reloader
from iotd.daemon.startup import require_shards
from iotd.model.errors import IotdError, UsageError
from iotd.model.roster import Roster
from iotd.ops.control import ControlServer
from iotd.ops.looplag import LoopLag
from iotd.ops.memory import keep_trimmed, keep_what_is_there
from iotd.ops.statedir import held
from iotd.ops.supervise import Supervisor, Tasks
from iotd.ops.systemd import Notifier
from iotd.ops.tasks import together
from iotd.pipeline.queue import Queue
from iotd.shards.moves import Move
from iotd.shards.reader import ShardReader
from iotd.sources.clock import Clock, SystemClock
from iotd.web.server import WebServer
from iotd.web.state import DaemonState

log = structlog.get_logger(__name__)

Progress = Callable[[str, int, int], None]
"""Told (what, done, total) while history is loaded and archived."""


class Daemon:
    """All parts of one running system; :meth:`run` is its life from start to end."""

    def __init__(
        self,
        settings: Settings,
        *,
        reread: Callable[[], Settings],
        relog: Callable[[Settings], None] = lambda settings: None,
        history: bool = False,
        progress: Progress | None = None,
        ready: Callable[[str | None], None] = lambda archive: None,
        clock: Clock | None = None,
    ) -> None:
        """
        Args:
            reread: gives the settings for a reload; raises ConfigError when they can't be used.
            relog: sets logging up anew.
            history: a location that never had readings begins ``simulator.history_days`` ago rather than now.
            ready: called once, when history is handed over and all works, with where the archive is.
        """
        self.settings = settings
        self.clock = clock or SystemClock()
        self.locations: dict[str, Location] = {}
        self.loop_lag = LoopLag()
        self.reloader = Reloader(self, reread, relog)
        self._history = history
        self._progress = progress or (lambda what, done, total: None)
        self._ready = ready
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self._phase = "starting"
        self._stopping = asyncio.Event()
        self._asked: asyncio.Queue[asyncio.Future[list[Change]] | None] = asyncio.Queue()
        self._reloading: asyncio.Task[list[Change]] | None = None
        self._supervisor = Supervisor()
        self._notifier = Notifier()

    def stop(self) -> None:
        """Asks the daemon to end: no new readings, drain within the limit, then leave."""
        self._stopping.set()
        if self._reloading is not None:
            self._reloading.cancel()
        self._asked.put_nowait(None)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def reload(self) -> asyncio.Future[list[Change]]:
        """Asks for the configuration to be read anew; the future has what was changed, or why it was refused."""
        answer: asyncio.Future[list[Change]] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(lambda a: a.cancelled() or a.exception())  # it was logged; nobody need look
        self._asked.put_nowait(answer)
        return answer

    async def run(self) -> None:
        """Runs until :meth:`stop`, or until a fault that cannot mend.

        Raises:
            IotdError: that fault.
        """
        async with AsyncExitStack() as life:
            life.enter_context(held(self.settings.state))
            await self._start(life)
            try:
                await self._main_loop()
            finally:
                self._phase = "stopped"
                log.info("stopped")

    # ── start ──

    async def _start(self, life: AsyncExitStack) -> None:
        settings = self.settings
        state = settings.state
        types, per_type = settings.sensors.types, settings.sensors.per_type
        rosters = [Roster.of(name, types, per_type, settings.known_types) for name in settings.served]
        self.queue = Queue(settings, state, rosters, now_ms=self.clock.now)
        life.push_async_callback(self.queue.close)
        self.marks = Watermarks(state / "watermarks.sqlite")
        life.callback(self.marks.close)
        self.common = Common(self.queue, self.marks, state, self.clock, self._history)
        for name in settings.served:
            self.locations[name] = Location(name, settings, self.common, self._told(f"history {name}"))
        self.archive = Archiving(settings, self.locations, self.common)
        life.push_async_callback(self.archive.close)
        self.archive.use(settings, make_sink(settings))
        self._web = WebServer(settings, self)
        await life.enter_async_context(ControlServer(state, answers(self)))
        where = self.archive.status.sink
        log.info("started", version=__version__, state=str(state), locations=list(self.locations), archive=where)

    # ── main loop ──

    async def _main_loop(self) -> None:
        keep_what_is_there()
        async with together() as group:
            tasks = self.tasks = Tasks(group, self._supervisor)
            tasks.start("loop lag", self.loop_lag.run)
            tasks.start("memory", keep_trimmed)
            tasks.start("watchdog", self._notifier.watch)
            tasks.start("http", self._web.run)
            for location in self.locations.values():
                location.start(tasks)
            self.archive.start(tasks)
            begun = group.create_task(self._begin(), name="begin")
            self._phase = "running"
            while (request := await self._asked.get()) is not None:
                await self._answer_reload(request)
            self._phase = "draining"
            self._notifier.stopping(self.settings.shutdown.drain.total_seconds())
            begun.cancel()
            await self.drain(list(self.locations.values()))
            await self.archive.stop(tasks)
            await tasks.stop("http", "watchdog", "memory", "loop lag")
            for location in self.locations.values():
                await location.stop_shard(tasks)

    async def _begin(self) -> None:
        locations = list(self.locations.values())
        await require_shards(self.settings.startup, {location.name: location.shard for location in locations})
        for location in locations:
            await location.loaded.wait()
        self._ready(self.archive.status.sink)
        self._notifier.ready(self._summary())
        if self._history:
            await self.queue.drained()
            with contextlib.suppress(IotdError):  # the archiver says itself what keeps it, and goes on trying
                await self.archive.archiver.cycle()

    def _told(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self._progress(what, done, total)

    def _summary(self) -> str:
        return f"{len(self.locations)} locations: {', '.join(self.locations)}"

    # ── reload ──

    async def _answer_reload(self, answer: asyncio.Future[list[Change]]) -> None:
        self._notifier.reloading()
        self._reloading = asyncio.ensure_future(self.reloader.apply())
        try:
            changes = await self._reloading
        except IotdError as e:
            self.reloader.refuse(e)
            if not answer.done():
                answer.set_exception(e)
        except asyncio.CancelledError:
            answer.cancel()
            if not self.stopping:
                raise
        else:
            if not answer.done():
                answer.set_result(changes)
        finally:
            self._reloading = None
        self._notifier.ready(self._summary())

    async def reopen_web(self) -> None:
        """Listens where the settings say now."""
        await self.tasks.stop("http")
        self._web = WebServer(self.settings, self)
        self.tasks.start("http", self._web.run)

    # ── stop ──

    async def drain(self, locations: list[Location]) -> None:
        """Ends the sources, then waits within the limit until all is confirmed and archived."""
        limit = self.settings.shutdown.drain.total_seconds()
        log.info("draining", locations=[location.name for location in locations], limit_s=limit)
        for location in locations:
            await location.stop_source(self.tasks)
        try:
            async with asyncio.timeout(limit):
                for location in locations:
                    await location.lane.committed()
                    await location.lane.drained()
                if self.tasks.runs("archiver"):
                    await self.archive.finish()
        except TimeoutError:
            left = sum(location.lane.depth().batches for location in locations)
            if left:
                log.warning(
                    "not_drained", batches=left, effect="they are in the spool, and are written when it goes on"
                )

    # ── what there is to say ──

    def state(self) -> DaemonState:
        """What there is to say of the daemon now."""
        return DaemonState(
            version=__version__,
            started=self._started,
            phase=self._phase,
            shards=[location.shard.state() for location in self.locations.values()],
            archive=self.archive.status,
            restarts=dict(self._supervisor.restarts),
            memory_used=self.queue.budget.used,
            memory_limit=self.queue.budget.capacity,
            spool_failing=self.queue.spool.outage.reason,
            reload=self.reloader.state,
            page=self._web.url,
        )

    def latencies(self) -> dict[str, Histogram]:
        """Seconds from sending a batch to its last reply, by location."""
        return {name: location.shard.writer.stats.latency for name, location in self.locations.items()}

    def newest(self) -> dict[str, int]:
        """Time (ms) of the newest reading handed over, by location; one that has none is not in it."""
        return {name: span.last for name, location in self.locations.items() if (span := location.lane.span)}

    def moves(self) -> dict[str, Sequence[Move]]:
        """What is remembered of each location's moves, oldest first."""
        return {name: location.shard.metadata.moves for name, location in self.locations.items()}

    def now_ms(self) -> int:
        """The time by the clock that sources go by."""
        return self.clock.now()

    def reader(self, location: str) -> ShardReader:
        """A reader of a location's shard, for the caller to close.

        Raises:
            UsageError: this daemon does not serve it.
        """
        if location not in self.locations:
            raise UsageError(f"this daemon does not serve {location!r}")
        return self.locations[location].reader()
