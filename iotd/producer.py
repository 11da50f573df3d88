"""Readings from any Python program into a running daemon, safe on disk when the call returns."""

from __future__ import annotations

import asyncio
import json
import math
import time as clock
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from operator import index
from pathlib import Path
from types import TracebackType
from typing import Any, Self, SupportsFloat, SupportsIndex

from iotd.model.errors import IotdError, StateError, UsageError
from iotd.ops.backoff import Backoff

_FIRST_S, _LONGEST_S = 0.05, 2.0
LONGEST = 1 << 20
"""Bytes of a message; the daemon takes no longer one."""
_WAITING = 1_000
"""Messages that may wait for an answer; one more waits for a place."""


class Held(IotdError):
    """The daemon has the reading on disk and could not take it: it is held with this reason (`iotd sensors held`).

    Attributes:
        reasons: one for each reading that is held.
    """

    exit_code = 65  # EX_DATAERR

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = tuple(reasons)


@dataclass(slots=True)
class _Message:
    number: int
    text: bytes
    answered: asyncio.Future[dict[str, Any]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Producer:
    """Hands readings to the daemon that runs on a state directory.

    ::

        async with iotd.Producer() as p:
            await p.put("temperature", "salon", "north", 21.3)

    While no daemon runs, calls wait for one, and what had no answer is sent again: with the same time, so that nothing
    is stored twice.
    """

    def __init__(
        self, state: Path | str | None = None, *, timeout: float | None = None, socket: str = "intake.sock"
    ) -> None:
        """
        Args:
            state: the state directory; None: the one that the configuration names.
            timeout: seconds that a call waits for its answer; None: as long as it takes.
            socket: its name in the state directory; an import has one of its own, which leaves room in the log.
        """
        self._state = None if state is None else Path(state)
        self._timeout = timeout
        self._socket = socket
        self._there = asyncio.Event()
        self._numbers = 0
        self._waiting: dict[int, _Message] = {}
        self._places = asyncio.Semaphore(_WAITING)
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._state is None:
            from iotd.config import load  # noqa: PLC0415  # only where nobody has named the state directory

            self._state = (await asyncio.to_thread(load)).state
        self._task = asyncio.create_task(self._run(self._state / self._socket))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        if kind is None:
            await asyncio.gather(*(one.answered for one in self._waiting.values()), return_exceptions=True)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def connected(self, timeout: float) -> None:
        """Returns when a daemon has taken the connection.

        Raises:
            StateError: none has within so many seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._there.wait()
        except TimeoutError:
            raise StateError(f"no iotd daemon runs on {self._state}; start it with `iotd up` or `iotd run`") from None

    async def put(
        self,
        type: str,  # the word that readings have for it everywhere
        location: str,
        sensor: str | int,
        value: SupportsFloat | str,
        *,
        time: datetime | float | SupportsIndex | str | None = None,
        unit: str | None = None,
    ) -> None:
        """Returns when the reading is in the daemon's log on disk.

        Args:
            time: aware datetime, ISO 8601, or a number of s or ms since the epoch; None: now.
            unit: None: that of the type.

        Raises:
            Held: it is on disk, but can't be taken, for this reason.
            StateError: no answer within the timeout; it may or may not be there, and may be put again with its time.
        """
        await self.put_many([reading(type, location, sensor, value, time=time, unit=unit)])

    async def put_many(self, readings: Sequence[dict[str, Any]], *, topic: str = "") -> None:
        """As :meth:`put`, for several at once: what :func:`reading` makes, in the order in which they were taken.

        Args:
            topic: where they are from, shown beside those that are held.

        Raises:
            Held: some of them are held; the others are taken.
            UsageError: they are more than 1 MiB: none is taken.
            StateError: see :meth:`put`.
        """
        if not readings:
            return
        answer = await self._ask({"readings": list(readings)} | ({"topic": topic} if topic else {}))
        if held := answer.get("held"):
            raise Held([str(reason) for reason in held])

    async def put_summaries(self, summaries: Sequence[dict[str, Any]]) -> list[tuple[int, str]]:
        """Hands over summaries of hours, as :class:`iotd.model.summaries.HourlySummaries` makes them; only the socket
        of imports takes them. They are on disk when this returns.

        Returns:
            of what can't be taken: how many hours, and why. They are not held.

        Raises:
            StateError: see :meth:`put`.
        """
        answer = await self._ask({"summaries": list(summaries)})
        return [(int(hours), str(reason)) for hours, reason in answer.get("refused", ())]

    async def _ask(self, said: dict[str, Any]) -> dict[str, Any]:
        if self._task is None:
            raise StateError("use it as `async with iotd.Producer() as p`")
        async with self._places:
            self._numbers += 1
            text = json.dumps({"id": self._numbers, **said}, allow_nan=False).encode() + b"\n"
            if len(text) > LONGEST:
                raise UsageError(f"a message of {len(text):,} bytes; at most {LONGEST:,} at once")
            message = self._waiting[self._numbers] = _Message(self._numbers, text)
            try:
                if self._writer is not None:
                    self._writer.write(text)
                async with asyncio.timeout(self._timeout):
                    return await asyncio.shield(message.answered)
            except TimeoutError:
                raise StateError(f"no answer of the daemon on {self._state} within {self._timeout:g} s") from None
            finally:
                self._waiting.pop(message.number, None)

    async def _run(self, path: Path) -> None:
        backoff = Backoff(_FIRST_S, _LONGEST_S)
        while True:
            with suppress(OSError, ValueError):
                reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 20)
                try:
                    backoff.reset()
                    for message in list(self._waiting.values()):  # in their order
                        writer.write(message.text)
                    self._writer = writer
                    self._there.set()
                    await self._answers(reader)
                finally:
                    self._writer = None
                    writer.close()
            await asyncio.sleep(backoff.next())

    async def _answers(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            answer = json.loads(line)
            message = self._waiting.get(answer.get("id"))
            if message is None or message.answered.done():
                continue
            if "error" in answer:
                message.answered.set_exception(StateError(str(answer["error"])))
            else:
                message.answered.set_result(answer)


def reading(
    type: str,
    location: str,
    sensor: str | int,
    value: SupportsFloat | str,
    *,
    time: datetime | float | SupportsIndex | str | None = None,
    unit: str | None = None,
) -> dict[str, Any]:
    """A reading for :meth:`Producer.put_many`; its time is now unless it has one.

    Raises:
        ValueError: the time has no zone, or the value is no number.
        TypeError: the value is no number.
    """
    if time is None:
        time = clock.time_ns() // 1_000_000
    elif isinstance(time, datetime):
        if time.tzinfo is None:
            raise ValueError("a datetime without a time zone: give it one, for instance datetime.now(UTC)")
        time = time.isoformat()
    elif not isinstance(time, str | float):
        time = index(time)
    if not isinstance(value, str | bool | int):
        value = float(value)  # of whatever library it is
        value = value if math.isfinite(value) else repr(value)  # JSON has no word for it
    found = {"type": type, "location": location, "sensor": str(sensor), "value": value, "time": time}
    return found if unit is None else {**found, "unit": unit}
