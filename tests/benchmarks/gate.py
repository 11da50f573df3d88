"""A gate between a broker and who receives from it: it counts PUBACKs, and can be shut for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from time import monotonic

_PUBACK, _SUBSCRIBE = 0x40, 0x80


class Gate:
    """Made by :func:`gate`.

    Attributes:
        port: where the receiver connects.
        acknowledged: PUBACKs that went to the broker.
        at: when the last of them did, monotonic seconds.
        connections: that a receiver has made.
        subscribed: whether a SUBSCRIBE was answered.
        opened: when the gate was opened last, monotonic seconds.
    """

    def __init__(self, port: int, broker: int) -> None:
        self.port = port
        self.acknowledged = 0
        self.at = 0.0
        self.connections = 0
        self.subscribed = False
        self.opened = monotonic()
        self._broker = broker
        self._open = asyncio.Event()
        self._open.set()
        self._passing: set[asyncio.Task[None]] = set()
        self._asked = False

    def shut(self) -> None:
        """Cuts the connection; who comes now is let in, and gets no further until it is opened."""
        self._open.clear()
        for task in self._passing:
            task.cancel()

    def open(self) -> None:
        """Lets them through."""
        self.opened = monotonic()
        self._open.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        writers = [writer]
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._open.wait()
            onward, back = await asyncio.open_connection("127.0.0.1", self._broker)
            writers.append(back)
            self.connections += 1
            tasks = [
                asyncio.create_task(_copy(reader, back, _Packets(self._up).feed)),
                asyncio.create_task(_copy(onward, writer, self._down)),
            ]
            self._passing.update(tasks)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass
        finally:
            for task in tasks:
                task.cancel()
                self._passing.discard(task)
            for one in writers:
                one.close()

    def _up(self, kind: int) -> None:
        if kind == _PUBACK:
            self.acknowledged += 1
            self.at = monotonic()
        elif kind == _SUBSCRIBE:
            self._asked = True

    def _down(self, data: bytes) -> None:
        self.subscribed |= self._asked and bool(data)


class _Packets:
    """Finds the kinds of the packets in a stream that is cut anywhere."""

    def __init__(self, found: Callable[[int], None]) -> None:
        self._found = found
        self._rest = b""

    def feed(self, data: bytes) -> None:
        data = self._rest + data
        at = 0
        while True:
            length = shift = 0
            body = at + 1
            while body < len(data):
                byte = data[body]
                length |= (byte & 0x7F) << shift
                shift += 7
                body += 1
                if byte < 0x80:
                    break
            else:
                break
            if body + length > len(data):
                break
            self._found(data[at] & 0xF0)
            at = body + length
        self._rest = data[at:]


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Callable[[bytes], None]) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            seen(data)
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def gate(broker: int) -> AsyncIterator[Gate]:
    """An open gate before the broker of this port."""
    made = Gate(0, broker)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, limit=1 << 20)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.shut()
        made.open()  # who waits finds its connection ended
