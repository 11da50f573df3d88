"""Which backend runs the servers."""

from __future__ import annotations

from collections.abc import Callable

from iotd.config import Settings
from iotd.stack import engine
from iotd.stack.backend import Backend
from iotd.stack.containers import Containers
from iotd.stack.processes import Processes

_BACKENDS: dict[str, type[Containers] | type[Processes]] = {"docker": Containers, "process": Processes}
_RECORD = "backend"


def choose_backend(settings: Settings, tell: Callable[[str], None] = lambda line: None) -> Backend:
    """The backend that the settings name.

    With ``auto``: the one whose servers :func:`remember` noted, so that an engine that was installed meanwhile takes
    over no running system; else docker where an engine answers; else plain processes.
    """
    wanted: str = settings.stack.backend
    if wanted == "auto":
        wanted = _remembered(settings) or ("docker" if engine.answers() else "process")
    return _BACKENDS[wanted](settings, tell)


def started_by(settings: Settings, tell: Callable[[str], None] = lambda line: None) -> Backend | None:
    """The backend whose servers :func:`remember` noted, whatever the settings name now; None when none runs."""
    noted = _remembered(settings)
    return _BACKENDS[noted](settings, tell) if noted else None


def remember(settings: Settings, backend: Backend) -> None:
    """Notes in the state directory which backend runs the servers."""
    (settings.state / _RECORD).write_text(backend.name + "\n")


def forget(settings: Settings) -> None:
    """Notes that none runs."""
    (settings.state / _RECORD).unlink(missing_ok=True)


def _remembered(settings: Settings) -> str | None:
    try:
        noted = (settings.state / _RECORD).read_text().strip()
    except OSError:
        return None
    return noted if noted in _BACKENDS else None
