"""The daemon: start, main loop, reload, stop."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from iotd import __version__
from iotd.archive.state import ArchiveState
from iotd.config import Settings
from iotd.config.diff import Change
from iotd.config.topology import topology
from iotd.daemon.archiving import Archiving, required_positions
from iotd.daemon.control import handlers
from iotd.daemon.location import Location
from iotd.daemon.reload import Reloader
from iotd.daemon.runtime import Progress, Runtime
from iotd.daemon.sensors import forget_unsimulated
from iotd.daemon.sources import Sources
from iotd.daemon.startup import note_newest, require_shards
from iotd.daemon.system import name_lost_log, remembered_system
from iotd.daemon.takeover import take_over_spool
from iotd.health.clock import CheckedClock
from iotd.health.conditions import Conditions
from iotd.health.silence import Silence, patience_of
from iotd.intake.accumulator import Accumulator
from iotd.intake.assignments import FILE, Assignments
from iotd.intake.catalogue import Catalogue
from iotd.intake.held import HeldStore
from iotd.intake.intake import Intake
from iotd.intake.requests import Requests
from iotd.intake.summaries import SummaryStore
from iotd.intake.world import limits_of, world_of
from iotd.log.budget import Budget
from iotd.log.embedded import EmbeddedLog
from iotd.model.errors import IotdError, StateError
from iotd.ops.control import ControlServer
from iotd.ops.loggers import get_logger
from iotd.ops.memory import keep_trimmed, keep_what_is_there
from iotd.ops.outage import Outage
from iotd.ops.statedir import held
from iotd.ops.supervise import Tasks
from iotd.ops.systemd import Notifier
from iotd.ops.tasks import together
from iotd.shards.failovers import note_places
from iotd.stores.registry import open_store
from iotd.web.server import WebServer

log = get_logger(__name__)

_SAVE_EVERY_S = 300.0
"""Between two saves of the catalogue's newest times."""
_LISTEN_EVERY_S = 2.0
_JUDGE_EVERY_S = 1.0
_SWITCH_S = 0.001
"""So long a thread beside the event loop may keep the interpreter from it (sys.setswitchinterval); Python's 5 ms twice
are a stall already."""


