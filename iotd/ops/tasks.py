"""Task groups whose failure is one error, and which leave the task that waits for them as it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from iotd.model.errors import IotdError

T = TypeVar("T")


class Group:
    """Tasks that live and die together; see :func:`together`."""

    def __init__(self, owner: asyncio.Task[Any]) -> None:
        self.errors: list[BaseException] = []
        self.failed_in_body = False
        """A task failed while the owner was in the body, which was cancelled for it."""
        self._owner = owner
        self._tasks: set[asyncio.Task[Any]] = set()
        self._in_body = True
        self._aborting = False

    def create_task(self, work: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Runs ``work`` until it ends, or until the group does."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        if self._aborting:
            task.cancel()
        return task

    def abort(self) -> None:
        """Cancels all tasks; new ones too, from now on."""
        self._aborting = True
        for task in self._tasks:
            task.cancel()

    async def finish(self) -> None:
        """Waits until all tasks have ended, also those that are made meanwhile; a cancelled wait can be repeated."""
        self._in_body = False
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        self.errors.append(error)
        if self._in_body and not self._aborting:
            self.failed_in_body = True
            self._owner.cancel()
        self.abort()


@asynccontextmanager
async def together() -> AsyncIterator[Group]:
    """A group of tasks: leaving it waits for them; when one fails, or the body, all others are cancelled.

    It differs from :class:`asyncio.TaskGroup` in three things. It raises the most telling of the errors by itself: the
    unexpected first, then what nobody can retry, then what asks for another node, then the rest. Who is cancelled from
    outside while a task fails sees the cancellation, and does not go on. And a failure does not stay behind as a
    request to cancel the task that waits, because of which in Python 3.11.2, Debian 12's, no later
    :func:`asyncio.timeout` of that task would raise TimeoutError (python/cpython#102780).

    The task groups of anyio 4.16, tried on 3.11.2 and 3.11.7, are free of that fault, and differ where it matters more:
    they cancel a task anew at every await, so that closing a connection in its end is broken off; and who is cancelled
    while a task fails gets the failure instead.
    """
    owner = asyncio.current_task()
    assert owner is not None
    before = owner.cancelling()
    group = Group(owner)
    cancelled: asyncio.CancelledError | None = None
    delivered = False
    try:
        yield group
    except asyncio.CancelledError as e:
        cancelled, delivered = e, True
        group.abort()
    except BaseException as e:
        group.errors.append(e)
        group.abort()
    if group.failed_in_body and owner.uncancel() <= before:
        cancelled = None  # it was ours alone
    while True:
        try:
            await group.finish()
            if group.failed_in_body and not delivered:
                await asyncio.sleep(0)  # our own request is still under way
            break
        except asyncio.CancelledError as e:
            delivered = True
            if owner.cancelling() > before:
                cancelled = e
                group.abort()
    if cancelled is not None:
        raise cancelled
    if group.errors:
        raise min(group.errors, key=_rank) from None


def _rank(error: BaseException) -> int:
    if not isinstance(error, IotdError):
        return 0
    if not error.retriable:
        return 1
    return 2 if error.rediscover else 3
