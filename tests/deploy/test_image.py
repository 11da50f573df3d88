"""deploy/Dockerfile and deploy/compose: built and run, on a base and with servers made of this machine's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from iotd.stack import engine
from tests.deploy.base import make_base
from tests.servers.images import Images
from tests.servers.needs import lacking
from tests.servers.system import until

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose"

pytestmark = [pytest.mark.docker, pytest.mark.timeout(420)]

PROBLEMS = """
import asyncio, json, pathlib
from iotd.config import load
from iotd.stack.health import problem
from iotd.config.topology import topology
settings = load(pathlib.Path("/etc/iotd/iotd.toml"))
servers = topology(settings)
print(json.dumps([asyncio.run(problem(settings, servers, node)) for node in servers.shard("salon").nodes]))
"""


@pytest.fixture(scope="module")
def client(images: Images) -> Iterator[Any]:
    made = engine.connect()
    yield made
    made.close()


@pytest.fixture(scope="module")
def image(client: Any) -> Iterator[str]:
    """The image that the Dockerfile makes, of what is here."""
    made = f"iotd-test:{uuid.uuid4().hex[:12]}"
    command = ["docker", "build", "--force-rm", "--network", "none", "--build-arg", f"BASE={make_base(client)}"]
    command += ["--file", "deploy/Dockerfile", "--tag", made, "."]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    yield made
    client.images.remove(made, force=True)


async def test_the_image_runs_as_nobody_is_healthy_and_drains_when_it_is_stopped(client: Any, image: str) -> None:
    container = client.containers.create(
        image,
        read_only=True,
        cap_drop=["ALL"],
        network_mode="none",
        environment={"IOTD_ARCHIVE__STORE": "embedded:"},
    )
    try:
        container.start()

        async def alive() -> bool:
            container.reload()
            assert container.status == "running", container.logs().decode()
            probe = container.attrs["Config"]["Healthcheck"]["Test"]
            assert probe[0] == "CMD"
            return bool(container.exec_run(probe[1:]).exit_code == 0)

        await until(alive, 60, "the health check passes")
        uid = container.exec_run(["python3", "-c", "import os; print(os.getuid())"]).output
        assert uid.strip() == b"10001"
        container.stop(timeout=30)
        container.reload()
        assert container.attrs["State"]["ExitCode"] == 0  # not 137: it heard the signal itself
        events = [json.loads(line)["event"] for line in container.logs().decode().splitlines() if line.startswith("{")]
        assert events[0] == "started"
        assert events[-1] == "stopped"
        wrong = client.containers.run(
            image, detach=True, network_mode="none", environment={"IOTD_LOGGING__LEVEL": "loud"}
        )
        try:
            assert wrong.wait()["StatusCode"] == 78
        finally:
            wrong.remove(force=True, v=True)
    finally:
        container.remove(force=True, v=True)


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """A copy of deploy/ with secrets in it."""
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    folder = tmp_path / "deploy" / "compose" / "secrets"
    folder.mkdir()
    for secret in ("redis_password", "influxdb_password", "influxdb_token"):
        (folder / secret).write_text(f"{secret}-s3cret\n")
        (folder / secret).chmod(0o444)
    return tmp_path / "deploy" / "compose"


async def test_compose_brings_a_room_up_that_fails_over_and_no_secret_is_in_sight(
    client: Any, image: str, images: Images, secrets: Path
) -> None:
    compose = shutil.which("docker-compose")
    if compose is None:
        lacking("compose", "no docker-compose on PATH")
    project = f"iotd-test-{uuid.uuid4().hex[:8]}"
    tables = yaml.safe_load((secrets / "compose.yaml").read_text())
    room = {name: table for name, table in tables["services"].items() if "-salon-" in name}
    # a subnet and no published ports of their own, so that two runs never meet; the archive's image can't be had here
    third = int(uuid.uuid4().hex[:2], 16)
    text = json.dumps(tables | {"services": room | {"iotd": tables["services"]["iotd"]}})
    tables = json.loads(text.replace("10.86.0.", f"10.86.{third}."))
    for service in tables["services"].values():
        service.pop("ports", None)
        service.pop("build", None)
        service.pop("depends_on", None)
    tables["services"]["iotd"]["environment"] = {"IOTD_ARCHIVE__STORE": "embedded:", "IOTD_SERVE": "salon"}
    (secrets / "room.yaml").write_text(json.dumps(tables))
    base = [compose, "--project-name", project, "--file", str(secrets / "room.yaml")]
    environment = {"REDIS_IMAGE": images.redis, "IOTD_IMAGE": image}

    def run(*args: str) -> str:
        done = subprocess.run([*base, *args], env=os.environ | environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def answer(code: str) -> Any:
        container = client.containers.get(run("ps", "-q", "iotd").strip())
        said = container.exec_run(["python3", "-c", code], demux=True).output[0]
        return json.loads(said) if said else None

    def status() -> Any:
        command = ["--config", "/etc/iotd/iotd.toml", "status", "--output", "json"]
        return answer(f"from iotd.cli import main; main({command})")

    async def healthy() -> bool:
        problems = answer(PROBLEMS)
        return problems is not None and not any(problems)

    try:
        run("up", "--detach")

        async def writes(master: str) -> bool:
            said = status()
            if not said or not said["daemon"]:
                return False
            (shard,) = said["daemon"]["shards"]
            return bool(shard["acknowledged"] > 0 and shard["master"] == master and shard["age"] < 3)

        async def promoted() -> bool:
            said = status()
            return bool(said and said["daemon"] and said["daemon"]["shards"][0]["master"] == "redis-salon-replica")

        await until(lambda: writes("redis-salon-master"), 90, "readings are written and durable")
        # a Sentinel looks for replicas every 10 s, and one that has not met ours yet could promote none
        await until(healthy, 60, "the Sentinels know each other and the replica")
        run("kill", "redis-salon-master")
        await until(promoted, 60, "the replica is written to")
        run("start", "redis-salon-master")
        await until(lambda: writes("redis-salon-replica"), 60, "the old master is a replica, and all is durable")
        ids = run("ps", "-q").split()
        seen = [json.dumps(client.api.inspect_container(one)) for one in ids]
        seen += [client.containers.get(one).logs().decode() for one in ids]
        assert len(ids) == 6
        assert not [text for text in seen if "s3cret" in text]
    finally:
        run("down", "--volumes", "--timeout", "5")
