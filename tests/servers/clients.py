"""Programs that people have and that write into InfluxDB, as they are: where they were built, and run until the end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.servers.needs import lacking

_HERE = Path(__file__).parent


def client(name: str) -> Path:
    """The folder in the user's cache that a client was built into (``NAME/build.sh``); skips the test without it."""
    if (found := _find(name)) is None:
        lacking(name, "it was not built; `make clients` does")
    return found


@cache
def _find(name: str) -> Path | None:
    found = subprocess.run([_HERE / name / "build.sh", "--find"], capture_output=True, text=True, check=False)
    return Path(found.stdout.strip()) if found.returncode == 0 else None


@dataclass(frozen=True)
class Program:
    """A running client; what it says goes to a file."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        """All that it has said."""
        return self.log.read_text(errors="replace")

    def alive(self) -> None:
        """Asserts that it runs."""
        assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.said[-4000:]}"

    def ends(self, limit: float) -> int:
        """Waits until it has ended by itself, and returns its exit code; blocking."""
        return self.process.wait(limit)

    def stop(self, limit: float = 30) -> int:
        """Asks it to end (SIGTERM), and returns its exit code; blocking."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(limit)


@contextmanager
def running(
    command: Sequence[str | Path],
    log: Path,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
) -> Iterator[Program]:
    """A program; killed at the end, with all that it started, if it has not ended by then.

    Args:
        stdin: nothing, or ``subprocess.PIPE``; a pipe is closed at the end.
    """
    with log.open("ab") as out:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=stdin,
            stdout=out,
            stderr=out,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    try:
        yield Program(process, log)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # a session of its own: its id is that of the group
        process.wait()
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()
