"""Ingest: readings into shards with a replica, the full way, beside what the server takes at best and what others do.

- ``bare``: TS.MADD bytes packed ahead, pipelined over a blocking socket, replies parsed by hiredis: the server's limit.
- ``bare-held``: the same, and then WAITAOF, until master and replica have all of it on disk.
- ``written``: simulator, intake, log (fsync), shard writer; counted when the masters have answered.
- ``held``: the same with the checkpoints; counted when master and replica have all of it on disk, and the log may
  truncate it.
- ``redis-py``, ``coredis``: their own TS.MADD of a hundred readings, one after the other, acknowledged by the master
  alone. A part of the readings only, for it takes long.

``ingest-raw`` compares values: two decimals below 1000, as the simulator gives them; two decimals from 1000 on; and
doubles that nobody has rounded. They are handed over as batches made before, each awaited as a source awaits its own.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil

from iotd.config import Address
from iotd.model.batch import Batch, Times, Values
from iotd.shards.identity import Identity, write
from iotd.shards.madd import Packer
from iotd.shards.series import make_series
from iotd.sources.simulator.signal import Signal
from iotd.sources.simulator.source import Simulator, source_name
from tests.benchmarks.core import SYSTEM, Core, simulated
from tests.benchmarks.frame import LOCATIONS, Benchmark, Case
from tests.benchmarks.limits import Chunk, Samples, bare, by_coredis, redis_py
from tests.servers.ports import port_block
from tests.servers.system import System, make_settings, server_pids, start_system, stop_system

_NOW = 1_790_000_000_000
_PEER_PART = 10
_CHUNK = 4_800
"""Readings in one chunk of ``bare``."""
_BATCH = 16_384
_AHEAD = 3
"""Readings in a batch of ``ingest-raw``, and batches under way at once: as the simulator has them."""

VALUES: Mapping[str, Callable[[Values], Values]] = {
    "simulated": lambda values: values,
    "from-1000": lambda values: np.rint(values * 100) / 100 + 1_000.0,
    "raw": lambda values: values * (1.0 + np.random.default_rng(1).random(values.shape) / 1_000),
}
"""What becomes of the simulator's values."""


@dataclass(frozen=True)
class Load:
    """What is written: so many sensors per type and location, so many readings of each, ``step`` ms apart."""

    locations: Sequence[str]
    per_type: int
    times: int
    step: int

    @property
    def count(self) -> int:
        """Readings in each shard."""
        return 3 * self.per_type * self.times


class StoppedClock:
    """It is always the same time."""

    def now(self) -> int:
        return _NOW

    async def sleep(self, ms: float) -> None:
        await asyncio.sleep(3600)

    async def certain(self) -> None:
        return


