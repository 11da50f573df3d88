"""The clients of a run: started once the daemon runs, and asked to end when no fault strikes any more."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from iotd.config import Address
from tests.chaos.hosts import Host
from tests.chaos.servers import DAEMON, Clocks
from tests.servers.system import until

PORT = 9109
SOURCES = {"http": "http", "python": "local"}
"""The clients, and what the daemon calls the source of each."""
_ROOT = Path(__file__).parents[3]
_END_S = 60
_SHOWN = 500


class Clients:
    """Their processes, which outlive the daemon.

    Attributes:
        books: by client.
        host: that of the HTTP client.
        ended: what was wrong with their ends.
    """

    def __init__(self, folder: Path, *, host: Host, home: Host, clocks: Clocks) -> None:
        """
        Args:
            folder: for their books; not on the daemon's disk.
            home: the daemon's host.
        """
        folder.mkdir()
        self.host = host
        self.books = {name: folder / f"{name}.jsonl" for name in SOURCES}
        self.ended: list[str] = []
        self._home = home
        self._clocks = clocks
        self._folder = folder
        self._token = secrets.token_hex(24)
        self.tokens_file = folder / "tokens"
        self.tokens_file.write_text(f"chaos:{self._token}\n")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, state: Path, rooms: Sequence[str], broker: tuple[Host, Address]) -> None:
        """Starts all.

        Args:
            state: the daemon's state directory.
            broker: its host, where the publishers of MQTT are, and its address.
        """
        url = f"http://{self._home.address}:{PORT}"
        books = {name: str(path) for name, path in self.books.items()}
        self._start("http", self.host, self.host.name, [books["http"], url, self._token, *rooms])
        # it is on the daemon's machine
        self._start("python", self._home, DAEMON, [books["python"], str(state), *rooms])
        host, address = broker
        self._start("mqtt", host, host.name, [address.host, str(address.port), *rooms])

    def _start(self, name: str, host: Host, clock: str, args: Sequence[str]) -> None:
        command = [sys.executable, "-m", f"tests.chaos.clients.{name}", *args]
        with self._said(name).open("wb") as out:
            self._processes[name] = subprocess.Popen(
                host.inside(command),
                stdout=out,
                stderr=out,
                env={**os.environ, **self._clocks.environment(clock)},
                cwd=_ROOT,
            )

    async def stop(self) -> None:
        """Asks them to end, and waits until what they had begun is acknowledged; what went wrong is noted."""
        for process in self._processes.values():
            process.terminate()

        async def gone() -> bool:
            return all(process.poll() is not None for process in self._processes.values())

        try:
            await until(gone, _END_S, "the clients have ended")
        except AssertionError:
            self.ended += [f"{name} gets no acknowledgement" for name, p in self._processes.items() if p.poll() is None]
        self.kill()
        for name, process in self._processes.items():
            if process.returncode > 0:
                said = self._said(name).read_text(errors="replace").strip()[-_SHOWN:]
                self.ended.append(f"the {name} client ended with {process.returncode}: {said}")

    def kill(self) -> None:
        """Ends them at once."""
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()

    def _said(self, name: str) -> Path:
        return self._folder / f"{name}.out"
