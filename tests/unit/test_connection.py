"""A connection that breaks while it is used."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from iotd.config.tree import Redis
from iotd.config.values import Address
from iotd.model.errors import ShardUnavailable
from iotd.shards.connection import Connection


def test_a_transport_that_was_closed_under_us_is_an_unavailable_shard_on_uvloop_too() -> None:
    async def play() -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        link = await Connection.open(Address(host, port), Redis(), connect_timeout=5, response_timeout=5)
        writer = link._link._writer
        assert writer is not None
        writer.transport.abort()
        await asyncio.sleep(0)
        try:
            with pytest.raises(ShardUnavailable):
                await link.send([b"*1\r\n$4\r\nPING\r\n"])
            with pytest.raises(ShardUnavailable):
                await link.call("PING")
        finally:
            await link.close()
            server.close()

    uvloop.run(play())