class Daemon:
    """The life of one running system, from start to end: :meth:`run`. What runs is in its :class:`Runtime`."""

    def __init__(
        self,
        settings: Settings,
        *,
        reread: Callable[[], Settings],
        relog: Callable[[Settings], None] = lambda settings: None,
        history: bool = False,
        progress: Progress | None = None,
        ready: Callable[[str | None], None] = lambda archive: None,
        clock: CheckedClock | None = None,
    ) -> None:
        """
        Args:
            reread: gives the settings for a reload; raises ConfigError when they can't be used.
            relog: sets logging up anew.
            history: a location that never had readings begins ``simulator.history_days`` ago rather than now.
            clock: what readings go by; None: the machine's.
            ready: called once, when history is handed over and all works, with where the archive is.
        """
        self._settings = settings
        self._clock = clock
        self._reread = reread
        self._relog = relog
        self._history = history
        self._progress = progress or (lambda what, done, total: None)
        self._ready = ready
        self._stopping = asyncio.Event()
        self._asked: asyncio.Queue[asyncio.Future[list[Change]] | None] = asyncio.Queue()
        self._reloading: asyncio.Task[list[Change]] | None = None
        self._notifier = Notifier()

    def stop(self) -> None:
        """Asks the daemon to end: no new readings, drain within the limit, then leave."""
        self._stopping.set()
        if self._reloading is not None:
            self._reloading.cancel()
        self._asked.put_nowait(None)

    @property
    def stopping(self) -> bool:
        """Whether it was asked to end."""
        return self._stopping.is_set()

    def reload(self) -> asyncio.Future[list[Change]]:
        """Asks for the configuration to be read anew; the future has what was changed, or why it was refused."""
        answer: asyncio.Future[list[Change]] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(lambda a: a.cancelled() or a.exception())  # it was logged; nobody needs to read it
        self._asked.put_nowait(answer)
        return answer

    async def run(self) -> None:
        """Runs until :meth:`stop`, or until a fault that cannot mend.

        Raises:
            IotdError: that fault.
        """
        async with AsyncExitStack() as life:
            life.enter_context(held(self._settings.state))
            await self._start(life)
            try:
                await self._main_loop()
            finally:
                self.runtime.phase = "stopped"
                log.info("stopped")

    # ── start ──

    async def _start(self, life: AsyncExitStack) -> None:
        settings = self._settings
        state = settings.state
        clock = self._clock or CheckedClock(state / "clock.json")
        budget = Budget(settings.log.memory)
        assignments = Assignments(state / FILE)
        catalogue = Catalogue(state / "catalogue.sqlite", assignments.name_of)
        life.callback(catalogue.close)
        durable = EmbeddedLog(
            state / "log",
            catalogue,
            budget=budget,
            limit=settings.log.limit,
            required=required_positions(settings),
            keep_s=settings.log.keep.total_seconds(),
            segment_size=settings.log.segment,
            begins_with=remembered_system(settings.known),
        )
        life.push_async_callback(durable.close)
        clock.begin(int(catalogue.newest.max(initial=-1)), limits_of(settings).future)
        name_lost_log(durable, settings.known)
        await take_over_spool(state, durable, catalogue, settings.known_types)
        marks = ArchiveState(state / "watermarks.sqlite")
        life.callback(marks.close)
        held = HeldStore(state / "held.sqlite", lambda: self.runtime.settings.intake.held_limit)
        life.callback(held.close)
        requests = Requests(state / "requests.sqlite")
        life.callback(requests.close)
        summaries = SummaryStore(state)
        life.callback(summaries.close)
        accumulator = Accumulator(
            durable,
            linger_s=settings.intake.linger.total_seconds(),
            answer_s=settings.intake.answer_within.total_seconds(),
        )
        intake = Intake(
            durable,
            catalogue,
            held,
            requests,
            accumulator=accumulator,
            world=world_of(settings, assignments.all),
            now_ms=clock.now,
            certain=clock.certain,
        )
        sources = Sources(settings, intake, clock, state, summaries, history=self._history)
        locations: dict[str, Location] = {}
        archiving = Archiving(
            settings,
            locations,
            marks=marks,
            durable=durable,
            budget=budget,
            catalogue=catalogue,
            state_dir=state,
            progress=self._told("archive of version 0.1"),
        )
        life.push_async_callback(archiving.close)
        self.runtime = Runtime(
            settings=settings,
            state_dir=state,
            clock=clock,
            conditions=Conditions(state / "conditions.json"),
            budget=budget,
            log=durable,
            catalogue=catalogue,
            held=held,
            summaries=summaries,
            assignments=assignments,
            silence=Silence(catalogue, clock.now),
            intake=intake,
            sources=sources,
            locations=locations,
            archiving=archiving,
            progress=self._progress,
        )
        # a full disk keeps nobody from starting; it is noted with the next failover
        with contextlib.suppress(StateError):
            await asyncio.to_thread(note_places, settings, topology(settings).shards)
        await note_newest(durable, catalogue, settings.served)
        for name in settings.served:
            locations[name] = self.runtime.make_location(name)
        archiving.use(settings, await asyncio.to_thread(open_store, settings))
        self.runtime.web = WebServer(settings, self.runtime)
        self.runtime.judge()
        self._reloader = Reloader(self.runtime, self._reread, self._relog, self._reopen_web)
        await life.enter_async_context(ControlServer(state, handlers(self.runtime, self._reloader, self.reload)))
        where = archiving.status.store
        log.info("started", version=__version__, state=str(state), locations=list(locations), archive=where)

    # ── main loop ──

    async def _main_loop(self) -> None:
        runtime = self.runtime
        keep_what_is_there()
        sys.setswitchinterval(_SWITCH_S)
        async with together() as group:
            tasks = runtime.tasks = Tasks(group, runtime.supervisor)
            tasks.start("loop lag", runtime.loop_lag.run)
            tasks.start("memory", keep_trimmed)
            tasks.start("watchdog", self._notifier.watch)
            tasks.start("catalogue", self._keep_saving)
            tasks.start("clock", runtime.clock.run)
            tasks.start("health", self._keep_judging)
            tasks.start("conditions", self._keep_conditions)
            tasks.start("held", self._keep_counting_held)
            tasks.start("silence", self._keep_listening)
            assert runtime.web is not None
            tasks.start("http", runtime.web.run)
            for location in runtime.locations.values():
                location.start(tasks)
            runtime.sources.start(tasks, self._progress)
            forget_unsimulated(runtime)
            runtime.archiving.start(tasks)
            begun = group.create_task(self._begin(), name="begin")
            runtime.enter("running")
            while (request := await self._asked.get()) is not None:
                await self._answer_reload(request)
            runtime.enter("draining")
            self._notifier.stopping(runtime.settings.shutdown.drain.total_seconds())
            begun.cancel()
            await runtime.sources.stop(tasks)
            await runtime.drain(list(runtime.locations))
            await runtime.archiving.stop(tasks)
            await tasks.stop(
                "http",
                "health",
                "conditions",
                "held",
                "silence",
                "clock",
                "catalogue",
                "watchdog",
                "memory",
                "loop lag",
            )
            await asyncio.to_thread(runtime.clock.note)
            await asyncio.to_thread(runtime.conditions.save)
            for location in runtime.locations.values():
                await location.stop(tasks)
            with contextlib.suppress(StateError):  # they are found again
                await runtime.catalogue.save()

    async def _begin(self) -> None:
        runtime = self.runtime
        shards = {name: location.shard for name, location in runtime.locations.items()}
        await require_shards(runtime.settings.startup, shards)
        await runtime.sources.loaded()
        self._ready(runtime.archiving.status.store)
        self._notifier.ready(self._summary())
        if self._history:
            for location in list(runtime.locations.values()):
                await location.durable()
            with contextlib.suppress(IotdError):  # the archiver says itself what keeps it, and goes on trying
                await runtime.archiving.archiver.cycle()

    async def _keep_judging(self) -> None:
        while True:
            self.runtime.judge()
            await asyncio.sleep(_JUDGE_EVERY_S)

    async def _keep_counting_held(self) -> None:
        unreadable = Outage()
        while True:
            try:
                self.runtime.holdings = await self.runtime.held.holdings()
                unreadable.ends()
            except StateError as e:
                if unreadable.begins(str(e)):
                    log.warning("held_unreadable", reason=str(e))
            await asyncio.sleep(_JUDGE_EVERY_S)

    async def _keep_listening(self) -> None:
        runtime = self.runtime
        while True:
            await asyncio.sleep(_LISTEN_EVERY_S)
            runtime.silence.look()
            if not runtime.clock.state.waits:
                patience = partial(patience_of, runtime.settings.silence, runtime.intake.world.types)
                names, silent = runtime.names(), runtime.silence.silent(list(runtime.locations), patience)
                runtime.silent = [replace(one, name=names.get(one.sensor, "")) for one in silent]

    async def _keep_conditions(self) -> None:
        # beside the judging, which never waits for a disk
        while True:
            if self.runtime.conditions.unsaved:
                await asyncio.to_thread(self.runtime.conditions.save)
            await asyncio.sleep(_JUDGE_EVERY_S)

    async def _keep_saving(self) -> None:
        while True:
            await asyncio.sleep(_SAVE_EVERY_S)
            await self.runtime.catalogue.save()

    def _told(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self._progress(what, done, total)

    def _summary(self) -> str:
        names = list(self.runtime.locations)
        return f"{len(names)} locations: {', '.join(names)}"

    # ── reload ──

    async def _answer_reload(self, answer: asyncio.Future[list[Change]]) -> None:
        self._notifier.reloading()
        self._reloading = asyncio.ensure_future(self._reloader.apply())
        try:
            changes = await self._reloading
        except IotdError as e:
            self._reloader.refuse(e)
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

    async def _reopen_web(self) -> None:
        runtime = self.runtime
        await runtime.tasks.stop("http")
        runtime.web = WebServer(runtime.settings, runtime)
        runtime.tasks.start("http", runtime.web.run)
