"""`iotd doctor mqtt` against real mosquittos with good and bad settings: what it says is measured, and true."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_mqtt_discover import RULE, configured, publishing
from tests.servers.daemon import Ended, iotd
from tests.servers.mosquitto import Broker, mosquitto
from tests.servers.mqttclients import listening, publish

GOOD: dict[str, Any] = {"max_queued_messages": 0, "upgrade_outgoing_qos": True, "max_inflight_messages": 1000}


async def examined(tmp_path: Path, broker: Broker, *args: str, rules: Sequence[dict[str, Any]] = ()) -> Ended:
    config = configured(tmp_path, *rules, url=broker.url())
    return await iotd("doctor", "mqtt", "--seconds", "1", "--output", "json", *args, config=config, limit=120)


def findings(told: Ended) -> dict[str, Any]:
    return {one["what"]: one for one in told.json[0]["findings"]}


async def test_the_defaults_of_mosquitto_lose_and_the_figures_are_true(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "mosquitto") as broker:
        told = await examined(tmp_path, broker)
    found = findings(told)
    assert told.code == 1
    assert found["queue"]["verdict"] == "LOSES"
    assert found["queue"]["measured"] == {"published": 3000, "acknowledged": 3000, "arrived": 1000}
    assert "the newest are dropped" in found["queue"]["text"]
    assert (found["queue"]["place"], found["queue"]["advice"]) == ("mosquitto.conf", ["max_queued_messages 0"])
    assert found["QoS 0"]["measured"] == {"published": 100, "arrived": 0, "raised": 0}
    assert found["QoS 0"]["advice"] == ["upgrade_outgoing_qos true"]
    assert found["in flight, 3.1.1"]["measured"]["in_flight"] == 20
    assert found["restart"]["verdict"] == "NOT TRIED"
    assert "#1855" in found["crash"]["text"]
    for good in ("session", "queue, bytes", "payload", "retained"):
        assert found[good]["verdict"] == "OK", found[good]


async def test_with_what_it_says_set_nothing_is_lost_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "mosquitto", sys_interval=1, **GOOD) as broker:
        told = await examined(tmp_path, broker)
        found = findings(told)
        assert told.code == 0, [one for one in found.values() if one["verdict"] not in ("OK", "NOTE")]
        assert found["queue"]["measured"]["arrived"] == 3000
        assert found["QoS 0"]["measured"] == {"published": 100, "arrived": 100, "raised": 100}
        assert found["in flight, 3.1.1"]["measured"]["in_flight"] == 300
        with listening(broker, tmp_path, "iotd/doctor/#", "$SYS/broker/clients/disconnected") as listener:
            listener.hears(lambda heard: any(one.text == "0" for one in heard if one.topic.startswith("$SYS")))
            assert not [one for one in listener.messages if one.topic.startswith("iotd/")]


async def test_a_queue_of_a_hundred_is_a_hundred(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "mosquitto", max_queued_messages=100) as broker:
        told = await examined(tmp_path, broker, "--messages", "250")
    assert findings(told)["queue"]["measured"] == {"published": 250, "acknowledged": 250, "arrived": 100}


async def test_a_queue_of_few_bytes_and_a_limit_for_messages_are_found(tmp_path: Path) -> None:
    bounds: dict[str, Any] = {"max_queued_bytes": 100_000, "message_size_limit": 70_000}
    with mosquitto(tmp_path / "mosquitto", **GOOD, **bounds) as broker:
        found = findings(await examined(tmp_path, broker, "--messages", "100"))
    assert found["queue"]["verdict"] == "OK"
    assert found["queue, bytes"]["verdict"] == "LOSES"
    assert "max_queued_bytes 0" in found["queue, bytes"]["advice"]
    assert 0 < found["queue, bytes"]["measured"]["arrived"] < 32
    assert found["payload"]["verdict"] == "LOSES"
    assert found["payload"]["measured"] == {"largest": 64 * 1024}
    assert "is acknowledged and does not" in found["payload"]["text"]


async def test_retained_messages_that_are_refused_are_found(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "mosquitto", retain_available=False, **GOOD) as broker:
        told = await examined(tmp_path, broker, "--messages", "100")
    assert findings(told)["retained"]["verdict"] == "LOSES"
    assert told.code == 1


@pytest.mark.parametrize(
    ("settings", "sig", "arrive", "session"),
    [
        ({"persistence": False}, signal.SIGTERM, 0, 0),
        ({"persistence": True}, signal.SIGTERM, 50, 1),
        ({"persistence": True}, signal.SIGKILL, 0, 0),
        ({"persistence": True, "autosave_on_changes": True, "autosave_interval": 1}, signal.SIGKILL, 50, 1),
    ],
)
async def test_what_outlives_a_restart_is_counted(
    tmp_path: Path, settings: dict[str, Any], sig: signal.Signals, arrive: int, session: int
) -> None:
    with mosquitto(tmp_path / "mosquitto", **GOOD, **settings) as broker:

        async def start_again() -> None:
            await asyncio.to_thread(broker.process.wait)
            await asyncio.to_thread(broker.start)

        starting = asyncio.create_task(start_again())
        told = await examined(
            tmp_path, broker, "--messages", "50", "--restart-command", f"kill -{int(sig)} {broker.process.pid}"
        )
        await starting
    one = findings(told)["restart"]
    assert one["measured"]["acknowledged"] == 50
    assert one["measured"]["session_present"] == session
    # it writes once there were two changes
    assert arrive - 1 <= one["measured"]["arrived"] <= arrive
    whole = one["measured"]["arrived"] == 50 and one["measured"]["retained"] == session == 1
    assert one["verdict"] == ("OK" if whole else "LOSES")
    assert one["verdict"] == "OK" or "persistence true" in one["advice"]


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("echo it is not; exit 3", "ended with 3: it is not"),
        ("true", "the broker still runs"),
        ("/no/such", "ended with 127"),
    ],
)
async def test_a_restart_that_is_none_is_no_finding(tmp_path: Path, command: str, why: str) -> None:
    with mosquitto(tmp_path / "mosquitto", **GOOD) as broker:
        told = await examined(tmp_path, broker, "--messages", "50", "--restart-command", command)
    one = findings(told)["restart"]
    assert (one["verdict"], told.code) == ("NOT TRIED", 1)
    assert why in one["text"]


async def test_an_access_list_that_keeps_us_out_is_said_with_the_line_that_lets_us_in(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("right")
    login = ("--username", "iotd", "--password-file", str(password))
    acl = ["user iotd", "topic read home/#"]
    with mosquitto(tmp_path / "mosquitto", users={"iotd": "right"}, acl=acl, **GOOD) as broker:
        config = configured(tmp_path)
        command = (
            "doctor",
            "mqtt",
            "--seconds",
            "1",
            "--messages",
            "50",
            "--output",
            "json",
            "--url",
            broker.url(),
            *login,
        )
        told = await iotd(*command, config=config)
        one = findings(told)["access"]
        assert (told.code, one["verdict"], one["hindered"]) == (1, "NOT TRIED", True)
        line = next(line for line in GENERAL_OR_MOSQUITTO if line in " ".join(one["advice"]))
        assert line
        (broker.folder / "acl").write_text("\n".join([*acl, "topic readwrite iotd/doctor/#", ""]))
        broker.process.send_signal(signal.SIGHUP)
        while broker.said.count("Reloading config") == 0:
            await asyncio.sleep(0.02)
        told = await iotd(*command, config=config)
        assert told.code == 0, told.out


GENERAL_OR_MOSQUITTO = ("topic readwrite iotd/doctor/#", "below iotd/doctor/")
"""An access list hides from us too which broker it is."""


async def test_filters_that_are_given_at_qos_0_only_are_found(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "mosquitto", **GOOD) as broker:
        broker.stop()
        with (broker.folder / "mosquitto.conf").open("a") as conf:
            conf.write("max_qos 0\n")
        broker.start()
        told = await examined(tmp_path, broker, "--messages", "50", rules=[RULE])
    access = [one for one in told.json[0]["findings"] if one["what"] == "access"]
    assert any("home/+/+: it gives QoS 0 only" in one["text"] for one in access), access
    assert told.code == 1


async def test_publishers_and_zigbee2mqtt_are_examined(tmp_path: Path) -> None:
    info = {
        "version": "2.14.1",
        "config": {"advanced": {"last_seen": "disable"}, "devices": {"0x1": {"friendly_name": "a"}}},
    }
    settings = GOOD | {"upgrade_outgoing_qos": False}
    with mosquitto(tmp_path / "mosquitto", **settings) as broker:
        publish(broker, "zigbee2mqtt/bridge/info", json.dumps(info), retain=True)
        rules = [RULE, {"topic": "silent/{type}"}]
        async with publishing(broker, ("home/salon/temperature", "20", 0), ("home/salon/humidity", "40", 1)):
            told = await examined(tmp_path, broker, "--messages", "50", "--seconds", "3", rules=rules)
    found = findings(told)
    mine = found["publishers, topic home/{location}/{type}"]
    assert mine["verdict"] == "LOSES"
    assert 0 < mine["measured"]["qos0"] < mine["measured"]["messages"]
    assert "no readings came within" in found["publishers, topic silent/{type}"]["text"]
    zigbee = [one for one in told.json[0]["findings"] if one["what"].startswith("zigbee2mqtt")]
    assert {"REPEATS", "LOSES"} <= {one["verdict"] for one in zigbee}
    assert any("  last_seen: ISO_8601" in one["advice"] for one in zigbee)


async def test_people_read_a_line_for_each_with_the_line_to_set(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "mosquitto", max_queued_messages=10) as broker:
        config = configured(tmp_path, url=broker.url())
        told = await iotd("doctor", "mqtt", "--messages", "30", "--seconds", "1", config=config)
    assert told.code == 1
    lines = told.out.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("LOSES     queue: of 30 acknowledged"))
    assert "10 arrived" in lines[at]
    assert lines[at + 1].strip() == "→ mosquitto.conf: max_queued_messages 0"


async def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "mosquitto", sys_interval=1) as broker:
        config = configured(tmp_path, url=broker.url())
        told = await iotd(
            *("doctor", "mqtt", "--messages", "100000"), config=config, interrupt=lambda: "/queue'" in broker.said
        )
        assert told.code == 130, told.err
        with listening(broker, tmp_path, "$SYS/broker/clients/disconnected") as listener:
            listener.hears(lambda heard: any(one.text == "0" for one in heard))


async def test_a_broker_that_is_none_or_refuses_is_one_line(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "mosquitto", users={"iotd": "right"}) as broker:
        told = await examined(tmp_path, broker)
        assert (told.code, told.json[0]["findings"]) == (69, [])
        assert told.err == f"iotd: {broker.url()}: the broker refuses: not authorized\n"
    told = await iotd("doctor", "mqtt", "--url", "mqtt://127.0.0.1:1", config=configured(tmp_path))
    assert told.code == 69
    assert told.err.count("\n") == 1
