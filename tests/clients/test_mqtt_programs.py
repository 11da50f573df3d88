"""Programs that people have and that speak MQTT, as they are: what they say to a broker, seen from beside."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.servers.hass import home_assistant, statestream
from tests.servers.mosquitto import Broker, mosquitto
from tests.servers.mqttclients import Listener, Message, listening, publish
from tests.servers.ports import port_block
from tests.servers.rtl433 import rtl_433
from tests.servers.zigbee2mqtt import Device, zigbee2mqtt

_PROMPT_S = 10


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with mosquitto(tmp_path / "mosquitto", users={"house": "not-for-everybody"}) as made:
        yield made


@pytest.fixture
def heard(broker: Broker, tmp_path: Path) -> Iterator[Listener]:
    with listening(broker, tmp_path, "#") as made:
        yield made


def payloads(heard: Listener, topic: str, count: int, limit: float = _PROMPT_S) -> list[Any]:
    """The first messages of a topic, as soon as there are so many."""
    heard.hears(lambda all_: sum(one.topic == topic for one in all_) >= count, limit)
    return [json.loads(one.payload) for one in heard.of(topic)]


def said_again(heard: Listener, topic: str, text: str | None, count: int) -> None:
    """Waits until this, or anything if None, was said so often."""
    heard.hears(lambda all_: sum(one.topic == topic and text in (one.text, None) for one in all_) >= count)


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.ecosystem
def test_zigbee2mqtt_says_what_its_devices_report_and_repeats_all_it_knows_in_each_message(
    broker: Broker, heard: Listener, tmp_path: Path
) -> None:
    devices = [Device("salon/thermo"), Device("kitchen door", "lumi.sensor_magnet.aq2"), Device("cellar")]
    with zigbee2mqtt(broker, tmp_path / "zigbee2mqtt", devices) as program:
        program.report("salon/thermo", temperature=-21.57, humidity=45.6, pressure=1013)
        program.report("kitchen door", open=1)
        program.report("kitchen door", open=0)
        program.report("cellar", linkquality=0, temperature=0)
        first, second, third = payloads(heard, "zigbee2mqtt/salon/thermo", 3)
        assert first == {"temperature": -21.57, "linkquality": 120}
        assert second == {"temperature": -21.57, "humidity": 45.6, "linkquality": 120}
        assert third == {"temperature": -21.57, "humidity": 45.6, "pressure": 1013, "linkquality": 120}
        contacts = payloads(heard, "zigbee2mqtt/kitchen door", 2)
        assert [one["contact"] for one in contacts] == [False, True]
        assert payloads(heard, "zigbee2mqtt/cellar", 1) == [{"temperature": 0, "linkquality": 0}]
        said = [one for topic in ("salon/thermo", "kitchen door") for one in heard.of(f"zigbee2mqtt/{topic}")]
        assert {(one.qos, one.retained) for one in said} == {(0, False)}
        program.stop()
    assert payloads(heard, "zigbee2mqtt/bridge/state", 2) == [{"state": "online"}, {"state": "offline"}]


@pytest.mark.ecosystem
@pytest.mark.parametrize("last_seen", ["disable", "ISO_8601", "ISO_8601_local", "epoch"])
def test_zigbee2mqtt_started_again_says_its_old_values_once_more_with_the_old_time_if_any(
    broker: Broker, heard: Listener, tmp_path: Path, last_seen: str
) -> None:
    devices = [Device("thermo")]
    advanced = {"last_seen": last_seen}
    for run in range(3):
        with zigbee2mqtt(broker, tmp_path / "zigbee2mqtt", devices, advanced=advanced) as program:
            if run == 0:
                begin = time.time_ns() // 1_000_000
                program.report("thermo", temperature=19.5)
                program.report("thermo", humidity=51)
                payloads(heard, "zigbee2mqtt/thermo", 2)
                end = time.time_ns() // 1_000_000
                program.stop()  # it writes down what it knows
            else:
                payloads(heard, "zigbee2mqtt/thermo", 2 + run)  # it does so after it says that it runs
                program.kill()
    _, spoken, *repeated = payloads(heard, "zigbee2mqtt/thermo", 4)
    del spoken["linkquality"]  # of a repetition there is none
    assert repeated == [spoken, spoken]
    if last_seen == "disable":
        assert set(spoken) == {"temperature", "humidity"}
    else:
        at = spoken["last_seen"] if last_seen == "epoch" else ms(spoken["last_seen"])
        # that of ISO_8601_local has whole seconds
        assert (begin // 1000 * 1000 if last_seen == "ISO_8601_local" else begin) <= at <= end
        assert last_seen != "ISO_8601_local" or at % 1000 == 0


@pytest.mark.ecosystem
def test_zigbee2mqtt_says_nothing_old_when_it_caches_no_state(broker: Broker, heard: Listener, tmp_path: Path) -> None:
    devices = [Device("thermo")]
    for _ in range(2):
        with zigbee2mqtt(broker, tmp_path / "zigbee2mqtt", devices, advanced={"cache_state": False}) as program:
            count = len(heard.of("zigbee2mqtt/thermo"))
            program.report("thermo", temperature=19.5)
            program.report("thermo", humidity=51)
            *_, first, second = payloads(heard, "zigbee2mqtt/thermo", count + 2)
            assert first == {"temperature": 19.5, "linkquality": 120}
            assert second == {"humidity": 51, "linkquality": 120}
            program.stop()
    assert len(heard.of("zigbee2mqtt/thermo")) == 4


@pytest.mark.ecosystem
def test_zigbee2mqtt_says_which_devices_are_there_and_takes_qos_and_retain_of_each(
    broker: Broker, heard: Listener, tmp_path: Path
) -> None:
    now = time.time_ns() // 1_000_000
    devices = [
        Device("here", seen_ms=now, settings={"qos": 1, "retain": True}),
        Device("away/for long", seen_ms=now - 26 * 3_600_000),
    ]
    with zigbee2mqtt(broker, tmp_path / "zigbee2mqtt", devices, availability={"enabled": True}) as program:
        assert payloads(heard, "zigbee2mqtt/here/availability", 1) == [{"state": "online"}]
        assert payloads(heard, "zigbee2mqtt/away/for long/availability", 1) == [{"state": "offline"}]
        program.report("away/for long", temperature=3)
        assert payloads(heard, "zigbee2mqtt/away/for long/availability", 2)[1] == {"state": "online"}
        program.report("here", temperature=4)
        payloads(heard, "zigbee2mqtt/here", 1)
    assert [one.qos for one in heard.of("zigbee2mqtt/here")] == [1]
    with listening(broker, tmp_path, "zigbee2mqtt/#") as late:
        wanted = {"zigbee2mqtt/bridge/state", "zigbee2mqtt/here", "zigbee2mqtt/away/for long/availability"}
        late.hears(lambda all_: wanted <= {one.topic for one in all_})
        kept = {one.topic: one.text for one in late.messages if one.retained}
    assert json.loads(kept["zigbee2mqtt/here"])["temperature"] == 4
    assert "zigbee2mqtt/away/for long" not in kept
    assert json.loads(kept["zigbee2mqtt/away/for long/availability"]) == {"state": "online"}
    assert json.loads(kept["zigbee2mqtt/bridge/state"]) == {"state": "offline"}, "its last will, for it was killed"


@pytest.mark.ecosystem
def test_zigbee2mqtt_announces_its_devices_as_home_assistant_wants_it(
    broker: Broker, heard: Listener, tmp_path: Path
) -> None:
    devices = [Device("salon/thermo")]
    with zigbee2mqtt(broker, tmp_path / "zigbee2mqtt", devices, homeassistant={"enabled": True}) as program:
        program.report("salon/thermo", temperature=21)
        (said,) = payloads(heard, "zigbee2mqtt/salon/thermo", 1)
        announced = "homeassistant/sensor/0x00158d0000000001/{}/config"
        temperature = payloads(heard, announced.format("temperature"), 1)[-1]
        battery = payloads(heard, announced.format("battery"), 1)[-1]
        program.stop()
    with zigbee2mqtt(broker, tmp_path / "zigbee2mqtt", devices, homeassistant={"enabled": True}):
        repeated = payloads(heard, "zigbee2mqtt/salon/thermo", 2)[-1]
    assert repeated == said | {"linkquality": None}
    # what it announced it also says, known or not
    assert said["temperature"] == 21
    assert said["battery"] is said["humidity"] is said["pressure"] is None
    assert temperature["state_topic"] == battery["state_topic"] == "zigbee2mqtt/salon/thermo"
    assert (temperature["device_class"], temperature["unit_of_measurement"]) == ("temperature", "°C")
    assert temperature["value_template"] == '{{ value_json["temperature"] }}'
    assert temperature["device"]["name"] == "salon/thermo"


@pytest.mark.ecosystem
@pytest.mark.timeout(300)
def test_home_assistant_streams_its_states_the_time_after_the_value_and_all_retained(
    broker: Broker, heard: Listener, tmp_path: Path
) -> None:
    entity, topic = "sensor.salon_temperature", "ha/state/sensor/salon_temperature"
    attributes = {"unit_of_measurement": "°C", "device_class": "temperature", "friendly_name": "Salon"}
    section = statestream("ha/state", publish_timestamps=True, publish_attributes=True)
    states = ["20.5", "unavailable", "unknown", "21", "21"]
    with port_block() as port, home_assistant(tmp_path / "hass", port, section, broker=broker) as house:
        house.running()
        times = []
        for count, state in enumerate(states, start=1):
            times.append(house.set(entity, state, attributes))
            payloads(heard, f"{topic}/friendly_name", min(count, 4))
        assert times.pop() == times[-1], "the same once more is no change"
        assert house.program.stop(60) == 0
    said = [one for one in heard.messages if one.topic.startswith(topic)]
    order = [one.topic.removeprefix(f"{topic}/") for one in said]
    assert order == ["state", "last_updated", "last_changed", *attributes] * 4
    assert [one.text for one in heard.of(f"{topic}/state")] == states[:4]
    assert [us(one) for one in heard.of(f"{topic}/last_updated")] == times
    assert all(one.text.endswith("+00:00") for one in heard.of(f"{topic}/last_updated"))
    assert heard.of(f"{topic}/device_class")[0].text == '"temperature"', "attributes are JSON, and states are not"
    assert {one.qos for one in said} == {1}
    with listening(broker, tmp_path, "ha/state/#") as late:
        late.hears(lambda all_: any(one.topic == f"{topic}/state" for one in all_))
        assert all(one.retained for one in late.messages)


@pytest.mark.ecosystem
@pytest.mark.timeout(300)
def test_home_assistant_streams_changes_that_come_at_once_mixed_so_the_nth_time_is_that_of_the_nth_value(
    broker: Broker, heard: Listener, tmp_path: Path
) -> None:
    entity, topic = "sensor.salon_temperature", "ha/state/sensor/salon_temperature"
    section = statestream("ha/state", publish_timestamps=True)
    with port_block() as port, home_assistant(tmp_path / "hass", port, section, broker=broker) as house:
        house.running()
        times = [house.set(entity, n) for n in range(50)]
        heard.hears(lambda all_: sum(one.topic == f"{topic}/last_changed" for one in all_) == 50)
    assert [one.text for one in heard.of(f"{topic}/state")] == [str(n) for n in range(50)]
    assert [us(one) for one in heard.of(f"{topic}/last_updated")] == times


@pytest.mark.ecosystem
@pytest.mark.timeout(300)
def test_home_assistant_takes_what_is_announced_and_started_again_streams_it_once_more_with_a_new_time(
    broker: Broker, heard: Listener, tmp_path: Path
) -> None:
    section = statestream("ha/state", publish_timestamps=True)
    publish(
        broker, "homeassistant/sensor/cellar/t/config", _announcement("Cellar temperature", "cellar/t"), retain=True
    )
    publish(broker, "cellar/t", "12.5", retain=True)
    topic = "ha/state/sensor/cellar_temperature"
    for run in (1, 2):
        with port_block() as port, home_assistant(tmp_path / "hass", port, section, broker=broker) as house:
            house.running()
            if run == 1:
                publish(broker, "cellar/t", "13", retain=True)
            said_again(heard, f"{topic}/state", "13", run)
            said_again(heard, f"{topic}/last_updated", None, len(heard.of(f"{topic}/state")))
            assert house.program.stop(60) == 0
    values = zip(heard.of(f"{topic}/state"), heard.of(f"{topic}/last_updated"), strict=True)
    first, second = (us(at) for value, at in values if value.text == "13")
    assert first < second


def us(message: Message) -> int:
    """The time that is its payload, in µs since the epoch."""
    return round(datetime.fromisoformat(message.text).timestamp() * 1_000_000)


def _announcement(name: str, topic: str) -> str:
    said = {"name": name, "unique_id": topic, "state_topic": topic, "device_class": "temperature"}
    return json.dumps(said | {"unit_of_measurement": "°C"})


def events(heard: Listener, count: int) -> list[Message]:
    """What rtl_433 has said of whole messages, as soon as there are so many."""
    found = heard.hears(lambda all_: sum(one.topic.endswith("/events") for one in all_) >= count)
    return [one for one in found if one.topic.endswith("/events")]


@pytest.mark.parametrize("zone", ["Europe/Paris", "America/St_Johns"])
def test_rtl_433_says_what_thermometers_send_in_local_time_unless_told_otherwise(
    broker: Broker, heard: Listener, tmp_path: Path, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)  # rtl_433's; ours stays what it is, as strptime would change it for good
    begin = int(time.time())
    sent: list[dict[str, Any]] = [
        {"id": 90, "channel": 1, "battery_ok": 1, "temperature_C": 21.5, "humidity": 45},
        {"id": 255, "channel": 3, "battery_ok": 0, "temperature_C": -3.2, "humidity": 99},
        {"id": 1, "channel": 2, "battery_ok": 1, "temperature_C": 0, "humidity": 1},
    ]
    wanted = 0
    for options in ((), ("-M", "time:utc"), ("-M", "time:iso:tz:usec")):
        with rtl_433(broker, tmp_path, options) as program:
            for one in sent:
                program.receive(
                    one["id"],
                    temperature=one["temperature_C"],
                    humidity=one["humidity"],
                    channel=one["channel"],
                    battery=one["battery_ok"] == 1,
                )
            wanted += len(sent)
            events(heard, wanted)
    said = [json.loads(one.payload) for one in events(heard, wanted)]
    assert [{key: one[key] for key in sent[0]} for one in said] == sent * 3
    assert {one["model"] for one in said} == {"Nexus-TH"}
    local, utc, full = (said[n]["time"] for n in (0, 3, 6))
    assert abs(datetime.fromisoformat(utc).replace(tzinfo=UTC).timestamp() - begin) < 60
    there = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone))
    assert abs(there.timestamp() - begin) < 60
    assert abs(datetime.fromisoformat(full).timestamp() - begin) < 60
    # the same again, a topic a value
    values = [one for one in heard.messages if one.topic.endswith("/devices/Nexus-TH/1/90/temperature_C")]
    assert [one.text for one in values] == ["21.5"] * 3
    assert {(one.qos, one.retained) for one in heard.messages} == {(0, False)}