class Ingest:
    """Shards, emptied before each run, and the ways into them."""

    def __init__(self, load: Load, system: System, folder: Path) -> None:
        self._load = load
        self._system = system
        self._folder = folder
        self._settings = system.settings
        self._series = {name: simulated(self._settings, name) for name in load.locations}
        self._times = np.arange(_NOW - (load.times - 1) * load.step, _NOW + 1, load.step, dtype=np.int64)
        self._chunks: dict[str, list[Chunk]] = {}
        self._waiting: Core

    def servers(self) -> float:
        """Seconds of CPU that the shards' nodes have taken."""
        return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in server_pids(self._settings.state))

    def _master(self, location: str) -> Address:
        return self._system.topology.shard(location).master.address

    def _signal(self, location: str) -> Signal:
        return Signal(self._settings.simulator.seed, self._series[location], self._settings.known_types)

    def pack(self) -> None:
        """Packs what ``bare`` sends."""
        for location, series in self._series.items():
            signal, packer = self._signal(location), Packer([one.key.encode() for one in series])
            numbers = np.arange(len(series), dtype=np.int32)
            at_once = _CHUNK // len(series)
            self._chunks[location] = []
            for start in range(0, len(self._times), at_once):
                times = self._times[start : start + at_once]
                commands = packer.pack(
                    np.tile(numbers, len(times)), np.repeat(times, len(series)), signal.values(times).ravel()
                )
                self._chunks[location].append((commands.payload, len(commands.starts)))

    async def empty(self) -> None:
        """Every shard holds empty series, and its replica has them."""
        for location, series in self._series.items():
            async with self._system.connection(f"redis-{location}-master") as link:
                await link.call("FLUSHALL")
                await write(link, Identity.new(SYSTEM, location), replace=True)
                await make_series(link, series, lambda one: one.labels, self._settings.redis)
                await link.call("WAITAOF", 1, 1, 5000)

    # ── the ways ──

    async def bare(self) -> int:
        """One thread per shard, so that none waits for another."""
        return await self._bare(held=False)

    async def bare_held(self) -> int:
        """The same, until both nodes have it on disk."""
        return await self._bare(held=True)

    async def _bare(self, held: bool) -> int:
        parts = ((self._master(name), self._chunks[name]) for name in self._load.locations)
        await asyncio.gather(*(asyncio.to_thread(bare, *part, held) for part in parts))
        return len(self._load.locations) * self._load.count

    async def written(self) -> int:
        """Everything but the event loop is made anew, as at a start of the daemon."""
        return await self._from(self._simulate, Core.acknowledged)

    async def held(self) -> int:
        """The same, until both nodes have it on disk."""
        return await self._from(self._simulate, Core.durable)

    async def _from(self, source: Callable[[Core], Awaitable[int]], there: Callable[[Core], Awaitable[None]]) -> int:
        core = self._core()
        async with core.writers(self._system.topology):
            done = await source(core)
            await there(core)
        await core.close()
        return done

    async def wait_in_the_log(self) -> None:
        """Empty shards, and all readings in a log that nobody reads yet."""
        await self.empty()
        self._waiting = self._core()
        await self._simulate(self._waiting)

    async def catch_up(self) -> int:
        """What waits in the log comes into the shards."""
        return await self._from_log(Core.acknowledged)

    async def catch_up_held(self) -> int:
        """The same, until both nodes have it on disk."""
        return await self._from_log(Core.durable)

    async def _from_log(self, there: Callable[[Core], Awaitable[None]]) -> int:
        async with self._waiting.writers(self._system.topology):
            await there(self._waiting)
        return len(self._load.locations) * self._load.count

    async def close_log(self) -> None:
        await self._waiting.close()

    def _core(self) -> Core:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        return Core(self._settings, folder, self._load.locations, StoppedClock())

    async def _simulate(self, core: Core) -> int:
        sources = [
            Simulator(self._settings, name, core.intake.of(source_name(name)), StoppedClock()) for name in self._series
        ]
        days = self._load.times * self._load.step / 86_400_000
        done = sum(await asyncio.gather(*(source.history(days) for source in sources)))
        assert done == len(self._load.locations) * self._load.count
        return done

    async def given(self, batches: Mapping[str, Sequence[tuple[Times, Values]]]) -> int:
        """Batches that were made before, until both nodes have them on disk; by location (times, values)."""

        async def hand_over(core: Core) -> int:
            return sum(await asyncio.gather(*(self._hand_over(core, *each) for each in batches.items())))

        return await self._from(hand_over, Core.durable)

    async def _hand_over(self, core: Core, location: str, batches: Sequence[tuple[Times, Values]]) -> int:
        intake = core.intake.of("given")
        numbers = await intake.register(self._series[location])
        under_way: deque[Awaitable[None]] = deque()
        done = 0
        for times, values in batches:
            series = np.tile(numbers, len(times) // len(numbers))
            under_way.append(await intake.take(Batch(location, series, times, values), b"%d" % done, waits=False))
            done += len(times)
            if len(under_way) >= _AHEAD:
                await under_way.popleft()
        await asyncio.gather(*under_way)
        return done

    def batches(self, kind: str) -> dict[str, list[tuple[Times, Values]]]:
        """By location batches of (times, values); ``kind`` is one of :data:`VALUES`."""
        found = {}
        for location, series in self._series.items():
            values = VALUES[kind](self._signal(location).values(self._times)).ravel()
            times = np.repeat(self._times, len(series))
            size = _BATCH // len(series) * len(series)
            found[location] = [(times[n : n + size], values[n : n + size]) for n in range(0, len(times), size)]
        return found

    async def redis_py(self) -> int:
        """A client per shard."""
        return await self._peers(redis_py)

    async def coredis(self) -> int:
        """A client per shard."""
        return await self._peers(by_coredis)

    async def _peers(self, write: Callable[[Address, Samples], Awaitable[None]]) -> int:
        parts = {name: self._samples(name) for name in self._series}
        await asyncio.gather(*(write(self._master(name), samples) for name, samples in parts.items()))
        return sum(map(len, parts.values()))

    def _samples(self, location: str) -> Samples:
        times = self._times[: self._load.times // _PEER_PART]
        values = self._signal(location).values(times).tolist()
        keys = [one.key for one in self._series[location]]
        return [
            (key, time, value)
            for time, row in zip(times.tolist(), values, strict=True)
            for key, value in zip(keys, row, strict=True)
        ]


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
            archive={"store": "none"},
        )
        system = await asyncio.to_thread(start_system, settings)
        stack.callback(stop_system, system)
        yield Ingest(load, system, folder)


async def _cases(load: Load) -> AsyncIterator[Sequence[Case]]:
    async with _ways(load) as ways:
        ways.pack()
        case = partial(Case, before=ways.empty, servers=ways.servers)
        yield (
            case("bare", "TS.MADD packed ahead", ways.bare, "limit"),
            case("bare-held", "the same, and WAITAOF", ways.bare_held, "limit"),
            case("written", "simulator, log, shard writer", ways.written, "ours"),
            case("held", "the same, with the checkpoints", ways.held, "ours"),
            case("redis-py", "madd of 100", ways.redis_py, "peer"),
            case("coredis", "madd of 100", ways.coredis, "peer"),
        )


async def _catching_up(load: Load) -> AsyncIterator[Sequence[Case]]:
    async with _ways(load) as ways:
        ways.pack()
        limit = partial(Case, kind="limit", before=ways.empty, servers=ways.servers)
        ours = partial(Case, before=ways.wait_in_the_log, after=ways.close_log, servers=ways.servers)
        yield (
            limit("bare", "appends of TS.MADD packed ahead", ways.bare),
            limit("bare-held", "the same, and WAITAOF", ways.bare_held),
            ours("written", "out of the log", ways.catch_up),
            ours("held", "out of the log, with the checkpoints", ways.catch_up_held),
        )


async def _raw(load: Load) -> AsyncIterator[Sequence[Case]]:
    async with _ways(load) as ways:
        yield [
            Case(
                kind,
                "batches made before, held",
                partial(ways.given, ways.batches(kind)),
                "limit" if kind == "simulated" else "ours",
                ways.empty,
                servers=ways.servers,
            )
            for kind in VALUES
        ]


def _benchmark(name: str, what: str, load: Load) -> Benchmark:
    return Benchmark(name, what, "readings", partial(_cases, load))


INGEST_ONE = _benchmark("ingest-1", "3 million readings into one shard", Load(LOCATIONS[:1], 100, 10_000, 1_000))
INGEST_FIVE = _benchmark("ingest-5", "2 million readings into each of five shards", Load(LOCATIONS, 200, 3_334, 1_000))
HISTORY = _benchmark("history", "7 days at 10 s of 45 sensors into five shards", Load(LOCATIONS, 3, 60_480, 10_000))
INGEST_RAW = Benchmark(
    "ingest-raw",
    "3 million readings into one shard, by their values",
    "readings",
    partial(_raw, Load(LOCATIONS[:1], 100, 10_000, 1_000)),
)
CATCHING_UP = Benchmark(
    "catching-up",
    "600,000 readings that wait in the log, into one shard",
    "readings",
    partial(_catching_up, Load(LOCATIONS[:1], 100, 2_000, 1_000)),
)
