"""A relay: what comes to one port goes on to another, as through the published port of a container."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from iotd.config import Address


@asynccontextmanager
async def relay(listen: Address, to: Address) -> AsyncIterator[None]:
    """Passes bytes both ways between whoever connects to ``listen`` and ``to``, until the context ends."""
    passing: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward, back = await asyncio.open_connection(*to)
        except OSError:
            writer.close()
            return
        for task in (asyncio.ensure_future(copy(reader, back)), asyncio.ensure_future(copy(onward, writer))):
            passing.add(task)
            task.add_done_callback(passing.discard)

    server = await asyncio.start_server(serve, *listen)
    try:
        yield
    finally:
        server.close()
        for task in list(passing):
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)
