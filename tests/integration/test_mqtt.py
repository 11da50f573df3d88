"""A real mosquitto and the source: a PUBACK says that it is on disk, once; whatever the broker and its clients do."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from iotd.config.sections.mqtt import Broker as Settings
from iotd.intake.intake import Intake
from iotd.model.errors import StateUnwritable
from iotd.model.types import BUILT_IN
from iotd.sources.base import Context
from iotd.sources.mqtt import packets
from iotd.sources.mqtt.connection import Connection, connect
from iotd.sources.mqtt.link import BrokerAway, BrokerRefuses
from iotd.sources.mqtt.source import MqttSource
from tests.servers.mosquitto import Broker, mosquitto
from tests.servers.mqttclients import publish, publish_lines
from tests.unit.test_intake import NOW, Rig, opened

RULES = [{"topic": "home/{location}/{type}", "value": "$.v", "time": "$.ts"}, {"topic": "plain/{location}/{type}"}]
HERE: Any = {"topic": RULES}


def at(url: str, **more: Any) -> Settings:
    """The settings of a broker."""
    return Settings.model_validate({"url": url, **more})


class Clock:
    """Stands still."""

    def now(self) -> int:
        return NOW

    async def sleep(self, ms: float) -> None:
        await asyncio.sleep(ms / 1000)

    async def certain(self) -> None:
        pass


class Taking:
    """The source of one broker over a real log."""

    def __init__(self, folder: Path, rig: Rig, settings: Settings) -> None:
        self.rig = rig
        self.settings = settings
        self._folder = folder
        self.source = self._made()
        self._task: asyncio.Task[None] | None = None

    def _made(self) -> MqttSource:
        return MqttSource("mqtt", self.settings, Context(Clock(), ("salon", "cuisine"), BUILT_IN, self._folder))

    async def start(self) -> None:
        self.source = self._made()
        self._task = asyncio.create_task(self.source.run(self.rig.intake.of("mqtt")))
        await self.until(lambda: self.source.ready)

    async def runs_until_it_fails(self) -> None:
        self.source = self._made()
        await self.source.run(self.rig.intake.of("mqtt"))

    async def stop(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, so: Callable[[], object], limit: float = 10.0) -> None:
        async with asyncio.timeout(limit):
            while not so():
                if self._task is not None and self._task.done():
                    self._task.result()
                await asyncio.sleep(0.005)

    async def acknowledged(self, count: int) -> None:
        """Returns when so many messages have come and nothing waits for its PUBACK."""
        await self.until(lambda: self.source.counts["received"] >= count and not self.source.outstanding)

    async def values(self, location: str = "salon") -> list[tuple[int, float]]:
        return [(time, value) for record in await self.rig.kept(location) for _, time, value in record]

    @property
    def kinds(self) -> list[str]:
        return [trouble.kind for trouble in self.source.troubles()]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with mosquitto(tmp_path / "broker", max_queued_messages=0) as made:
        yield made


@asynccontextmanager
async def taking(
    folder: Path, broker: Broker, scheme: str = "mqtt", by: Silent | None = None, **settings: Any
) -> AsyncIterator[Taking]:
    async with opened(folder) as rig:
        url = broker.url(scheme) if by is None else f"mqtt://127.0.0.1:{by.port}"
        made = Taking(folder, rig, at(**{"url": url, **HERE, **settings}))
        await made.start()
        try:
            yield made
        finally:
            await made.stop()


def said(value: float, time: int = NOW) -> str:
    return json.dumps({"v": value, "ts": time})


@pytest.mark.parametrize("version", ["5", "3.1.1", "auto"])
async def test_what_is_acknowledged_is_in_the_log_once_and_the_rest_is_held(
    tmp_path: Path, broker: Broker, version: str
) -> None:
    async with taking(tmp_path, broker, version=version) as its:
        publish(broker, "home/salon/temperature", said(21.5))
        publish(broker, "plain/salon/humidity", "45 %")
        publish(broker, "plain/salon/humidity", "unavailable")
        publish(broker, "home/salon/temperature", "garbage")
        publish(broker, "home/attic/temperature", said(3))
        publish(broker, "home/salon/a/b/c", said(3))  # nobody's
        await its.acknowledged(5)
        assert await its.values() == [(NOW, 21.5), (NOW, 45.0)]
        assert [(one.form, one.topic, one.reason) for one in await its.rig.held()] == [
            ("mqtt", "home/salon/temperature", "not JSON"),
            ("mqtt", "home/attic/temperature", "unknown location"),
        ]
        assert its.rig.intake.counts["mqtt"].nothing == 1
        assert its.source.connected == (4 if version == "3.1.1" else 5)
        assert its.kinds == []


async def test_messages_of_a_time_without_us_come_in_the_session_that_the_broker_kept(
    tmp_path: Path, broker: Broker
) -> None:
    async with taking(tmp_path, broker) as its:
        await its.stop()
        publish_lines(broker, "plain/salon/temperature", [str(n / 10) for n in range(300)])
        await its.start()
        await its.acknowledged(300)
        assert [value for _, value in await its.values()] == [n / 10 for n in range(300)]
        assert its.source.counts["sessions_lost"] == 0


async def test_qos_0_is_counted_and_stored(tmp_path: Path, broker: Broker) -> None:
    async with taking(tmp_path, broker) as its:
        publish(broker, "plain/salon/temperature", "20", qos=0)
        publish(broker, "plain/salon/temperature", "21", qos=1)
        await its.acknowledged(2)
        assert [value for _, value in await its.values()] in (
            [20.0, 21.0],
            [21.0],
        )  # of one millisecond the later stands
        assert its.source.counts["qos0"] == 1


async def test_a_retained_value_without_a_time_is_no_reading_and_one_with_a_time_is(
    tmp_path: Path, broker: Broker
) -> None:
    publish(broker, "plain/salon/temperature", "19", retain=True)
    publish(broker, "home/salon/humidity", said(50, NOW - 40 * 86_400_000), retain=True)
    publish(broker, "home/salon/temperature", "{garbage", retain=True)
    async with taking(tmp_path, broker) as its:
        await its.acknowledged(3)
        assert await its.values() == [(NOW - 40 * 86_400_000, 50.0)]
        assert await its.rig.held() == []
        publish(broker, "plain/salon/temperature", "20", retain=True)  # a live one, whatever the broker keeps
        await its.acknowledged(4)
        assert (NOW, 20.0) in await its.values()
        assert (its.source.counts["retained"], its.source.counts["retained_refused"]) == (1, 1)


async def test_overlapping_rules_take_a_message_once(tmp_path: Path, broker: Broker) -> None:
    rules = [
        {"topic": "a/{location}/{type}"},
        {"topic": "a/#", "type": "pressure", "location": "salon"},
        {"topic": "+/salon/{type}", "location": "salon"},
    ]
    async with taking(tmp_path, broker, topic=rules) as its:
        publish(broker, "a/salon/temperature", "21")
        publish(broker, "b/salon/temperature", "22")
        await its.acknowledged(2)
        assert its.source.counts["received"] == 2
        assert sorted(value for _, value in await its.values()) == [21.0, 22.0]


class Silent:
    """A relay that lets no PUBACK through, as long as it is told so."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.silent = False
        self._to = port
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            self.cut()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        writers = [writer]
        try:
            onward, back = await asyncio.open_connection("127.0.0.1", self._to)
            writers.append(back)
            await asyncio.gather(self._copy(reader, back, ours=True), self._copy(onward, writer, ours=False))
        except (OSError, asyncio.CancelledError):
            pass  # it was cut
        finally:
            for one in writers:
                one.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, ours: bool) -> None:
        while data := await reader.read(65_536):
            if not (ours and self.silent):
                writer.write(data)
        writer.close()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("anew", [True, False])
