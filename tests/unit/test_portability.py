"""Nothing that only Unix has is needed to start a command: CLI and docker backend run on Windows and macOS too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_WITHOUT_UNIX = """
import importlib, os, pkgutil, signal, socket, sys
import iotd, iotd.cli

def everything():
    for found in pkgutil.walk_packages(iotd.__path__, "iotd."):
        if found.name != "iotd.__main__":
            importlib.import_module(found.name)

# libraries have their own ways on each system: it is our imports that are looked at, so theirs are done first
everything()
for name in [name for name in sys.modules if name.partition(".")[0] == "iotd"]:
    del sys.modules[name]

UNIX = {"fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "syslog", "uvloop", "curses", "readline"}

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in UNIX:
            raise ModuleNotFoundError(f"No module named {name!r} (not on Windows)", name=name)

for name in UNIX:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Block())
GONE = {
    os: "fork getuid geteuid getgid posix_spawn POSIX_SPAWN_OPEN POSIX_SPAWN_DUP2 WNOHANG uname",
    signal: "SIGHUP SIGKILL SIGSTOP SIGCONT SIGUSR1 SIGXFSZ SIGPIPE pthread_sigmask",
    socket: "AF_UNIX",
}
for module, names in GONE.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)

import iotd, iotd.cli
everything()
"""


def run(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _WITHOUT_UNIX + code, *args], capture_output=True, text=True, check=False
    )


def test_every_module_can_be_imported_without_what_only_unix_has() -> None:
    done = run("")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("args", [("--help",), ("stack", "up", "--help"), ("config", "check")])
def test_commands_start_without_what_only_unix_has(tmp_path: Path, args: tuple[str, ...]) -> None:
    config = tmp_path / "iotd.toml"
    config.write_text(f'state_dir = "{tmp_path}/state"\n[archive]\nstore = "embedded:"\n[stack]\nbackend = "process"\n')
    done = run("\nfrom iotd.cli import main\nmain(sys.argv[1:])\n", "--config", str(config), *args)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr
