"""The archive of a chaos run: a real InfluxDB on a host and a disk of its own, behind a proxy that fails as told."""

from __future__ import annotations

import json
import os
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp

from iotd.config import Address, Settings
from iotd.config.sections.servers import Stack as StackSettings
from iotd.config.topology import Node
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
_LAB = "of the lab"


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
        self._token = ""
        self._life = AsyncExitStack()

    async def up(self) -> None:
        """Starts and sets up the server, and the proxy."""
        self.disk = Disk(self._settings.state / "nodes" / self.node.name, _DISK_MB)
        self._life.callback(self.disk.unmount)
        self._life.callback(self._backend.kill, self.node)
        await self.mend()
        await set_up(self._settings, self.node)
        self._token = await self._second_token()
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

    # ── behind the daemon's back ──

    async def delete(self, begin: datetime, end: datetime, what: str) -> None:
        """Deletes points of a time, by a predicate of its delete API."""
        influx = self._settings.influxdb
        body = {"start": begin.isoformat(), "stop": end.isoformat(), "predicate": what}
        await self._ask("POST", "/api/v2/delete", body, org=influx.org, bucket=influx.bucket)

    async def keep(self, *, seconds: int) -> None:
        """Sets how long the bucket keeps points; 0: for ever."""
        found = await self._ask("GET", "/api/v2/buckets", name=self._settings.influxdb.bucket)
        rules = [{"type": "expire", "everySeconds": seconds}] if seconds else []
        await self._ask("PATCH", f"/api/v2/buckets/{found['buckets'][0]['id']}", {"retentionRules": rules})

    async def allow(self, allowed: bool) -> None:
        """Revokes the daemon's token, or gives it back."""
        first = await self._first_authorization()
        status = {"status": "active" if allowed else "inactive"}
        await self._ask("PATCH", f"/api/v2/authorizations/{first['id']}", status)

    async def _second_token(self) -> str:
        # one that may do all that the daemon's may, so that the daemon's can be revoked and given back
        self._token = self.token_file.read_text().strip()
        first = await self._first_authorization()
        wanted = {"orgID": first["orgID"], "permissions": first["permissions"], "description": _LAB}
        return str((await self._ask("POST", "/api/v2/authorizations", wanted))["token"])

    async def _first_authorization(self) -> Any:
        found = await self._ask("GET", "/api/v2/authorizations")
        return next(one for one in found["authorizations"] if one.get("description") != _LAB)

    async def _ask(self, method: str, path: str, body: Any = None, **params: str) -> Any:
        headers, timeout = {"Authorization": f"Token {self._token}"}, aiohttp.ClientTimeout(total=5)
        async with (
            aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
            session.request(method, self.url + path, json=body, params=params) as answer,
        ):
            text = await answer.text()
            if answer.status >= 300:
                raise OSError(f"{method} {path}: {answer.status} {text}")
            return json.loads(text) if text else None

    def store(self) -> InfluxWitness:
        """What it holds, asked of itself."""
        influx = self._settings.influxdb
        return InfluxWitness(self.url, org=influx.org, bucket=influx.bucket, token=self._token)


def no_influxd() -> str | None:
    """Why no influxd can be run here; None when one can."""
    named = os.environ.get("IOTD_TEST_INFLUXD")
    found = find_influxd(StackSettings(influxd=Path(named) if named else None))
    return None if found else "no influxd on PATH or in the cache; `make influxd` builds one"