async def test_what_came_onto_the_disk_and_was_not_acknowledged_is_not_stored_twice(
    tmp_path: Path, broker: Broker, version: str, anew: bool
) -> None:
    """Tier B: no time of their own, and a PUBACK that the broker never got; ``anew``: by another process."""
    way = Silent(broker.port)
    async with way.running(), taking(tmp_path, broker, version=version, by=way) as its:
        publish(broker, "plain/salon/temperature", "20")
        await its.acknowledged(1)
        way.silent = True
        for n in range(8):
            publish(broker, f"plain/{('salon', 'cuisine')[n % 2]}/temperature", f"{21 + n // 2 * 0.5}")
            await its.acknowledged(n + 2)
            its.rig.now += 10
        before = [await its.values(room) for room in ("salon", "cuisine")]
        assert [len(one) for one in before] == [5, 4]
        way.silent = False
        if anew:
            task = asyncio.ensure_future(its.stop())
            way.cut()
            await task
            publish(broker, "plain/salon/temperature", "30")
            its.rig.now += 60_000
            await its.start()
            await its.acknowledged(9)
        else:
            way.cut()
            publish(broker, "plain/salon/temperature", "30")
            await its.until(lambda: its.rig.intake.counts["mqtt"].taken == 10 and not its.source.outstanding)
        after = [await its.values(room) for room in ("salon", "cuisine")]
        assert [one[: len(was)] for one, was in zip(after, before, strict=True)] == before
        assert [value for _, value in after[0][5:]] == [30.0]
        assert len(after[1]) == 4
        assert its.source.counts["repeats"] in (8, 9)  # the first PUBACK may have been on its way
        assert its.source.counts["possible_doubles"] == 0


