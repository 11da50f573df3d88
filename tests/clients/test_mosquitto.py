"""mosquitto, as it is: what it does with what it acknowledged, by which the tests of iotd beside it are to be read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.servers.mosquitto import Broker, mosquitto
from tests.servers.mqttclients import listening, publish, publish_lines, publisher


def absent_subscriber(broker: Broker, folder: Path) -> None:
    """Subscribes with a session that stays, and goes."""
    with listening(broker, folder, "home/#", client_id="absent", clean=False):
        pass


def came(broker: Broker, folder: Path) -> list[str]:
    """What the absent subscriber finds when it is back."""
    with listening(broker, folder, "home/#", client_id="absent", clean=False) as back:
        publish(broker, "home/end", "end")
        heard = back.hears(lambda all_: any(one.topic == "home/end" for one in all_))
        return [one.text for one in heard if one.topic != "home/end"]


def test_by_default_it_keeps_the_first_thousand_messages_for_an_absent_subscriber(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "mosquitto") as broker:
        absent_subscriber(broker, tmp_path)
        with publisher(broker) as sending:
            for n in range(3000):
                sending.send("home/t", str(n))
            sending.settled()
            assert len(sending.acknowledged) == 3000
        assert came(broker, tmp_path) == [str(n) for n in range(1000)]


@pytest.mark.parametrize("upgrading", [False, True])
def test_it_keeps_as_many_as_its_settings_say_and_qos_0_only_if_they_say_so(tmp_path: Path, upgrading: bool) -> None:
    with mosquitto(tmp_path / "mosquitto", max_queued_messages=0, upgrade_outgoing_qos=upgrading) as broker:
        absent_subscriber(broker, tmp_path)
        publish_lines(broker, "home/t", [f"acknowledged {n}" for n in range(2000)])
        publish_lines(broker, "home/t", [f"not {n}" for n in range(100)], qos=0)
        kept = came(broker, tmp_path)
        assert kept[:2000] == [f"acknowledged {n}" for n in range(2000)]
        assert kept[2000:] == [f"not {n}" for n in range(100)] * upgrading


@pytest.mark.parametrize("how", ["stopped", "killed", "killed after saving", "killed, and nothing kept"])
def test_what_it_acknowledged_survives_a_stop_and_no_kill_that_comes_before_it_saves(tmp_path: Path, how: str) -> None:
    with mosquitto(tmp_path / "mosquitto", persistence="nothing" not in how) as broker:
        absent_subscriber(broker, tmp_path)
        if how == "killed":
            broker.save()  # the session is there, and what comes now is not
        publish_lines(broker, "home/t", [str(n) for n in range(50)])
        port = broker.port
        if how == "stopped":
            broker.stop()
        elif how == "killed after saving":
            broker.save()
            broker.kill()
        else:
            broker.kill()
        broker.start()
        assert broker.port == port
        survive = how in ("stopped", "killed after saving")
        assert came(broker, tmp_path) == [str(n) for n in range(50)] * survive


@pytest.mark.parametrize("scheme", ["mqtt", "mqtts", "ws", "wss"])
@pytest.mark.parametrize("version", [4, 5])
def test_it_listens_in_each_way(tmp_path: Path, scheme: str, version: int) -> None:
    with (
        mosquitto(tmp_path / "mosquitto", tls=True, websockets=True) as broker,
        listening(broker, tmp_path, "#") as heard,
        publisher(broker, scheme, version=version) as sending,
    ):
        sending.send("a/b", b"\x00\xff\n")
        sending.settled()
        (one,) = heard.hears(lambda all_: len(all_) == 1)
        assert (one.topic, one.payload, one.qos, one.retained) == ("a/b", b"\x00\xff\n", 1, False)


def test_it_refuses_who_has_no_certificate_where_it_wants_one(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "mosquitto", tls=True, client_certificates=True) as broker:
        with publisher(broker, "mqtts") as sending:
            sending.send("a", "b")
            sending.settled()
        # with TLS 1.3 a client learns of it after its own part of the handshake
        with pytest.raises((AssertionError, OSError)), publisher(broker, "mqtts", certificate=False, limit=2):
            pass


def test_it_lets_in_only_its_users_and_each_where_the_list_says(tmp_path: Path) -> None:
    acl = ["user iotd", "topic readwrite home/#", "user other", "topic read nothing"]
    with mosquitto(tmp_path / "mosquitto", users={"iotd": "a b£c", "other": "x"}, acl=acl) as broker:
        with listening(broker, tmp_path, "#") as heard:
            publish(broker, "elsewhere", "not for it")
            publish(broker, "home/t", "1")
            assert [one.topic for one in heard.hears(bool)] == ["home/t"]
        refused = ["mosquitto_pub", "-p", str(broker.port), "-t", "home/t", "-m", "1", "-u", "iotd", "-P", "wrong"]
        ended = subprocess.run(refused, capture_output=True, text=True, check=False)
        assert ended.returncode != 0
        assert "not authorised" in ended.stderr
