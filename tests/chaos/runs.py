"""The daemon as a process: started, killed, looked after, with a clock and a disk of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import psutil

from iotd.model.errors import ConfigError
from tests.chaos.configuration import Configuration
from tests.chaos.disk import BlockDisk
from tests.chaos.hosts import Host
from tests.chaos.servers import DAEMON, Clocks
from tests.servers.daemon import Daemon
from tests.servers.system import until

_ROOT = Path(__file__).parents[2]
_STOPS_S = 120


class DaemonRuns:
    """One run of it after the other, on the same state directory.

    Attributes:
        daemon_log: where its lines go.
        deaths: ends of it that no fault brought about.
    """

    def __init__(
        self,
        home: Host,
        command: Sequence[str],
        *,
        configuration: Configuration,
        clocks: Clocks,
        disk: BlockDisk,
        daemon_log: Path,
    ) -> None:
        """
        Args:
            home: where it runs.
            command: what Python is told to run.
        """
        self.home = home
        self.configuration = configuration
        self.settings = configuration.settings
        self.clocks = clocks
        self.disk = disk
        self.daemon_log = daemon_log
        self.deaths: list[str] = []
        self._started_at = 0.0
        self._command = command
        self._daemon: Daemon | None = None
        self._wanted = False
        self._may_die = False

    @property
    def daemon(self) -> Daemon:
        assert self._daemon is not None
        return self._daemon

    def start_daemon(self) -> None:
        """Starts it, unless it runs."""
        if self._wanted and self.daemon.process.poll() is None:
            return
        self.configuration.started()
        self._may_die = not self.configuration.good
        self._started_at = monotonic()
        env = {**os.environ, "PYTHONUNBUFFERED": "1", **self.clocks.environment(DAEMON)}
        with self.daemon_log.open("ab") as out:
            process = subprocess.Popen(
                self.home.inside([sys.executable, *self._command, "--config", str(self.configuration.path), "run"]),
                stdout=out,
                stderr=out,
                env=env,
                cwd=_ROOT,
            )
        self._daemon = Daemon(self.settings, process, self.daemon_log)
        self._wanted = True

    def kill_daemon(self) -> None:
        self._wanted = False
        self.disk.hurry()
        self.daemon.process.kill()
        self.daemon.process.wait()

    def look_after_daemon(self) -> None:
        """Starts the daemon again if it has ended of its own accord, and notes that it did."""
        if self._wanted and (code := self.daemon.process.poll()) is not None:
            refused = code == ConfigError.exit_code and self.configuration.bad_at > self._started_at
            if not (self._may_die or refused):
                lines = self.daemon.log.read_text(errors="replace").splitlines()
                self.deaths.append(f"exit code {code}: {' | '.join(lines[-3:])}")
            self.start_daemon()

    @contextmanager
    def may_die(self) -> Iterator[None]:
        """Meanwhile the present run of the daemon may end by itself: a fault leaves it nothing else."""
        self._may_die = True
        try:
            yield
        finally:
            self._may_die = not self.configuration.good or self.daemon.process.poll() is not None

    async def drained(self, limit: float = 300) -> None:
        """Waits until all that was handed over is durable, or nearly so."""

        async def confirmed() -> bool:
            said = await self.daemon.status()
            return bool(said) and all(s["age"] < 3 and s["master"] for s in said["shards"])

        await until(confirmed, limit, "all is durable")

    async def stop_daemon(self) -> int:
        self._wanted = False
        return await self.daemon.stop(_STOPS_S)

    def daemon_pid(self) -> int | None:
        """Its process id; None while it does not run."""
        return self.daemon.process.pid if self._wanted and self.daemon.process.poll() is None else None

    def memory(self) -> int:
        """The daemon's resident bytes."""
        try:
            return int(psutil.Process(self.daemon.process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    async def end_daemon(self) -> None:
        """Ends the daemon."""
        if self._daemon is not None and self._daemon.process.poll() is None:
            self._daemon.process.send_signal(signal.SIGCONT)
            self.kill_daemon()
