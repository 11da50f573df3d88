"""What people have at home, as it is, over a real broker into the shards and the archive: each reading once."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from iotd.model.series import Series
from iotd.model.types import BUILT_IN
from iotd.stack.binaries import RedisBinaries
from tests.clients.building import Building, Readings, building
from tests.servers.daemon import iotd
from tests.servers.hass import home_assistant, statestream
from tests.servers.mosquitto import Broker, mosquitto
from tests.servers.mqttclients import Listener, Message, listening, publish, publish_lines
from tests.servers.ports import port_block
from tests.servers.rtl433 import rtl_433
from tests.servers.system import until
from tests.servers.zigbee2mqtt import Device, zigbee2mqtt

pytestmark = [pytest.mark.redis, pytest.mark.timeout(300)]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with mosquitto(tmp_path / "mosquitto", users={"house": "not-for-everybody"}, max_queued_messages=0) as made:
        (tmp_path / "password").write_text("not-for-everybody\n")
        yield made


@pytest.fixture
def heard(broker: Broker, tmp_path: Path) -> Iterator[Listener]:
    with listening(broker, tmp_path, "#") as made:
        yield made


@asynccontextmanager
async def house_of(redis: RedisBinaries, folder: Path, broker: Broker, **mqtt: Any) -> AsyncIterator[Building]:
    """A house that is connected to the broker."""
    ours = {"url": broker.url(), "username": "house", "password_file": folder / "password", **mqtt}
    with building(redis, folder, mqtt=ours) as made:
        await made.start()
        await connected(broker)
        yield made


async def connected(broker: Broker, times: int = 1) -> None:
    """Waits until iotd has subscribed so often; what is published from then on comes."""

    async def subscribed() -> bool:
        return broker.said.count("Sending SUBACK to iotd-") >= times

    await until(subscribed, 30, "iotd is subscribed")


def series(kind: str, location: str, sensor: str) -> Series:
    return Series(kind, location, sensor, BUILT_IN[kind].unit)


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000 + 0.5)


async def readings(house: Building, sensor: str, count: int) -> Readings:
    """What stands in the shards of a sensor, as soon as its series have so many readings together."""
    found: Readings = {}

    async def enough() -> bool:
        found.clear()
        found.update(await house.stored(sensor))
        return sum(map(len, found.values())) >= count

    await until(enough, 60, f"{count} readings of {sensor}")
    return found


@pytest.mark.ecosystem
async def test_what_zigbee2mqtt_says_is_stored_once_with_the_time_it_gives_though_both_are_started_again(
    redis_binaries: RedisBinaries, broker: Broker, heard: Listener, tmp_path: Path
) -> None:
    devices = [Device("Living room/thermo", settings={"qos": 1}), Device("kitchen door", "lumi.sensor_magnet.aq2")]
    settings: Any = {"advanced": {"last_seen": "ISO_8601"}, "availability": {"enabled": True}}
    async with house_of(redis_binaries, tmp_path, broker, presets=["zigbee2mqtt"]) as house:
        for run in range(2):
            with zigbee2mqtt(broker, tmp_path / "zigbee2mqtt", devices, **settings) as program:
                for n in range(5):
                    program.report("Living room/thermo", temperature=20 + run + n / 10)
                    # one at a time, or several get one millisecond
                    heard.hears(partial(_spoke_of, f"{20 + run + n / 10:g}"))
                program.report("kitchen door", open=1 - run)
                # what it is now: zigbee2mqtt has repeated the last as it began
                heard.hears(partial(_spoke_of_a_door, ("false", "true")[run]))
                program.stop()
            await house.restart()
            await connected(broker, run + 2)
        said = [json.loads(one.payload) for one in heard.messages if one.topic == "zigbee2mqtt/Living room/thermo"]
        assert len(said) > 10, "a restart has repeated the last"
        wanted: Readings = {
            series("temperature", "salon", "Living room/thermo"): sorted(
                {(ms(one["last_seen"]), one["temperature"]) for one in said}
            )
        }
        await house.comes_to_hold(wanted, "Living room/thermo")
        doors = await readings(house, "kitchen door", 2)
        assert [value for _, value in doors[series("contact", "cuisine", "kitchen door")]] == [1.0, 0.0]
        assert house.held() == []


def _spoke_of(value: str, said: list[Message]) -> bool:
    return any(f'"temperature":{value}'.encode() in one.payload for one in said)


def _stated(name: str, value: str, said: list[Message]) -> bool:
    return any(one.topic == f"ha/state/sensor/{name}/state" and one.text == value for one in said)


def _described(name: str, said: list[Message]) -> bool:
    return any(one.topic == f"ha/state/sensor/{name}/friendly_name" for one in said)


def _announced(name: str, said: list[Message]) -> bool:
    return any(one.topic.endswith(f"/{name}/config") for one in said)


def _spoke_of_a_door(contact: str, said: list[Message]) -> bool:
    return any(f'"contact":{contact}'.encode() in one.payload for one in said)


@pytest.mark.ecosystem
async def test_what_discovery_announces_is_understood_without_a_word_of_configuration(
    redis_binaries: RedisBinaries, broker: Broker, heard: Listener, tmp_path: Path
) -> None:
    devices = [Device("kitchen window", settings={"qos": 1})]
    settings: Any = {"homeassistant": {"enabled": True}, "advanced": {"cache_state": False}}
    async with house_of(redis_binaries, tmp_path, broker, presets="auto") as house:
        with zigbee2mqtt(broker, tmp_path / "zigbee2mqtt", devices, **settings) as program:
            for name in ("temperature", "humidity"):
                heard.hears(partial(_announced, name), 30)

            async def subscribed() -> bool:
                return " 1 zigbee2mqtt/kitchen window\n" in broker.said

            await until(subscribed, 30, "iotd has subscribed to what was announced")
            program.report("kitchen window", temperature=21.5)
            program.report("kitchen window", humidity=47)

            async def there() -> bool:
                return len(await house.stored()) >= 2

            await until(there, 60, "both readings")
            found = await house.stored()
            program.stop()
        assert {(one.type, one.location): [value for _, value in rows] for one, rows in found.items()} == {
            ("temperature", "cuisine"): [21.5],
            ("humidity", "cuisine"): [47.0],
        }


@pytest.mark.ecosystem
async def test_home_assistants_statestream_is_stored_with_its_times(
    redis_binaries: RedisBinaries, broker: Broker, heard: Listener, tmp_path: Path
) -> None:
    section = statestream("ha/state", publish_timestamps=True, publish_attributes=True)
    about = {"device_class": "temperature", "unit_of_measurement": "°F", "friendly_name": "Living room thermometer"}
    async with house_of(
        redis_binaries, tmp_path, broker, presets=[{"name": "statestream", "base": "ha/state"}]
    ) as house:
        with port_block() as port, home_assistant(tmp_path / "hass", port, section, broker=broker) as assistant:
            assistant.running()
            # as in any house, others have spoken before: so it is known that attributes are published
            assistant.set("sensor.other", "1", {"friendly_name": "Other"})
            heard.hears(partial(_described, "other"))
            times = []
            for value in ("68", "unavailable", "69.8", "50"):
                times.append(assistant.set("sensor.thermo", value, about))
                heard.hears(partial(_stated, "thermo", value))
                heard.hears(partial(_described, "thermo"))
            found = await readings(house, "sensor.thermo", 2)
            assert assistant.program.stop(60) == 0
        (rows,) = found.values()
        assert next(iter(found)) == series("temperature", "salon", "sensor.thermo")
        assert [value for _, value in rows] == [21.0, 10.0]
        wanted = [at / 1000 for at in times[2:]]
        assert all(abs(at - when) < 1000 for (at, _), when in zip(rows, wanted, strict=True))
        # what it is and in which unit comes behind the very first value of an entity: that waits
        (held,) = house.held()
        assert held[0] == "not described yet"
        ended = await iotd("sensors", "replay", config=house.system.config)
        assert (ended.code, ended.out) == (0, "1 taken\n"), ended.err
        found = await readings(house, "sensor.thermo", 3)
        assert [value for _, value in next(iter(found.values()))] == [20.0, 21.0, 10.0]
        assert house.held() == []


async def test_what_rtl_433_hears_is_stored_once(redis_binaries: RedisBinaries, broker: Broker, tmp_path: Path) -> None:
    async with house_of(redis_binaries, tmp_path, broker, presets=["rtl_433"]) as house:
        with rtl_433(broker, tmp_path, ("-M", "time:iso:tz:usec")) as program:
            program.receive(90, temperature=21.5, humidity=45)
            await until_held(house, 2)
        held = house.held()
        assert {reason for reason, _, _ in held} == {"unknown location"}
        assert len({payload for _, _, payload in held}) == 1


async def until_held(house: Building, count: int) -> None:
    async def held() -> bool:
        return len(house.held()) >= count

    await until(held, 30, f"{count} things are held")


async def test_what_mosquitto_pub_says_by_rules_is_stored_and_the_daemons_death_doubles_nothing(
    redis_binaries: RedisBinaries, broker: Broker, tmp_path: Path
) -> None:
    rules = [
        {"topic": "home/{location}/{type}", "value": "$.v", "time": "$.ts", "unit": "degF"},
        {"topic": "plain/{location}/{type}"},
        {"topic": "meteo/{sensor}", "location": "cuisine", "values": {"temperature": "$.t", "humidity": "$.h"}},
    ]
    now = time.time_ns() // 1_000_000 - 60_000
    async with house_of(redis_binaries, tmp_path, broker, topic=rules) as house:
        publish(broker, "home/living room/temperature", json.dumps({"v": 68, "ts": now}))
        publish(broker, "meteo/roof", json.dumps({"t": 12.5, "h": 60}))
        publish_lines(broker, "plain/salon/pressure", [f"{1000 + n / 100:.2f}" for n in range(500)])
        house.daemon.process.kill()
        publish_lines(broker, "plain/salon/pressure", [f"{1005 + n / 100:.2f}" for n in range(500)])
        await house.daemon.ended()
        await house.start()
        found = await readings(house, "plain/salon", 1000)
        values = sorted(value for _, value in found[series("pressure", "salon", "plain/salon")])
        assert values == [round(1000 + n / 100, 2) for n in range(1000)]
        await house.comes_to_hold(
            {series("temperature", "salon", "home/living room"): [(now, 20.0)]}, "home/living room"
        )
        roof = await readings(house, "roof", 2)
        assert {one.type: [value for _, value in rows] for one, rows in roof.items()} == {
            "temperature": [12.5],
            "humidity": [60.0],
        }
