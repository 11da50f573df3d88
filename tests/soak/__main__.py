"""`python -m tests.soak`: simulated days in real minutes; `make soak` calls it.

The daemon is a process of its own, with an accelerated clock, on real shards and the embedded archive. Meanwhile its
configuration is reloaded, masters and Sentinels are killed, replicas hang, somebody watches the page and somebody else
holds connections open. At the end every reading is looked for in Redis and counted in the archive.

Exits with 0 when nothing was lost and nothing grew, 1 otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic, time
from typing import Any

import aiohttp
import psutil

from iotd.config import Settings
from iotd.model.errors import IotdError
from iotd.ops.control import request
from tests.servers.archives import embedded_count
from tests.servers.checker import RedisStore, handed_over
from tests.servers.daemon import Daemon
from tests.servers.http import metrics
from tests.servers.phases import due, phases
from tests.servers.ports import port_block
from tests.servers.system import System, make_settings, start_system, stop_system, until
from tests.soak.figures import Sample, growths, table

LOCATIONS = ("salon", "chambre1", "chambre2")
_SAMPLE_S = 2.0
_RELOAD_S = 7.0
_FAULT_S = 20.0


@dataclass
class Soak:
    """One run."""

    system: System
    daemon: Daemon
    luck: random.Random
    ends: float
    began: float = field(default_factory=monotonic)
    samples: list[Sample] = field(default_factory=list)
    reloads: int = 0
    refused: int = 0
    faults: dict[str, int] = field(default_factory=dict)

    async def run(self) -> None:
        """Everything at once, until the time is over."""
        async with asyncio.TaskGroup() as group:
            for task in (self._measure, self._reload, self._break, self._watch, self._annoy):
                group.create_task(self._until_the_end(task()))

    async def _until_the_end(self, work: Any) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.ends - monotonic()):
                await work

    async def _measure(self) -> None:
        process = psutil.Process(self.daemon.process.pid)
        log = self.system.settings.state / "log"
        while True:
            await asyncio.sleep(_SAMPLE_S)
            try:
                now = await metrics(self.system.settings)
            except (aiohttp.ClientError, OSError):
                continue  # its port moves in a reload
            total = {name: sum(v for k, v in now.items() if k.startswith(name)) for name in _SUMMED}
            self.samples.append(
                Sample(
                    at=monotonic() - self.began,
                    memory=process.memory_full_info().uss,
                    descriptors=process.num_fds(),
                    tasks=int(now["iotd_tasks"]),
                    threads=process.num_threads(),
                    log=int(total["iotd_log_unarchived_bytes"]),
                    log_files=_size(log),
                    lag=now["iotd_loop_lag_max_seconds"],
                    archive_lag=int(total["iotd_archive_lag_points"]),
                )
            )

    async def _reload(self) -> None:
        while True:
            await asyncio.sleep(_RELOAD_S)
            wrong = self.luck.random() < 0.15
            self.vary(rooms=self.luck.choice((2, 3, 3)))
            if wrong:
                with self.system.config.open("a") as f:
                    f.write('\n[nonsense]\nthis = "is wrong"\n')
            try:
                await request(self.system.settings.state, "POST", "/reload")
                self.reloads += 1
            except IotdError:
                if not wrong:
                    raise
                self.refused += 1

    def vary(self, *, rooms: int) -> None:
        """Another configuration, for so many of the rooms."""
        settings = self.system.settings
        variant(settings.state.parent, settings.topology.redis_port, self.luck, rooms=rooms)

    async def _break(self) -> None:
        stack = self.system.stack
        while True:
            await asyncio.sleep(_FAULT_S)
            shard = self.system.topology.shard(self.luck.choice(LOCATIONS))
            fault = self.luck.choice(("kill master", "hang replica", "kill Sentinel", "hang master"))
            self.faults[fault] = self.faults.get(fault, 0) + 1
            master = await self.system.master(shard.location)
            replica = next(node for node in shard.redis if node != master)
            if fault.startswith("hang"):
                node = master if "master" in fault else replica
                stack.backend.pause(node)
                await asyncio.sleep(4)
                stack.backend.resume(node)
            else:
                node = master if "master" in fault else self.luck.choice(shard.sentinels)
                stack.backend.kill(node)
                await asyncio.sleep(4)
                await asyncio.shield(stack.up())
            await self._whole(shard.location)

    async def _whole(self, location: str) -> None:
        """Waits until the room is durable again: two faults in one room at once are the chaos tests' matter."""

        async def whole() -> bool:
            said = await self.daemon.status()
            found = [s for s in said["shards"] if s["location"] == location] if said else []
            return not found or (found[0]["settled"] and bool(found[0]["lag"]) and found[0]["age"] < 3)

        await until(whole, 60, f"{location} is whole again")

    async def _watch(self) -> None:
        """Somebody looks at the page, for a while, again and again."""
        url = f"http://127.0.0.1:{self.system.settings.http.port}/events"
        while True:
            with contextlib.suppress(TimeoutError, aiohttp.ClientError):
                async with aiohttp.ClientSession() as session, session.get(url) as response:
                    async with asyncio.timeout(self.luck.uniform(1, 20)):
                        async for _ in response.content:
                            pass
            await asyncio.sleep(self.luck.uniform(1, 5))

    async def _annoy(self) -> None:
        """Connections that ask nothing, or nonsense."""
        while True:
            await asyncio.sleep(3)
            writers = []
            for _ in range(40):
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.system.settings.http.port)
                    writer.write(self.luck.choice((b"", b"GET / HT", b"\x00" * 100)))
                    writers.append(writer)
            await asyncio.sleep(1)
            for writer in writers:
                writer.close()


