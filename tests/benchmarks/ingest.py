"""Ingest: readings into shards with a replica, the full way, beside what the server takes at best and what others do.

- ``bare``: TS.MADD bytes packed ahead, pipelined over a blocking socket, replies parsed by hiredis: the server's limit.
- ``bare-held``: the same, and then WAITAOF, until master and replica have all of it on disk.
- ``written``: simulator, spool (fsync), writer; counted when the masters have answered.
- ``held``: the same with the fences; counted when master and replica have all of it on disk, and the spool may let go.
- ``redis-py``, ``coredis``: their own TS.MADD of a hundred readings, one after the other, acknowledged by the master
  alone. A part of the readings only, for it takes long.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import coredis
import hiredis
import numpy as np
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from iotd.config import Address
from iotd.model.roster import Roster
from iotd.pipeline.queue import Queue
from iotd.shards.connection import pack
from iotd.shards.series import make_series
from iotd.shards.service import ShardService
from iotd.sources.signal import Signal
from iotd.sources.simulator import Simulator
from iotd.wire.commands import Packer
from tests.benchmarks.frame import LOCATIONS, Benchmark, Case
from tests.servers.ports import port_block
from tests.servers.system import System, make_settings, start_system, stop_system

_NOW = 1_790_000_000_000
_PEER_PART = 10
_PEER_AT_ONCE = 100
_WINDOW = 4
_CHUNK = 4_800
"""Readings in one chunk of ``bare``."""


@dataclass(frozen=True)
class Load:
    """What is written: so many sensors per type and location, so many readings of each, ``step`` ms apart."""

    locations: Sequence[str]
    per_type: int
    times: int
    step: int

    @property
    def sensors(self) -> int:
        return 3 * self.per_type

    @property
    def count(self) -> int:
        """Readings in each shard."""
        return self.sensors * self.times


Samples = list[tuple[bytes | str | memoryview, int | str, int | float | str]]
"""(key, ms, value), typed as coredis takes them."""


class StoppedClock:
    """It is always the same time."""

    def now(self) -> int:
        return _NOW

    async def sleep(self, ms: float) -> None:
        await asyncio.sleep(3600)


class Ingest:
    """Shards, emptied before each run, and the ways into them."""

    def __init__(self, load: Load, system: System, folder: Path) -> None:
        self._load = load
        self._system = system
        self._folder = folder
        self._settings = system.settings
        self._rosters = {name: Roster.of(name, self._settings.sensors.types, load.per_type) for name in load.locations}
        self._times = np.arange(_NOW - (load.times - 1) * load.step, _NOW + 1, load.step, dtype=np.int64)
        self._chunks = {name: list(self._packed(roster)) for name, roster in self._rosters.items()}

    def _master(self, location: str) -> Address:
        return self._system.topology.shard(location).master.address

    def _packed(self, roster: Roster) -> list[tuple[bytes, int]]:
        signal, packer = Signal(self._settings.simulator.seed, roster), Packer(roster)
        chunks = []
        at_once = _CHUNK // len(roster)
        for start in range(0, len(self._times), at_once):
            packed = packer.pack(signal.batch(self._times[start : start + at_once]))
            chunks.append((packed.payload, packed.commands))
        return chunks

    async def empty(self) -> None:
        """Every shard holds empty series, and its replica has them."""
        for location, roster in self._rosters.items():
            async with self._system.connection(f"redis-{location}-master") as link:
                await link.call("FLUSHALL")
                await make_series(link, roster, self._settings.redis)
                await link.call("WAITAOF", 1, 1, 5000)

    # ── the ways ──

    async def bare(self) -> int:
        """One thread per shard, so that none waits for another."""
        return await self._bare_threads(held=False)

    async def bare_held(self) -> int:
        """The same, until both nodes have it on disk."""
        return await self._bare_threads(held=True)

    async def _bare_threads(self, held: bool) -> int:
        parts = ((self._master(name), self._chunks[name]) for name in self._load.locations)
        return sum(await asyncio.gather(*(asyncio.to_thread(self._bare, *part, held) for part in parts)))

    def _bare(self, address: Address, chunks: Sequence[tuple[bytes, int]], held: bool) -> int:
        with socket.create_connection(address) as link:
            reader = hiredis.Reader()
            owed = [0]
            last: list[Any] = [None]

            def receive(upto: int) -> None:
                while owed[0] > upto:
                    reader.feed(link.recv(1 << 18))
                    while (reply := reader.gets()) is not False:
                        assert isinstance(reply, list), reply
                        last[0] = reply
                        owed[0] -= 1

            for payload, commands in chunks:
                link.sendall(payload)
                owed[0] += commands
                receive(_WINDOW * commands)
            receive(0)
            if held:
                link.sendall(pack(["WAITAOF", 1, 1, 20_000]))
                owed[0] = 1
                receive(0)
                assert last[0] == [1, 1], last
        return self._load.count

    async def written(self) -> int:
        """Everything but the event loop is made anew, as at a start of the daemon."""
        return await self._from_source(_written)

    async def held(self) -> int:
        """The same, until both nodes have it on disk."""
        return await self._from_source(Queue.drained)

    async def _from_source(self, there: Callable[[Queue], Awaitable[None]]) -> int:
        queue = self._queue()
        async with self._writers(queue):
            done = await self._hand_over(queue)
            await there(queue)
        await queue.close()
        return done

    async def wait_in_the_spool(self) -> None:
        """Empty shards, and all readings in a spool that nobody reads yet."""
        await self.empty()
        self._waiting = self._queue()
        await self._hand_over(self._waiting)

    async def catch_up(self) -> int:
        """What waits in the spool comes into the shards."""
        return await self._from_spool(_written)

    async def catch_up_held(self) -> int:
        """The same, until both nodes have it on disk."""
        return await self._from_spool(Queue.drained)

    async def _from_spool(self, there: Callable[[Queue], Awaitable[None]]) -> int:
        async with self._writers(self._waiting):
            await there(self._waiting)
        return len(self._load.locations) * self._load.count

    async def close_spool(self) -> None:
        await self._waiting.close()

    def _queue(self) -> Queue:
        return Queue(self._settings, Path(tempfile.mkdtemp(dir=self._folder)), self._rosters.values())

    async def _hand_over(self, queue: Queue) -> int:
        sources = [Simulator(self._settings, roster, queue, StoppedClock()) for roster in self._rosters.values()]
        days = self._load.times * self._load.step / 86_400_000
        done = sum(await asyncio.gather(*(source.history(days) for source in sources)))
        assert done == len(self._load.locations) * self._load.count
        return done

    @asynccontextmanager
    async def _writers(self, queue: Queue) -> AsyncIterator[None]:
        state = queue.spool.path.parent
        shards = [
            ShardService(shard, self._rosters[shard.location], queue, self._settings, state, late=_nobody)
            for shard in self._system.topology.shards
        ]
        tasks = [asyncio.create_task(shard.run()) for shard in shards]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def redis_py(self) -> int:
        """A client per shard."""
        return await self._peers(self._redis_py)

    async def _redis_py(self, address: Address, samples: Samples) -> None:
        client = redis.asyncio.Redis(host=address.host, port=address.port, protocol=2, retry=Retry(NoBackoff(), 0))
        async with client:
            series = client.ts()
            for start in range(0, len(samples), _PEER_AT_ONCE):
                await series.madd(samples[start : start + _PEER_AT_ONCE])

    async def coredis(self) -> int:
        """A client per shard."""
        return await self._peers(self._coredis)

    async def _coredis(self, address: Address, samples: Samples) -> None:
        client: coredis.Redis[bytes] = coredis.Redis(host=address.host, port=address.port)
        async with client:
            for start in range(0, len(samples), _PEER_AT_ONCE):
                await client.timeseries.madd(samples[start : start + _PEER_AT_ONCE])

    async def _peers(self, write: Callable[[Address, Samples], Awaitable[None]]) -> int:
        parts = {name: self._samples(roster) for name, roster in self._rosters.items()}
        await asyncio.gather(*(write(self._master(name), samples) for name, samples in parts.items()))
        return sum(map(len, parts.values()))

    def _samples(self, roster: Roster) -> Samples:
        times = self._times[: self._load.times // _PEER_PART]
        values = Signal(self._settings.simulator.seed, roster).values(times).tolist()
        keys = [sensor.key for sensor in roster]
        return [
            (key, time, value)
            for time, row in zip(times.tolist(), values, strict=True)
            for key, value in zip(keys, row, strict=True)
        ]


async def _written(queue: Queue) -> None:
    await asyncio.gather(*(lane.wait_applied(lane.handed - 1) for lane in queue.lanes.values()))


async def _nobody(location: str, first: int, last: int) -> None:
    """There is no archive that could have passed them."""


@asynccontextmanager
async def _ways(load: Load) -> AsyncIterator[Ingest]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="iotd-bench-")))
        first = stack.enter_context(port_block())
        settings = make_settings(
            folder,
            first,
            load.locations,
            sensors={"per_type": load.per_type, "interval": f"{load.step}ms"},
            simulator={"history_step": f"{load.step}ms"},
            redis={"retention": "3650d"},
            archive={"sink": "none"},
        )
        system = await asyncio.to_thread(start_system, settings)
        stack.callback(stop_system, system)
        yield Ingest(load, system, folder)


async def _cases(load: Load) -> AsyncIterator[Sequence[Case]]:
    async with _ways(load) as ways:
        yield (
            Case("bare", "TS.MADD packed ahead", ways.bare, "limit", ways.empty),
            Case("bare-held", "the same, and WAITAOF", ways.bare_held, "limit", ways.empty),
            Case("written", "simulator, spool, writer", ways.written, "ours", ways.empty),
            Case("held", "simulator, spool, writer, fence", ways.held, "ours", ways.empty),
            Case("redis-py", "madd of 100", ways.redis_py, "peer", ways.empty),
            Case("coredis", "madd of 100", ways.coredis, "peer", ways.empty),
        )


async def _catching_up(load: Load) -> AsyncIterator[Sequence[Case]]:
    async with _ways(load) as ways:
        spooled = ways.wait_in_the_spool
        yield (
            Case("bare", "appends of TS.MADD packed ahead", ways.bare, "limit", ways.empty),
            Case("bare-held", "the same, and WAITAOF", ways.bare_held, "limit", ways.empty),
            Case("written", "out of the spool", ways.catch_up, "ours", spooled, ways.close_spool),
            Case("held", "out of the spool, with the fence", ways.catch_up_held, "ours", spooled, ways.close_spool),
        )


def _benchmark(name: str, what: str, load: Load) -> Benchmark:
    return Benchmark(name, what, "readings", partial(_cases, load))


INGEST_ONE = _benchmark("ingest-1", "3 million readings into one shard", Load(LOCATIONS[:1], 100, 10_000, 1_000))
INGEST_FIVE = _benchmark("ingest-5", "2 million readings into each of five shards", Load(LOCATIONS, 200, 3_334, 1_000))
HISTORY = _benchmark("history", "7 days at 10 s of 45 sensors into five shards", Load(LOCATIONS, 3, 60_480, 10_000))
CATCHING_UP = Benchmark(
    "catching-up",
    "600,000 readings that wait in the spool, into one shard",
    "readings",
    partial(_catching_up, Load(LOCATIONS[:1], 100, 2_000, 1_000)),
)
