"""`iotd sensors try` as a process: each step of a message, good and bad input, no file touched."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from iotd.sources.mqtt.memory import Memory, read_notes
from iotd.sources.mqtt.presets.base import Heard
from tests.integration.test_mqtt_discover import RULE, configured
from tests.servers.daemon import iotd


async def tried(tmp_path: Path, *args: str, code: int = 0, **more: Any) -> Any:
    config = configured(tmp_path, RULE, {"topic": "lab/{sensor}", "values": {}, "type": "temperature", "value": "$.t"})
    told = await iotd("sensors", "try", *args, "--output", "json", config=config, **more)
    assert told.code == code, told
    assert not list(tmp_path.glob("state/*.lock"))
    return told.json[0]


async def test_each_step_of_a_message_is_shown(tmp_path: Path) -> None:
    config = configured(tmp_path, RULE)
    told = await iotd("sensors", "try", "home/Living Room/temperature_F", "70.5", config=config)
    assert told.code == 0, told
    lines = [line.split(maxsplit=1) for line in told.out.splitlines() if line.strip()]
    steps = dict(lines)
    assert "by      topic home/{location}/{type}" in steps["read"]
    assert steps["location"] == "salon, called 'Living Room'"
    assert steps["value"] == "21.38888888888889 celsius, from F"
    assert "of its arrival" in steps["time"]
    assert steps["becomes"].startswith("taken: sensor:temperature:salon:home/Living Room ")
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("topic", "payload", "why"),
    [
        ("home/attic/temperature", "20", "unknown location: no location is called 'attic'"),
        ("home/salon/temperature", "300", "not plausible"),
        ("home/salon/temperature", "warm", "not a number"),
        ("home/salon/warmth", "20", "unknown type"),
        ("home/salon/temperature", "nan", "it says that there is no value"),
    ],
)
async def test_what_is_not_taken_has_its_reason(tmp_path: Path, topic: str, payload: str, why: str) -> None:
    told = await tried(tmp_path, topic, payload, code=1)
    assert why in told["says"][0]["becomes"]["reason"]


async def test_payloads_that_can_not_be_read(tmp_path: Path) -> None:
    assert (await tried(tmp_path, "home/salon/temperature", "[1,2]", code=1))["why_not"].startswith("no value")
    assert (await tried(tmp_path, "lab/x", "no JSON", code=1))["why_not"].startswith("not JSON")
    assert (await tried(tmp_path, "lab/x", "no JSON", "--retained", code=1))["why_not"].startswith("not JSON")
    odd = tmp_path / "payload"
    odd.write_bytes(b"\xff\xfe20")
    assert (await tried(tmp_path, "home/salon/temperature", f"@{odd}", code=1))["why_not"].startswith("not text")
    odd.write_bytes(b"1" * (1024**2 + 1))
    assert (await tried(tmp_path, "home/salon/temperature", f"@{odd}", code=1))["why_not"].startswith("too large")


async def test_what_is_retained_without_a_time_is_no_reading(tmp_path: Path) -> None:
    told = await tried(tmp_path, "home/salon/temperature", "20", "--retained", code=1)
    assert told["says"][0]["becomes"]["became"] == "nothing"
    assert told["says"][0]["becomes"]["reason"].startswith("retained")


async def test_a_payload_may_come_from_a_file_or_a_pipe(tmp_path: Path) -> None:
    file = tmp_path / "payload"
    file.write_text("20.5")
    assert (await tried(tmp_path, "home/salon/temperature", f"@{file}"))["says"][0]["value"] == 20.5
    read, write = os.pipe()
    os.write(write, b"19.5")
    os.close(write)
    try:
        assert (await tried(tmp_path, "home/salon/temperature", "-", stdin=read))["says"][0]["value"] == 19.5
    finally:
        os.close(read)


async def test_a_topic_that_nobody_reads_and_one_that_is_none(tmp_path: Path) -> None:
    told = await tried(tmp_path, "of/nobody/at/all", "20", code=1)
    assert told["read_by"] is None
    config = configured(tmp_path, RULE)
    for args in (("home/+/temperature", "20"), ("", "20"), ("home/salon/temperature", "@/nowhere")):
        ended = await iotd("sensors", "try", *args, config=config)
        assert ended.code == 64
        assert ended.err.startswith("iotd: ")
        assert ended.err.count("\n") == 1


async def test_what_people_have_said_of_a_sensor_counts_and_no_file_is_touched(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "sensors.json").write_text(json.dumps({"x1": {"location": "cuisine", "continues": "x0"}}))
    told = await tried(tmp_path, "lab/x1", '{"t": 20}')
    assert told["says"][0]["becomes"]["series"] == "sensor:temperature:cuisine:x0"
    assert told["says"][0]["becomes"]["found_by"] == "assigned by iotd sensors assign"
    (state / "sensors.json").write_text("{ damaged")
    ended = await iotd("sensors", "try", "lab/x1", "20", config=configured(tmp_path, RULE))
    assert ended.code == 73
    assert "what was said of sensors can't be read" in ended.err
    assert [path.name for path in state.iterdir()] == ["sensors.json"]


async def test_what_presets_have_noted_counts(tmp_path: Path) -> None:
    path = tmp_path / "state/mqtt/mqtt.sqlite"
    path.parent.mkdir(parents=True)
    assert read_notes(path) == {}
    memory = Memory(path)
    await memory.open("mqtt://b", None)
    memory.hear("zigbee2mqtt", "zigbee2mqtt/bridge/devices", Heard(notes={"device x": "attic"}), 0)
    await memory.keep()
    assert read_notes(path) == {"zigbee2mqtt": {"device x": "attic"}}
    memory.close()
    path.write_bytes(b"no database")
    assert read_notes(path) == {}