_SUMMED = ("iotd_log_unarchived_bytes", "iotd_archive_lag_points")


def _size(folder: Path) -> int:
    """Bytes of the files in a folder, from which one may be removed meanwhile."""
    total = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def variant(folder: Path, first: int, luck: random.Random, *, rooms: int) -> Settings:
    """Writes the configuration file, for so many of the rooms, with whatever a reload may change."""
    return make_settings(
        folder,
        first,
        LOCATIONS,
        serve=list(LOCATIONS[:rooms]),
        sensors={"interval": luck.choice(("5s", "10s", "20s")), "per_type": luck.choice((2, 3, 4))},
        simulator={"catch_up": "3650d"},  # a fault lasts for simulated hours
        redis={"response_timeout": luck.choice(("2s", "3s"))},
        archive={"interval": luck.choice(("500ms", "1s")), "verify_interval": "1m"},
        log={"memory": luck.choice(("16MiB", "64MiB")), "segment": "1MiB"},
        shutdown={"drain": "5s"},
        logging={"level": luck.choice(("info", "debug"))},
    )


@asynccontextmanager
async def running(settings: Settings, start: int, factor: float) -> AsyncIterator[Daemon]:
    """The daemon, by an accelerated clock."""
    config, log = settings.state.parent / "iotd.toml", settings.state.parent / "daemon.log"
    command = [sys.executable, "-m", "tests.soak.daemon", str(config), str(start), str(factor)]
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        daemon = Daemon(settings, process, log)
        await daemon.running()
        yield daemon
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


async def soak(system: System, hours: float, minutes: float, seed: int) -> bool:
    """Runs, and prints what came of it."""
    factor = hours * 60 / minutes
    start = round((time() - hours * 3600) * 1000)
    luck = random.Random(seed)
    async with running(system.settings, start, factor) as daemon:
        run = Soak(system, daemon, luck, monotonic() + minutes * 60)
        await run.run()
        await system.stack.up()
        run.vary(rooms=len(LOCATIONS))  # so that all is drained
        await request(system.settings.state, "POST", "/reload")
        for location in LOCATIONS:
            await daemon.writes(location)
        code = await daemon.stop()
        events = daemon.events("source_started")
        died = daemon.events("task_failed")
    print(f"{hours:g} simulated hours in {minutes:g} minutes, seed {seed}")
    print(f"{run.reloads} reloads, {run.refused} refused ones, faults: {json.dumps(run.faults)}")
    print(table(run.samples))
    held = 0
    for location in LOCATIONS:
        parts = phases(events, location, handed_over(system.settings, location).last)
        master = await system.master(location)
        async with system.connection(master.name) as redis:
            held += await due(system.settings, location, RedisStore(redis), parts)
    archived = embedded_count(system.settings.state / "archive.sqlite")
    print(f"{held:,} readings are in Redis, each once and with its value; {archived:,} in the archive")
    print(f"exit code {code}; parts that died: {[e['task'] for e in died] or 'none'}")
    (system.settings.state.parent / "samples.json").write_text(json.dumps([asdict(s) for s in run.samples]))
    return code == 0 and not died and held == archived and all(g.flat for g in growths(run.samples))


def main() -> int:
    """Runs, and says what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Simulated days with reloads and faults.")
    parser.add_argument("--hours", type=float, default=168, help="simulated")
    parser.add_argument("--minutes", type=float, default=20, help="real")
    parser.add_argument("--seed", type=int, default=8)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="iotd-soak-"))
    try:
        with port_block() as first:
            system = start_system(variant(folder, first, random.Random(1), rooms=len(LOCATIONS)))
            try:
                good = asyncio.run(soak(system, options.hours, options.minutes, options.seed))
            finally:
                stop_system(system)
    except BaseException:
        print(f"what there was is in {folder}", file=sys.stderr)
        raise
    if good:
        shutil.rmtree(folder)
    else:
        print(f"what there was is in {folder}", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
