"""A real influxd for tests, with a fresh bucket for each."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from iotd.settings.tree import Stack as StackSettings
from iotd.stack.binaries import find_influxd
from iotd.stack.health import influxdb_problem
from iotd.stack.influxdb import set_up
from iotd.stack.processes import Processes
from iotd.topology import topology
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
    binary: Path

    def make_bucket(self, name: str) -> str:
        """Makes an empty bucket of that name and returns the name."""
        blocking(self._make_bucket(name))
        return name

    async def _make_bucket(self, name: str) -> None:
        headers = {"Authorization": f"Token {self.token}"}
        async with aiohttp.ClientSession(self.url, headers=headers) as session:
            async with session.get("/api/v2/orgs", params={"org": self.org}) as response:
                org = (await response.json())["orgs"][0]["id"]
            async with session.post("/api/v2/buckets", json={"orgID": org, "name": name}) as response:
                assert response.status == 201, await response.text()


@contextmanager
def running_influxdb(folder: Path) -> Iterator[InfluxServer]:
    """A real influxd, set up, gone at the end."""
    named = os.environ.get("IOTD_TEST_INFLUXD")
    if (binary := find_influxd(StackSettings(influxd=Path(named) if named else None))) is None:
        lacking("influxdb", "no influxd on PATH or in the cache; `make influxd` builds one")
    with port_block() as first:
        settings = make_settings(
            folder, first, ["salon"], archive={"sink": "influxdb"}, stack={"influxd": named} if named else {}
        )
        backend, node = Processes(settings), topology(settings).influxdb

        async def start() -> None:
            backend.start_influxdb(node)

            async def healthy() -> bool:
                return await influxdb_problem(node) is None

            await until(healthy, 60, "influxd is healthy")
            await set_up(settings, node)

        try:
            blocking(start())
            token = settings.stack_token.read_text().strip()
            yield InfluxServer(f"http://{node.address}", settings.influxdb.org, token, backend, binary)
        finally:
            with contextlib.suppress(OSError):
                backend.stop(node)
