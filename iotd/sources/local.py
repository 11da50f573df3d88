"""Readings of other programs on this machine: JSON lines over a Unix socket in the state directory.

A program sends ``{"id": 7, "readings": [{"type": …, "location": …, "sensor": …, "value": …, "time": ms}, …]}`` and gets
``{"id": 7}`` once they are in the log on disk, with ``"held": [reason, …]`` where some are held, and with ``"error"``
where it is no such message. A message that can't be taken now has no answer: the connection ends. Messages are taken in
their order, so that one who connects again and sends what had no answer, in its order, changes nothing.
:class:`iotd.Producer` does so.

On the socket of imports there may be ``"summaries"`` in place of readings (:mod:`iotd.intake.summaries`); the answer
has ``"refused": [[hours, reason], …]`` where some can't be taken.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from iotd.model.errors import IotdError, Refused, StateError, StateUnwritable
from iotd.ops.loggers import get_logger
from iotd.ops.systemerrors import said
from iotd.sources.base import Intake
from iotd.sources.http.jsonreadings import listed
from iotd.sources.http.pieces import json_pieces

log = get_logger(__name__)

Summarize = Callable[[list[Any]], Awaitable[list[tuple[int, str]]]]
"""Takes summaries, durably; of those that can't be taken: how many, and why."""

_LONGEST = 1 << 20
"""Bytes of a message."""
_UNDER_WAY = 64
"""Messages of one program that are not answered yet; what it sends beyond that waits in its socket."""


class _Again(Exception):
    """A message could not be taken: those behind it must not be, or the order would be another one."""


class LocalServer:
    """Listens on a socket of the state directory; whoever may open it (0600) may hand readings over."""

    def __init__(self, name: str, path: Path, summaries: Summarize | None = None) -> None:
        """
        Args:
            summaries: takes summaries; None: there are none on this socket.
        """
        self.name = name
        self.path = path
        self._summaries = summaries
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, intake: Intake) -> None:
        """Serves until cancelled.

        Raises:
            StateError: it can't listen there.
        """
        try:
            with suppress(FileNotFoundError):
                self.path.unlink()  # of a daemon that was killed: the state directory is held by us
            before = os.umask(0o177)
            try:
                server = await asyncio.start_unix_server(partial(self._serve, intake), str(self.path), limit=_LONGEST)
            finally:
                os.umask(before)
        except OSError as e:
            raise StateError(f"{self.path}: can't listen there ({said(e)}); set a shorter state_dir") from None
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            with suppress(FileNotFoundError):
                self.path.unlink()

    async def _serve(self, intake: Intake, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._messages(intake, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _messages(self, intake: Intake, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        places = asyncio.Semaphore(_UNDER_WAY)
        turn = asyncio.Lock()
        try:
            async with asyncio.TaskGroup() as group:
                while line := await _line(reader, writer):
                    await places.acquire()
                    message = self._message(intake, line, writer, turn)
                    group.create_task(message).add_done_callback(lambda _: places.release())
        except* _Again:
            pass

    async def _message(self, intake: Intake, line: bytes, writer: asyncio.StreamWriter, turn: asyncio.Lock) -> None:
        number: Any = None
        try:
            message = orjson.loads(line)
            number = message["id"]
            if self._summaries is not None and "summaries" in message:
                refused = await self._summaries(message["summaries"])
                await _answer(writer, {"id": number} | ({"refused": refused} if refused else {}))
                return
            pieces = json_pieces(listed(message["readings"]), str(message.get("topic", "")))
        except (ValueError, KeyError, TypeError):
            await _answer(writer, {"id": number, "error": 'send {"id": 1, "readings": [{…}]}'})
            return
        except Refused as e:
            await _answer(writer, {"id": number, "error": str(e)})
            return
        except StateUnwritable as e:
            log.warning("message_not_taken", reason=str(e), effect="its sender sends it again")
            raise _Again from None
        try:
            async with turn:  # in the order in which they came
                written = await intake.observe(pieces, backlog=True)
            held = await written
        except IotdError as e:
            log.warning("message_not_taken", reason=str(e), effect="its sender sends it again")
            raise _Again from None
        await _answer(writer, {"id": number} | ({"held": [f"{h.reason}: {h.detail}" for h in held]} if held else {}))


async def _line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The next message; empty where there is none any more: also half a one, whose sender is gone, has no answer."""
    try:
        line = await reader.readline()
    except ValueError:  # longer than the reader's limit
        await _answer(writer, {"id": None, "error": f"a message has at most {_LONGEST} bytes"})
        return b""
    return line if line.endswith(b"\n") else b""


async def _answer(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    with suppress(ConnectionError):
        writer.write(orjson.dumps(answer) + b"\n")
        await writer.drain()
