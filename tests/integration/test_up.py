"""`iotd up` and `iotd down`, as a person uses them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import aiohttp
import pytest

from iotd.config import Settings
from iotd.stack import Stack
from iotd.stack.binaries import RedisBinaries
from tests.servers.archives import embedded_count
from tests.servers.checker import handed_over
from tests.servers.daemon import iotd
from tests.servers.influxdb import InfluxServer
from tests.servers.ports import port_block
from tests.servers.system import System, alive, make_settings, server_pids, start_system, stop_system, until


@asynccontextmanager
async def up(settings: Settings, *args: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, Path]]:
    """`iotd up` while the context lasts; what it prints goes to a file."""
    out = settings.state.parent / "up.out"
    with out.open("wb") as f:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "iotd", "--config", str(settings.state.parent / "iotd.toml"), "up", *args),
            stdin=subprocess.DEVNULL,
            stdout=f,
            stderr=f,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        yield process, out
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def says(out: Path, text: str, process: asyncio.subprocess.Process, limit: float = 60) -> None:
    async def said() -> bool:
        assert process.returncode is None, out.read_text()
        return text in out.read_text()

    await until(said, limit, f"it says {text!r}")


async def test_up_loads_history_archives_and_goes_on_where_it_stopped(
    redis_binaries: RedisBinaries, tmp_path: Path
) -> None:
    with port_block() as first:
        settings = make_settings(
            tmp_path / "home",
            first,
            ("salon", "cuisine"),
            simulator={"history_days": 0.5},
            stack={"redis_dir": redis_binaries.server.parent},
        )
        try:
            async with up(settings) as (process, out):
                await says(out, "iotd is running", process)
                await says(out, '"event": "archived"', process)
                status = await iotd("status", "--output", "json", config=tmp_path / "home/iotd.toml")
                assert status.code == 0, status
                assert {s["location"] for s in status.json["shards"]} == {"salon", "cuisine"}
                assert (await iotd("archive", "now", config=tmp_path / "home/iotd.toml")).code == 0
                process.send_signal(signal.SIGINT)
                assert await asyncio.wait_for(process.wait(), 20) == 0
                assert "iotd down" in out.read_text()
                before = handed_over(settings, "salon")
                # half a day: 10 s apart, and the last hour every second; all of it is in the archive
                expected = (11 * 360 + 3600) * 9
                archived = embedded_count(settings.state / "archive.sqlite", "salon")
                assert expected <= archived <= expected + 60 * 9

                servers = server_pids(settings.state)
                began = monotonic()
            async with up(settings) as (process, out):
                await says(out, "iotd is running", process)
                assert f"{len(servers)} ran already" in out.read_text()
                assert monotonic() - began < 60  # a limit, not a benchmark
                # a second daemon on the same state is refused, and harms nothing
                second = await iotd("run", config=tmp_path / "home/iotd.toml")
                assert (second.code, second.err.count("\n")) == (73, 1)
                assert "another iotd daemon" in second.err

                down = await iotd("down", config=tmp_path / "home/iotd.toml")
                assert down.code == 0, down
                assert await asyncio.wait_for(process.wait(), 20) == 0
                assert alive(servers) == []
                after = handed_over(settings, "salon")
                assert (after.first, after.last > before.last) == (before.first, True)
        finally:
            stop_system(System(settings, Stack(settings)))


async def test_a_taken_port_is_named_with_the_setting_and_nothing_stays_behind(
    redis_binaries: RedisBinaries, tmp_path: Path
) -> None:
    with port_block() as first, socket.socket() as taken:
        settings = make_settings(tmp_path, first, stack={"redis_dir": redis_binaries.server.parent})
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a test before us may have used it
        taken.bind(("127.0.0.1", first + 3))
        taken.listen()
        ended = await iotd("up", config=tmp_path / "iotd.toml")
        assert ended.code == 69
        assert f"port {first + 3}" in ended.err
        assert "redis-chambre1-replica" in ended.err
        assert "topology.shards.chambre1.replica" in ended.err
        assert "Traceback" not in ended.err
        assert server_pids(settings.state) == []


async def test_up_sets_an_influxdb_up_and_the_flux_query_of_the_readme_returns_the_data(
    redis_binaries: RedisBinaries, influxdb: InfluxServer, tmp_path: Path
) -> None:
    with port_block() as first:
        settings = make_settings(
            tmp_path,
            first,
            ("salon",),
            simulator={"history_days": 0.1},
            archive={"store": "auto"},
            stack={"redis_dir": redis_binaries.server.parent, "influxd": influxdb.binary},
        )
        system = System(settings, Stack(settings))
        try:
            async with up(settings) as (process, out):
                await says(out, "iotd is running", process)
                assert "influxdb http://" in out.read_text()
                assert (await iotd("archive", "now", config=tmp_path / "iotd.toml")).code == 0
                token = settings.stack_token
                assert token.stat().st_mode & 0o077 == 0
                flux = (
                    'from(bucket: "sensors_archive") |> range(start: -1h)'
                    ' |> filter(fn: (r) => r._measurement == "temperature")'
                    ' |> filter(fn: (r) => r.location == "salon") |> aggregateWindow(every: 1m, fn: mean)'
                )
                headers = {
                    "Authorization": f"Token {token.read_text().strip()}",
                    "Content-Type": "application/vnd.flux",
                    "Accept": "application/csv",
                }
                url = f"http://{system.topology.influxdb.address}/api/v2/query?org=tp_iot"
                async with (
                    aiohttp.ClientSession() as session,
                    session.post(url, data=flux, headers=headers) as response,
                ):
                    rows = [line for line in (await response.text()).splitlines() if line.startswith(",_result,")]
                    assert response.status == 200, rows
                # three sensors, a mean for each minute of the last hour
                assert 3 * 59 <= len(rows) <= 3 * 62
                assert all(",temperature,salon," in row or ",salon," in row for row in rows)
                verified = await iotd("archive", "verify", "--deep", "--output", "json", config=tmp_path / "iotd.toml")
                assert verified.code == 0, verified
                assert verified.json["salon"]["compared"] > 9 * 3600
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), 20) == 0
        finally:
            stop_system(system)


async def test_a_wrong_influxdb_token_degrades_and_the_right_one_makes_up_for_it(
    redis_binaries: RedisBinaries, influxdb: InfluxServer, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("wrong")
    bucket = influxdb.make_bucket("degraded")
    with port_block() as first:
        settings = make_settings(
            tmp_path / "home",
            first,
            ("salon",),
            archive={"store": "auto"},
            influxdb={"url": influxdb.url, "token_file": str(token), "bucket": bucket},
            stack={"redis_dir": redis_binaries.server.parent},
        )
        config = tmp_path / "home/iotd.toml"
        system = start_system(settings)
        try:
            async with up(settings, "--no-history") as (process, out):
                await says(out, "archive_failing", process)
                status = await iotd("archive", "status", config=config)
                assert status.code == 1
                assert "the token is wrong or has expired" in status.out
                assert "Traceback" not in out.read_text()
                token.write_text(influxdb.token)
                assert (await iotd("archive", "now", config=config)).code == 0
                assert (await iotd("archive", "status", config=config)).code == 0
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), 20) == 0
        finally:
            stop_system(system)


@pytest.mark.parametrize("args", [("up",), ("run",), ("status",), ("stack", "up"), ("archive", "now")])
async def test_every_command_says_what_is_wrong_in_the_configuration(tmp_path: Path, args: tuple[str, ...]) -> None:
    config = tmp_path / "iotd.toml"
    config.write_text('[sensors]\nintervall = "1s"\n[archive]\nbatch = "many"\n')
    ended = await iotd(*args, config=config)
    assert ended.code == 78
    assert f"{config}: sensors.intervall: no such setting; did you mean 'interval'?" in ended.err
    assert "archive.batch" in ended.err
    assert "Traceback" not in ended.err
