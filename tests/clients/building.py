"""A building of two rooms with real servers and a daemon that takes readings over HTTP, and what stands in them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from iotd.model.series import Series
from iotd.sources.simulator.source import Span
from iotd.stack.binaries import RedisBinaries
from tests.servers.archives import archive_of
from tests.servers.daemon import Daemon, running_daemon
from tests.servers.ports import port_block
from tests.servers.system import System, make_settings, start_system, stop_system, until

TOKEN = "a-token-for-the-clients"
ROOMS = {
    "salon": {"name": "Grand salon", "aliases": ["living room"]},
    "cuisine": {"name": "Cuisine", "aliases": ["kitchen"]},
}
Readings = dict[Series, list[tuple[int, float]]]
"""Time (ms) and value, in time order; a time that is there twice comes twice."""

_INGEST = 90
"""Of the block of ports, the one of the ingest."""
_PATIENCE_S = 60


@dataclass
class Building:
    """Real servers and a real daemon; :meth:`restart` kills the daemon at once and starts it again."""

    system: System
    tokens: Path
    url: str
    _life: ExitStack
    _daemon: list[Daemon] = field(default_factory=list)

    @property
    def daemon(self) -> Daemon:
        """The one that runs now."""
        return self._daemon[-1]

    @property
    def started(self) -> bool:
        """Whether a daemon runs."""
        return bool(self._daemon)

    @property
    def port(self) -> int:
        """Of the ingest, on 127.0.0.1."""
        return int(self.url.rpartition(":")[2])

    async def start(self) -> None:
        """Starts the daemon, and waits until it takes readings."""
        self._daemon.append(self._life.enter_context(running_daemon(self.system.settings)))
        await self.daemon.running()
        await self.listening()

    async def listening(self) -> None:
        """Waits until readings can be handed over."""

        async def answers() -> bool:
            try:
                async with aiohttp.ClientSession() as session, session.get(f"{self.url}/health") as answer:
                    return answer.status == 200
            except aiohttp.ClientConnectionError:
                return False

        await until(answers, _PATIENCE_S, "the ingest listens")

    async def restart(self) -> None:
        """SIGKILL, and a new daemon."""
        self.daemon.process.kill()
        await self.daemon.ended()
        await self.start()

    def admit(self, *tokens: str) -> None:
        """These are the tokens from now on."""
        self.tokens.write_text("".join(f"{token}\n" for token in tokens))

    async def stored(self, sensor: str = "") -> Readings:
        """What stands in the shards, of one sensor or of all."""
        found: Readings = {}
        for location in ROOMS:
            async with self.system.connection((await self.system.master(location)).name) as redis:
                for key in await redis.call("TS.QUERYINDEX", f"location={location}"):
                    series = Series.from_key(key.decode(), self.system.settings.known_types)
                    if sensor in ("", series.sensor_id):
                        rows = await redis.call("TS.RANGE", key, "-", "+")
                        found[series] = [(int(time), float(value)) for time, value in rows]
        return found

    async def comes_to_hold(self, wanted: Readings, sensor: str = "") -> None:
        """Waits until all of these are in the shards, and asserts that nothing else of this sensor (of all) is there,
        and that the archive has the same."""
        found: Readings = {}

        async def enough() -> bool:
            found.update(await self.stored(sensor))
            return all(len(found.get(series, ())) >= len(rows) for series, rows in wanted.items())

        try:
            await until(enough, _PATIENCE_S, "all readings are in the shards")
        except AssertionError:
            _differ(found, wanted, "shard")
            raise
        _differ(found, wanted, "shard")
        await self.archived(wanted)

    async def archived(self, wanted: Readings) -> None:
        """Waits until these are in the archive, each once."""
        store = archive_of(self.system.settings)
        found: Readings = {}

        async def enough() -> bool:
            for series in wanted:
                found[series] = [one async for one in store.samples(series, Span(0, 2**43))]
            return all(len(found[series]) >= len(rows) for series, rows in wanted.items())

        try:
            await until(enough, _PATIENCE_S, "all readings are archived")
        finally:
            _differ(found, wanted, "archive")

    def held(self) -> list[tuple[str, str, bytes]]:
        """Reason, detail and payload of what can't be taken."""
        path = self.system.settings.state / "held.sqlite"
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as db:
            return db.execute("SELECT reason, detail, payload FROM held ORDER BY id").fetchall()


def _differ(found: Readings, wanted: Readings, where: str) -> None:
    assert sorted(s.key for s in found) == sorted(s.key for s in wanted), where
    for series, rows in wanted.items():
        its = found[series]
        lacks, more = sorted(set(rows) - set(its)), sorted(set(its) - set(rows))
        assert its == sorted(rows), f"{where}: {series.key} lacks {lacks[:20]}, and has beside {more[:20]}"


@contextmanager
def building(redis: RedisBinaries, folder: Path, **overrides: Any) -> Iterator[Building]:
    """Servers for the rooms of :data:`ROOMS`, and a daemon that :meth:`Building.start` starts.

    Args:
        overrides: tables of the configuration, over the ones made here.
    """
    with ExitStack() as life:
        first = life.enter_context(port_block())
        tokens = folder / "tokens"
        tokens.write_text(f"clients: {TOKEN}\n")
        ingest = {"listen": f"127.0.0.1:{first + _INGEST}", "tokens_file": tokens, **overrides.pop("ingest", {})}
        settings = make_settings(
            folder / "system",
            first,
            ROOMS,
            stack={"redis_dir": redis.server.parent},
            archive={"interval": "1s"},
            ingest=ingest,
            **overrides,
        )
        system = start_system(settings)
        life.callback(stop_system, system)
        yield Building(system, tokens, f"http://127.0.0.1:{first + _INGEST}", life)


async def eventually(ask: Callable[[], bool], limit: float, what: str) -> None:
    """Waits until something is so that is found out without waiting for anything."""

    async def so() -> bool:
        return await asyncio.to_thread(ask)

    await until(so, limit, what)
