"""The state directory: made, private, and held by one daemon at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from iotd.model.errors import StateError
from iotd.ops.systemerrors import said


@contextmanager
def held(state: Path) -> Iterator[None]:
    """Holds the state directory for this process; released even when it is killed.

    Raises:
        StateError: it can't be made or written, or another daemon holds it.
    """
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(state / "daemon.lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise StateError(
            f"{state}: another iotd daemon{_who(state)} works here; stop it (`iotd down`), or set another state_dir"
        ) from None
    except OSError as e:
        raise _unusable(state, e) from None
    try:
        me = psutil.Process()
        try:
            (state / "daemon.pid").write_text(f"{me.pid} {me.create_time()}\n")
        except OSError as e:  # disk full
            raise _unusable(state, e) from None
        yield
    finally:
        (state / "daemon.pid").unlink(missing_ok=True)
        lock.release()


def daemon_process(state: Path) -> psutil.Process | None:
    """The daemon that holds a state directory, if one runs: never another process that got its id since."""
    try:
        pid, started = (state / "daemon.pid").read_text().split()
        process = psutil.Process(int(pid))
        same = abs(process.create_time() - float(started)) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, ValueError, psutil.Error):
        return None
    return process if same and process.pid != os.getpid() else None


def _unusable(state: Path, error: OSError) -> StateError:
    return StateError(f"{state}: the state directory can't be used ({said(error)}); set state_dir")


def _who(state: Path) -> str:
    process = daemon_process(state)
    return f" (process {process.pid})" if process else ""
