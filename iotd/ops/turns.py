"""Turns: of the longer computations in the event loop, one in each of its rounds.

A loop runs all tasks that are ready before it looks at sockets and timers again. Five locations that each compute for
a few milliseconds would together keep everything else waiting for five times as long.
"""

from __future__ import annotations

import asyncio
from collections import deque
from weakref import WeakKeyDictionary


class _Turns:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._taken = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        if self._taken:
            turn: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(turn)
            await turn
        else:
            self._taken = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # whoever waited was not cancelled
                turn.set_result(None)
                # it computes in the next round, before what is called then: so the one after it is the next one's
                self._loop.call_soon(self._loop.call_soon, self._next)
                return
        self._taken = False


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = WeakKeyDictionary()


async def turn() -> None:
    """Returns when it is the caller's turn to compute for some milliseconds; in the order of the calls.

    The turn ends at the caller's next ``await`` that waits.
    """
    loop = asyncio.get_running_loop()
    turns = _turns.get(loop)
    if turns is None:
        turns = _turns[loop] = _Turns(loop)
    await turns.take()
