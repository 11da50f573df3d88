"""The state directory: private, and held by one daemon at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from iotd.model.errors import StateError
from iotd.ops.statedir import daemon_process, held

_HOLDER = """
import sys
from pathlib import Path
from iotd.ops.statedir import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_it_is_made_private_and_left_without_a_pid(tmp_path: Path) -> None:
    state = tmp_path / "deep" / "state"
    with held(state):
        assert state.stat().st_mode & 0o077 == 0
        assert (state / "daemon.pid").read_text().split()[0] == str(os.getpid())
        assert daemon_process(state) is None  # it is ourselves
    assert not (state / "daemon.pid").exists()
    with held(state):
        pass


def test_another_daemon_is_refused_with_its_process_named_until_it_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StateError, match=rf"another iotd daemon \(process {holder.pid}\)"), held(tmp_path):
            pass
        found = daemon_process(tmp_path)
        assert found is not None
        assert found.pid == holder.pid
        holder.kill()
        holder.wait()
        assert daemon_process(tmp_path) is None
    with held(tmp_path):
        pass


def test_a_process_that_got_the_same_id_since_is_not_taken_for_the_daemon(tmp_path: Path) -> None:
    parent = psutil.Process(os.getppid())
    (tmp_path / "daemon.pid").write_text(f"{parent.pid} {parent.create_time() - 1000}\n")
    assert daemon_process(tmp_path) is None
    (tmp_path / "daemon.pid").write_text(f"{parent.pid} {parent.create_time()}\n")
    assert daemon_process(tmp_path) is not None
    (tmp_path / "daemon.pid").write_text("nonsense")
    assert daemon_process(tmp_path) is None


def test_what_is_no_directory_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="the state directory can't be used"), held(tmp_path / "file" / "state"):
        pass


def test_a_full_disk_is_said_and_the_directory_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(StateError, match="no space left on the disk"), held(tmp_path):
            pass
    with held(tmp_path):
        pass
