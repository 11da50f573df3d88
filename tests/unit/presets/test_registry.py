"""Presets by their names, and types by the words of an id."""

from __future__ import annotations

import pytest

from iotd.config.sections.mqtt import PRESETS as NAMES_OF_PRESETS
from iotd.config.topics.filters import valid
from iotd.model.errors import ConfigError
from iotd.sources.mqtt.presets.registry import PRESETS, make


def test_the_configuration_knows_them_all() -> None:
    assert set(NAMES_OF_PRESETS) == set(PRESETS)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_each_preset_is_made_by_its_name_and_has_filters(name: str) -> None:
    preset = make(name)
    assert preset.name == name
    assert all(valid(one.topic) for one in preset.filters({}))
    if preset.base:
        assert make(name, "my/house").base == "my/house"
        assert any("my/house" in one.topic for one in make(name, "my/house").filters({}))
    else:
        with pytest.raises(ConfigError, match="always begin the same way"):
            make(name, "my/house")


def test_one_that_takes_any_topic_is_the_last() -> None:
    takers = [name for name in PRESETS if make(name).reader("any/topic/at/all") is not None]
    assert takers in ([], [list(PRESETS)[-1]])


def test_a_name_that_no_preset_has() -> None:
    with pytest.raises(ConfigError, match="no preset is called 'zigbee'; there are airgradient, "):
        make("zigbee")
