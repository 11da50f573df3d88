"""The witness between broker and iotd: what it notes, how it fails as it is told, and what it sees of the status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from iotd.config import Address
from tests.chaos.mqtt import wire
from tests.chaos.mqtt.link import Link, Passage
from tests.chaos.mqtt.notes import story
from tests.chaos.mqtt.truth import MqttTruth
from tests.chaos.mqtt.wire import Packet, Packets

SOURCE = "mqtt.three"
WAIT_S = 5


class Broker:
    """Lets everybody in, and keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[Packet] = []
        self.forgets = False
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        packets = Packets()
        with suppress(OSError):
            while data := await reader.read(4_096):
                for packet in packets.feed(data):
                    self.heard.append(packet)
                    if packet.type == wire.CONNECT:
                        writer.write(b"\x20\x02" + bytes((len(self.writers) > 1 and not self.forgets, 0)))
                    elif packet.type == wire.PINGREQ:
                        writer.write(b"\xd0\x00")
        writer.close()

    def sends(self, *ids: int, again: bool = False) -> None:
        self.writers[-1].write(b"".join(wire.publish("t", b"21.5", packet=id_, again=again) for id_ in ids))


class Client:
    """In iotd's place."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def hears(self, kind: int, count: int = 1) -> None:
        packets, found = Packets(), 0
        async with asyncio.timeout(WAIT_S):
            while found < count:
                data = await self.reader.read(4_096)
                assert data, "the connection was ended"
                found += sum(packet.type == kind for packet in packets.feed(data))

    async def ended(self) -> None:
        async with asyncio.timeout(WAIT_S):
            with suppress(OSError):
                while await self.reader.read(4_096):
                    pass


class Bench:
    """A link between a broker and a client."""

    def __init__(self, notes: Path, link: Link, broker: Broker, address: Address) -> None:
        self.notes = notes
        self.link = link
        self.broker = broker
        self._address = address
        self._clients: list[Client] = []

    async def close(self, *others: asyncio.StreamWriter) -> None:
        for writer in (*others, *(client.writer for client in self._clients)):
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def connected(self) -> Client:
        client = Client(*await asyncio.open_connection(*self._address))
        self._clients.append(client)
        return client

    async def client(self) -> Client:
        client = await self.connected()
        client.writer.write(wire.connect("iotd", clean=False))
        await client.hears(wire.CONNACK)
        return client


@pytest.fixture
async def bench(tmp_path: Path, unused_tcp_port: int) -> AsyncIterator[Bench]:
    async with _bench(tmp_path / "notes", unused_tcp_port) as made:
        yield made


@asynccontextmanager
async def _bench(notes: Path, port: int) -> AsyncIterator[Bench]:
    broker = Broker()
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    listen = Address("127.0.0.1", port)
    link = Link(notes, listen, Address(*server.sockets[0].getsockname()[:2]))
    await link.up()
    made = Bench(notes, link, broker, listen)
    try:
        yield made
    finally:
        await link.down()
        server.close()
        await made.close(*broker.writers)


async def until(true: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0.01)


async def test_it_notes_what_passes_and_what_the_broker_has_surely_got(bench: Bench) -> None:
    client = await bench.client()
    bench.broker.sends(1, 2)
    await client.hears(wire.PUBLISH, 2)
    client.writer.write(wire.puback(1) + wire.PING + wire.puback(2))
    await client.hears(wire.PINGRESP)
    await until(lambda: len(bench.broker.heard) == 4)
    (message,) = story(bench.notes).messages
    assert [(one.id, one.acknowledged is not None, one.confirmed) for one in message.deliveries] == [
        (1, True, True),
        (2, True, False),
    ]
    assert bench.link.lines[SOURCE].client == "iotd"
    assert not bench.link.lines[SOURCE].waiting


async def test_cut_at_a_puback_it_has_heard_it_and_the_broker_has_not(bench: Bench) -> None:
    client = await bench.client()

    def cut(passage: Passage) -> None:
        passage.deaf = True
        asyncio.get_running_loop().call_soon(passage.end)

    with bench.link.trapping("puback", cut) as trap:
        bench.broker.sends(1)
        await client.hears(wire.PUBLISH)
        client.writer.write(wire.puback(1))
        await client.ended()
    assert trap.count == 1
    assert [packet.type for packet in bench.broker.heard] == [wire.CONNECT]
    client = await bench.client()
    bench.broker.sends(1, again=True)
    await client.hears(wire.PUBLISH)
    (message,) = story(bench.notes).messages
    assert message.acknowledged is not None
    assert [one.acknowledged is not None for one in message.deliveries] == [True, False]
    assert message.repeats == 0


async def test_cut_behind_a_message_it_hears_what_is_still_said(bench: Bench) -> None:
    client = await bench.client()

    def deaf(passage: Passage) -> None:
        passage.deaf = True

    with bench.link.trapping("publish", deaf):
        bench.broker.sends(1)
        await client.hears(wire.PUBLISH)
    client.writer.write(wire.puback(1))
    await until(lambda: story(bench.notes).messages[0].acknowledged is not None)
    assert [packet.type for packet in bench.broker.heard] == [wire.CONNECT]


async def test_what_is_stalled_comes_later_and_what_is_cut_never(bench: Bench) -> None:
    client = await bench.client()
    with bench.link.stalling():
        bench.broker.sends(1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.reader.read(1)
        assert bench.link.lines[SOURCE].since is None
        assert not story(bench.notes).messages
    await client.hears(wire.PUBLISH)
    assert bench.link.lines[SOURCE].since is not None
    with bench.link.cut():
        await client.ended()
        await (await bench.connected()).ended()
    assert bench.link.lines[SOURCE].since is None


async def test_what_iotd_says_counts_when_it_says_it_also_while_nothing_passes(bench: Bench) -> None:
    client = await bench.client()
    bench.broker.sends(1)
    await client.hears(wire.PUBLISH)
    with bench.link.stalling():
        client.writer.write(wire.puback(1))
        await until(lambda: story(bench.notes).messages[0].acknowledged is not None)
        assert [packet.type for packet in bench.broker.heard] == [wire.CONNECT]
    await until(lambda: [packet.type for packet in bench.broker.heard] == [wire.CONNECT, wire.PUBACK])


async def test_a_session_that_the_broker_did_not_keep_is_seen(bench: Bench) -> None:
    await bench.client()
    bench.broker.forgets = True
    await bench.client()
    assert len(bench.link.lines[SOURCE].lost) == 1
    assert story(bench.notes).sessions == {SOURCE: 2}


# ── the status ──


def condition(name: str, about: str = SOURCE) -> dict[str, str]:
    return {"name": name, "about": about, "severity": "error", "detail": ""}


class Status:
    """A link of which one source has been so and so for a while, and what the status says."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.line = link.lines[SOURCE]
        self.truth = MqttTruth(link)
        for line in link.lines.values():
            line.since = monotonic() - 1_000

    def lies(self, *said: dict[str, str], ran_s: float = 500) -> list[str]:
        since = monotonic() - ran_s
        found = self.truth.lies({"conditions": list(said)}, runs_since=since, ran_from=since, leeway=1.0)
        return [lie for lie, _ in found]


