"""The source of one broker: connects, subscribes, has its messages handed over, and says what is wrong with it."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from time import monotonic

from iotd.config.sections.mqtt import Broker
from iotd.model.errors import IotdError, Refused
from iotd.model.held import Held
from iotd.model.instants import duration, iso
from iotd.model.observation import Names, Piece
from iotd.ops.backoff import Backoff
from iotd.ops.loggers import get_logger
from iotd.ops.outage import Outage
from iotd.sources.base import Context, Intake, Trouble
from iotd.sources.mqtt.connection import ClientIdTaken, Connection, connect
from iotd.sources.mqtt.handover import Handover
from iotd.sources.mqtt.link import BrokerAway, BrokerEnds, BrokerRefuses
from iotd.sources.mqtt.memory import Memory
from iotd.sources.mqtt.packets import V5, ProtocolBroken
from iotd.sources.mqtt.presets.base import Delivery
from iotd.sources.mqtt.reading import FORM, reading_of
from iotd.sources.mqtt.subscriptions import Subscriptions

log = get_logger(__name__)

_FIRST_S, _LONGEST_S = 0.5, 10.0
"""Between two attempts to connect."""
_STEADY_S = 5.0
"""A connection that ends sooner is one more failure."""
_HURRIED = 3
"""Connections in a row that were ended so soon: somebody ends them."""
_COMPANY_S = 0.01
"""So long the next messages wait for others, with which they are handed over: each time costs as much as some 25 of
them. They are not acknowledged later by it, since a commit waits longer (intake.answer_within)."""
_LAST_S = 1.0
"""So long the last PUBACKs may take when we end."""
_SHORT_S = 86_400
"""A broker that keeps our session for less loses what comes in a night without power."""
_NAMED = 5
"""Devices that are gone, and are named."""


class MqttSource:
    """A source: :class:`iotd.sources.base.Source`, of the table ``[mqtt]`` or ``[mqtt.NAME]``.

    Attributes:
        counts: messages since the start, by what they were.
        connected: the version of the protocol; None: it is not connected.
    """

    def __init__(self, name: str, broker: Broker, context: Context) -> None:
        """
        Raises:
            ConfigError: presets or topics can't be used.
        """
        self.name = name
        self.counts: Counter[str] = Counter()
        self.connected: int | None = None
        self._broker = broker
        self._reading = reading_of(broker)
        self._clock = context.clock
        self._memory = Memory(context.state / "mqtt" / f"{name}.sqlite")
        self._outage = Outage()
        self._why: IotdError | None = None
        self._since = 0.0
        self._hurried = 0
        self._lost: str | None = None
        self._session_s: int | None = None
        self._subscriptions: Subscriptions | None = None
        self._handover: Handover | None = None

    @property
    def ready(self) -> bool:
        """Whether it is connected, and the broker has answered to all subscriptions."""
        return self.connected is not None and self._subscriptions is not None and self._subscriptions.settled

    @property
    def outstanding(self) -> int:
        """Messages that came and are not acknowledged."""
        return 0 if self._handover is None else self._handover.outstanding

    async def run(self, intake: Intake) -> None:
        """Takes messages until cancelled, over as many connections as it takes.

        Raises:
            StateError: something can't be written now.
        """
        await self._memory.open(self._broker.url, self._broker.client_id)
        handover = self._handover = Handover(
            self.name,
            intake,
            self._reading,
            self._memory,
            clock=self._clock,
            counts=self.counts,
            most=self._broker.in_flight,
        )
        receiving = asyncio.create_task(self._connections(handover))
        acknowledging = asyncio.create_task(handover.acknowledge())
        try:
            await asyncio.wait((receiving, acknowledging), return_when=asyncio.FIRST_COMPLETED)
        finally:
            # the last PUBACKs go out while there is a connection
            with suppress(TimeoutError):
                async with asyncio.timeout(0 if acknowledging.done() else _LAST_S):
                    await handover.acknowledged()
            for task in (acknowledging, receiving):
                task.cancel()
            ended = await asyncio.gather(acknowledging, receiving, return_exceptions=True)
            await handover.settled()
            await asyncio.to_thread(self._memory.close)
        for end in ended:
            if isinstance(end, Exception):
                raise end

    async def _connections(self, handover: Handover) -> None:
        backoff = Backoff(_FIRST_S, _LONGEST_S)
        while True:
            connection = None
            try:
                connection = await connect(self._broker, self._memory.client_id)
                self._since = monotonic()
                await self._receive(connection, handover)
            except (BrokerAway, BrokerRefuses, ProtocolBroken) as e:
                steady = connection is not None and monotonic() - self._since >= _STEADY_S
                self._hurried = 0 if steady or connection is None else self._hurried + 1
                if steady:
                    backoff.reset()
                self._ends(e)
            finally:
                self.connected = None
                if connection is not None:
                    await connection.close()
            await asyncio.sleep(backoff.next())

    def _ends(self, why: IotdError) -> None:
        if self._hurried >= _HURRIED and isinstance(why, BrokerEnds):
            who = self._memory.client_id
            why = ClientIdTaken(f"{why}, again and again; does another client connect with the client id {who!r}?")
        self._why = why
        if self._outage.begins(str(why)):
            log.warning("broker_lost", source=self.name, broker=self._broker.url, reason=str(why))

    async def _receive(self, connection: Connection, handover: Handover) -> None:
        memory = self._memory
        session = None
        if not connection.session_present:
            session = secrets.randbits(63)
            if memory.subscribed:
                self.counts["sessions_lost"] += 1
                self._lost = iso(self._clock.now())
                log.error("broker_session_lost", source=self.name, broker=self._broker.url)
        repeats = await handover.begin(connection, session)
        if session is not None:
            await memory.subscribes([])
        subscriptions = self._subscriptions = Subscriptions(connection, memory)
        await subscriptions.want(self._reading.filters(memory.notes))
        self._session_s, self.connected = connection.session_expiry, connection.version
        log.info("broker_connected", source=self.name, broker=self._broker.url, resumed=session is None)
        while True:
            await handover.room()
            messages = await connection.receive()
            await subscriptions.settle()
            if messages:
                await handover.take(connection, messages, repeats)
                if not handover.pressed(connection):
                    await asyncio.sleep(_COMPANY_S)
            if handover.news:
                handover.news = False
                self._reading.forget()
                await subscriptions.want(self._reading.filters(memory.notes))
            if self._outage.reason is not None and self._stands and (ended := self._outage.ends()) is not None:
                log.info("broker_back", source=self.name, reason=ended[0], after_s=ended[1])

    @property
    def _stands(self) -> bool:
        """Whether the connection will do: one after others that somebody ended has to last a while."""
        ended = self._hurried >= _HURRIED or isinstance(self._why, ClientIdTaken)
        return self.connected is not None and (not ended or monotonic() - self._since >= _STEADY_S)

    # ── what it tells ──

    def troubles(self) -> Iterator[Trouble]:
        """What is wrong now."""
        where = f"{self.name} ({self._broker.url})"
        if self._why is not None and not self._stands:
            kind = "mqtt_away"
            if isinstance(self._why, BrokerRefuses | ProtocolBroken):
                kind = "mqtt_client_id_taken" if isinstance(self._why, ClientIdTaken) else "mqtt_refused"
            yield Trouble(kind, f"{where}: {self._why}")
        if self._subscriptions is not None and self.connected:
            for topic, why in self._subscriptions.refused.items():
                yield Trouble("mqtt_refused", f"{where}: {topic}: {why}", topic)
        if self._lost is not None:
            yield Trouble("mqtt_session_lost", f"{where}: at {self._lost}", self._lost)
        if self.connected == V5 and self._session_s is not None and self._session_s < _SHORT_S:
            kept = duration(self._session_s * 1000)
            yield Trouble("mqtt_session_short", f"{where}: it keeps our session for {kept}")
        if self._memory.full:
            yield Trouble("mqtt_flooded", where)
        for gateway, kind in ((True, "gateway_offline"), (False, "device_offline")):
            if gone := sorted(
                {
                    at.who
                    for at, its in self._memory.presence.items()
                    if not its.online and its.gateway == gateway and at.preset in self._reading.names
                }
            ):
                more = f", and {len(gone) - _NAMED} more" if len(gone) > _NAMED else ""
                yield Trouble(kind, f"{self.name}: {', '.join(gone[:_NAMED])}{more}")

    def pieces_of(self, held: Held, names: Names) -> Sequence[Piece]:
        """A message that is held, read again; see :class:`iotd.sources.base.Telling`."""
        if held.form != FORM:
            raise Refused("can't be read again", f"{held.form or 'it'} is of no form that {self.name} reads")
        delivery = Delivery(held.payload)
        read = self._reading.read(held.topic, delivery, len(held.payload), self._memory.notes, names)
        if not read.preset:
            raise Refused("unknown topic", f"no preset and no rule of {self.name} reads {held.topic!r:.200} any more")
        return [read.piece] if read.piece is not None else []
