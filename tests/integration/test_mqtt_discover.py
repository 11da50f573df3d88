"""`iotd sensors discover` as a process: a real mosquitto, good and bad input, nothing stored."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tomllib
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from iotd.config.sections.mqtt import Broker as Configured
from iotd.intake.resolve import Resolver
from iotd.model.observation import Observation
from iotd.model.types import BUILT_IN
from iotd.sources.mqtt.exploring.survey import Listener, explore
from iotd.sources.mqtt.presets.base import NOTHING, Delivery, Filter, Heard, Known, Presence, Reader
from tests.servers.daemon import iotd
from tests.servers.mosquitto import Broker, mosquitto
from tests.servers.mqttclients import publish

RULE = {"topic": "home/{location}/{type}"}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with mosquitto(tmp_path / "mosquitto") as made:
        yield made


def configured(folder: Path, *rules: dict[str, Any], url: str = "mqtt://127.0.0.1:1", **settings: Any) -> Path:
    """A configuration with one broker, and rooms called salon and cuisine."""
    lines = [f"state_dir = {json.dumps(str(folder / 'state'))}", "[locations.salon]", 'aliases = ["living room"]']
    lines += ["[locations.cuisine]", "[mqtt]", f"url = {json.dumps(url)}"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    for rule in rules:
        lines += ["[[mqtt.topic]]", *(f"{name} = {json.dumps(value)}" for name, value in rule.items())]
    path = folder / "iotd.toml"
    path.write_text("\n".join(lines))
    return path


@contextlib.asynccontextmanager
async def publishing(broker: Broker, *messages: tuple[str, str, int]) -> AsyncIterator[None]:
    """Publishes these messages again and again, as soon as somebody has subscribed."""

    async def keep_on() -> None:
        while "Sending SUBACK to iotd-" not in broker.said:
            await asyncio.sleep(0.02)
        while True:
            for topic, payload, qos in messages:
                await asyncio.to_thread(publish, broker, topic, payload, qos=qos)
            await asyncio.sleep(0.2)

    task = asyncio.create_task(keep_on())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_it_shows_what_there_is_and_what_becomes_of_it_and_stores_nothing(broker: Broker, tmp_path: Path) -> None:
    config = configured(tmp_path, RULE, url=broker.url())
    publish(broker, "home/salon/humidity", "40", retain=True)
    async with publishing(
        broker,
        ("home/salon/temperature_F", "70.5", 1),
        ("home/cuisine/temperature", "19.5", 0),
        ("home/attic/temperature", "20", 1),
        ("home/salon/co2", "high", 1),
        ("lab/salon/temperature", "20.5", 1),
        *((f"counter/{n}/pulses", "1", 0) for n in range(15)),
    ):
        told = await iotd("sensors", "discover", "--seconds", "4", "--everything", "--output", "json", config=config)
    assert told.code == 0, told.err
    (found,) = told.json
    seen = {(one["sensor"], one["type"]): one for one in found["sensors"]}
    becomes = {at: (one["becomes"]["became"], one["becomes"]["reason"].partition(":")[0]) for at, one in seen.items()}
    assert becomes == {
        ("home/salon", "temperature_F"): ("taken", ""),
        ("home/cuisine", "temperature"): ("taken", ""),
        ("home/attic", "temperature"): ("held", "unknown location"),
        ("home/salon", "co2"): ("held", "not a number"),
        ("home/salon", "humidity"): ("nothing", "retained, without a time of its own"),
    }
    fahrenheit = seen["home/salon", "temperature_F"]
    assert fahrenheit["becomes"]["value"] == pytest.approx(21.3889, abs=1e-4)
    assert fahrenheit["becomes"]["original_unit"] == "F"
    assert (fahrenheit["qos0"], fahrenheit["retained"]) == (0, 0)
    assert fahrenheit["every_s"] > 0.1
    cuisine = seen["home/cuisine", "temperature"]
    assert cuisine["qos0"] == cuisine["messages"] >= 2
    assert seen["home/salon", "humidity"]["retained"] == 1
    unread = {one["topics"]: one["count"] for one in found["unread"]}
    assert unread == {"lab/salon/temperature": 1, "counter/+/pulses": 15}
    (table,) = [tomllib.loads(found["suggestion"])["mqtt"]]
    assert table["topic"] == [{"topic": "lab/{location}/{type}"}]
    assert not (tmp_path / "state").exists()


async def test_people_get_tables_and_the_lines_to_write(broker: Broker, tmp_path: Path) -> None:
    publish(broker, "home/salon/temperature", "40", retain=True)
    publish(broker, "odd/[red]x[/red]", "[bold]5", retain=True)
    told = await iotd(
        "sensors", "discover", "--url", broker.url(), "--everything", "--seconds", "1", config=configured(tmp_path)
    )
    assert told.code == 0, told.err
    assert "topics that nobody reads" in told.out
    assert "odd/[red]x[/red]" in told.out
    assert f'[mqtt]\nurl = "{broker.url()}"\n\n[[mqtt.topic]]\ntopic = "home/{{location}}/{{type}}"' in told.out


async def test_without_a_configuration_a_url_is_enough(broker: Broker, tmp_path: Path) -> None:
    env: dict[str, Any] = {"IOTD_STATE_DIR": str(tmp_path / "state"), "IOTD_CONFIG": ""}
    told = await iotd("sensors", "discover", "--url", broker.url(), "--seconds", "0.5", "--output", "json", **env)
    assert told.code == 0, told.err
    assert told.json[0]["url"] == broker.url()


async def test_the_session_of_the_daemon_is_not_touched(broker: Broker, tmp_path: Path) -> None:
    config = configured(tmp_path, RULE, url=broker.url(), client_id="iotd-of-the-house")
    await iotd("sensors", "discover", "--seconds", "0.5", config=config)
    assert "iotd-of-the-house" not in broker.said
    assert "as iotd-discover-" in broker.said
    assert "c1, k" in broker.said.partition("as iotd-discover-")[2].splitlines()[0]  # a clean session


async def test_ctrl_c_ends_it_early_and_it_prints_what_it_has(broker: Broker, tmp_path: Path) -> None:
    config = configured(tmp_path, RULE, url=broker.url())
    publish(broker, "home/salon/temperature", "20", retain=True)
    told = await iotd(
        *("sensors", "discover", "--seconds", "600", "--output", "json"),
        config=config,
        interrupt=lambda: "Received PUBACK from iotd-discover-" in broker.said,
    )
    assert told.code == 0, told.err
    assert told.json[0]["sensors"][0]["sensor"] == "home/salon"


async def test_a_broker_that_goes_away_is_said_and_what_was_heard_is_shown(broker: Broker, tmp_path: Path) -> None:
    config = configured(tmp_path, RULE, url=broker.url())
    publish(broker, "home/salon/temperature", "20", retain=True)

    async def kill() -> None:
        while "Sending PUBLISH to iotd-discover-" not in broker.said:
            await asyncio.sleep(0.02)
        broker.kill()

    told, _ = await asyncio.gather(
        iotd("sensors", "discover", "--seconds", "60", "--output", "json", config=config), kill()
    )
    assert told.code == 69
    assert told.json[0]["messages"] == 1
    assert "the broker has ended the connection" in told.err or "the connection broke" in told.err


def url_of_nobody() -> Sequence[str]:
    return ("--url", "mqtt://127.0.0.1:1")


@pytest.mark.parametrize(
    ("args", "code", "why"),
    [
        (("--broker", "attic"), 64, "no broker is called 'attic'; there are mqtt"),
        (("--url", "http://x"), 64, "write it like"),
        (("--url", "mqtt://u:p@x"), 64, "user and password do not belong into it"),
        (("--url", "mqtt://x", "--broker", "mqtt"), 64, "not both"),
        (("--username", "x"), 64, "belong to --url"),
        (("--url", "mqtt://127.0.0.1:1"), 69, "can't be reached"),
        (("--url", "mqtt://127.0.0.1:1", "--username", "x", "--password-file", "/nowhere"), 69, "/nowhere"),
        (("--url", "mqtt://no-such-host.invalid"), 69, "can't be reached"),
        (("--preset", "zigbee3mqtt"), 78, "there is no preset 'zigbee3mqtt'"),
        (("--seconds", "0"), 2, "seconds"),
    ],
)
async def test_bad_input_is_one_clear_line(tmp_path: Path, args: Sequence[str], code: int, why: str) -> None:
    told = await iotd("sensors", "discover", "--seconds", "1", *args, config=configured(tmp_path))
    assert told.code == code, told
    assert why in told.err
    assert "Traceback" not in told.err


async def test_no_broker_is_said(tmp_path: Path) -> None:
    config = tmp_path / "iotd.toml"
    config.write_text(f"state_dir = {json.dumps(str(tmp_path / 'state'))}")
    for command in (("sensors", "discover"), ("doctor", "mqtt")):
        told = await iotd(*command, config=config)
        assert told.code == 64
        assert told.err.count("\n") == 1
        assert "no broker is configured" in told.err


async def test_a_wrong_password_and_a_certificate_that_is_not_trusted(tmp_path: Path) -> None:
    wrong = tmp_path / "password"
    wrong.write_text("wrong")
    with mosquitto(tmp_path / "mosquitto", users={"iotd": "right"}, tls=True) as broker:
        told = await iotd(
            "sensors", "discover", "--url", broker.url(), "--username", "iotd", "--password-file", str(wrong),
            config=configured(tmp_path),
        )  # fmt: skip
        assert told.code == 69
        assert "the broker refuses: not authorized" in told.err
        told = await iotd("sensors", "discover", "--url", broker.url("mqtts"), config=configured(tmp_path))
        assert told.code == 69
        assert "its certificate is not trusted" in told.err
        wrong.write_text("right")
        told = await iotd(
            "sensors", "discover", "--seconds", "0.5", "--url", broker.url("mqtts"), "--tls-ca-file", str(broker.ca),
            "--username", "iotd", "--password-file", str(wrong), config=configured(tmp_path),
        )  # fmt: skip
        assert told.code == 0, told.err


class Announced:
    """A preset that may read any topic, and knows those that were announced to it."""

    name = "announced"
    base = ""

    def filters(self, notes: Any) -> Sequence[Filter]:
        return [Filter("announce/+", announces=True), *(Filter(topic) for topic in notes)]

    def reader(self, topic: str) -> Reader | None:
        def read(delivery: Delivery, known: Known) -> Heard:
            if topic.startswith("announce/"):
                return Heard(notes={delivery.payload.decode(): ""}, presence=(Presence(topic, online=False),))
            return Heard((Observation("temperature", topic, 20, "salon"),)) if topic in known.notes else NOTHING

        return read


async def test_what_is_announced_is_listened_to_and_what_is_not_is_known_by_nobody(broker: Broker) -> None:
    publish(broker, "announce/one", "odd/place", retain=True)
    listener = Listener([("announced", Announced())], [], Resolver(BUILT_IN, {"salon": ()}, {}), lambda: 0)
    async with publishing(broker, ("odd/place", "x", 1), ("odd/other", "x", 1)):
        await explore(Configured(url=broker.url()), listener, seconds=3, everything=True, stop=asyncio.Event())
    survey = listener.finished()
    assert [one.sensor for one in survey.seen.values()] == ["odd/place"]
    assert "odd/other" in [one.pattern for one in survey.unread]
    assert survey.online == {("announced", "announce/one"): False}
    narrow = Listener([("announced", Announced())], [], Resolver(BUILT_IN, {"salon": ()}, {}), lambda: 0)
    async with publishing(broker, ("odd/place", "x", 1), ("odd/other", "x", 1)):
        await explore(Configured(url=broker.url()), narrow, seconds=3, everything=False, stop=asyncio.Event())
    assert [one.sensor for one in narrow.finished().seen.values()] == ["odd/place"]
    assert not narrow.survey.unread
