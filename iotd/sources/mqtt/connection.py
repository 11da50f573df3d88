"""One connection to a broker: handshake, subscriptions, messages as they are asked for, PUBACKs, keep-alive."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress

from iotd.config.sections.mqtt import Broker
from iotd.ops.systemerrors import said
from iotd.sources.mqtt import packets
from iotd.sources.mqtt.decoder import Decoder
from iotd.sources.mqtt.link import BrokerAway, BrokerEnds, BrokerRefuses, Link
from iotd.sources.mqtt.packets import Connack, Disconnect, Pong, Puback, Publish, Suback
from iotd.sources.mqtt.transport import open_link

_ANSWER_S = 15.0
"""So long a broker may take for an answer to CONNECT."""


class ClientIdTaken(BrokerRefuses):
    """Another client connects with our id: each of the two ends the other's connection."""


class Connection:
    """Made by :func:`connect`. Nothing is read but in :meth:`receive`, which is for one caller.

    Attributes:
        version: of the protocol.
        number: of this connection alone.
        session_present: the broker has kept our session: what came meanwhile follows, and our subscriptions stand.
        session_expiry: seconds for which the broker keeps our session while we are away.
        receive_maximum: messages of QoS 1 that we may have unacknowledged with the broker.
        acknowledged: messages for which a PUBACK was sent.
        confirmed: of these, those whose PUBACK the broker has surely got, since it has answered to what we sent behind.
    """

    def __init__(self, link: Link, broker: Broker, version: int) -> None:
        self.version = version
        self.number = secrets.randbits(48)
        self.session_present = False
        self.session_expiry = packets.FOREVER
        self.receive_maximum = 65_535
        self.acknowledged = 0
        self.confirmed = 0
        self._link = link
        self._keep_alive_s = broker.keep_alive.total_seconds()
        self._decoder = Decoder(version, int(broker.payload_limit))
        self._answers: dict[int, asyncio.Future[Sequence[int]]] = {}
        self._next_id = 0
        self._unsent: list[int] = []
        self._pings: deque[int] = deque()
        self._pinging: asyncio.Task[None] | None = None
        self._ahead: list[Publish] = []
        self._ended: BrokerAway | BrokerRefuses | None = None

    async def handshake(self, broker: Broker, client_id: str, password: str | None, *, clean: bool) -> Connack:
        """Says who we are; the broker's answer, which may be a refusal.

        Raises:
            BrokerAway: the connection broke, or no answer came.
            ProtocolBroken: it is no broker.
        """
        self._link.write(
            packets.connect(
                self.version,
                client_id,
                keep_alive=int(self._keep_alive_s),
                clean=clean,
                username=broker.username,
                password=password,
                receive_maximum=broker.in_flight,
            )
        )
        try:
            async with asyncio.timeout(_ANSWER_S):
                found: list[packets.Packet] = []
                while not found:
                    found = self._decoder.feed(await self._read())
        except TimeoutError:
            raise BrokerAway(f"no answer to CONNECT within {_ANSWER_S:.0f} s") from None
        first, *others = found
        if not isinstance(first, Connack):
            raise packets.ProtocolBroken("the first answer is no CONNACK: it is no broker")
        if first.code == 0:
            self.session_present = first.session_present
            self.session_expiry = first.session_expiry
            self.receive_maximum = first.receive_maximum
            self._ahead = self._sorted(others)
            self._pinging = asyncio.create_task(self._ping())
        return first

    async def receive(self) -> list[Publish]:
        """The messages that have come since, in their order; waits for something, which may be no message.

        Raises:
            BrokerAway: the connection broke, or nothing came for longer than the keep-alive.
            BrokerRefuses: the broker has ended it, and says why.
            ProtocolBroken: what came is no MQTT.
        """
        if self._ahead:
            ahead, self._ahead = self._ahead, []
            return ahead
        if self._ended is not None:
            raise self._ended
        try:
            async with asyncio.timeout(2 * self._keep_alive_s):
                data = await self._read()
        except TimeoutError:
            raise BrokerAway(f"nothing came for {2 * self._keep_alive_s:.0f} s, not even answers to pings") from None
        return self._sorted(self._decoder.feed(data))

    def acknowledge(self, ids: Sequence[int]) -> None:
        """Sends the PUBACKs of messages, in the order in which they came, and asks whether they have arrived.

        Those of calls that follow at once go together.
        """
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._send_acks)
        self._unsent += ids
        self.acknowledged += len(ids)

    def subscribe(self, filters: Iterable[tuple[str, bool]]) -> asyncio.Future[Sequence[int]]:
        """Subscribes at QoS 1, see :func:`packets.subscribe`; the codes come while somebody receives."""
        answer, id_ = self._asked()
        self._link.write(packets.subscribe(self.version, id_, filters))
        return answer

    def unsubscribe(self, filters: Iterable[str]) -> asyncio.Future[Sequence[int]]:
        """Ends subscriptions."""
        answer, id_ = self._asked()
        self._link.write(packets.unsubscribe(self.version, id_, filters))
        return answer

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> asyncio.Future[Sequence[int]]:
        """Publishes; done when the broker has acknowledged it, at QoS 0 at once."""
        answer, id_ = self._asked() if qos else (asyncio.get_running_loop().create_future(), 0)
        if not qos:
            answer.set_result([0])
        self._link.write(packets.publish(self.version, topic, payload, qos=qos, retain=retain, id_=id_))
        return answer

    async def close(self) -> None:
        """Takes leave; the broker keeps the session."""
        if self._pinging is not None:
            self._pinging.cancel()
            await asyncio.gather(self._pinging, return_exceptions=True)
        for answer in self._answers.values():
            answer.cancel()
        with suppress(OSError):
            self._send_acks()
            self._link.write(packets.disconnect(self.version))
        await self._link.close()

    async def _read(self) -> bytes:
        try:
            data = await self._link.read()
        except OSError as e:
            raise BrokerAway(f"the connection broke ({said(e)})") from None
        if not data:
            raise BrokerEnds("the broker has ended the connection")
        return data

    def _sorted(self, found: Iterable[packets.Packet]) -> list[Publish]:
        messages: list[Publish] = []
        for packet in found:
            if type(packet) is Publish:
                messages.append(packet)
            elif isinstance(packet, Pong):
                self.confirmed = max(self.confirmed, self._pings.popleft() if self._pings else 0)
                if self.confirmed < self.acknowledged and not self._pings:
                    self._send_ping()
            elif isinstance(packet, Suback | Puback):
                if (answer := self._answers.pop(packet.id, None)) is not None and not answer.done():
                    answer.set_result(packet.codes if isinstance(packet, Suback) else [packet.code])
            elif isinstance(packet, Disconnect):
                kind = ClientIdTaken if packet.code == packets.TAKEN_OVER else BrokerAway
                self._ended = kind(f"the broker has ended the connection: {packet.reason}")
                break
            else:
                raise packets.ProtocolBroken("a second CONNACK is no MQTT")
        if self._ended is not None and not messages:
            raise self._ended
        return messages

    def _asked(self) -> tuple[asyncio.Future[Sequence[int]], int]:
        self._next_id = self._next_id % 65_535 + 1
        answer: asyncio.Future[Sequence[int]] = asyncio.get_running_loop().create_future()
        self._answers[self._next_id] = answer
        return answer, self._next_id

    def _send_acks(self) -> None:
        if self._unsent:
            self._link.write(packets.puback(self._unsent))
            self._unsent = []
            if not self._pings:
                self._send_ping()

    def _send_ping(self) -> None:
        self._send_acks()  # they are before it, so its answer is one to them
        self._pings.append(self.acknowledged)
        self._link.write(packets.PINGREQ)

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(self._keep_alive_s / 2)
            if len(self._pings) < 8:  # while nothing is read, no answers are either
                self._send_ping()
            else:
                self._link.write(packets.PINGREQ)
                self._pings.append(self._pings[-1])


