"""What a shard takes at best, and what other clients make of it: readings that are ready to be sent."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import coredis
import hiredis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from iotd.config import Address
from iotd.shards.connection import pack

PEER_AT_ONCE = 100
_WINDOW = 4

Chunk = tuple[bytes, int]
"""TS.MADD commands in RESP, and how many they are."""
Samples = list[tuple[bytes | str | memoryview, int | str, int | float | str]]
"""(key, ms, value), typed as coredis takes them."""


def bare(address: Address, chunks: Sequence[Chunk], held: bool) -> None:
    """Pipelines over a blocking socket, replies parsed by hiredis.

    Args:
        held: waits until master and replica have all of it on disk.
    """
    with socket.create_connection(address) as link:
        reader = hiredis.Reader()
        owed = 0
        last: Any = None

        def receive(upto: int) -> None:
            nonlocal owed, last
            while owed > upto:
                reader.feed(link.recv(1 << 18))
                while (reply := reader.gets()) is not False:
                    assert isinstance(reply, list), reply
                    last = reply
                    owed -= 1

        for payload, commands in chunks:
            link.sendall(payload)
            owed += commands
            receive(_WINDOW * commands)
        receive(0)
        if held:
            link.sendall(pack(["WAITAOF", 1, 1, 20_000]))
            owed = 1
            receive(0)
            assert last == [1, 1], last


async def redis_py(address: Address, samples: Samples) -> None:
    """redis-py's TS.MADD, one after the other."""
    client = redis.asyncio.Redis(host=address.host, port=address.port, protocol=2, retry=Retry(NoBackoff(), 0))
    async with client:
        series = client.ts()
        for start in range(0, len(samples), PEER_AT_ONCE):
            await series.madd(samples[start : start + PEER_AT_ONCE])


async def by_coredis(address: Address, samples: Samples) -> None:
    """coredis's TS.MADD, one after the other."""
    client: coredis.Redis[bytes] = coredis.Redis(host=address.host, port=address.port)
    async with client:
        for start in range(0, len(samples), PEER_AT_ONCE):
            await client.timeseries.madd(samples[start : start + PEER_AT_ONCE])
