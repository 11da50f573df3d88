"""The archive of a chaos run: a real InfluxDB on a host and a disk of its own, behind a proxy that fails as told."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from pathlib import Path

from iotd.config import Address, Settings
from iotd.config.topology import Node
from iotd.config.tree import Stack as StackSettings
from iotd.stack.binaries import find_influxd
from iotd.stack.health import influxdb_problem
from iotd.stack.influxdb import set_up
from iotd.stack.processes import Processes
from tests.chaos.witness import Witness
from tests.servers.archives import InfluxWitness
from tests.servers.disk import Disk
from tests.servers.influxproxy import InfluxProxy, running_proxy
from tests.servers.system import until

_DISK_MB = 600
_PORT = 8086


class Influx:
    """What can be done to it; :attr:`proxy` is what the daemon takes for InfluxDB."""

    def __init__(self, backend: Processes, settings: Settings, address: str, proxy_host: str) -> None:
        """
        Args:
            settings: of the servers, in whose state directory the token is kept.
            proxy_host: where the proxy listens.
        """
        self.node = Node("influxdb", "influxdb", Address(address, _PORT))
        self.url = f"http://{self.node.address}"
        self.proxy_url = f"http://{proxy_host}:{_PORT}"
        self.token_file = settings.stack_token
        self.proxy: InfluxProxy
        self.witness = Witness()
        self._backend = backend
        self._settings = settings
        self._proxy_host = proxy_host
        self.disk: Disk
        self._life = AsyncExitStack()

    async def up(self) -> None:
        """Starts and sets up the server, and the proxy."""
        self.disk = Disk(self._settings.state / "nodes" / self.node.name, _DISK_MB)
        self._life.callback(self.disk.unmount)
        self._life.callback(self._backend.kill, self.node)
        await self.mend()
        await set_up(self._settings, self.node)
        proxying = running_proxy(self.url, host=self._proxy_host, port=_PORT)
        self.proxy = await self._life.enter_async_context(proxying)
        self.proxy.told = self.witness.told

    async def down(self) -> None:
        """Ends both, and takes the disk away."""
        await self._life.aclose()

    async def mend(self) -> None:
        """Starts it if it does not run, and returns when it is healthy."""
        if self._backend.state(self.node) == "stopped":
            self._backend.start_influxdb(self.node)

        async def healthy() -> bool:
            return await influxdb_problem(self.node) is None

        await until(healthy, 60, "influxd is healthy")

    def store(self) -> InfluxWitness:
        """What it holds, asked of itself."""
        influx = self._settings.influxdb
        token = self.token_file.read_text().strip()
        return InfluxWitness(self.url, org=influx.org, bucket=influx.bucket, token=token)


def no_influxd() -> str | None:
    """Why no influxd can be run here; None when one can."""
    named = os.environ.get("IOTD_TEST_INFLUXD")
    found = find_influxd(StackSettings(influxd=Path(named) if named else None))
    return None if found else "no influxd on PATH or in the cache; `make influxd` builds one"