async def connect(broker: Broker, client_id: str, *, clean: bool = False, version: int | None = None) -> Connection:
    """Connects to a broker, with MQTT 5 where it speaks that.

    Args:
        clean: without a session.
        version: of the protocol, where it is known already.

    Raises:
        BrokerAway: it can't be reached, or is not available now.
        BrokerRefuses: it does not let us in.
        ProtocolBroken: it is no broker.
    """
    wanted = {"5": packets.V5, "3.1.1": packets.V311}.get(broker.version, version)
    if wanted is not None:
        return await _connect(broker, client_id, wanted, clean=clean)
    try:
        return await _connect(broker, client_id, packets.V5, clean=clean)
    except _OtherVersion:
        return await _connect(broker, client_id, packets.V311, clean=clean)


class _OtherVersion(BrokerRefuses):
    """It does not speak this version."""


async def _connect(broker: Broker, client_id: str, version: int, *, clean: bool) -> Connection:
    try:
        password = await asyncio.to_thread(broker.read_password)
    except OSError as e:
        raise BrokerRefuses(f"{broker.password_file}: can't be read ({said(e)}); see password_file") from None
    except ValueError:
        raise BrokerRefuses(f"{broker.password_file}: is no UTF-8 text; see password_file") from None
    link = await open_link(broker)
    connection = Connection(link, broker, version)
    try:
        answer = await connection.handshake(broker, client_id, password, clean=clean)
        if answer.code:
            raise _refusal(answer, version)
    except BrokerAway as e:
        await connection.close()
        # some brokers of 3.1.1 end the connection instead of an answer
        raise (_OtherVersion(str(e)) if version == packets.V5 and broker.version == "auto" else e) from None
    except BaseException:
        await connection.close()
        raise
    return connection


def _refusal(answer: Connack, version: int) -> BrokerAway | BrokerRefuses:
    if version == packets.V5 and answer.code in (1, packets.UNSUPPORTED_VERSION):
        return _OtherVersion(answer.reason)
    message = f"the broker refuses: {answer.reason}"
    for_now = answer.code in (3, 0x88, 0x89, 0x8B, 0x97, 0x9F) if version == packets.V5 else answer.code == 3
    return BrokerAway(message) if for_now else BrokerRefuses(message)
