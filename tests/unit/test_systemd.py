"""What systemd is told, over a real datagram socket."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from iotd.ops.systemd import Notifier


@pytest.fixture(params=["file", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A socket like systemd's, and NOTIFY_SOCKET for it."""
    name = str(tmp_path / "notify") if request.param == "file" else f"@iotd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        s.settimeout(10)
        yield name, s


def heard(s: socket.socket) -> list[str]:
    return s.recv(4096).decode().split("\n")


async def test_a_life_from_ready_over_a_reload_to_the_stop(listening: tuple[str, socket.socket]) -> None:
    name, s = listening
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready("5 locations")
    assert heard(s) == ["READY=1", "STATUS=5 locations"]
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    said = heard(s)
    assert said[0] == "RELOADING=1"
    assert before <= int(said[1].removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    notifier.stopping(10)
    assert heard(s)[0] == "STOPPING=1"


async def test_the_watchdog_is_fed_by_a_loop_that_turns_and_starves_when_it_does_not(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(tmp_path / "notify"))
        s.setblocking(False)
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "90000"})
        watching = asyncio.ensure_future(notifier.watch())
        loop = asyncio.get_running_loop()
        for _ in range(3):
            assert await asyncio.wait_for(loop.sock_recv(s, 100), 10) == b"WATCHDOG=1"
        time.sleep(0.3)  # the loop hangs, and must not seem alive
        with pytest.raises(BlockingIOError):
            s.recv(100)
        watching.cancel()


async def test_without_systemd_nothing_is_sent_and_the_watchdog_of_another_process_is_not_ours(tmp_path: Path) -> None:
    Notifier({}).ready("x")
    await asyncio.wait_for(Notifier({}).watch(), 10)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(tmp_path / "notify"))
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
        await asyncio.wait_for(Notifier(environ).watch(), 10)


def test_a_service_manager_that_has_gone_costs_nothing(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nowhere")}).ready("x")
