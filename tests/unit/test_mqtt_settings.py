"""The configuration of brokers: what can be meant, and one clear line for what can't."""

from __future__ import annotations

from pathlib import Path

import pytest

from iotd.config import load
from iotd.config.sections.mqtt import Broker, setting_name, source_of
from iotd.model.errors import ConfigError


def loaded(folder: Path, text: str) -> dict[str, Broker]:
    path = folder / "iotd.toml"
    path.write_text(text)
    return load(path).mqtt


def test_one_broker_and_several(tmp_path: Path) -> None:
    assert loaded(tmp_path, "") == {}
    (one,) = loaded(tmp_path, '[mqtt]\nurl = "mqtt://h"\npresets = ["tasmota", "auto"]').items()
    assert (source_of(one[0]), one[1].port) == ("mqtt", 1883)
    assert [use.name for use in one[1].presets] == ["tasmota", "homeassistant"]
    several = loaded(
        tmp_path,
        '[mqtt.house]\nurl = "mqtts://h"\n[[mqtt.house.topic]]\ntopic = "a/{type}"\n[mqtt.attic]\nurl = "ws://h/x"',
    )
    assert [(source_of(name), its.port) for name, its in several.items()] == [("mqtt.house", 8883), ("mqtt.attic", 80)]
    assert [rule.topic for rule in several["house"].topic] == ["a/{type}"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[mqtt]\nurll = "mqtt://h"', "mqtt: no such setting 'urll'"),
        ('[mqtt]\nurl = "http://h"', 'mqtt.url: write it like "mqtt://broker:1883"'),
        ('[mqtt]\nurl = "mqtt://"', "mqtt.url: write it like"),
        ('[mqtt]\nurl = "mqtt://h:99999"', "mqtt.url: no URL"),
        ('[mqtt]\nurl = "mqtt://[::1"', "mqtt.url: no URL"),
        ('[mqtt]\nurl = "mqtt://h:0"', "mqtt.url: 0 is no port"),
        ('[mqtt]\nurl = "mqtt://h/path"', "mqtt.url: nothing may stand behind host and port"),
        ('[mqtt]\nurl = "mqtt://ann:secret@h"', "mqtt.url: user and password do not belong into it"),
        ('[mqtt]\nurl = "mqtt://h"\npassword_file = "p"', "mqtt: set username beside password_file"),
        ('[mqtt]\nurl = "mqtt://h"\ntls_ca_file = "p"', "mqtt: mqtt is without TLS"),
        ('[mqtt]\nurl = "mqtts://h"\ntls_key_file = "p"', "mqtt: tls_key_file belongs to a tls_cert_file"),
        ('[mqtt]\nurl = "mqtt://h"\npresets = ["zigbee"]', "mqtt.presets.0.name: no preset is called 'zigbee'"),
        ('[mqtt]\nurl = "mqtt://h"\npresets = ["homie", "homie"]', "mqtt.presets: homie is named twice"),
        (
            '[mqtt]\nurl = "mqtt://h"\npresets = [{ name = "homie", base = "a/#" }]',
            "mqtt.presets.0.base: write it like",
        ),
        ('[mqtt]\nurl = "mqtt://h"\nkeep_alive = "1s"', "mqtt.keep_alive"),
        ('[mqtt]\nurl = "mqtt://h"\nclient_id = ""', "mqtt.client_id: 1 to 255 bytes"),
        ('[mqtt]\nurl = "mqtt://h"\n[[mqtt.topic]]\ntopic = "a/#/b"', "mqtt.topic.0.topic: 'a/#/b' has #"),
        (
            '[mqtt]\nurl = "mqtt://h"\n[[mqtt.topic]]\ntopic = "a/{type}"\n[[mqtt.topic]]\ntopic = "a/{type}"',
            "mqtt.topic: two rules are for 'a/{type}'",
        ),
        ('[mqtt.a]\nurl = "mqtt://h"\nurls = 3', "mqtt.a.urls: no such setting; did you mean 'url'?"),
        (
            '[mqtt.a]\nurl = "mqtt://h"\nclient_id = "x"\n[mqtt.b]\nurl = "mqtt://h:1883"\nclient_id = "x"',
            "mqtt.b.client_id: 'x' is that of mqtt.a at the same broker",
        ),
    ],
)
def test_what_can_not_be_meant_is_one_line_that_names_the_setting(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(ConfigError) as raised:
        loaded(tmp_path, text)
    assert line in str(raised.value)
    assert "secret" not in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_settings_are_named_as_people_write_them() -> None:
    assert setting_name("mqtt.mqtt.url") == "mqtt.url"
    assert setting_name("mqtt.house.url") == "mqtt.house.url"
    assert setting_name("mqtt.mqttx") == "mqtt.mqttx"
