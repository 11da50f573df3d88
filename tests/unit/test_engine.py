"""Looking for a Docker engine costs nothing where there is none."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from iotd.config import load
from iotd.model.errors import StackError
from iotd.stack import engine
from iotd.stack.choose import choose_backend


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(engine, "_SYSTEM_SOCKET", tmp_path / "none.sock")


def test_without_a_socket_auto_means_processes_and_the_sdk_is_not_even_imported() -> None:
    code = (
        "import sys; from pathlib import Path; from iotd.stack import engine; engine._SYSTEM_SOCKET = Path('/none');"
        "assert not engine.answers(); assert 'docker' not in sys.modules and 'requests' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_socket_nobody_listens_on_is_no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "docker.sock"))
    assert engine.address() == f"unix://{tmp_path}/docker.sock"
    assert not engine.answers()
    assert choose_backend(load(state_dir=tmp_path)).name == "process"


def test_docker_host_comes_first_and_one_that_is_wrong_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nowhere.sock")
    assert engine.address() == f"unix://{tmp_path}/nowhere.sock"
    with pytest.raises(StackError, match=r"nowhere\.sock: can't be reached"):
        engine.connect()
    monkeypatch.setenv("DOCKER_HOST", "nonsense")
    with pytest.raises(StackError, match="nonsense"):
        engine.connect()


def test_docker_without_an_engine_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"set stack\.backend to process"):
        engine.connect()


def test_auto_stays_with_the_backend_that_runs_the_servers(tmp_path: Path) -> None:
    (tmp_path / "backend").write_text("docker\n")
    assert choose_backend(load(state_dir=tmp_path)).name == "docker"
    (tmp_path / "backend").write_text("something else\n")
    assert choose_backend(load(state_dir=tmp_path)).name == "process"