async def test_what_was_held_when_we_were_killed_is_held_once(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the file of what is held and the log: some readings of the same messages are not on disk yet."""
    async with taking(tmp_path, broker) as its:
        publish(broker, "plain/salon/temperature", "20")
        await its.acknowledged(1)
        take = Intake.take

        async def killed(*_: Any, **__: Any) -> Any:
            raise StateUnwritable("killed here")

        await its.stop()
        publish(broker, "plain/attic/temperature", "3")
        publish(broker, "plain/attic/temperature", "4")
        publish(broker, "plain/salon/temperature", "21")
        publish(broker, "plain/salon/temperature", "22")
        monkeypatch.setattr(Intake, "take", killed)
        with pytest.raises(StateUnwritable, match="killed here"):
            await its.runs_until_it_fails()
        await its.stop()
        assert len(await its.rig.held()) == 2  # they came before
        with pytest.raises(StateUnwritable, match="killed here"):
            await its.runs_until_it_fails()  # and once more, while they are handed over again
        monkeypatch.setattr(Intake, "take", take)
        its.rig.now += 60_000
        await its.start()
        await its.until(lambda: its.rig.intake.counts["mqtt"].taken == 3 and not its.source.outstanding)
        held = await its.rig.held()
        assert [(one.topic, one.payload) for one in held] == [
            ("plain/attic/temperature", b"3"),
            ("plain/attic/temperature", b"4"),
        ]
        assert NOW <= held[0].arrived < held[1].arrived < NOW + 10
        assert [value for _, value in await its.values()] == [20.0, 21.0, 22.0]
        assert all(NOW <= time < NOW + 10 for time, _ in await its.values())


async def test_a_session_that_the_broker_has_lost_is_told_and_taken_up_anew(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker", persistence=False) as broker:
        async with taking(tmp_path, broker) as its:
            publish(broker, "plain/salon/temperature", "20")
            await its.acknowledged(1)
            broker.stop()
            await its.until(lambda: its.kinds == ["mqtt_away"])
            broker.start()
            await its.until(lambda: its.source.ready)
            its.rig.now += 1
            publish(broker, "plain/salon/temperature", "21")
            await its.until(lambda: its.rig.intake.counts["mqtt"].taken == 2)
            assert its.source.counts["sessions_lost"] == 1
            assert its.kinds == ["mqtt_session_lost"]


async def test_two_clients_of_one_id_are_told(tmp_path: Path, broker: Broker) -> None:
    async with taking(tmp_path, broker, client_id="house", version="5") as its:

        async def other() -> None:
            while True:
                connection = await connect(its.settings, "house")
                try:
                    while True:
                        await connection.receive()
                except (BrokerAway, BrokerRefuses):
                    pass  # it was ended by ours
                finally:
                    await connection.close()

        second = asyncio.create_task(other())
        await its.until(lambda: "mqtt_client_id_taken" in its.kinds, 20)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        await its.until(lambda: not its.kinds, 40)


async def test_what_a_broker_refuses_is_one_clear_line(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker", users={"iotd": "secret"}, tls=True, websockets=True) as broker:
        (tmp_path / "right").write_text("secret\n")
        (tmp_path / "wrong").write_text("secrets")
        (tmp_path / "latin").write_bytes(b"caf\xe9")
        user = {"username": "iotd", "password_file": tmp_path / "right"}
        trusted = {"tls_ca_file": broker.ca}
        for scheme, more, why in (
            ("mqtt", {}, "not authorized"),
            ("mqtt", {**user, "password_file": tmp_path / "wrong"}, "not authorized"),
            ("mqtt", {**user, "password_file": tmp_path / "none"}, "can't be read"),
            ("mqtt", {**user, "password_file": tmp_path / "latin"}, "is no UTF-8 text"),
            ("mqtts", user, "certificate is not trusted"),
            ("mqtts", {**user, **trusted, "tls_cert_file": tmp_path / "none"}, "can't be used"),
            ("wss", user, "certificate is not trusted"),
        ):
            with pytest.raises(BrokerRefuses, match=why):
                await connect(at(broker.url(scheme), **more), "me")
        for scheme in ("mqtt", "ws", "mqtts", "wss"):
            secure = trusted if scheme in ("mqtts", "wss") else {}
            connection = await connect(at(broker.url(scheme), **user, **secure), "me")
            await connection.close()
        with pytest.raises((BrokerRefuses, BrokerAway), match=r"is it a port with TLS\?"):
            await connect(at(f"mqtts://127.0.0.1:{broker.port}", **user, **trusted), "me")
    with pytest.raises(BrokerAway, match="can't be reached"):
        await connect(at(broker.url()), "me")


async def test_a_client_certificate_lets_us_in(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker", tls=True, client_certificates=True) as broker:
        ours = {"tls_ca_file": broker.ca, "tls_cert_file": broker.certificate, "tls_key_file": broker.key}
        with pytest.raises((BrokerRefuses, BrokerAway)):
            await connect(at(broker.url("mqtts"), tls_ca_file=broker.ca), "me")
        async with taking(tmp_path, broker, "mqtts", None, **ours) as its:
            publish(broker, "plain/salon/temperature", "20")
            await its.acknowledged(1)
            assert await its.values() == [(NOW, 20.0)]


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_websockets_carry_the_same(tmp_path: Path, scheme: str) -> None:
    with mosquitto(tmp_path / "broker", tls=True, websockets=True) as broker:
        secure = {"tls_ca_file": broker.ca} if scheme == "wss" else {}
        async with taking(tmp_path, broker, scheme, None, **secure) as its:
            publish_lines(broker, "plain/salon/temperature", [str(n / 10) for n in range(100)])
            await its.acknowledged(100)
            publish(broker, "home/salon/temperature", json.dumps({"v": 1, "ts": NOW - 9, "x": "y" * 20_000}))
            await its.acknowledged(101)
            assert (NOW - 9, 1.0) in await its.values()


async def test_a_web_server_without_websockets_is_named() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/mqtt"
        with pytest.raises(BrokerRefuses, match="no websocket"):
            await connect(at(url), "me")


async def test_what_is_no_broker_is_named(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" * 3)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with opened(tmp_path) as rig:
        its = Taking(tmp_path, rig, at(url, **HERE))
        task = asyncio.ensure_future(its.source.run(rig.intake.of("mqtt")))
        await its.until(lambda: its.kinds == ["mqtt_refused"])
        assert "is no MQTT" in next(iter(its.source.troubles())).detail
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    server.close()


async def test_a_payload_too_large_is_held_in_its_beginning_and_the_rest_goes_on(
    tmp_path: Path, broker: Broker
) -> None:
    async with taking(tmp_path, broker, payload_limit="4KiB") as its:
        publish(broker, "plain/salon/temperature", "9" * 3_000_000)
        publish(broker, "plain/salon/temperature", "21")
        await its.acknowledged(2)
        (held,) = await its.rig.held()
        assert held.reason == "too large"
        assert "3000000 bytes" in held.detail
        assert len(held.payload) <= 64 * 1024
        assert [value for _, value in await its.values()] == [21.0]


async def test_while_the_log_is_full_the_broker_keeps_the_messages(tmp_path: Path, broker: Broker) -> None:
    async with taking(tmp_path, broker, in_flight=50) as its:
        partition = its.rig.log.partition("salon")
        limit, partition_limit = 10**9, 2_000
        its.rig.log.reconfigure(limit=partition_limit, required=("durable",), keep_s=0)
        publish_lines(broker, "plain/salon/temperature", [f"{n % 9_000 / 100:.2f}" for n in range(20_000)])
        await its.until(lambda: partition.full)
        await asyncio.sleep(0.3)  # what was to come has come
        assert its.source.counts["received"] < 10_000  # what had been read, and what was on its way
        its.rig.log.reconfigure(limit=limit, required=("durable",), keep_s=0)
        await its.acknowledged(20_000)
        assert its.rig.intake.counts["mqtt"].taken == 20_000


async def test_a_filter_that_the_broker_refuses_is_a_condition(tmp_path: Path) -> None:
    """mosquitto grants all filters of 3.1.1; a broker that says 0x80 is one of a few lines."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1_000)
        writer.write(b"\x20\x02\x00\x00")
        data = await reader.read(1_000)
        (id_,) = struct.unpack(">H", data[2:4])
        writer.write(b"\x90\x04" + struct.pack(">H", id_) + b"\x80\x00")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with opened(tmp_path) as rig:
        its = Taking(tmp_path, rig, at(url, version="3.1.1", **HERE))
        task = asyncio.ensure_future(its.source.run(rig.intake.of("mqtt")))
        await its.until(lambda: its.kinds == ["mqtt_refused", "mqtt_refused"])
        details = " ".join(trouble.detail for trouble in its.source.troubles())
        assert "home/+/+: it does not take the topic filter" in details
        assert "plain/+/+: it gives QoS 0 only" in details
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    server.close()


async def test_who_says_to_be_gone_is_a_condition_until_it_is_there_again_or_told_of_no_more(
    tmp_path: Path, broker: Broker
) -> None:
    publish(broker, "tele/plug/LWT", "Offline", retain=True)
    publish(broker, "tele/lamp/LWT", "Offline", retain=True)
    async with taking(tmp_path, broker, presets=["tasmota", "zigbee2mqtt"]) as its:
        await its.until(lambda: its.kinds == ["device_offline"])
        (told,) = its.source.troubles()
        assert told.detail == "mqtt: lamp, plug"
        publish(broker, "zigbee2mqtt/bridge/state", '{"state":"offline"}', retain=True)
        await its.until(lambda: its.kinds == ["gateway_offline", "device_offline"])
        publish(broker, "zigbee2mqtt/bridge/state", '{"state":"online"}', retain=True)
        publish(broker, "tele/plug/LWT", "Online", retain=True)
        publish(broker, "tele/lamp/LWT", "", retain=True)
        await its.until(lambda: its.kinds == [])
        await its.stop()
        publish(broker, "tele/plug/LWT", "Offline", retain=True)
        await its.start()
        await its.until(lambda: its.kinds == ["device_offline"])


async def test_pubacks_go_out_in_the_order_of_arrival(tmp_path: Path, broker: Broker, monkeypatch: Any) -> None:
    sent: list[int] = []
    acknowledge = Connection.acknowledge

    def noted(self: Connection, ids: Any) -> None:
        sent.extend(ids)
        acknowledge(self, ids)

    monkeypatch.setattr(Connection, "acknowledge", noted)
    async with taking(tmp_path, broker, version="5") as its:
        rooms = ["salon", "cuisine", "attic"]
        for room in rooms:
            publish_lines(broker, f"plain/{room}/temperature", [str(n / 10) for n in range(100)])
        await its.acknowledged(300)
        assert sent == sorted(sent)
        assert len(sent) == 300


async def test_a_message_that_is_held_is_taken_when_its_room_is_known(tmp_path: Path, broker: Broker) -> None:
    from iotd.daemon.replay import Replayed, replay

    async with taking(tmp_path, broker) as its:
        publish(broker, "plain/attic/temperature", "21")
        await its.acknowledged(1)
        sources = {"mqtt": its.source}
        assert await replay(its.rig.intake, sources) == Replayed(held=1)
        other = at(broker.url(), topic=[{"topic": "plain/attic/{type}", "location": "salon"}])
        its.settings = other
        await its.stop()
        await its.start()
        assert await replay(its.rig.intake, {"mqtt": its.source}) == Replayed(taken=1)
        assert [value for _, value in await its.values()] == [21.0]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_session_that_has_lost_its_subscriptions_gets_them_again(
    tmp_path: Path, broker: Broker, version: str
) -> None:
    """As of a daemon that was killed between the broker's new session and its subscriptions."""
    async with taking(tmp_path, broker, client_id="house", version=version) as its:
        await its.stop()
        other = await connect(its.settings, "house")
        answer = other.unsubscribe(["home/+/+", "plain/+/+"])
        while not answer.done():
            await other.receive()
        await other.close()
        await its.start()
        publish(broker, "plain/salon/temperature", "20")
        await its.acknowledged(1)
        assert await its.values() == [(NOW, 20.0)]
        assert its.source.counts["sessions_lost"] == 0


async def test_rules_that_change_move_the_subscriptions(tmp_path: Path, broker: Broker) -> None:
    async with taking(tmp_path, broker) as its:
        await its.stop()
        its.settings = at(broker.url(), topic=[{"topic": "other/{location}/{type}"}])
        await its.start()
        publish(broker, "plain/salon/temperature", "20")
        publish(broker, "other/salon/temperature", "21")
        await its.acknowledged(1)
        await its.until(lambda: its.rig.intake.counts["mqtt"].taken == 1)
        assert its.source.counts["received"] == 1


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_rules_that_change_while_messages_come_lose_none_of_them(
    tmp_path: Path, broker: Broker, version: str
) -> None:
    wide = {"topic": "home/{location}/{type}", "value": "$.v", "time": "$.ts"}
    narrow = {"topic": "home/{location}/temperature", "type": "temperature", "value": "$.v", "time": "$.ts"}
    wanted = [(NOW - 5_000 + n, n % 1_000 / 10) for n in range(5_000)]
    async with taking(tmp_path, broker, version=version) as its:
        lines = [said(value, at) for at, value in wanted]
        sending = asyncio.create_task(asyncio.to_thread(publish_lines, broker, "home/salon/temperature", lines))
        changes = 0
        while not sending.done() or changes < 2:
            await its.stop()
            its.settings = at(broker.url(), version=version, topic=[(narrow, wide)[changes % 2]])
            await its.start()
            changes += 1
        await sending
        async with asyncio.timeout(30):
            while wanted[-1] not in await its.values():
                await asyncio.sleep(0.02)
        await its.until(lambda: not its.source.outstanding)
        values = await its.values()
        # mosquitto sends what two subscriptions match once by MQTT 3.1.1, and by MQTT 5 once for each: with a time that
        # is one reading in the shard
        assert (sorted(set(values)) if version == "5" else values) == wanted


def test_packets_say_what_codes_mean() -> None:
    assert packets.reason_of(5, packets.V311) == "not authorized"
    assert packets.reason_of(0x87, packets.V5) == "not authorized"
    assert packets.reason_of(0xFF, packets.V5) == "code 0xff"
