"""What a broker has: listened to for a while, with nothing stored and no session left behind."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from time import monotonic

from iotd.config.sections.mqtt import Broker
from iotd.intake.outlook import Fate, Outlook
from iotd.intake.world import World
from iotd.model.errors import Refused
from iotd.model.observation import Names, Observation
from iotd.sources.mqtt.connection import connect
from iotd.sources.mqtt.exploring.grouping import Group, Topics
from iotd.sources.mqtt.exploring.knowing import Kinds, Knowing
from iotd.sources.mqtt.packets import Publish
from iotd.sources.mqtt.presets.base import Delivery, Filter
from iotd.sources.mqtt.reading import Read
from iotd.sources.mqtt.subscriptions import Subscriptions

_ROWS = 10_000
"""Sensors that are told apart."""
_LONGEST = 2_000
"""Characters of the texts of one that is told apart."""
_VALUE = 200
"""Characters of a value that is a text: no number has more."""
_NOTES_BYTES = 16 * 1024**2


@dataclass(slots=True)
class Seen:
    """A sensor that spoke, for one of its types; or a topic whose messages can't be read.

    Attributes:
        preset, topic: that said it last.
        configured: whether the preset is.
        messages, retained, qos0: how many there were; ``qos0`` of those that were not retained.
        every_s: seconds from one to the next, of those that were not retained; None: there were not two.
        last: the last observation; None: none could be read.
        fate: what would become of it.
    """

    preset: str
    configured: bool
    topic: str
    sensor: str
    type: str
    messages: int = 0
    retained: int = 0
    qos0: int = 0
    every_s: float | None = None
    last: Observation | None = None
    fate: Fate | None = None
    arrived: int = 0
    was_retained: bool = False
    why_not: Refused | None = None
    first_at: float = 0.0

    def add(self, message: Publish, at: float) -> None:
        """Counts a message; ``at`` in s of any clock."""
        live = self.messages - self.retained
        self.messages += 1
        self.retained += message.retained
        self.was_retained, self.topic = message.retained, message.topic
        if not message.retained:
            self.qos0 += message.qos == 0
            if live:
                self.every_s = (at - self.first_at) / live
            else:
                self.first_at = at


@dataclass(slots=True)
class Survey:
    """What was heard of one broker; bounded, whatever there is.

    Attributes:
        messages: how many there were.
        live, live_qos0: of those with readings that were not retained, by who has read them.
        seen: by preset, sensor and type.
        unread: topics that nobody reads, in groups.
        others: values beyond those that are told apart.
        online: devices and gateways that said whether they are there, by preset and name.
        refused: by topic filter, why the broker does not give it.
    """

    messages: int = 0
    live: Counter[str] = field(default_factory=Counter)
    live_qos0: Counter[str] = field(default_factory=Counter)
    seen: dict[tuple[str, str, str], Seen] = field(default_factory=dict)
    unread: list[Group] = field(default_factory=list)
    others: int = 0
    online: dict[tuple[str, str], bool] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def presets(self) -> list[str]:
        """Those that have read something."""
        return sorted({one.preset for one in self.seen.values()} | {preset for preset, _ in self.online})

    async def judge(self, world: World) -> None:
        """Finds out what would become of the last message of each."""
        outlook = Outlook(world)
        for one in self.seen.values():
            one.fate = await _fate(one, outlook)


async def _fate(one: Seen, outlook: Outlook) -> Fate:
    if one.why_not is not None:
        return Fate("held", str(one.why_not))
    assert one.last is not None
    if one.was_retained and one.last.time is None:
        told = await outlook.of(one.last, one.arrived, backlog=True)
        return Fate("nothing", RETAINED, told.location, told.found_by, unit=told.unit)
    return await outlook.of(one.last, one.arrived, backlog=one.was_retained)


RETAINED = "retained, without a time of its own: nobody knows when it was measured"


class Listener:
    """Hears messages, and sorts them into a survey."""

    def __init__(self, configured: Kinds, others: Kinds, names: Names, now: Callable[[], int]) -> None:
        """
        Args:
            configured: these are asked first.
            now: tells the time, ms.
        """
        self.survey = Survey()
        self.notes: dict[str, dict[str, str]] = {}
        self._configured = Knowing(configured)
        self._others = Knowing(others)
        self._names = names
        self._now = now
        self._unread = Topics()
        self._bytes = 0

    def hear(self, message: Publish, at: float) -> bool:
        """Takes a message; whether the notes of its preset have changed.

        Args:
            at: when it came, in s of any clock.
        """
        survey = self.survey
        survey.messages += 1
        delivery = Delivery(message.payload, message.retained)
        what = message.topic, delivery, message.length, self.notes, self._names
        known = self._configured.read(*what)
        read = known or self._others.read(*what)
        if read is None:
            self._unread.add(message)
            return False
        configured = known is not None
        if read.piece is not None and not message.retained:
            survey.live[read.preset] += 1
            survey.live_qos0[read.preset] += message.qos == 0
        why_not = read.piece.why_not if read.piece is not None else None
        for one in read.heard.said:
            if sum(map(len, (one.type, one.location, one.unit or "", *one.hints))) > _LONGEST:
                survey.others += 1
            elif (row := self._row(read, configured, message, one.sensor, one.type)) is not None:
                row.add(message, at)
                row.last, row.arrived, row.why_not = replace(one, value=_short(one.value)), self._now(), None
        if why_not is not None and (row := self._row(read, configured, message, message.topic, "")) is not None:
            row.add(message, at)
            row.why_not = Refused(why_not.reason, why_not.detail[:_VALUE])
        for who in read.heard.presence:
            name = read.preset, who.who[:_VALUE]
            if name in survey.online or len(survey.online) < _ROWS:
                survey.online[name] = who.online
        return self._learn(read)

    def finished(self) -> Survey:
        """All that was heard."""
        self.survey.unread = self._unread.groups()
        return self.survey

    def filters(self) -> Iterator[Filter]:
        """What is to be listened to, by what is known now."""
        yield from self._configured.reading.filters(self.notes)
        yield from self._others.reading.filters(self.notes)

    def forget(self) -> None:
        """Finds anew who reads what: notes have changed."""
        self._configured.forget()
        self._others.forget()

    def _row(self, read: Read, configured: bool, message: Publish, sensor: str, kind: str) -> Seen | None:
        seen, key = self.survey.seen, (read.preset, sensor, kind)
        if key not in seen:
            if len(seen) >= _ROWS or len(sensor) + len(message.topic) > _LONGEST:
                self.survey.others += 1
                return None
            seen[key] = Seen(read.preset, configured, message.topic, sensor, kind)
        return seen[key]

    def _learn(self, read: Read) -> bool:
        changed = False
        for key, value in read.heard.notes.items():
            known = self.notes.setdefault(read.preset, {})
            if known.get(key) == value or (value is None and key not in known):
                continue
            if value is None:
                self._bytes -= len(key) + len(known.pop(key))
            elif self._bytes + len(key) + len(value) <= _NOTES_BYTES:
                self._bytes += len(key) + len(value) - len(known.get(key, ""))
                known[key] = value
            else:
                continue
            changed = True
        return changed


class _NoSession:
    """What a clean session has: nothing but what this connection has asked for."""

    def __init__(self) -> None:
        self.subscribed: frozenset[str] | None = frozenset()

    async def subscribes(self, filters: Iterable[str]) -> None:
        self.subscribed = frozenset(filters)


async def explore(
    broker: Broker,
    listener: Listener,
    *,
    seconds: float,
    everything: bool,
    stop: asyncio.Event,
) -> None:
    """Listens to a broker, with a session and a client id of its own; what it hears, ``listener`` has.

    Args:
        everything: listens to all topics, not only to those that somebody would read.
        stop: ends it early.

    Raises:
        BrokerAway, BrokerRefuses, ProtocolBroken: there is nothing to be heard, or no longer.
    """
    connection = await connect(broker, client_id("discover"), clean=True)
    subscriptions = Subscriptions(connection, _NoSession())
    listener.survey.refused = subscriptions.refused
    wanted = [Filter("#")] if everything else []

    async def listen() -> None:
        await subscriptions.want([*wanted, *listener.filters()])
        while True:
            messages = await connection.receive()
            await subscriptions.settle()
            at = monotonic()
            news = False
            for message in messages:
                news |= listener.hear(message, at)
            if ids := [message.id for message in messages if message.qos]:
                connection.acknowledge(ids)
            if news:
                listener.forget()
                await subscriptions.want([*wanted, *listener.filters()])
            await asyncio.sleep(0)  # a broker with much to say leaves no pause

    listening = asyncio.create_task(listen())
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((listening, stopped), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        ended = listening.done()
        listening.cancel()
        await asyncio.gather(listening, stopped, return_exceptions=True)
        await connection.close()
    if ended:
        listening.result()


def _short(value: object) -> object:
    if isinstance(value, str):
        return value[:_VALUE]
    return value if value is None or isinstance(value, int | float) else repr(value)[:_VALUE]


def client_id(what: str) -> str:
    """One that nobody else has."""
    return f"iotd-{what}-{secrets.token_hex(6)}"
