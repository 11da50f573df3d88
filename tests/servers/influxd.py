"""A real InfluxDB 2 for the tests."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from iotd.settings.tree import Stack as StackSettings
from iotd.stack import Stack
from iotd.stack.binaries import find_influxd
from iotd.stack.influxdb import token_path
from tests.servers.needs import missing
from tests.servers.ports import PortBlock
from tests.servers.system import System, blocking, make_settings, stop_system


@dataclass(frozen=True)
class InfluxServer:
    """A running InfluxDB 2. ``stack`` can pause, stop and start its node, ``influxdb``."""

    url: str
    org: str
    token: str
    stack: Stack
    _numbers: Iterator[int] = field(default_factory=count)

    def bucket(self) -> str:
        """The name of a new, empty bucket."""
        org_id = self.request("GET", f"/api/v2/orgs?org={self.org}")["orgs"][0]["id"]
        name = f"bucket-{next(self._numbers)}"
        self.request("POST", "/api/v2/buckets", {"orgID": org_id, "name": name, "retentionRules": []})
        return name

    def request(self, method: str, path: str, body: object = None) -> Any:
        """A request to the HTTP API with our token; the JSON of the answer."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Token {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            text = response.read()
        return json.loads(text) if text else None


def influxd_binary() -> Path:
    """The influxd to test with: ``IOTD_TEST_INFLUXD``, else one on PATH or in the cache; skips the test without."""
    named = os.environ.get("IOTD_TEST_INFLUXD")
    found = find_influxd(StackSettings(influxd=Path(named) if named else None))
    if found is None:
        missing("influxdb", "no influxd named in IOTD_TEST_INFLUXD, on PATH or in the cache; `make influxd` builds one")
    return found


@contextmanager
def running_influxd(folder: Path, ports: PortBlock) -> Iterator[InfluxServer]:
    """A real influxd with its data in ``folder``, set up; ended and seen to be gone afterwards."""
    settings = make_settings(
        folder, ports, ("salon",), archive={"sink": "influxdb"}, stack={"influxd": influxd_binary()}
    )
    stack = Stack(settings)
    try:
        blocking(stack.start("influxdb"))
        token = token_path(settings.state).read_text().strip()
        yield InfluxServer(f"http://{stack.topology.influxdb.address}", settings.influxdb.org, token, stack)
    finally:
        stop_system(System(settings, stack, ports))
