"""The servers of a chaos run: each on its own host of the lab, with a wall clock of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import monotonic, time

from iotd.config import Settings
from iotd.config.topology import Node
from iotd.stack.processes import Processes
from tests.chaos.hosts import Host

_FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
DAEMON = "daemon"
"""The daemon's name among those who have a clock."""


class Clocks:
    """Wall clocks that can be set, one for each process, by libfaketime; what waits, waits by the monotonic clock.

    influxd has none: a program in Go asks the kernel itself, and nothing that is preloaded comes between.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._steps: dict[str, list[tuple[float, float]]] = {}
        folder.mkdir()

    @property
    def there(self) -> bool:
        """Whether clocks can be set here."""
        return _FAKETIME is not None

    def environment(self, name: str) -> Mapping[str, str]:
        """What the process of this name is to be started with."""
        if _FAKETIME is None:
            return {}
        file = self._file(name)
        if not file.exists():
            file.write_text("+0")
        return {
            "LD_PRELOAD": str(_FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # what it mends in older C libraries makes a thread wait for seconds for the interpreter's lock
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }

    def set(self, name: str, seconds: float) -> None:
        """Puts the clock of one process off by so much; it takes effect within a second."""
        self._write(self._file(name), seconds)

    def set_all(self, seconds: float) -> None:
        """Puts the clocks of all processes off together, as the machine's would be."""
        for file in self._folder.iterdir():
            self._write(file, seconds)

    def offsets(self, name: str, begin: float, end: float) -> tuple[float, float]:
        """By how many seconds a process's clock was off between two moments (monotonic): least and most."""
        offsets = {0.0}
        for at, seconds in self._steps.get(name, ()):
            if at > end:
                break
            if at <= begin:
                offsets.clear()
            offsets.add(seconds)
        return min(offsets), max(offsets)

    def ever(self, name: str) -> list[float]:
        """By how many seconds a process's clock was ever off, from the least on."""
        return sorted({0.0, *(seconds for _, seconds in self._steps.get(name, ()))})

    @staticmethod
    def wall_ms(moment: float) -> float:
        """What a right clock says at a moment (monotonic)."""
        return (time() - monotonic() + moment) * 1_000

    def _file(self, name: str) -> Path:
        return self._folder / name

    def _write(self, file: Path, seconds: float) -> None:
        if file.exists():
            self._steps.setdefault(file.name, []).append((monotonic(), seconds))
            file.write_text(f"{seconds:+.3f}")  # without a moment in which it is not there


class NodesOnHosts(Processes):
    """The process backend, with each server on its own host."""

    def __init__(self, settings: Settings, hosts: dict[str, Host], clocks: Clocks) -> None:
        super().__init__(settings)
        self._hosts = hosts
        self._clocks = clocks
        self._folders = settings.state / "nodes"

    def require_free(self, node: Node, setting: str) -> None:
        """The address is not of this machine, and nobody but us is in the lab."""

    def folder(self, node: Node) -> Path:
        """Where a node has its configuration and its data."""
        return self._folders / node.name

    def _start(self, node: Node, command: list[str]) -> None:
        clock = [f"{name}={value}" for name, value in self._clocks.environment(node.name).items()]
        super()._start(node, self._hosts[node.name].inside(["env", *clock, *command]))
