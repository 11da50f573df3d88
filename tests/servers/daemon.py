"""The daemon and the commands as real processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iotd.config import Settings
from iotd.model.errors import IotdError
from iotd.ops.control import request
from tests.servers.system import until


@dataclass(frozen=True)
class Daemon:
    """A running `iotd run`; its log, JSON lines, goes to a file."""

    settings: Settings
    process: subprocess.Popen[bytes]
    log: Path

    async def status(self) -> Any:
        """What it answers on its control socket; None while it does not."""
        try:
            return await request(self.settings.state, "GET", "/status")
        except IotdError:
            return None

    async def running(self, limit: float = 60) -> None:
        """Waits until it answers."""

        async def answers() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon ended with {self.process.returncode}: {self.log.read_text()[-2000:]}")
            said = await self.status()
            return said is not None and said["phase"] == "running"

        await until(answers, limit, "the daemon runs")

    async def serving(self) -> None:
        """Waits until its HTTP server listens too."""
        await self.running()

        async def listens() -> bool:
            said = await self.status()
            return said is not None and said["page"] is not None

        await until(listens, 30, "the HTTP server listens")

    async def writes(self, location: str) -> None:
        """Waits until a shard takes new readings: more than when this was called."""

        async def written() -> int:
            said = await self.status()
            shards = {s["location"]: s for s in said["shards"]} if said else {}
            return int(shards[location]["acknowledged"]) if location in shards else -1

        before = await written()

        async def more() -> bool:
            return await written() > before

        await until(more, 30, f"{location} takes new readings")

    async def conditions(self) -> set[tuple[str, str | None]]:
        """(name, location) of those there are now."""
        said = await self.status()
        return {(one["name"], one["location"]) for one in said["conditions"]} if said else set()

    async def says(self, name: str, location: str | None = None, *, limit: float = 30) -> None:
        """Waits until there is such a condition."""

        async def there() -> bool:
            return (name, location) in await self.conditions()

        await until(there, limit, f"the condition {name} of {location}")

    async def calm(self, *, limit: float = 60) -> None:
        """Waits until nothing is lost, stuck or not taken."""

        async def well() -> bool:
            said = await self.status()
            return said is not None and all(one["severity"] != "error" for one in said["conditions"])

        await until(well, limit, "there is no error")

    def lines(self) -> list[dict[str, Any]]:
        """The lines of its log; one that a kill has cut short is left out."""
        return self.parsed(self.log.read_text(errors="replace"))

    @staticmethod
    def parsed(text: str) -> list[dict[str, Any]]:
        """The lines of a log that are whole."""
        found = []
        for line in text.splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def events(self, name: str) -> list[dict[str, Any]]:
        """The lines of its log with this event."""
        return [line for line in self.lines() if line["event"] == name]

    async def logs(self, name: str, *, limit: float = 30) -> dict[str, Any]:
        """The first line of its log with this event, once there is one."""

        async def there() -> bool:
            return bool(self.events(name))

        await until(there, limit, f"{name} is logged")
        return self.events(name)[0]

    async def ended(self, limit: float = 20) -> int:
        """Waits until it has ended, and returns its exit code."""

        async def gone() -> bool:
            return self.process.poll() is not None

        await until(gone, limit, "the daemon has ended")
        return int(self.process.returncode)

    async def stop(self, limit: float = 20) -> int:
        """Asks it to end in good order."""
        self.process.send_signal(signal.SIGTERM)
        return await self.ended(limit)


@contextmanager
def running_daemon(settings: Settings, *args: str) -> Iterator[Daemon]:
    """`iotd run` on these settings; killed at the end if it has not ended by then."""
    config = settings.state.parent / "iotd.toml"
    log = settings.state.parent / "daemon.log"
    with log.open("ab") as out:
        process = subprocess.Popen([*_IOTD, "--config", str(config), "run", *args], stdout=out, stderr=out, env=_env())
    try:
        yield Daemon(settings, process, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@dataclass(frozen=True)
class Ended:
    """What became of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def iotd(
    *args: str,
    config: Path | None = None,
    limit: float = 90,
    stdin: int = subprocess.DEVNULL,
    interrupt: Callable[[], bool] | None = None,
    **env: str,
) -> Ended:
    """Runs a command to its end.

    Args:
        interrupt: Ctrl-C as soon as this is true.
    """
    named = ["--config", str(config)] if config else []
    process = await asyncio.create_subprocess_exec(
        *_IOTD,
        *named,
        *args,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_env() | env,
    )
    try:
        async with asyncio.timeout(limit):
            if interrupt is not None:
                while process.returncode is None and not interrupt():
                    await asyncio.sleep(0.02)
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


_IOTD = [sys.executable, "-m", "iotd"]


def _env() -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
