"""A connection to a broker: what is written to a broken one is lost, and nothing else happens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from iotd.config.sections.mqtt import Broker
from iotd.sources.mqtt import packets
from iotd.sources.mqtt.connection import Connection, connect
from iotd.sources.mqtt.link import BrokerAway
from iotd.sources.mqtt.packets import V311

_CONNACK = b"\x20\x02\x00\x00"
_PUBACK = 4

Served = tuple[Connection, asyncio.StreamReader, asyncio.StreamWriter]


async def _connected(use: Callable[[Served], Awaitable[None]]) -> None:
    """A connection to somebody who says that it has let us in, and what came to them behind CONNECT."""
    served: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
        asyncio.get_running_loop().create_future()
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(2)
        writer.write(_CONNACK)
        served.set_result((reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        connection = await connect(Broker(url=f"mqtt://127.0.0.1:{port}", version="3.1.1"), "c")
        try:
            reader, writer = await served
            await reader.readuntil(b"\x00\x01c")
            await use((connection, reader, writer))
            writer.close()
        finally:
            await connection.close()
    finally:
        server.close()


def _run(use: Callable[[Served], Awaitable[None]]) -> list[object]:
    """Runs it on the daemon's loop; what came to the loop's handler of exceptions."""
    wrong: list[object] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: wrong.append(what))
        await _connected(use)
        await asyncio.sleep(0)

    uvloop.run(run())
    return wrong


def test_acknowledging_over_a_connection_that_broke_changes_nothing() -> None:
    async def use(served: Served) -> None:
        connection, _, writer = served
        writer.transport.abort()
        with pytest.raises(BrokerAway):
            await connection.receive()
        for _ in range(3):
            connection.acknowledge([1, 2])
            await asyncio.sleep(0)

    assert _run(use) == []


def test_acknowledging_after_taking_leave_changes_nothing() -> None:
    async def use(served: Served) -> None:
        connection, reader, _ = served
        connection.acknowledge([7])
        await connection.close()
        connection.acknowledge([8])
        await asyncio.sleep(0)
        sent = await reader.read()
        assert sent == packets.puback([7]) + packets.PINGREQ + packets.disconnect(V311)

    assert _run(use) == []


def test_pubacks_that_are_due_at_once_go_together_in_their_order_before_the_ping_that_asks_for_them() -> None:
    async def use(served: Served) -> None:
        connection, reader, writer = served
        for ids in ([3, 1], [], [2]):
            connection.acknowledge(ids)
        assert connection.acknowledged == 3
        sent = await reader.readexactly(3 * _PUBACK + 2)
        assert sent == packets.puback([3, 1, 2]) + packets.PINGREQ
        assert connection.confirmed == 0
        connection.acknowledge([4])
        assert await reader.readexactly(_PUBACK) == packets.puback([4])
        writer.write(b"\xd0\x00")
        await connection.receive()
        assert connection.confirmed == 3  # the fourth was sent behind the ping
        assert await reader.readexactly(2) == packets.PINGREQ
        writer.write(b"\xd0\x00")
        await connection.receive()
        assert connection.confirmed == 4

    assert _run(use) == []
