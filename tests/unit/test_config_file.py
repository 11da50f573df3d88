"""config/iotd.toml shows every setting with its default."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from iotd.config import load
from iotd.config.sections.mqtt import Broker, TopicRule
from iotd.config.sections.servers import ShardNodes
from iotd.config.tree import Tree
from iotd.model.errors import ConfigError

FILE = Path(__file__).parents[2] / "config" / "iotd.toml"


def uncommented() -> dict[str, Any]:
    return tomllib.loads(re.sub(r'^#(?=[\w"\[])', "", FILE.read_text(), flags=re.M))


EXAMPLES = ("types", "sources", "mqtt", "topology.shards", "topology.address_map", "startup.shards", "silence.types")


def fields(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Every leaf setting by its dotted name, with its default."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            found |= fields(type(default), f"{prefix}{name}.")
        else:
            found[prefix + name] = default
    return found


def test_every_setting_of_a_broker_and_its_topics_is_in_the_file_with_its_default() -> None:
    written = uncommented()["mqtt"]
    for name, default in fields(Broker).items():
        assert name in written, f"mqtt.{name} is not in config/iotd.toml"
        if default not in (None, ()) and name not in ("url",):
            assert getattr(Broker.model_validate(written), name) == default, f"mqtt.{name}"
    assert set().union(*written["topic"]) | {"type", "sensor"} == set(TopicRule.model_fields)


def test_as_it_is_the_file_changes_nothing() -> None:
    assert Tree.model_validate(tomllib.loads(FILE.read_text())) == Tree()


def test_every_setting_is_in_the_file_with_its_default() -> None:
    written = uncommented()
    # a password beside a password_file, or a token beside a token_file, is refused: here they are examples
    for section in ("redis", "sentinel"):
        del written[section]["password"]
    del written["influxdb"]["token"]
    tree = Tree.model_validate(written)
    for name, default in fields(Tree).items():
        section, _, key = name.rpartition(".")
        table: Any = written
        for part in filter(None, section.split(".")):
            table = table[part]
        if name in ("redis.password", "sentinel.password", "influxdb.token"):
            continue
        assert key in table, f"{name} is not in config/iotd.toml"
        if default is None or name in EXAMPLES:
            continue
        value: Any = tree
        for part in name.split("."):
            value = getattr(value, part)
        assert value == default, f"{name}: the file says {value}, the default is {default}"


def test_the_file_names_no_setting_that_does_not_exist() -> None:
    shard = uncommented()["topology"]["shards"]["salon"]
    assert set(shard) == set(ShardNodes.model_fields)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[queue]\nmemory = '1MiB'", "log.memory"),
        ("[spool]\nlimit = '1GiB'", "log.limit"),
        ("[log]\nlevel = 'info'", "logging.level"),
        ("[archive]\nsink = 'embedded'", "archive.store"),
    ],
)
def test_settings_of_version_0_1_are_refused_with_their_new_names(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "iotd.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=rf"no such setting; .*{re.escape(says)}"):
        load(file)
