"""What only containers have: names that may be another's, a restart policy, what `docker inspect` shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from iotd.model.errors import StackError
from iotd.stack import Stack, engine
from iotd.stack.containers import Containers
from tests.conftest import FreshSystem, in_containers
from tests.integration.test_security import REDIS_PASSWORD, SENTINEL_PASSWORD, locked
from tests.servers.checker import all_there
from tests.servers.daemon import iotd, running_daemon
from tests.servers.images import Images
from tests.servers.ports import port_block
from tests.servers.system import System, make_settings, start_system, stop_system, until


@pytest.fixture
def client(images: Images) -> Iterator[Any]:
    """The engine, by its own SDK."""
    made = engine.connect()
    yield made
    made.close()


def containers_of(system: System, client: Any) -> list[Any]:
    label = f"iotd.project={system.settings.stack.docker.project}"
    found: list[Any] = client.containers.list(all=True, filters={"label": label})
    return found


async def test_a_locked_shard_in_containers_fails_over_and_comes_back_in_role_whoever_starts_it(
    docker_system: FreshSystem, client: Any, tmp_path: Path
) -> None:
    system = docker_system(sensors={"interval": "100ms"}, **locked(tmp_path / "tls"))
    prefix = f"{system.settings.stack.docker.project}-"
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        await daemon.writes("salon")
        drill = await iotd("failover-test", "--location", "salon", "--yes", "--output", "json", config=system.config)
        assert drill.code == 0, drill
        assert drill.json["drill"]["target"] == "redis-salon-replica"

        # as its restart policy would: nobody tells it its role
        client.containers.get(prefix + "redis-salon-master").start()
        roles = set()

        async def in_sync() -> bool:
            try:
                role = await system.ask("redis-salon-master", "ROLE")
            except Exception:
                return False
            roles.add(role[0])
            return bool(role[0] == b"slave" and role[3] == b"connected")

        await until(in_sync, 30, "the old master is a replica")
        assert roles == {b"slave"}  # not for a moment a second master
        await daemon.writes("salon")
        assert await daemon.stop() == 0
    await all_there(system, "salon")

    found = containers_of(system, client)
    assert len(found) == 5
    told = [json.dumps(client.api.inspect_container(c.id)) for c in found]
    told += [json.dumps(c.top()) for c in found]
    told += [c.logs().decode() for c in found]
    told += [json.dumps(v.attrs) for v in client.volumes.list()]
    told += [drill.out, drill.err, daemon.log.read_text()]
    for text in told:
        assert REDIS_PASSWORD not in text
        assert json.dumps(REDIS_PASSWORD).strip('"') not in text
        assert SENTINEL_PASSWORD not in text
        assert json.dumps(SENTINEL_PASSWORD).strip('"') not in text


async def test_a_crashed_server_is_restarted_by_the_engine_in_the_role_that_it_had(
    docker_system: FreshSystem, client: Any
) -> None:
    system = docker_system()
    prefix = f"{system.settings.stack.docker.project}-"
    container = client.containers.get(prefix + "redis-salon-replica")
    before = await system.ask("redis-salon-replica", "INFO", "server")
    # DEBUG SEGFAULT is refused by default: the server ends itself, as far as the engine knows on its own
    with pytest.raises(Exception, match="closed"):
        await system.ask("redis-salon-replica", "SHUTDOWN", "NOSAVE", "FORCE")

    async def back() -> bool:
        try:
            return bool((await system.ask("redis-salon-replica", "ROLE"))[0] == b"slave")
        except Exception:
            return False

    await until(back, 30, "the replica is back")
    assert await system.ask("redis-salon-replica", "INFO", "server") != before
    container.reload()
    assert container.attrs["RestartCount"] >= 1
    assert "the Sentinels say the master is redis-salon-master" in container.logs().decode()


async def test_a_container_that_was_removed_is_made_again_with_its_data(
    docker_system: FreshSystem, client: Any
) -> None:
    system = docker_system(stack={"docker": {"memory": "256MiB", "cpus": 0.5, "health_interval": "1s"}})
    for found in containers_of(system, client):
        settings = found.attrs["HostConfig"]
        published = [binding["HostIp"] for bindings in settings["PortBindings"].values() for binding in bindings]
        assert published == ["127.0.0.1"]
        assert settings["RestartPolicy"]["Name"] == "unless-stopped"
        assert settings["Memory"] == 256 * 1024**2
        assert settings["NanoCpus"] == 500_000_000
        assert settings["CapDrop"] == ["ALL"]
        assert settings["ReadonlyRootfs"]
        assert settings["LogConfig"]["Config"]["max-size"]
    await system.ask("redis-salon-master", "SET", "kept", "yes")
    await system.ask("redis-salon-master", "WAITAOF", 1, 1, 10_000)
    prefix = f"{system.settings.stack.docker.project}-"
    client.containers.get(prefix + "redis-salon-replica").remove(force=True)
    up = await iotd("stack", "up", "--output", "json", config=system.config)
    assert up.code == 0, up
    assert [r["name"] for r in up.json if r["action"] == "started"] == ["redis-salon-replica"]
    assert await system.ask("redis-salon-replica", "GET", "kept") == b"yes"

    async def healthy() -> bool:
        for container in containers_of(system, client):
            container.reload()
        return {c.attrs["State"]["Health"]["Status"] for c in containers_of(system, client)} == {"healthy"}

    await until(healthy, 60, "the engine says that all are healthy")


@pytest.mark.parametrize("kind", ["container", "network", "volume"])
async def test_what_is_not_ours_is_refused_by_name_and_stays_untouched(
    images: Images, client: Any, tmp_path: Path, kind: str
) -> None:
    with port_block() as first:
        settings = make_settings(tmp_path, first, ("salon",), stack=in_containers(images, first))
        prefix = f"{settings.stack.docker.project}-"
        if kind == "container":
            name = f"{prefix}redis-salon-replica"
            foreign = client.containers.create(images.redis, ["/bin/sleep", "60"], name=name)
        elif kind == "network":
            name = f"{prefix}redis-net"
            foreign = client.networks.create(name)
        else:
            name = f"{prefix}redis-salon-replica-data"
            foreign = client.volumes.create(name)
        try:
            for command in ("up", "down"):
                ended = await iotd("stack", command, config=tmp_path / "iotd.toml")
                if command == "up" or kind == "container":
                    assert ended.code == 69, ended
                    assert f"there is a {kind} named {name} already, and it was not made by iotd" in ended.err
                    assert "stack.docker.project" in ended.err
                    assert "Traceback" not in ended.err
            foreign.reload()
        finally:
            foreign.remove()
            blocked = System(settings, Stack(settings))
            stop_system(blocked)
        assert containers_of(blocked, client) == []


async def test_another_state_directory_is_another_owner(docker_system: FreshSystem, tmp_path: Path) -> None:
    system = docker_system()
    other = tmp_path / "other.toml"
    other.write_text(system.config.read_text().replace(str(system.settings.state), str(tmp_path / "elsewhere")))
    ended = await iotd("stack", "down", config=other)
    assert ended.code == 69
    assert f"of the iotd stack whose state is in {system.settings.state}" in ended.err
    assert (await iotd("stack", "status", config=system.config)).code == 0


async def test_auto_takes_docker_where_an_engine_answers_and_stays_with_what_it_took(
    images: Images, redis_binaries: Any, tmp_path: Path
) -> None:
    with port_block() as first:
        stack = in_containers(images, first) | {"backend": "auto"}
        settings = make_settings(tmp_path, first, ("salon",), stack=stack)
        assert Stack(settings).backend.name == "docker"
        # an image that is not here, and no registry to pull it from: plain processes
        docker = stack["docker"] | {"redis_image": "localhost:1/no/such:image"}
        stack |= {"docker": docker, "redis_dir": redis_binaries.server.parent}
        settings = make_settings(tmp_path, first, ("salon",), stack=stack)
        system = System(settings, Stack(settings))
        try:
            up = await iotd("stack", "up", config=tmp_path / "iotd.toml")
            assert up.code == 0, up
            assert "localhost:1/no/such:image is not here and can't be pulled" in up.err
            assert "Plain processes instead" in up.err
            assert Stack(settings).backend.name == "process"
            down = await iotd("stack", "down", config=tmp_path / "iotd.toml")
            assert down.out.startswith("stopped 5 servers")
            assert Stack(settings).backend.name == "docker"
        finally:
            stop_system(System(settings, Stack(settings)))
            system.stack.close()


async def test_an_image_that_is_not_to_be_had_is_named_with_its_setting(images: Images, tmp_path: Path) -> None:
    with port_block() as first:
        stack = in_containers(images, first)
        stack["docker"]["redis_image"] = "localhost:1/no/such:image"
        make_settings(tmp_path, first, ("salon",), stack=stack)
        ended = await iotd("stack", "up", config=tmp_path / "iotd.toml")
        assert ended.code == 69
        assert "stack.docker.redis_image" in ended.err
        assert "Traceback" not in ended.err


async def test_redisinsight_is_started_when_asked_for_and_kept_until_down(
    images: Images, client: Any, tmp_path: Path
) -> None:
    with port_block() as first:
        stack = in_containers(images, first)
        stack["docker"]["redisinsight_image"] = images.page
        settings = make_settings(tmp_path, first, ("salon",), stack=stack)
        system = start_system(settings)
        config = tmp_path / "iotd.toml"
        try:
            up = await iotd("stack", "up", "--with", "redisinsight", config=config)
            assert up.code == 0, up
            assert f"RedisInsight: http://{system.topology.redisinsight.address}" in up.out
            status = await iotd("stack", "status", "--output", "json", config=config)
            assert {"redisinsight": None}.items() <= {n["name"]: n["problem"] for n in status.json}.items()
            (container,) = [c for c in containers_of(system, client) if c.name.endswith("redisinsight")]
            variables = container.attrs["Config"]["Env"]
            assert "RI_REDIS_HOST_0=redis-salon-master" in variables
            assert (await iotd("stack", "stop", "redisinsight", config=config)).out == "redisinsight: stopped\n"
            again = await iotd("stack", "up", "--output", "json", config=config)
            assert [r["name"] for r in again.json if r["action"] == "started"] == ["redisinsight"]
            down = await iotd("stack", "down", config=config)
            assert down.out.startswith("stopped 6 servers")
            assert containers_of(system, client) == []
        finally:
            stop_system(system)


def test_by_default_containers_have_the_names_of_the_design(tmp_path: Path) -> None:
    plain = make_settings(tmp_path / "plain", 20_000)
    assert Containers(plain).container_name("redis-salon-master") == "redis-salon-master"
    moved = make_settings(tmp_path / "moved", 20_000, topology={"port_offset": 100})
    assert Containers(moved).container_name("redis-salon-master") == "offset100-redis-salon-master"


def test_a_name_that_docker_does_not_allow_is_said(images: Images, tmp_path: Path) -> None:
    with port_block() as first:
        settings = make_settings(tmp_path, first, ("séjour",), stack=in_containers(images, first))
        with pytest.raises(StackError, match="séjour: Docker allows only"):
            Containers(settings).prepare()
