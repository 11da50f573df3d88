"""A real Prometheus scrapes a running daemon, and the alert rules in deploy/ fire when they should."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.conftest import FreshSystem
from tests.servers.daemon import running_daemon
from tests.servers.http import metrics
from tests.servers.needs import lacking
from tests.servers.system import until

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"


def binary(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        lacking("prometheus", f"no {name} on PATH; apt-get install prometheus")
    return found


class Prometheus:
    """A running server."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(self, path: str, **params: str) -> Any:
        async with self._session.get(f"/api/v1/{path}", params=params) as response:
            said = await response.json()
            assert said["status"] == "success", said
            return said["data"]

    async def value(self, query: str) -> float | None:
        """The first value of an instant query; None where it gives nothing."""
        found = (await self.ask("query", query=query))["result"]
        return float(found[0]["value"][1]) if found else None


@asynccontextmanager
async def prometheus(folder: Path, port: int, target: str) -> AsyncIterator[Prometheus]:
    """A server with our rules, in a hurry: what waits for minutes there waits for a second here."""
    folder.mkdir()
    config = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    config = config.replace("127.0.0.1:9108", target).replace("15s", "1s")
    (folder / "prometheus.yml").write_text(config)
    (folder / "alerts.yml").write_text(re.sub(r"for: \w+", "for: 1s", RULES.read_text()))
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            binary("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=log,
            stderr=log,
        )
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

            async def ready() -> bool:
                assert process.returncode is None, (folder / "log").read_text()
                try:
                    async with session.get("/-/ready") as response:
                        return response.status == 200
                except aiohttp.ClientError:
                    return False

            await until(ready, 60, "prometheus is ready")
            yield Prometheus(session)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def firing(server: Prometheus) -> set[tuple[str, str]]:
    """(alert, condition) of those that fire; this machine's own clock is no part of the test."""
    alerts = [a for a in (await server.ask("alerts"))["alerts"] if a["state"] == "firing"]
    found = {(a["labels"]["alertname"], a["labels"].get("name", "")) for a in alerts}
    return {pair for pair in found if pair[1] != "clock_unsynchronised"}


async def test_it_scrapes_what_is_counted_and_an_alert_comes_and_goes(fresh_system: FreshSystem) -> None:
    binary("prometheus")
    system = fresh_system(sensors={"interval": "100ms"})
    http = system.settings.http
    with running_daemon(system.settings) as daemon:
        await daemon.serving()
        await daemon.writes("salon")
        folder = system.settings.state.parent / "prometheus"
        async with prometheus(folder, http.port + 1, f"{http.host}:{http.port}") as server:

            async def scraped() -> bool:
                return await server.value('iotd_readings_durable_total{shard="salon"} > 0') is not None

            await until(scraped, 30, "readings are durable, as Prometheus sees it")
            assert await server.value('up{job="iotd"}') == 1
            known = await server.ask("label/__name__/values")
            assert {n.partition("{")[0] for n in await metrics(system.settings)} <= set(known)
            assert await firing(server) == set()

            master = system.topology.shard("salon").master
            system.stack.backend.kill(master)

            async def fires() -> bool:
                return ("IotdWarning", "no_replica") in await firing(server)

            await until(fires, 60, "the alert that there is no replica")
            await system.stack.start(master.name)

            async def calm() -> bool:
                return not await firing(server)

            await until(calm, 60, "no alert")
            assert await server.value('iotd_failovers_total{shard="salon"}') == 1
        assert await daemon.stop() == 0


def test_the_rules_are_valid_and_name_only_metrics_that_exist() -> None:
    checked = subprocess.run([binary("promtool"), "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    code = [DEPLOY.parent / "iotd" / name for name in ("web/metrics.py", "ops/histogram.py")]
    exposed = set(re.findall(r'"(iotd_\w+)"', "".join(file.read_text() for file in code)))
    dashboard = json.loads((DEPLOY / "grafana" / "iotd.json").read_text())
    queries = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", ())]
    assert len(queries) > 20
    for text in (*re.findall(r"expr: (.*)", RULES.read_text()), *queries):
        for name in re.findall(r"iotd_\w+", text):
            base = re.sub(r"_(total|bucket|count|sum)$", "", name)
            assert name in exposed or base in exposed, f"{name} in {text}"
