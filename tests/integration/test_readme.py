"""The README's examples of asking for data, run as they are written there."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from iotd.ops.control import request
from tests.conftest import FreshSystem
from tests.servers.daemon import Daemon, running_daemon
from tests.servers.ports import port_block
from tests.servers.system import System

README = (Path(__file__).parents[2] / "README.md").read_text()
ASKING = README[README.index("**Ask for data.**") : README.index("**Settings.**")]
COMMANDS = re.findall(r"^    \$ (iotd .*?)(?:\s+#.*)?$", ASKING, re.M)
PROGRAMS = re.findall(r"^```python\n(.*?)^```", ASKING, re.M | re.S)
SENSORS = README[README.index("## Your own sensors") : README.index("## Everyday use")]
LOCATIONS = ("salon", "salle_de_bain")


@asynccontextmanager
async def commanding(system: System, folder: Path) -> AsyncIterator[tuple[Daemon, dict[str, str]]]:
    """A running daemon, and the environment of a shell there."""
    shim = folder / "bin" / "iotd"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m iotd "$@"\n')
    shim.chmod(0o755)
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        yield (
            daemon,
            {
                **os.environ,
                "PATH": f"{shim.parent}:{os.environ['PATH']}",
                "IOTD_CONFIG": str(system.config),
                "TZ": "Europe/Paris",
            },
        )


@asynccontextmanager
async def at_home(fresh_system: FreshSystem, folder: Path) -> AsyncIterator[dict[str, str]]:
    """A running system with more than a day of history; gives the environment of a shell there."""
    system = fresh_system(
        LOCATIONS, simulator={"history_days": 1.5, "history_step": "10s", "catch_up": "10m"}, sensors={"per_type": 3}
    )
    async with commanding(system, folder) as (_, env):
        await request(system.settings.state, "POST", "/history", {"days": "1.5"})
        await request(system.settings.state, "POST", "/archive/now")
        for location in LOCATIONS:
            await request(system.settings.state, "POST", "/check", {"location": location})
        yield env


async def run(*command: str, cwd: Path, env: dict[str, str]) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.mark.timeout(240)
async def test_every_example_runs_as_written(fresh_system: FreshSystem, tmp_path: Path) -> None:
    assert len(COMMANDS) >= 7
    assert len(PROGRAMS) == 2
    async with at_home(fresh_system, tmp_path) as env:
        for command in COMMANDS:
            code, out, err = await run("/bin/sh", "-c", command, cwd=tmp_path, env=env)
            assert (code, err) == (0, ""), (command, err)
            assert out or "--to" in command, command
        for program in PROGRAMS:
            code, out, err = await run(sys.executable, "-c", program, cwd=tmp_path, env=env)
            assert (code, err) == (0, ""), (program, err)
            assert "temperature in salon" in out or "humidity" in out
        assert {"celsius.parquet", "salon.png", "humidity.png"} <= {file.name for file in tmp_path.iterdir()}


async def test_a_source_of_ones_own_is_as_short_as_it_says(fresh_system: FreshSystem, tmp_path: Path) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```", SENSORS, re.M | re.S)
    commands = re.findall(r"^    \$ (.*)$", SENSORS, re.M)
    (curl,) = (command for command in commands if command.startswith("curl "))
    with port_block() as port:
        system = fresh_system(LOCATIONS, ingest={"listen": f"127.0.0.1:{port}"})
        async with commanding(system, tmp_path) as (daemon, env):
            await daemon.logs("ingest_listening")
            posting = curl.replace("curl", "curl -fsS").replace("9109", str(port))
            code, out, err = await run("/bin/sh", "-c", posting, cwd=tmp_path, env=env)
            assert (code, out, err) == (0, "", "")
            code, out, err = await run(sys.executable, "-c", program, cwd=tmp_path, env=env)
            assert (code, out, err) == (0, "", "")
            said = ""
            for command in commands:
                if command.startswith("iotd "):
                    code, out, err = await run("/bin/sh", "-c", command, cwd=tmp_path, env=env)
                    assert (code, err) == (0, ""), (command, err)
                    said += out
            assert "temperature" in said
            assert "north" in said

        code, out, _ = await run(
            *("iotd", "query", "location", "salon", "temperature", "--output", "csv"), cwd=tmp_path, env=env
        )
        assert (code, out.count("temperature,north")) == (0, 4)