@pytest.fixture
def status(tmp_path: Path) -> Status:
    return Status(Link(tmp_path / "notes", Address("127.0.0.1", 1), Address("127.0.0.1", 2)))


def test_a_broker_that_is_away_must_be_told_and_only_then(status: Status) -> None:
    assert not status.lies()
    status.line.since, status.line.away_since = None, monotonic() - 60
    assert "nothing says so" in status.lies()[0]
    assert "nothing says so" in status.lies(condition("mqtt_away", "mqtt.five"))[0]
    assert not status.lies(condition("mqtt_away"))
    assert not status.lies(ran_s=5)  # it can't know yet


def test_a_broker_that_is_there_must_not_be_told_to_be_away_for_long(status: Status) -> None:
    assert not status.lies(condition("mqtt_away"))
    status.truth._contradicted[SOURCE, "mqtt_away"] -= 30
    assert "it is connected" in status.lies(condition("mqtt_away"))[0]
    assert not status.lies()


def test_a_client_id_that_nobody_takes_must_not_be_told(status: Status) -> None:
    assert "nobody has taken it" in status.lies(condition("mqtt_client_id_taken"))[0]
    status.line.intruders = 1
    assert not status.lies(condition("mqtt_client_id_taken"))


def test_a_message_without_its_puback_must_have_a_reason(status: Status) -> None:
    status.line.waiting[1] = monotonic() - 30
    assert "waits for its PUBACK" in status.lies()[0]
    assert not status.lies(condition("log_full", ""))


def test_a_lost_session_must_be_told_once_and_only_then(status: Status) -> None:
    told = condition("mqtt_session_lost", f"{SOURCE} 2026-11-30T12:00:00Z")
    assert "lost sessions are told" in status.lies(told)[0]
    status.line.lost.append(monotonic() - 30)
    assert not status.lies(told)
    status.line.lost.append(monotonic() - 30)
    assert "it lost its session" in status.lies(told)[0]
    assert not status.lies(told, ran_s=1)  # it has died meanwhile
    assert status.truth.untold == 1
