"""Supervision: a task that dies is started again, with backoff; a fault that cannot mend ends the daemon."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from time import monotonic

from iotd.model.errors import IotdError
from iotd.ops.backoff import Backoff
from iotd.ops.loggers import get_logger
from iotd.ops.systemerrors import NO_MEMORY
from iotd.ops.tasks import Group

log = get_logger(__name__)

_FIRST_S, _LONGEST_S = 0.1, 30.0
_STEADY_S = 10.0
"""A task that ran so long counts as recovered."""


class Supervisor:
    """Keeps tasks running.

    Attributes:
        restarts: how often each died and was started again, by name.
        failing: why those died that have not run steadily since.
    """

    def __init__(
        self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep, now: Callable[[], float] = monotonic
    ) -> None:
        self.restarts: Counter[str] = Counter()
        self.failing: dict[str, str] = {}
        self._sleep = sleep
        self._now = now

    async def keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Runs ``run`` for ever, again after each failure; logs once when it fails and once when it has recovered.

        Raises:
            IotdError: one that is not retriable: nothing but a person can mend it.
        """
        failures, first, backoff = 0, 0.0, Backoff(_FIRST_S, _LONGEST_S)
        while True:
            began = self._now()
            recovered = asyncio.ensure_future(self._recovered(name, failures, first)) if failures else None
            try:
                await run()
            except Exception as e:
                if isinstance(e, IotdError) and not e.retriable:
                    raise
                if self._now() - began >= _STEADY_S:
                    failures = 0  # it had recovered: this is another failure, and is told again
                    backoff.reset()
                self._failed(name, e, failures)
            else:
                return
            finally:
                if recovered is not None:
                    recovered.cancel()
            if failures == 0:
                first = self._now()
            self.restarts[name] += 1
            await self._sleep(backoff.next())
            failures += 1

    def _failed(self, name: str, error: Exception, failures: int) -> None:
        reason = NO_MEMORY if isinstance(error, MemoryError) else str(error) or repr(error)
        self.failing[name] = reason
        if failures == 0:
            expected = isinstance(error, IotdError | MemoryError)
            log.error("task_failed", task=name, reason=reason, exc_info=None if expected else error)

    async def _recovered(self, name: str, failures: int, first: float) -> None:
        began = self._now()
        await self._sleep(_STEADY_S)
        self.failing.pop(name, None)
        log.info("task_recovered", task=name, failures=failures, after_s=round(began - first, 3))


class Tasks:
    """Supervised tasks by name, in one group; each can be stopped, and another started in its place."""

    def __init__(self, group: Group, supervisor: Supervisor) -> None:
        self._group = group
        self._supervisor = supervisor
        self._running: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Runs ``run`` under this name, again and again, until it is stopped."""
        self._running[name] = self._group.create_task(self._supervisor.keep(name, run), name=name)

    def runs(self, name: str) -> bool:
        """Whether that task was started and not stopped since."""
        return name in self._running

    async def stop(self, *names: str) -> None:
        """Ends these tasks, and returns when they have ended; one that does not run is passed over."""
        tasks = [task for name in names if (task := self._running.pop(name, None)) is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for name in names:
            self._supervisor.failing.pop(name, None)
