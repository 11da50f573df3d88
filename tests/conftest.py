"""What all tests share: an environment of their own, and real servers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from iotd.errors import StackError
from iotd.settings.tree import Stack as StackSettings
from iotd.stack.binaries import RedisBinaries, find_redis
from tests.servers.influxd import InfluxServer, running_influxd
from tests.servers.needs import missing
from tests.servers.ports import PortBlock
from tests.servers.system import System, make_settings, start_system, stop_system


@pytest.fixture(scope="session", autouse=True)
def _settings_of_our_own() -> Iterator[None]:
    """No test sees the configuration of the one who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("IOTD_") and not name.startswith("IOTD_TEST_"):
                patch.delenv(name)
        patch.delenv("STATE_DIRECTORY", raising=False)
        yield


@pytest.fixture(scope="session")
def redis_binaries() -> RedisBinaries:
    """A real redis-server with its TimeSeries module, seen to work; named by ``IOTD_TEST_REDIS_DIR``, or found."""
    named = os.environ.get("IOTD_TEST_REDIS_DIR")
    try:
        return find_redis(StackSettings(redis_dir=Path(named) if named else None))
    except StackError as e:
        missing("redis", str(e))


@pytest.fixture(scope="session")
def take_ports() -> Iterator[Callable[[], PortBlock]]:
    """Takes a block of free ports that nobody else gets; given back at the end of the session."""
    taken: list[PortBlock] = []

    def take() -> PortBlock:
        taken.append(PortBlock())
        return taken[-1]

    yield take
    for block in taken:
        block.release()


@pytest.fixture(scope="session")
def system(
    redis_binaries: RedisBinaries, take_ports: Callable[[], PortBlock], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """Real shards and Sentinels of two locations, shared by all tests: leave every node running and in its role."""
    ports = take_ports()
    settings = make_settings(
        tmp_path_factory.mktemp("system"), ports, stack={"redis_dir": redis_binaries.server.parent}
    )
    running = start_system(settings, ports)
    yield running
    stop_system(running)


class FreshSystem(Protocol):
    """Makes a system of a test's own."""

    def __call__(self, locations: Sequence[str] = ("salon",), **overrides: Any) -> System: ...


@pytest.fixture
def fresh_system(
    redis_binaries: RedisBinaries, take_ports: Callable[[], PortBlock], tmp_path: Path
) -> Iterator[FreshSystem]:
    """A factory of private systems, for tests that stop, kill or reconfigure servers; all are gone afterwards."""
    running: list[System] = []

    def make(locations: Sequence[str] = ("salon",), **overrides: Any) -> System:
        ports = take_ports()
        overrides["stack"] = {"redis_dir": redis_binaries.server.parent, **overrides.get("stack", {})}
        settings = make_settings(tmp_path / f"system-{len(running)}", ports, locations, **overrides)
        running.append(start_system(settings, ports))
        return running[-1]

    yield make
    for one in running:
        stop_system(one)


@pytest.fixture(scope="session")
def influxdb(take_ports: Callable[[], PortBlock], tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    """A real InfluxDB 2, shared by all tests; take a bucket of your own from it."""
    with running_influxd(tmp_path_factory.mktemp("influxdb"), take_ports()) as server:
        yield server
