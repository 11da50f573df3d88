"""Queries of a day at full rate: of one room, and by unit from all rooms at once.

- ``bare``: one TS.MRANGE to each shard that is asked, over sockets of their own, all at once; the replies parsed by
  hiredis and not looked at.
- ``bytes``: the same, the replies received and thrown away: what the servers give at best.
- ``iotd``: ``query_location_data`` or ``query_by_unit_measure``, which give arrays, joined with the archive.
- ``redis-py``: ``ts().mrange``, a client to each shard, all at once.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import hiredis
import numpy as np
import redis.asyncio

from iotd.config import Address
from iotd.query.result import Readings
from iotd.query.system import ShardingSystem
from iotd.shards.connection import pack
from tests.benchmarks.core import simulated
from tests.benchmarks.frame import LOCATIONS, Benchmark, Case
from tests.benchmarks.load import load
from tests.servers.ports import port_block
from tests.servers.system import System, make_settings, start_system, stop_system

DAY_S = 86_400
_FIRST = 1_790_000_000_000
_LAST = _FIRST + (DAY_S - 1) * 1000

Ask = Callable[[ShardingSystem, float, float], Awaitable[Readings]]
"""The query, over a range in epoch seconds."""


class Query:
    """Shards with a day of readings each, and the ways of asking all of them for what a filter names."""

    def __init__(self, system: System, ask: Ask, where: str) -> None:
        self._system = system
        self._ask = ask
        self._where = where
        self._masters = [shard.master.address for shard in system.topology.shards]

    async def fill(self) -> None:
        """Loads the shards."""
        settings = self._system.settings
        times = np.arange(_FIRST, _LAST + 1, 1000, dtype=np.int64)
        for location in settings.locations:
            async with self._system.connection(f"redis-{location}-master") as link:
                await load(link, simulated(settings, location), settings, times)

    async def bare(self) -> int:
        """One thread per shard, so that none waits for another."""
        return sum(await asyncio.gather(*(asyncio.to_thread(self._bare, master) for master in self._masters)))

    def _bare(self, address: Address) -> int:
        with socket.create_connection(address) as link:
            link.sendall(pack(("TS.MRANGE", _FIRST, _LAST, "FILTER", self._where)))
            reader = hiredis.Reader()
            while (reply := reader.gets()) is False:
                reader.feed(link.recv(1 << 20))
        assert isinstance(reply, list)
        return sum(len(samples) for _, _, samples in reply)

    async def bytes(self) -> int:
        """As :meth:`bare`."""
        return sum(await asyncio.gather(*(asyncio.to_thread(self._bytes, master) for master in self._masters)))

    def _bytes(self, address: Address) -> int:
        with socket.create_connection(address) as link:
            link.sendall(pack(("TS.MRANGE", _FIRST, _LAST, "FILTER", self._where)))
            part = link.recv(1 << 20)
            series = int(part[1 : part.index(b"\r")])
            count = series * DAY_S
            # three lines for a sample, five before those of a series, one before all
            left = 1 + 5 * series + 3 * count - part.count(b"\n")
            while left:
                left -= link.recv(1 << 20).count(b"\n")
        return count

    async def iotd(self) -> int:
        async with ShardingSystem.connect(self._system.config) as system:
            found = await self._ask(system, _FIRST / 1000, (_LAST + 1) / 1000)
        assert found.complete, found.problems
        return len(found)

    async def redis_py(self) -> int:
        return sum(await asyncio.gather(*(self._redis_py(master) for master in self._masters)))

    async def _redis_py(self, address: Address) -> int:
        client = redis.asyncio.Redis(host=address.host, port=address.port, protocol=2, socket_timeout=60)
        async with client:
            found: Any = await client.ts().mrange(_FIRST, _LAST, [self._where])
        return sum(len(samples) for series in found for _, samples in series.values())


async def _cases(locations: Sequence[str], ask: Ask, where: str) -> AsyncIterator[Sequence[Case]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="iotd-bench-")))
        first = stack.enter_context(port_block())
        settings = make_settings(folder, first, locations, redis={"retention": "3650d"}, archive={"store": "none"})
        system = await asyncio.to_thread(start_system, settings)
        stack.callback(stop_system, system)
        ways = Query(system, ask, where)
        await ways.fill()
        yield (
            Case("bare", "TS.MRANGE, parsed by hiredis", ways.bare, "limit"),
            Case("bytes", "TS.MRANGE, not parsed", ways.bytes, "limit"),
            Case("iotd", "joined with the archive, as arrays", ways.iotd),
            Case("redis-py", "ts().mrange", ways.redis_py, "peer"),
        )


async def _of_room(system: ShardingSystem, start: float, end: float) -> Readings:
    return await system.query_location_data("salon", None, start, end)


async def _of_unit(system: ShardingSystem, start: float, end: float) -> Readings:
    return await system.query_by_unit_measure("celsius", start, end)


QUERY_DAY = Benchmark(
    "query-day",
    "24 h at 1 s of the 9 sensors of a room",
    "readings",
    partial(_cases, LOCATIONS[:1], _of_room, "location=salon"),
)
QUERY_UNIT = Benchmark(
    "query-unit",
    "24 h at 1 s of the 15 sensors with a unit, in five shards",
    "readings",
    partial(_cases, LOCATIONS, _of_unit, "unit=celsius"),
)
