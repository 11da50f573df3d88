"""From messages to the log, and back to PUBACKs: on disk first, in the order of arrival, within a bound."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Sequence
from typing import NamedTuple

from iotd.model.errors import StateError, StateUnwritable
from iotd.model.observation import Piece, Pieces
from iotd.ops.loggers import get_logger
from iotd.sources.base import Intake
from iotd.sources.clock import Clock
from iotd.sources.mqtt.connection import Connection
from iotd.sources.mqtt.journal import Begun, Entry, Journal, Repeats, entry_of
from iotd.sources.mqtt.memory import Memory
from iotd.sources.mqtt.packets import V5, Publish
from iotd.sources.mqtt.presets.base import Delivery, Heard
from iotd.sources.mqtt.reading import Read, Reading

log = get_logger(__name__)

_BYTES = 16 * 1024**2
"""Of messages that we have and have not acknowledged, beyond which nothing more is read."""
_WINDOW = 16
"""So many messages without a PUBACK may be all that a broker of 3.1.1 sends (mosquitto: 20): no waiting for company."""


class _Taken(NamedTuple):
    """Messages that were handed over together, and wait for their PUBACKs.

    Attributes:
        connection: that they came by: a PUBACK goes the same way, or not at all.
        ids: of those with QoS 1.
        messages, bytes: how many they are.
        end: the journal's place behind them.
        written: done when their readings are on disk; None: they have none.
    """

    connection: Connection
    ids: list[int]
    messages: int
    bytes: int
    end: int
    written: asyncio.Future[object] | None


class Handover:
    """Hands the messages of one broker over.

    Attributes:
        journal: see there.
        outstanding: messages that we have and have not acknowledged.
        counts: messages, by what they were.
        news: whether notes of presets have changed since somebody looked.
    """

    def __init__(
        self,
        name: str,
        intake: Intake,
        reading: Reading,
        memory: Memory,
        *,
        clock: Clock,
        counts: Counter[str],
        most: int,
    ) -> None:
        """
        Args:
            name: of the source.
            most: messages that may be outstanding.
        """
        self._name = name
        self.journal = Journal.decode(intake.position())
        self.outstanding = 0
        self.news = False
        self.counts = counts
        self._intake = intake
        self._reading = reading
        self._memory = memory
        self._clock = clock
        self._most = most
        self._bytes = 0
        self._taken: asyncio.Queue[_Taken] = asyncio.Queue()
        self._under_way: set[asyncio.Future[object]] = set()
        self._freed = asyncio.Event()
        self._current: Connection | None = None
        self._beginning = False
        self._marks: deque[tuple[int, int]] = deque()

    async def begin(self, connection: Connection, session: int | None) -> Repeats | None:
        """Goes on over this connection.

        Args:
            session: a new number, where the broker has begun another session; None: it goes on with the one before.

        Returns:
            What finds the repeats of a session that goes on.

        Raises:
            StateError: the new session can't be noted.
        """
        self._current = connection
        self._beginning = session is None
        self._marks.clear()
        if session is None:
            return self.journal.repeats()
        self.journal.anew(session)
        await (await self._intake.observe([], self.journal.encode()))
        return None

    async def room(self) -> None:
        """Returns when more messages may be read: until then they wait at the broker."""
        while self.outstanding >= self._most or self._bytes >= _BYTES:
            self._freed.clear()
            await self._freed.wait()

    def pressed(self, connection: Connection) -> bool:
        """Whether as many are outstanding as the broker may send at once, or half of what we may have."""
        return self.outstanding >= (self._most // 2 if connection.version == V5 else _WINDOW)

    async def take(self, connection: Connection, messages: Sequence[Publish], repeats: Repeats | None) -> None:
        """Hands messages over; they have their place in the order when this returns, and are acknowledged later.

        Waits while the log is full.

        Raises:
            StateUnwritable: they can't be taken now; nothing of it is acknowledged.
        """
        while self._marks and self._marks[0][0] <= connection.confirmed:
            self.journal.confirmed(self._marks.popleft()[1])
        self.outstanding += len(messages)
        self.counts["received"] += len(messages)
        sorted_ = _Sorted()
        for message in messages:
            self._sort(message, repeats, sorted_)
        await self._clock.certain()
        try:
            await self._finish(sorted_)
        except StateError as e:
            self.outstanding -= len(messages)
            raise StateUnwritable(str(e)) from None
        begin = self.journal.end
        if sorted_.entries:
            self.journal.add(sorted_.entries)
        try:
            written = await self._observe(sorted_)
        except BaseException as e:
            self.journal.cut(begin)
            self.outstanding -= len(messages)
            if isinstance(e, StateError) and not e.retriable:
                raise StateUnwritable(str(e)) from None
            raise
        self._bytes += sorted_.bytes
        end = max(sorted_.repeated, self.journal.end if sorted_.entries else 0)
        self._taken.put_nowait(_Taken(connection, sorted_.ids, len(messages), sorted_.bytes, end, written))
        if self.pressed(connection):
            self._intake.hurry()

    def _sort(self, message: Publish, repeats: Repeats | None, found: _Sorted) -> None:
        found.bytes += len(message.payload) + len(message.topic)
        if message.qos:
            found.ids.append(message.id)
        place = None if repeats is None else repeats.place_of(message)
        preset, heard, piece, why_not = self._read(message)
        if message.retained and len(heard.said) > (0 if piece is None else len(piece.said)):
            self.counts["retained"] += 1
        if message.retained and why_not is not None:
            self.counts["retained_refused"] += 1
            log.warning("retained_not_read", source=self._name, topic=message.topic[:200], reason=str(why_not))
        self._remember(preset, message, heard)
        if piece is not None and message.qos:
            at = self.journal.end + len(found.entries) if place is None else place
            piece.known_by = self.journal.name_of(at)
        if place is not None:
            self.counts["repeats"] += 1
            found.repeated = place + 1
            if self.journal.begun.first <= place < self.journal.begun.end:
                found.begun.append((place, message.retained, piece))
            return
        if piece is None:
            return
        (found.retained if message.retained else found.live).append(piece)
        if message.qos:
            entry = entry_of(message)
            found.entries.append(entry)
            # a broker that was set back begins with what it knows of, whether it marks it as sent before or not
            had = (message.again or self._beginning) and self.journal.had(entry)
            self._beginning &= had
            if had and any(one.time is None for one in piece.said):
                self.counts["possible_doubles"] += 1
        else:
            self.counts["qos0"] += 1

    def _remember(self, preset: str, message: Publish, heard: Heard) -> None:
        if not preset:
            self.counts["unknown_topic"] += 1
        elif heard.notes or heard.presence:
            self.news |= self._memory.hear(preset, message.topic, heard, self._clock.now())
        elif not message.payload:
            self._memory.forget(preset, message.topic)

    async def _finish(self, found: _Sorted) -> None:
        """Hands over again what was begun before we were killed, as if it arrived then."""
        if not found.begun:
            return
        arrived = self.journal.begun.arrived
        still_begun = self.journal.encode()
        self.journal.finished(found.begun[-1][0])
        position = self.journal.encode()
        live, retained = (
            [piece for _, retained, piece in found.begun if piece is not None and retained is so]
            for so in (False, True)
        )
        await (await self._hand_over(live, retained, position, arrived=arrived, ahead=still_begun))

    def _read(self, message: Publish) -> Read:
        connection = 0 if self._current is None else self._current.number
        delivery = Delivery(message.payload, message.retained, connection)
        return self._reading.read(message.topic, delivery, message.length, self._memory.notes, self._intake.names)

    async def _observe(self, found: _Sorted) -> asyncio.Future[object] | None:
        if not found.live and not found.retained:
            return None
        arrived, end = self._clock.now(), self.journal.end
        ahead = self.journal.encode(Begun(end - len(found.entries), end, arrived))
        position = self.journal.encode()
        return self._started(await self._hand_over(found.live, found.retained, position, arrived=arrived, ahead=ahead))

    async def _hand_over(
        self, live: Sequence[Piece], retained: Sequence[Piece], position: bytes, *, arrived: int, ahead: bytes
    ) -> Awaitable[object]:
        if retained:
            # these have times of their own, as old as they are: to take one again changes nothing
            last = None if live else position
            taken = await self._intake.observe([Pieces(retained)], last, arrived=arrived, ahead=ahead, backlog=True)
            if not live:
                return taken
            await taken
        return await self._intake.observe([Pieces(live)], position, arrived=arrived, ahead=ahead)

    async def acknowledge(self) -> None:
        """Sends the PUBACKs of what is on disk, one after the other, until cancelled.

        Raises:
            StateError: something could not be written.
        """
        while True:
            taken = await self._taken.get()
            try:
                if taken.written is not None:
                    await taken.written
                await self._memory.keep()
                if taken.ids and taken.connection is self._current:
                    taken.connection.acknowledge(taken.ids)
                    if taken.end:
                        self._marks.append((taken.connection.acknowledged, taken.end))
            finally:
                self.outstanding -= taken.messages
                self._bytes -= taken.bytes
                self._freed.set()
                self._taken.task_done()

    async def acknowledged(self) -> None:
        """Returns when nothing waits for its PUBACK."""
        await self._taken.join()

    async def settled(self) -> None:
        """Returns when nothing is under way to the disk: what is not there by then never comes there."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _started(self, taken: Awaitable[object]) -> asyncio.Future[object]:
        async def written() -> object:
            return await taken

        started: asyncio.Future[object] = asyncio.ensure_future(written())
        self._under_way.add(started)
        started.add_done_callback(self._under_way.discard)
        return started


class _Sorted:
    """Messages that came together, by what is to be done with them.

    Attributes:
        repeated: the journal's place behind the last that was taken before; 0: none was.
        begun: what was begun before, and may not be on disk: its place, whether it is retained, what it says.
    """

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.live: list[Piece] = []
        self.retained: list[Piece] = []
        self.entries: list[Entry] = []
        self.begun: list[tuple[int, bool, Piece | None]] = []
        self.bytes = 0
        self.repeated = 0
