"""The client of MQTT alone: ours beside paho-mqtt on the event loop, and beside bytes that nobody looks at.

All drain the same backlog of a real mosquitto over MQTT 3.1.1, and acknowledge a message only after a group fsync of a
bare file that its payload was written to. They are done when the broker has answered to what was sent behind the last
PUBACK.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from iotd.config.sections.mqtt import Broker as BrokerSettings
from iotd.sources.mqtt import packets
from iotd.sources.mqtt.connection import Connection, connect
from iotd.sources.mqtt.decoder import Decoder
from iotd.sources.mqtt.packets import V311, Publish
from tests.benchmarks.frame import Benchmark, Case
from tests.servers.mosquitto import Broker, mosquitto

_MESSAGES = 50_000
_CLIENT = "drains"
_LENGTH = 36
"""Bytes of a payload."""
_TOPIC_LENGTH = 12
_PACKET = 2 + 2 + _TOPIC_LENGTH + 2 + _LENGTH
_AT_ONCE = 500
_LOOK_S = 0.002


class Synced:
    """A file; what was appended together is acknowledged after one fsync.

    Attributes:
        done: when all messages are acknowledged.
    """

    def __init__(self, path: Path, acknowledge: Callable[[Sequence[int]], None]) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self._file = path.open("wb", buffering=0)
        self._acknowledge = acknowledge
        self._data: list[bytes] = []
        self._ids: list[int] = []
        self._acknowledged = 0
        self._syncing: asyncio.Task[None] | None = None

    def take(self, data: Sequence[bytes], ids: Sequence[int]) -> None:
        """Payloads, and the packet ids of their messages."""
        self._data += data
        self._ids += ids
        if self._syncing is None:
            self._syncing = asyncio.create_task(self._sync())

    async def _sync(self) -> None:
        while self._ids:
            data, self._data, ids, self._ids = self._data, [], self._ids, []
            await asyncio.to_thread(self._write, data)
            self._acknowledge(ids)
            self._acknowledged += len(ids)
        self._syncing = None
        if self._acknowledged == _MESSAGES:
            self._file.close()
            self.done.set_result(None)

    def _write(self, data: Sequence[bytes]) -> None:
        self._file.write(b"".join(data))
        os.fdatasync(self._file.fileno())


async def _session(broker: Broker) -> Connection:
    return await connect(BrokerSettings(url=broker.url(), version="3.1.1"), _CLIENT)


async def fill(broker: Broker) -> None:
    """Queues the messages for the session."""
    connection = await _session(broker)
    subscribed = connection.subscribe([("bench/+", True)])
    while not subscribed.done():
        await connection.receive()
    await connection.close()
    publisher = await connect(BrokerSettings(url=broker.url(), version="3.1.1"), "fills", clean=True)
    for begin in range(0, _MESSAGES, _AT_ONCE):
        answers = [
            publisher.publish(f"bench/{n % 240:06}", f"{n:0{_LENGTH}}".encode(), qos=1)
            for n in range(begin, begin + _AT_ONCE)
        ]
        while not all(answer.done() for answer in answers):
            await publisher.receive()
    await publisher.close()


async def ours(broker: Broker, file: Path) -> int:
    """Drains by :mod:`iotd.sources.mqtt.connection`."""
    connection = await _session(broker)
    synced = Synced(file, connection.acknowledge)
    receiving = asyncio.create_task(_receive(connection, synced))
    await synced.done
    while connection.confirmed < _MESSAGES:
        await asyncio.sleep(_LOOK_S)
    receiving.cancel()
    await connection.close()
    return _MESSAGES


async def _receive(connection: Connection, synced: Synced) -> None:
    while True:
        if messages := await connection.receive():
            synced.take([one.payload for one in messages], [one.id for one in messages])


async def paho(broker: Broker, file: Path) -> int:
    """Drains by paho-mqtt, whose socket the loop watches."""
    from paho.mqtt.client import Client, MQTTMessage
    from paho.mqtt.enums import CallbackAPIVersion

    loop = asyncio.get_running_loop()
    client = Client(CallbackAPIVersion.VERSION2, _CLIENT, clean_session=False, manual_ack=True)

    def acknowledge(ids: Sequence[int]) -> None:
        for id_ in ids:
            client.ack(id_, 1)

    synced = Synced(file, acknowledge)

    def message(_client: Client, _data: object, one: MQTTMessage) -> None:
        synced.take([bytes(one.payload)], [one.mid])

    def opened(_client: Client, _data: object, its: Any) -> None:
        loop.add_reader(its, client.loop_read)

    def writes(_client: Client, _data: object, its: Any) -> None:
        loop.add_writer(its, client.loop_write)

    def written(_client: Client, _data: object, its: Any) -> None:
        loop.remove_writer(its)

    def closed(_client: Client, _data: object, its: Any) -> None:
        loop.remove_reader(its)

    client.on_message = message
    client.on_socket_open, client.on_socket_close = opened, closed
    client.on_socket_register_write, client.on_socket_unregister_write = writes, written
    client.connect("127.0.0.1", broker.port)
    await synced.done
    last = client.publish("bench-end", qos=1)
    while not last.is_published():
        await asyncio.sleep(_LOOK_S)
    client.disconnect()
    return _MESSAGES


async def bytes_alone(broker: Broker, file: Path) -> int:
    """Drains without looking: all packets have one length, and the broker counts their ids up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port, limit=1 << 16)
    who = {"keep_alive": 60, "clean": False, "username": None, "password": None, "receive_maximum": 65_535}
    writer.write(packets.connect(V311, _CLIENT, **who))  # type: ignore[arg-type]
    await reader.readexactly(4)
    synced = Synced(file, lambda ids: writer.write(packets.puback(ids)))
    first = await reader.readexactly(_PACKET)
    (message,) = Decoder(V311, 1 << 20).feed(first)
    assert isinstance(message, Publish)
    synced.take([message.payload], [message.id])
    count, rest = 1, 0
    while count < _MESSAGES:
        data = await reader.read(1 << 16)
        more, rest = divmod(rest + len(data), _PACKET)
        synced.take([data], [(message.id - 1 + n) % 65_535 + 1 for n in range(count, count + more)])
        count += more
    await synced.done
    writer.write(packets.PINGREQ)
    await reader.readexactly(2)
    writer.write(packets.disconnect(V311))
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    return _MESSAGES


async def _nothing_left(broker: Broker) -> None:
    connection = await _session(broker)
    left: list[Publish] = []
    try:
        async with asyncio.timeout(0.5):
            while True:
                left += await connection.receive()
    except TimeoutError:
        assert not left, f"{len(left)} messages are not acknowledged"
    finally:
        await connection.close()


async def _cases() -> AsyncIterator[Sequence[Case]]:
    with tempfile.TemporaryDirectory(prefix="iotd-bench-") as scratch:
        folder = Path(scratch)
        with mosquitto(folder / "broker", max_queued_messages=0, max_inflight_messages=65_535, log_type="error") as its:

            async def before() -> None:
                await fill(its)

            async def after() -> None:
                await _nothing_left(its)

            yield [
                Case(
                    "bytes",
                    "bytes that nobody looks at",
                    lambda: bytes_alone(its, folder / "f"),
                    "limit",
                    before,
                    after,
                ),
                Case("ours", "iotd's client", lambda: ours(its, folder / "f"), "ours", before, after),
                Case("paho-mqtt", "paho-mqtt on the loop", lambda: paho(its, folder / "f"), "peer", before, after),
            ]


MQTT_CLIENT = Benchmark("mqtt-client", "messages of QoS 1, acknowledged after a group fsync", "messages", _cases)
