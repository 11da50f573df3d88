"""What all tests share: an environment of their own, and real servers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import hypothesis
import pytest

from iotd.config.sections.servers import Stack as StackSettings
from iotd.model.errors import StackError
from iotd.stack.binaries import RedisBinaries, find_redis
from tests.servers.images import Images, make_images
from tests.servers.influxdb import InfluxServer, running_influxdb
from tests.servers.needs import lacking
from tests.servers.ports import port_block
from tests.servers.system import System, make_settings, start_system, stop_system

# a test on a busy machine is slow, and not wrong
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


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
        lacking("redis", str(e))


@pytest.fixture(scope="session")
def system(redis_binaries: RedisBinaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Real shards and Sentinels of two locations, shared by all tests: leave every node running and in its role."""
    with port_block() as first:
        folder = tmp_path_factory.mktemp("system")
        running = start_system(make_settings(folder, first, stack={"redis_dir": redis_binaries.server.parent}))
        try:
            yield running
        finally:
            stop_system(running)


class FreshSystem(Protocol):
    """Makes a system of a test's own."""

    def __call__(self, locations: Sequence[str] | Mapping[str, Any] = ("salon",), **overrides: Any) -> System: ...


@pytest.fixture
def fresh_system(redis_binaries: RedisBinaries, tmp_path: Path) -> Iterator[FreshSystem]:
    """A factory of private systems, for tests that stop, kill or reconfigure servers; all are gone afterwards."""
    with ExitStack() as running:

        def make(locations: Sequence[str] | Mapping[str, Any] = ("salon",), **overrides: Any) -> System:
            first = running.enter_context(port_block())
            overrides["stack"] = {"redis_dir": redis_binaries.server.parent, **overrides.get("stack", {})}
            system = start_system(make_settings(tmp_path / f"system-{first}", first, locations, **overrides))
            running.callback(stop_system, system)
            return system

        yield make


@pytest.fixture(scope="session")
def images(redis_binaries: RedisBinaries) -> Images:
    """Docker images of the real servers; needs an engine (``DOCKER_HOST``, or the usual socket)."""
    return make_images(redis_binaries)


def in_containers(images: Images, first_port: int) -> dict[str, Any]:
    """The settings table [stack] of a system in containers whose names no other has."""
    docker: dict[str, Any] = {
        "project": f"iotd-test-{first_port}",
        "redis_image": images.redis,
        "health_interval": "0s",
    }
    return {"backend": "docker", "docker": docker | ({"influxdb_image": images.influxdb} if images.influxdb else {})}


@pytest.fixture(scope="session", params=["process", "docker"])
def each_system(
    request: pytest.FixtureRequest, redis_binaries: RedisBinaries, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A system with one location and InfluxDB, by each backend, shared: leave every node running, in whichever role."""
    with port_block() as first:
        if request.param == "docker":
            stack = in_containers(request.getfixturevalue("images"), first)
        else:
            stack = {"redis_dir": redis_binaries.server.parent}
        settings = make_settings(
            tmp_path_factory.mktemp(request.param),
            first,
            ["salon"],
            stack=stack,
            archive={"store": "auto"},
            sensors={"interval": "100ms"},
        )
        running = start_system(settings)
        try:
            yield running
        finally:
            stop_system(running)


@pytest.fixture
def docker_system(images: Images, tmp_path: Path) -> Iterator[FreshSystem]:
    """Like :func:`fresh_system`, in containers; starting takes seconds."""
    with ExitStack() as running:

        def make(locations: Sequence[str] | Mapping[str, Any] = ("salon",), **overrides: Any) -> System:
            first = running.enter_context(port_block())
            base = in_containers(images, first)
            given = overrides.pop("stack", {})
            stack = base | given | {"docker": base["docker"] | given.get("docker", {})}
            settings = make_settings(tmp_path / f"docker-{first}", first, locations, stack=stack, **overrides)
            system = start_system(settings)
            running.callback(stop_system, system)
            return system

        yield make


@pytest.fixture(scope="session")
def influxdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    """A real InfluxDB 2, shared by all tests; make a bucket of your own in it."""
    with running_influxdb(tmp_path_factory.mktemp("influxdb")) as server:
        yield server
