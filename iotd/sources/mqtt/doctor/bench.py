"""Clients of the experiments: sessions, topics and messages of their own, all of it gone afterwards."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal

from iotd.config.sections.mqtt import Broker
from iotd.model.errors import IotdError
from iotd.sources.mqtt.connection import Connection, connect
from iotd.sources.mqtt.link import BrokerAway
from iotd.sources.mqtt.packets import Publish

_ROOT = "iotd/doctor"
_WINDOW = 100
"""Messages that we publish before the first of them is acknowledged."""
_PATIENCE_S = 20.0
"""So long a broker may take for an answer."""
LARGEST = 1024**2
"""Bytes of a payload."""
VERSIONS: Sequence[Literal["5", "3.1.1"]] = ("5", "3.1.1")


class Client:
    """A connection that is read all the time.

    Attributes:
        messages: those that have come.
    """

    def __init__(self, connection: Connection, base: str, *, acknowledges: bool) -> None:
        self.connection = connection
        self._base = base
        self.messages: list[Publish] = []
        self._acknowledges = acknowledges
        self._came = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            found = await self.connection.receive()
            self.messages += found
            if self._acknowledges and (ids := [one.id for one in found if one.qos]):
                self.connection.acknowledge(ids)
            self._came.set()

    async def subscribe(self, *topics: str) -> Sequence[int]:
        """Subscribes at QoS 1; the broker's codes.

        Raises:
            BrokerAway: the connection broke, or no answer came.
        """
        return (await self._answers(self.connection.subscribe((topic, True) for topic in topics)))[0]

    async def publish(self, topic: str, payloads: Sequence[bytes], *, qos: int = 1, retain: bool = False) -> int:
        """Publishes; how many the broker has acknowledged as taken (at QoS 0: all, once it has read them).

        Raises:
            BrokerAway: the connection broke, or no answer came.
        """
        taken = 0
        window = max(1, min(_WINDOW, self.connection.receive_maximum))
        for at in range(0, len(payloads), window):
            some = payloads[at : at + window]
            sent = [self.connection.publish(topic, one, qos=qos, retain=retain) for one in some]
            taken += sum(codes[0] < 0x80 for codes in await self._answers(*sent))
        if not qos:  # it reads one after the other
            await self._answers(self.connection.publish(f"{self._base}/read", b"", qos=1))
        return taken

    async def until(self, count: int, *, quiet_s: float = 2.0) -> list[Publish]:
        """The messages, once there are so many, or nothing has come for so long."""
        while len(self.messages) < count and not self._reading.done():
            self._came.clear()
            try:
                async with asyncio.timeout(quiet_s):
                    await self._came.wait()
            except TimeoutError:
                break
        return self.messages

    async def ended(self, limit_s: float) -> bool:
        """Whether the broker ends the connection within so long."""
        await asyncio.wait((self._reading,), timeout=limit_s)
        return self._reading.done()

    async def close(self) -> None:
        """Takes leave."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self.connection.close()

    async def _answers(self, *asked: asyncio.Future[Sequence[int]]) -> list[Sequence[int]]:
        answers = asyncio.gather(*asked)
        try:
            await asyncio.wait((answers, self._reading), timeout=_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
            if answers.done():
                return answers.result()
            if self._reading.done():
                self._reading.result()
            raise BrokerAway(f"no answer within {_PATIENCE_S:.0f} s")
        finally:
            if not answers.done():
                answers.cancel()
                await asyncio.gather(answers, return_exceptions=True)


class Bench:
    """Where experiments are made.

    Attributes:
        broker: with bounds of our own.
        base: what all topics begin with.
        version: of the protocol, the newest that the broker speaks, as people write it.
    """

    def __init__(self, broker: Broker, version: str) -> None:
        self.broker = broker.model_copy(update={"payload_limit": 16 * LARGEST})
        self.version = version
        self._token = secrets.token_hex(6)
        self.base = f"{_ROOT}/{self._token}"
        self._clients: list[Client] = []
        self._sessions: dict[str, str] = {}
        self._retained: set[str] = set()

    async def client(self, version: str | None = None, *, acknowledges: bool = True) -> Client:
        """One without a session.

        Raises:
            BrokerAway, BrokerRefuses, ProtocolBroken: it can't connect.
        """
        name = f"iotd-doctor-{self._token}-{len(self._clients)}"
        return await self._connect(name, version or self.version, clean=True, acknowledges=acknowledges)

    async def with_session(self, name: str, version: str | None = None) -> Client:
        """One with a session that stays when it leaves; called again, it goes on with it.

        Raises:
            BrokerAway, BrokerRefuses, ProtocolBroken: it can't connect.
        """
        name = f"iotd-doctor-{self._token}-{name}"
        self._sessions[name] = version or self.version
        return await self._connect(name, version or self.version, clean=False, acknowledges=True)

    async def _connect(self, name: str, version: str, *, clean: bool, acknowledges: bool) -> Client:
        broker = self.broker.model_copy(update={"version": version})
        client = Client(await connect(broker, name, clean=clean), self.base, acknowledges=acknowledges)
        self._clients.append(client)
        return client

    async def retain(self, client: Client, topic: str, payload: bytes) -> int:
        """Publishes a message that the broker is to keep; 0 where it is not taken."""
        self._retained.add(topic)
        return await client.publish(topic, [payload], retain=True)

    async def absent(self, name: str, payloads: Sequence[bytes], *, qos: int) -> tuple[int, list[Publish]]:
        """Publishes for a subscriber with a session that is away, and has it come back.

        Returns:
            how many the broker has acknowledged, and what has arrived, each once.

        Raises:
            BrokerAway, BrokerRefuses, ProtocolBroken: it goes wrong.
        """
        topic = f"{self.base}/{name}"
        subscriber = await self.with_session(name)
        await subscriber.subscribe(topic)
        await subscriber.close()
        publisher = await self.client()
        taken = await publisher.publish(topic, payloads, qos=qos)
        await publisher.close()
        back = await self.with_session(name)
        found = await back.until(len(payloads))
        await back.close()
        return taken, list({one.payload: one for one in found}.values())

    async def clean(self) -> bool:
        """Ends all that was made; False: something stays at the broker."""
        for client in self._clients:
            await client.close()
        try:
            if self._retained:
                remover = await self.client()
                for topic in self._retained:
                    await remover.publish(topic, [b""], retain=True)
                await remover.close()
            for name, version in self._sessions.items():
                await (await self._connect(name, version, clean=True, acknowledges=True)).close()
        except IotdError:
            return False
        return True


async def versions_of(broker: Broker) -> list[str]:
    """The versions of the protocol that a broker speaks, the newest first.

    Raises:
        BrokerAway, BrokerRefuses, ProtocolBroken: it lets us in with none.
    """
    found: list[str] = []
    why: IotdError | None = None
    for version in VERSIONS:
        bench = Bench(broker, version)
        try:
            await bench.client()
            found.append(version)
        except IotdError as e:
            why = e
        finally:
            with suppress(IotdError):
                await bench.clean()
    if not found and why is not None:
        raise why
    return found
