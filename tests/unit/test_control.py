"""The control socket: what the daemon answers, what it fails with, and when nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from iotd.model.errors import IotdError, ShardUnavailable, StateError
from iotd.ops import control
from iotd.ops.control import ControlServer, NoDaemon, SilentDaemon, request


@dataclass
class Thing:
    name: str
    path: Path


@asynccontextmanager
async def serving(state: Path, handler: Any) -> AsyncIterator[None]:
    async with ControlServer(state, {("GET", "/x"): handler, ("POST", "/x"): handler}):
        yield


async def test_an_answer_may_hold_dataclasses_and_paths_and_knows_the_parameters(tmp_path: Path) -> None:
    async def answer(params: Mapping[str, str]) -> Any:
        return {"thing": Thing("é", Path("/a/b")), "days": params["days"]}

    async with serving(tmp_path, answer):
        assert (tmp_path / "control.sock").stat().st_mode & 0o077 == 0
        said = await request(tmp_path, "POST", "/x", {"days": "7"})
    assert said == {"thing": {"name": "é", "path": "/a/b"}, "days": "7"}
    assert not (tmp_path / "control.sock").exists()


async def test_an_error_of_the_daemon_is_the_callers_with_its_exit_code(tmp_path: Path) -> None:
    async def refuse(params: Mapping[str, str]) -> Any:
        raise ShardUnavailable("salon: no master at present")

    async with serving(tmp_path, refuse):
        with pytest.raises(IotdError, match=r"^salon: no master at present$") as caught:
            await request(tmp_path, "GET", "/x")
    assert caught.value.exit_code == 69


async def test_a_bug_in_an_answer_is_said_and_logged_and_not_taken_for_no_daemon(tmp_path: Path) -> None:
    async def stumble(params: Mapping[str, str]) -> Any:
        return 1 / 0

    with capture_logs() as logs:
        async with serving(tmp_path, stumble):
            with pytest.raises(IotdError, match="the daemon failed: ZeroDivisionError") as caught:
                await request(tmp_path, "GET", "/x")
    assert not isinstance(caught.value, NoDaemon)
    assert caught.value.exit_code == 70
    assert [entry["event"] for entry in logs] == ["request_failed"]


async def test_a_lack_of_memory_is_said_as_that(tmp_path: Path) -> None:
    async def grow(params: Mapping[str, str]) -> Any:
        raise MemoryError

    with capture_logs() as logs:
        async with serving(tmp_path, grow):
            with pytest.raises(IotdError, match=r"^out of memory: .* give it more$"):
                await request(tmp_path, "GET", "/x")
    assert [entry["reason"].split(":")[0] for entry in logs] == ["out of memory"]


async def test_nobody_there_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoDaemon, match="start it with `iotd up`"):
        await request(tmp_path, "GET", "/x")


async def test_the_socket_of_a_killed_daemon_is_no_daemon_and_in_nobodys_way(tmp_path: Path) -> None:
    async def answer(params: Mapping[str, str]) -> Any:
        return "here"

    server = await asyncio.start_unix_server(lambda r, w: None, tmp_path / "control.sock")
    server.close()
    await server.wait_closed()
    assert (tmp_path / "control.sock").exists()
    with pytest.raises(NoDaemon):
        await request(tmp_path, "GET", "/x")
    async with serving(tmp_path, answer):
        assert await request(tmp_path, "GET", "/x") == "here"


async def test_a_daemon_that_hangs_is_told_from_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(params: Mapping[str, str]) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(control, "_LOOK_S", 0.05)
    async with serving(tmp_path, hang):
        with pytest.raises(SilentDaemon, match="does not answer within"):
            await request(tmp_path, "GET", "/x")


async def test_a_path_too_long_for_a_socket_is_said(tmp_path: Path) -> None:
    state = tmp_path / ("x" * 150)
    state.mkdir()
    with pytest.raises(StateError, match="set a shorter state_dir"):
        async with serving(state, None):
            pass
