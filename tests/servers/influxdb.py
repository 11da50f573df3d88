"""A real influxd for tests, with a fresh bucket for each."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from iotd.config import Settings
from iotd.config.sections.servers import Stack as StackSettings
from iotd.config.topology import Node, topology
from iotd.stack.binaries import find_influxd
from iotd.stack.health import influxdb_problem
from iotd.stack.influxdb import set_up
from iotd.stack.processes import Processes
from tests.servers.needs import lacking
from tests.servers.ports import port_block
from tests.servers.system import blocking, make_settings, until


@dataclass(frozen=True)
class InfluxServer:
    """A running server that was set up."""

    url: str
    org: str
    token: str
    backend: Processes
    node: Node
    settings: Settings
    binary: Path

    async def start(self) -> None:
        """Starts it (again), and returns when it is healthy."""
        self.backend.start_influxdb(self.node)

        async def healthy() -> bool:
            return await influxdb_problem(self.node) is None

        await until(healthy, 60, "influxd is healthy")

    def kill(self) -> None:
        """Ends it at once (SIGKILL)."""
        self.backend.kill(self.node)

    def pause(self) -> None:
        """Makes it hang (SIGSTOP): connections stay, nothing is answered."""
        self.backend.pause(self.node)

    def resume(self) -> None:
        """Lets a paused one go on."""
        self.backend.resume(self.node)

    def make_bucket(self, name: str) -> str:
        """Makes an empty bucket of that name and returns the name."""
        blocking(self._make_bucket(name))
        return name

    def make_token(self, bucket: str, *actions: str) -> str:
        """Makes a token that may do only this ("read", "write") to one bucket."""
        return blocking(self._make_token(bucket, actions))

    def drop_bucket(self, name: str) -> None:
        """Deletes a bucket with all that is in it."""
        blocking(self._drop_bucket(name))

    async def delete_rows(self, bucket: str, first: int, last: int, predicate: str = "") -> None:
        """Deletes rows of a range (ms, both included), all or those of a predicate (``sensor_id="1"``)."""
        begin, end = (datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds") for ms in (first, last))
        what = {"start": begin, "stop": end, "predicate": predicate}
        where = {"org": self.org, "bucket": bucket}
        async with self._session() as session, session.post("/api/v2/delete", params=where, json=what) as response:
            assert response.status == 204, await response.text()

    async def write(self, bucket: str, lines: str) -> int:
        """Sends it line protocol, times in ms; returns the status of its answer."""
        where = {"org": self.org, "bucket": bucket, "precision": "ms"}
        async with self._session() as session, session.post("/api/v2/write", params=where, data=lines) as response:
            return response.status

    async def _make_bucket(self, name: str) -> None:
        async with self._session() as session:
            wanted = {"orgID": await self._org(session), "name": name}
            async with session.post("/api/v2/buckets", json=wanted) as response:
                assert response.status == 201, await response.text()

    async def _drop_bucket(self, name: str) -> None:
        async with self._session() as session:
            bucket = await self._bucket(session, name)
            async with session.delete(f"/api/v2/buckets/{bucket}") as response:
                assert response.status == 204, await response.text()

    async def _make_token(self, bucket: str, actions: Sequence[str]) -> str:
        async with self._session() as session:
            resource = {"type": "buckets", "id": await self._bucket(session, bucket)}
            wanted = {
                "orgID": await self._org(session),
                "permissions": [{"action": action, "resource": resource} for action in actions],
            }
            async with session.post("/api/v2/authorizations", json=wanted) as response:
                return str((await response.json())["token"])

    async def _org(self, session: aiohttp.ClientSession) -> str:
        async with session.get("/api/v2/orgs", params={"org": self.org}) as response:
            return str((await response.json())["orgs"][0]["id"])

    async def _bucket(self, session: aiohttp.ClientSession, name: str) -> str:
        async with session.get("/api/v2/buckets", params={"org": self.org, "name": name}) as response:
            return str((await response.json())["buckets"][0]["id"])

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(self.url, headers={"Authorization": f"Token {self.token}"})


@contextmanager
def running_influxdb(folder: Path) -> Iterator[InfluxServer]:
    """A real influxd, set up, gone at the end."""
    named = os.environ.get("IOTD_TEST_INFLUXD")
    if (binary := find_influxd(StackSettings(influxd=Path(named) if named else None))) is None:
        lacking("influxdb", "no influxd on PATH or in the cache; `make influxd` builds one")
    with port_block() as first:
        settings = make_settings(
            folder, first, ["salon"], archive={"store": "influxdb:"}, stack={"influxd": named} if named else {}
        )
        backend, node = Processes(settings), topology(settings).influxdb

        server = InfluxServer(f"http://{node.address}", settings.influxdb.org, "", backend, node, settings, binary)

        async def start() -> None:
            await server.start()
            await set_up(settings, node)

        try:
            blocking(start())
            yield replace(server, token=settings.stack_token.read_text().strip())
        finally:
            with contextlib.suppress(OSError):
                backend.stop(node)
