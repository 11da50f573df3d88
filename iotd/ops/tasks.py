"""Task groups whose failure is one error, not a group of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from iotd.errors import IotdError


@asynccontextmanager
async def together() -> AsyncIterator[asyncio.TaskGroup]:
    """A :class:`asyncio.TaskGroup` that raises the most telling of its tasks' errors by itself.

    The unexpected comes first, then what nobody can retry, then what asks for another node, then the rest.
    """
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as e:
        raise min(_leaves(e), key=_rank) from None


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for e in group.exceptions:
        found.extend(_leaves(e) if isinstance(e, BaseExceptionGroup) else [e])
    return found


def _rank(error: BaseException) -> int:
    if not isinstance(error, IotdError):
        return 0
    if not error.retriable:
        return 1
    return 2 if error.rediscover else 3
