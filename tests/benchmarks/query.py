"""Queries: a day of one room at full rate, beside TS.MRANGE over a bare connection and by redis-py.

- ``bare``: one TS.MRANGE for all series of the room, its reply parsed by hiredis and not looked at: the server's limit.
- ``iotd``: ``query_location_data``, which gives arrays, joined with the archive.
- ``redis-py``: ``ts().mrange``.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hiredis
import numpy as np
import redis.asyncio

from iotd.query.system import ShardingSystem
from iotd.sensors import Batch, Roster
from iotd.shards.series import make_series
from iotd.sources.signal import Signal
from iotd.wire import Packer
from tests.benchmarks.frame import Benchmark, Case
from tests.servers.ports import port_block
from tests.servers.system import System, make_settings, start_system, stop_system

ROOM = "salon"
DAY_S = 86_400
_AT_ONCE = 1_000


class Query:
    """A shard with a day of readings, and the ways of asking for them."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._roster = Roster.of(ROOM, system.settings.sensors.types, system.settings.sensors.per_type)
        self._first = 1_790_000_000_000
        self._last = self._first + (DAY_S - 1) * 1000

    async def fill(self) -> None:
        """Loads the shard."""
        times = np.arange(self._first, self._last + 1, 1000, dtype=np.int64)
        values = Signal(self._system.settings.simulator.seed, self._roster).values(times)
        packer, n = Packer(self._roster), len(self._roster)
        async with self._system.connection(f"redis-{ROOM}-master") as link:
            await make_series(link, self._roster, self._system.settings.redis)
            for start in range(0, len(times), _AT_ONCE):
                some = times[start : start + _AT_ONCE]
                series = np.tile(np.arange(n, dtype=np.int32), len(some))
                ravelled = values[start : start + _AT_ONCE].ravel()
                packed = packer.pack(Batch(self._roster, series, np.repeat(some, n), ravelled))
                await link.send([packed.payload])
                for _ in range(packed.commands):
                    assert all(type(said) is int for said in await link.receive())

    async def bare(self) -> int:
        return await asyncio.to_thread(self._bare)

    def _bare(self) -> int:
        command = ("TS.MRANGE", self._first, self._last, "FILTER", f"location={ROOM}")
        with socket.create_connection(self._system.topology.shard(ROOM).master.address) as link:
            link.sendall(hiredis.pack_command(command))  # type: ignore[arg-type]
            reader = hiredis.Reader()
            while (reply := reader.gets()) is False:
                reader.feed(link.recv(1 << 20))
        assert isinstance(reply, list)
        return sum(len(samples) for _, _, samples in reply)

    async def iotd(self) -> int:
        async with ShardingSystem.connect(self._system.config) as system:
            found = await system.query_location_data(ROOM, None, self._first / 1000, (self._last + 1) / 1000)
        assert found.complete, found.problems
        return len(found)

    async def redis_py(self) -> int:
        address = self._system.topology.shard(ROOM).master.address
        client = redis.asyncio.Redis(host=address.host, port=address.port, protocol=2, socket_timeout=60)
        async with client:
            found: Any = await client.ts().mrange(self._first, self._last, [f"location={ROOM}"])
        return sum(len(samples) for series in found for _, samples in series.values())


async def _cases() -> AsyncIterator[Sequence[Case]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="iotd-bench-")))
        first = stack.enter_context(port_block())
        settings = make_settings(folder, first, [ROOM], redis={"retention": "3650d"}, archive={"sink": "none"})
        system = await asyncio.to_thread(start_system, settings)
        stack.callback(stop_system, system)
        ways = Query(system)
        await ways.fill()
        yield (
            Case("bare", "TS.MRANGE, parsed by hiredis", ways.bare),
            Case("iotd", "query_location_data", ways.iotd),
            Case("redis-py", "ts().mrange", ways.redis_py),
        )


QUERY_DAY = Benchmark("query-day", "24 h at 1 s of the 9 sensors of a room", "readings", _cases)
