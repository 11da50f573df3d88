"""The witness between broker and iotd: passes packets on, notes each PUBLISH and PUBACK, and fails as it is told."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Literal

from iotd.config import Address
from tests.chaos.mqtt import wire
from tests.chaos.mqtt.line import Line
from tests.chaos.mqtt.notes import SOURCES, Notes
from tests.chaos.mqtt.wire import Packet, Packets

_CHUNK = 1 << 16
_CONNECTS_S = 2.0

Moment = Literal["publish", "puback"]
"""When a connection is to be cut: behind a PUBLISH that was passed on, or at a PUBACK, which is not passed on."""


class Link:
    """Listens where iotd looks for the broker.

    Attributes:
        lines: by source.
        broken: what came that is no MQTT.
    """

    def __init__(self, notes: Path, listen: Address, broker: Address) -> None:
        self.lines = {source: Line() for source in SOURCES.values()}
        self.broken: list[str] = []
        self._listen = listen
        self._broker = broker
        self._path = notes
        self._numbers = itertools.count(1)
        self._passages: set[Passage] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cut = 0
        self._open = asyncio.Event()
        self._open.set()
        self._stalls = 0
        self._delay_s = 0.0
        self._server: asyncio.Server | None = None
        self.trap: Trap | None = None

    @property
    def listens(self) -> bool:
        return self._server is not None

    async def up(self) -> None:
        """Begins to listen."""
        self.notes = Notes(self._path)
        self._server = await asyncio.start_server(self._serve, *self._listen)

    async def down(self) -> None:
        """Ends all connections."""
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.notes.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if self._cut:
                writer.transport.abort()
                return
            async with asyncio.timeout(_CONNECTS_S):
                from_broker, to_broker = await asyncio.open_connection(*self._broker)
            passage = Passage(self, next(self._numbers), writer, to_broker)
            self._passages.add(passage)
            try:
                await passage.run(reader, from_broker)
            finally:
                self._passages.discard(passage)
                passage.close()
        except (OSError, TimeoutError):
            pass
        except asyncio.CancelledError:
            pass  # an end of ours
        finally:
            self._tasks.discard(task)
            writer.close()

    async def passable(self) -> None:
        """Returns when bytes pass."""
        await self._open.wait()
        if self._delay_s:
            await asyncio.sleep(self._delay_s)

    @property
    def idle_s(self) -> float:
        """Seconds since the last PUBLISH was passed on; 0 while one waits for its PUBACK, or a source is away."""
        if any(line.waiting or line.since is None for line in self.lines.values()):
            return 0.0
        return monotonic() - max(line.passed_at for line in self.lines.values())

    # ── how it fails ──

    def interrupt(self) -> None:
        """Ends all connections that there are now, in the middle of what they say."""
        for passage in list(self._passages):
            passage.end()

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Nobody gets through meanwhile."""
        self._cut += 1
        self.interrupt()
        try:
            yield
        finally:
            self._cut -= 1

    @contextmanager
    def stalling(self) -> Iterator[None]:
        """No byte passes meanwhile, either way; it is only late."""
        self._stalls += 1
        self._open.clear()
        for line in self.lines.values():
            line.shuts()
        try:
            yield
        finally:
            self._stalls -= 1
            if not self._stalls:
                self._open.set()
                for passage in self._passages:
                    passage.goes_on()

    @contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        """What comes is so late meanwhile, and what comes behind it waits for it."""
        self._delay_s = seconds
        try:
            yield
        finally:
            self._delay_s = 0.0

    @contextmanager
    def trapping(self, moment: Moment, struck: Callable[[Passage], None]) -> Iterator[Trap]:
        """Something happens at a moment, each time: to the connection that it comes about on."""
        self.trap = Trap(moment, struck)
        try:
            yield self.trap
        finally:
            self.trap = None


class Trap:
    """Something that is to happen at a moment; ``count``: how often it has."""

    def __init__(self, moment: Moment, struck: Callable[[Passage], None]) -> None:
        self.count = 0
        self._moment = moment
        self._struck = struck

    def springs(self, moment: Moment, passage: Passage) -> None:
        if moment == self._moment:
            self.count += 1
            self._struck(passage)


