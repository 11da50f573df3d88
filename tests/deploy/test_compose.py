"""deploy/compose, against the topology that it is to bring up."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from iotd.config import Settings, load
from iotd.config.topology import topology
from tests.servers.needs import lacking

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose"


def compose_settings() -> Settings:
    return load(COMPOSE / "iotd.toml")


@pytest.mark.parametrize("name", ["compose.yaml", "stack.yaml"])
def test_compose_has_every_node_of_the_topology_by_its_name_and_port(name: str) -> None:
    services = yaml.safe_load((COMPOSE / name).read_text())["services"]
    plain = {node.name: node.address.port for shard in topology(Settings()).shards for node in shard.nodes}
    named = {node.name: node.address for shard in topology(compose_settings()).shards for node in shard.nodes}
    assert services.keys() == named.keys() | {"influxdb", "iotd"}
    for node, port in plain.items():
        assert named[node] == (node, port)
        variables = services[node]["environment"]
        assert (variables["NODE"], variables["PORT"]) == (node, str(port))
        if name == "compose.yaml":
            assert services[node]["ports"] == [f"127.0.0.1:{port}:{port}"]
            assert (
                f"{node}:{services[node]['networks']['redis-net']['ipv4_address']}" in services["iotd"]["extra_hosts"]
            )


@pytest.mark.parametrize("name", ["compose.yaml", "stack.yaml"])
def test_compose_itself_finds_nothing_wrong_with_it(name: str) -> None:
    compose = shutil.which("docker-compose")
    if compose is None:
        lacking("compose", "no docker-compose on PATH")
    command = [compose, "--file", str(COMPOSE / name), "config", "--quiet"]
    done = subprocess.run(
        command, env={**os.environ, "COMPOSE_PROJECT_NAME": "x"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_node_script_is_good_shell() -> None:
    done = subprocess.run(["sh", "-n", ROOT / "deploy" / "redis-node.sh"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
