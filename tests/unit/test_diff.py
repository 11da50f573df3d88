"""What a reload does for each setting, and what is never shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from iotd.config import Settings
from iotd.config.diff import PARTS, Part, Snapshot, difference, parts_of
from iotd.config.tree import Tree
from iotd.model.errors import ConfigError
from tests.unit.test_config_file import fields


def snapshot(**settings: Any) -> Snapshot:
    return Snapshot.of(Settings(**settings))


def test_every_setting_has_a_part_that_takes_it_over_or_says_when() -> None:
    for name in fields(Tree):
        assert parts_of(name) or name.startswith("topology."), name
    for name in PARTS:
        assert any(f == name or f.startswith(name + ".") for f in fields(Tree)), f"{name} is no setting"


def test_the_same_settings_do_not_differ() -> None:
    differs = difference(snapshot(redis={"password": "s"}), snapshot(redis={"password": "s"}))
    assert (differs.changes, differs.parts, differs.moved) == ([], frozenset(), frozenset())


def test_a_secret_that_changed_is_named_and_not_shown() -> None:
    differs = difference(snapshot(redis={"password": "before"}), snapshot(redis={"password": "after"}))
    (change,) = differs.changes
    assert (change.name, change.before, change.after) == ("redis.password", "[secret]", "[secret]")
    assert differs.parts == {Part.SHARDS, Part.ARCHIVE}


def test_values_are_shown_as_one_writes_them() -> None:
    differs = difference(snapshot(), snapshot(archive={"interval": "90s"}, stack={"influxd": "/usr/bin/influxd"}))
    shown = {c.name: (c.before, c.after) for c in differs.changes}
    assert shown == {"archive.interval": ("5m", "1m30s"), "stack.influxd": ("not set", "/usr/bin/influxd")}


def test_entries_of_a_list_are_shown_as_they_stand_in_the_file() -> None:
    rule = {"topic": "home/{location}/{type}", "value": "$.v", "unit": "degF"}
    after = snapshot(mqtt={"url": "mqtt://broker", "topic": [rule], "presets": ["tasmota"]})
    shown = {c.name: c.after for c in difference(snapshot(mqtt={"url": "mqtt://broker"}), after).changes}
    assert json.loads(shown["mqtt.topic"]) == [rule]
    assert json.loads(shown["mqtt.presets"]) == [{"name": "tasmota"}]


def test_a_location_taken_out_of_the_middle_says_that_the_later_ones_move_to_other_ports() -> None:
    differs = difference(snapshot(locations=("a", "b", "c")), snapshot(locations=("a", "c")))
    named = {c.name: (c.before, c.after) for c in differs.changes}
    assert named["location b"] == ("served", "not served")
    assert named["redis-c-master"] == ("127.0.0.1:6383", "127.0.0.1:6381")
    assert differs.moved == {"c"}


def test_what_needs_a_restart_is_told_apart() -> None:
    differs = difference(snapshot(), snapshot(log={"segment": "4MiB", "limit": "2GiB"}))
    assert [c.name for c in differs.restart] == ["log.segment"]


def test_a_file_with_a_new_secret_differs_though_its_name_does_not(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("one")
    before = snapshot(influxdb={"token_file": token})
    token.write_text("two")
    differs = difference(before, snapshot(influxdb={"token_file": token}))
    assert differs.parts == {Part.ARCHIVE}


def test_a_file_that_can_not_be_read_is_refused_unless_it_was_missing_before(tmp_path: Path) -> None:
    missing = tmp_path / "token"
    named = snapshot(influxdb={"token_file": missing})
    with pytest.raises(ConfigError, match="can't be read"):
        difference(snapshot(), named)
    assert difference(named, snapshot(influxdb={"token_file": missing})).changes == []
