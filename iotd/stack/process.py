"""One server as a plain process: started in a session of its own, known by id and start time."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from time import monotonic

import psutil

from iotd.ops.files import write_atomically

_KILL_AFTER_S = 20
_SHELL = "/bin/sh"


class ServerProcess:
    """The process that belongs to a node's folder, if it runs."""

    def __init__(self, folder: Path) -> None:
        self._pid_file = folder / "pid"
        self._output = folder / "output"

    def start(self, command: list[str], env: dict[str, str] | None = None) -> None:
        """Starts it detached, so that it outlives us; its output goes to ``output`` in the folder.

        Raises:
            OSError: it can't be run.
        """
        # by way of a shell that ends at once, so that init becomes its parent: a server outlives the daemon that
        # started it, and must not stay a zombie of it either
        said = self._pid_file.with_suffix(".new")
        said.unlink(missing_ok=True)
        shell = os.posix_spawn(
            _SHELL,
            [_SHELL, "-c", 'umask 077; "$@" & echo $! >"$0"', str(said), *command],
            {**os.environ, **(env or {})},
            file_actions=(
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self._output), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ),
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
        )
        _, status = os.waitpid(shell, 0)
        if status != 0:
            raise OSError(f"{_SHELL} could not start it")
        pid = int(said.read_text())
        try:
            started = psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            return  # it has ended already; its output says why
        write_atomically(self._pid_file, f"{pid} {started}\n", 0o600)
        said.unlink()

    def find(self) -> psutil.Process | None:
        """The running process; None when it has ended, even if another one has its id by now."""
        try:
            pid, started = self._pid_file.read_text().split()
            process = psutil.Process(int(pid))
            if abs(process.create_time() - float(started)) >= 1:
                return None
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
        except (OSError, ValueError, psutil.Error):
            return None
        return process

    def stop(self) -> bool:
        """Asks it to end and waits; kills it when it does not. False when it did not run."""
        process = self.find()
        if process is None:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
            process.resume()  # a process that is stopped can't hear
            if not _ended(process):
                process.kill()
                _ended(process)
        self._pid_file.unlink(missing_ok=True)
        return True

    def signal(self, number: signal.Signals) -> bool:
        """Sends it a signal; False when it does not run. After SIGKILL it is gone on return."""
        process = self.find()
        if process is None:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
            if number == signal.SIGKILL:
                _ended(process)
        return True


def _ended(process: psutil.Process) -> bool:
    """Waits until it has ended, also when nobody has asked for its exit status yet; False after a limit."""
    deadline = monotonic() + _KILL_AFTER_S
    while monotonic() < deadline:
        try:
            process.wait(0.05)
            return True
        except psutil.TimeoutExpired:
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.status() != psutil.STATUS_ZOMBIE:
                    continue
            return True
    return False
