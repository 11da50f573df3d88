"""Asking a daemon's HTTP server, politely and otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import aiohttp

from iotd.config import Settings


async def get(settings: Settings, path: str, **headers: str) -> tuple[int, str, Mapping[str, str]]:
    """Status, text and headers of an answer."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as session,
        session.get(f"http://{settings.http.host}:{settings.http.port}{path}", headers=headers) as response,
    ):
        return response.status, await response.text(), response.headers


async def metrics(settings: Settings) -> dict[str, float]:
    """All samples of /metrics, by name and labels as they are written."""
    _, text, _ = await get(settings, "/metrics")
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


async def raw(settings: Settings, sent: bytes, *, limit: float = 20) -> bytes:
    """What comes back, until the server closes, for bytes that may be anything.

    Raises:
        TimeoutError: the server keeps the connection open for longer.
    """
    reader, writer = await asyncio.open_connection(settings.http.host, settings.http.port)
    try:
        with suppress(ConnectionError):
            writer.write(sent)
            await writer.drain()
        async with asyncio.timeout(limit):
            try:
                return await reader.read()
            except ConnectionError:
                return b""
    finally:
        writer.close()
