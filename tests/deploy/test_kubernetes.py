"""deploy/kubernetes, against the API's own schemas; there is no cluster here to apply it to."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from iotd.config import Tree
from iotd.config.topology import topology

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
ROOMS = ("salon", "salle_de_bain")


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    """What make.sh prints for two rooms."""
    made = subprocess.run([FOLDER / "make.sh", *ROOMS], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(made.stdout))


@pytest.mark.parametrize("version", ["1.28", "1.31", "1.34"])
def test_every_object_is_as_the_api_wants_it(objects: list[dict[str, Any]], version: str) -> None:
    assert len(objects) > 10
    for found in objects:
        kubernetes_validate.validate(found, version, strict=True)


def test_every_name_that_one_object_has_of_another_is_there(objects: list[dict[str, Any]]) -> None:
    names = {(found["kind"], found["metadata"]["name"]) for found in objects}
    assert len(names) == len(objects)
    for found in objects:
        if found["kind"] != "StatefulSet":
            continue
        spec = found["spec"]
        assert ("Service", spec["serviceName"]) in names
        pod = spec["template"]["spec"]
        mounted = {volume["name"] for volume in pod["volumes"]}
        mounted |= {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]}
        for volume in pod["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in names
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= mounted
        labels = spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()


def test_the_settings_in_it_name_the_pods(objects: list[dict[str, Any]]) -> None:
    (config,) = [o for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"] == "iotd"]
    made = topology(Tree.model_validate(tomllib.loads(config["data"]["iotd.toml"])))
    pods = {
        f"{o['metadata']['name']}-{n}.{o['spec']['serviceName']}"
        for o in objects
        if o["kind"] == "StatefulSet"
        for n in range(o["spec"]["replicas"])
    }
    assert [shard.location for shard in made.shards] == list(ROOMS)
    for shard in made.shards:
        assert {node.address.host for node in shard.nodes} <= pods
    (script,) = [o for o in objects if o["metadata"]["name"] == "redis-node"]
    assert script["data"]["redis-node.sh"] == (FOLDER.parent / "redis-node.sh").read_text()
