"""MQTT over websockets (MQTT 6): packets are a stream of bytes in binary messages, cut anywhere."""

from __future__ import annotations

import asyncio
import ssl

import aiohttp

from iotd.config.sections.mqtt import Broker
from iotd.sources.mqtt.link import CHUNK, BrokerAway, BrokerRefuses, Link
from iotd.sources.mqtt.packets import ProtocolBroken

_LARGEST = 1 << 20
"""Bytes of one message of the websocket; brokers send far smaller ones."""


async def open_websocket(broker: Broker, context: ssl.SSLContext | None) -> Link:
    """Connects.

    Raises:
        BrokerAway: nothing answers there.
        BrokerRefuses: it is no websocket for MQTT.
        ssl.SSLError: the certificate is not trusted, or it is no port with TLS.
    """
    session = aiohttp.ClientSession()
    where = f"{broker.parts.hostname}:{broker.port}"
    try:
        socket = await session.ws_connect(
            broker.parts._replace(scheme="https" if context else "http", path=broker.parts.path or "/mqtt").geturl(),
            protocols=("mqtt",),
            ssl=True if context is None else context,
            max_msg_size=_LARGEST,
            timeout=aiohttp.ClientWSTimeout(ws_close=1),
        )
        if socket.protocol != "mqtt":
            raise BrokerRefuses(f"{where}: it has websockets, and not for MQTT; is the path right?")
    except BaseException as e:
        await session.close()
        raise _told(e, where) from None
    return _WebSocket(session, socket)


def _told(error: BaseException, where: str) -> BaseException:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return error.certificate_error
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return BrokerRefuses(f"{where}: TLS fails ({error}); is it a port with TLS?")
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return BrokerRefuses(f"{where}: no websocket ({error.status} {error.message}); are port and path right?")
    if isinstance(error, aiohttp.ClientError | OSError | ValueError):
        return BrokerAway(f"{where}: can't be reached ({error})")
    return error


class _WebSocket:
    """Bytes of binary messages, of which brokers send one a packet: those that have come are given together."""

    def __init__(self, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._session = session
        self._socket = socket
        self._come = bytearray()
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()
        self._sending: asyncio.Queue[bytes] = asyncio.Queue()
        self._tasks = (asyncio.create_task(self._receive()), asyncio.create_task(self._send()))

    async def read(self) -> bytes:
        while not self._come and not self._tasks[0].done():
            self._changed.clear()
            await self._changed.wait()
        if not self._come:
            self._tasks[0].result()
        data = bytes(self._come)
        self._come.clear()
        self._taken.set()
        return data

    async def _receive(self) -> None:
        try:
            while (message := await self._socket.receive()).type is aiohttp.WSMsgType.BINARY:
                self._come += message.data
                self._changed.set()
                while len(self._come) >= CHUNK:
                    self._taken.clear()
                    await self._taken.wait()
            if message.type is aiohttp.WSMsgType.TEXT:
                raise ProtocolBroken("a text where MQTT has bytes is no MQTT")
        finally:
            asyncio.get_running_loop().call_soon(self._changed.set)  # when it is done

    def write(self, data: bytes) -> None:
        self._sending.put_nowait(data)

    async def _send(self) -> None:
        while True:
            await self._socket.send_bytes(await self._sending.get())
            self._sending.task_done()

    async def close(self) -> None:
        joined = asyncio.ensure_future(self._sending.join())
        await asyncio.wait((joined, self._tasks[1]), timeout=2, return_when=asyncio.FIRST_COMPLETED)
        for task in (joined, *self._tasks):
            task.cancel()
        await asyncio.gather(joined, *self._tasks, return_exceptions=True)
        await self._socket.close()
        await self._session.close()