class Passage:
    """One connection of iotd to the broker, through the link.

    Attributes:
        deaf: what iotd says is noted, and not passed on any more.
    """

    def __init__(self, link: Link, number: int, to_iotd: asyncio.StreamWriter, to_broker: asyncio.StreamWriter) -> None:
        self.deaf = False
        self._link = link
        self._number = number
        self._to_iotd = to_iotd
        self._to_broker = to_broker
        self._version = 0
        self._began: float | None = None
        self._acknowledged = 0
        self._pings: deque[int] = deque()
        self._task = asyncio.current_task()

    @property
    def _line(self) -> Line:
        return self._link.lines[SOURCES[self._version]]

    async def run(self, from_iotd: asyncio.StreamReader, from_broker: asyncio.StreamReader) -> None:
        """Until one side ends it."""
        ways = [
            asyncio.create_task(self._to_the_broker(from_iotd)),
            asyncio.create_task(self._to_iotd_from(from_broker)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            ends = await asyncio.gather(*ways, return_exceptions=True)
            self._link.broken += [
                f"{end!r}" for end in ends if isinstance(end, Exception) and not isinstance(end, OSError)
            ]

    async def _to_the_broker(self, reader: asyncio.StreamReader) -> None:
        packets = Packets()
        while data := await reader.read(_CHUNK):
            # what iotd says counts when it says it, however late it is passed on
            passing = [packet for packet in packets.feed(data) if self._of_iotd(packet)]
            await self._link.passable()
            await self._write(self._to_broker, passing)

    async def _to_iotd_from(self, reader: asyncio.StreamReader) -> None:
        packets = Packets()
        while data := await reader.read(_CHUNK):
            found = list(packets.feed(data))
            await self._link.passable()
            for packet in found:
                self._of_broker(packet)
                await self._write(self._to_iotd, [packet])
                if packet.type == wire.PUBLISH and packet.flags & 6:
                    self._springs("publish")

    @staticmethod
    async def _write(writer: asyncio.StreamWriter, packets: Sequence[Packet]) -> None:
        if writer.transport.is_closing():
            return  # the other way may still have something to say
        writer.write(b"".join(packet.raw for packet in packets))
        with suppress(ConnectionError):
            await writer.drain()

    def _springs(self, moment: Moment) -> None:
        if self._link.trap is not None and not self.deaf:
            self._link.trap.springs(moment, self)

    def _of_broker(self, packet: Packet) -> None:
        notes = self._link.notes
        if packet.type == wire.CONNACK:
            code, resumed = wire.let_in(packet)
            if code == 0:
                notes.let_in(self._number, SOURCES[self._version], resumed=resumed)
                self._began = monotonic()
                self._line.let_in(self, resumed=resumed)
        elif packet.type == wire.PUBLISH:
            one = wire.published(packet, self._version)
            notes.passes(self._number, one)
            self._line.passed_at = monotonic()
            if one.qos:
                self._line.waiting[one.packet] = monotonic()
        elif packet.type == wire.PINGRESP and self._pings:
            notes.confirmed(self._number, self._pings.popleft())

    def _of_iotd(self, packet: Packet) -> bool:
        """Notes what iotd says; whether it is passed on."""
        if packet.type == wire.CONNECT:
            said = wire.hello(packet)
            self._version = said.version
            self._line.client = said.client
        elif packet.type == wire.PUBACK:
            self._link.notes.acknowledged(self._number, wire.acknowledged(packet))
            self._line.waiting.pop(wire.acknowledged(packet), None)
            self._springs("puback")
            self._acknowledged += not self.deaf
        elif packet.type == wire.PINGREQ and not self.deaf:
            self._pings.append(self._acknowledged)
        return not self.deaf

    def goes_on(self) -> None:
        """Bytes pass again."""
        if self._began is not None:
            self._line.opens()

    def end(self) -> None:
        """Ends it at once."""
        for writer in (self._to_iotd, self._to_broker):
            writer.transport.abort()
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """Both sides see its end, once they have what was said before."""
        for writer in (self._to_iotd, self._to_broker):
            writer.close()
        if self._began is not None:
            self._line.ended(self, monotonic() - self._began)
