"""Clients of MQTT that know nothing of iotd: mosquitto_pub and mosquitto_sub, and paho where each PUBACK counts."""

from __future__ import annotations

import itertools
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.servers.clients import Program, running
from tests.servers.mosquitto import Broker

if TYPE_CHECKING:
    from paho.mqtt.client import Client

_PATIENCE_S = 10
_NUMBERS = itertools.count()


def publish(broker: Broker, topic: str, payload: bytes | str, *, qos: int = 1, retain: bool = False) -> None:
    """One message by mosquitto_pub; with QoS 1 and 2 the broker has acknowledged it afterwards; blocking."""
    body = payload.encode() if isinstance(payload, str) else payload
    _mosquitto_pub(broker, body, "-t", topic, "-q", str(qos), *["-r"] * retain, "-s" if body else "-n")


def publish_lines(broker: Broker, topic: str, lines: Sequence[str], *, qos: int = 1) -> None:
    """A message a line, over one connection; blocking."""
    body = "".join(f"{line}\n" for line in lines).encode()
    _mosquitto_pub(broker, body, "-t", topic, "-q", str(qos), "-l")


def _mosquitto_pub(broker: Broker, body: bytes, *how: str) -> None:
    command = ["mosquitto_pub", *_options(broker), *how]
    ended = subprocess.run(command, input=body, capture_output=True, timeout=_PATIENCE_S * 3, check=False)
    assert ended.returncode == 0, ended.stderr.decode(errors="replace")


def _options(broker: Broker) -> list[str]:
    options = ["-h", "127.0.0.1", "-p", str(broker.port)]
    for user, password in itertools.islice(broker.users.items(), 1):
        options += ["-u", user, "-P", password]
    return options


@dataclass(frozen=True)
class Message:
    """What came: ``at`` in s since the epoch; ``retained``: the broker had it before the subscription."""

    topic: str
    payload: bytes
    qos: int
    retained: bool
    at: float

    @property
    def text(self) -> str:
        """The payload."""
        return self.payload.decode()


@dataclass(frozen=True)
class Listener:
    """A mosquitto_sub and all that it has heard."""

    program: Program

    @property
    def messages(self) -> list[Message]:
        """In the order in which they came."""
        found = []
        for line in self.program.said.splitlines(keepends=True):
            if line.endswith("\n"):  # the last may be half there
                at, qos, retained, payload, topic = line.rstrip("\n").split("\t", 4)
                found.append(Message(topic, bytes.fromhex(payload), int(qos), retained == "1", float(at)))
        return found

    def of(self, topic: str) -> list[Message]:
        """Those of one topic."""
        return [message for message in self.messages if message.topic == topic]

    def hears(self, so: Callable[[list[Message]], bool], limit: float = _PATIENCE_S) -> list[Message]:
        """Waits until what it has heard is as wanted, and returns it; blocking."""
        end = time.monotonic() + limit
        while not so(found := self.messages):
            self.program.alive()
            assert time.monotonic() < end, f"after {limit} s: {[(one.topic, one.payload[:80]) for one in found[-9:]]}"
            time.sleep(0.02)
        return found


@contextmanager
def listening(
    broker: Broker, folder: Path, *filters: str, qos: int = 1, client_id: str = "", clean: bool = True
) -> Iterator[Listener]:
    """A mosquitto_sub that is subscribed; killed at the end, so that a session of ``clean=False`` stays."""
    name = client_id or f"listener-{os.getpid()}-{next(_NUMBERS)}"
    command: list[str | Path] = ["mosquitto_sub", *_options(broker), "-i", name, "-q", str(qos)]
    command += ["-c"] * (not clean) + ["-F", "%U\t%q\t%r\t%x\t%t"]
    for one in filters:
        command += ["-t", one]
    ready = f"Sending SUBACK to {name}\n"
    before = broker.said.count(ready)
    with running(command, folder / f"{name}.log") as program:
        end = time.monotonic() + _PATIENCE_S
        while broker.said.count(ready) == before:
            program.alive()
            assert time.monotonic() < end, f"not subscribed: {program.said}"
            time.sleep(0.01)
        yield Listener(program)


class Publisher:
    """paho: sends without waiting, connects again by itself, and knows which messages the broker acknowledged."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._changed = threading.Condition()
        self._waiting: dict[int, int] = {}
        self._early: set[int] = set()  # packet ids whose answer came before their message had a number
        self._count = 0
        self._acknowledged: set[int] = set()
        client.on_publish = self._on_publish

    def send(self, topic: str, payload: bytes | str, *, qos: int = 1, retain: bool = False) -> int:
        """Hands a message over; the n-th message has the number n, from 0."""
        packet = self._client.publish(topic, payload, qos, retain).mid  # not in our lock: it takes one of its own
        with self._changed:
            number = self._count
            self._count += 1
            if packet in self._early:
                self._early.remove(packet)
                self._acknowledged.add(number)
            else:
                self._waiting[packet] = number
        return number

    @property
    def acknowledged(self) -> set[int]:
        """Numbers of the messages that the broker has (for QoS 0: that were written to its socket)."""
        with self._changed:
            return set(self._acknowledged)

    def settled(self, limit: float = _PATIENCE_S) -> None:
        """Waits until all that was handed over is acknowledged; blocking."""
        with self._changed:
            done = self._changed.wait_for(lambda: len(self._acknowledged) == self._count, limit)
            assert done, f"{self._count - len(self._acknowledged)} of {self._count} are not acknowledged"

    def _on_publish(self, _client: Client, _data: Any, packet: int, *_: Any) -> None:
        with self._changed:
            if (number := self._waiting.pop(packet, None)) is None:
                self._early.add(packet)
            else:
                self._acknowledged.add(number)
                self._changed.notify_all()


@contextmanager
def publisher(
    broker: Broker,
    scheme: str = "mqtt",
    *,
    client_id: str = "",
    version: int = 4,
    certificate: bool = True,
    limit: float = _PATIENCE_S,
) -> Iterator[Publisher]:
    """A connected publisher, over any of the broker's listeners.

    Args:
        version: of the protocol, 4 for 3.1.1 or 5.
        certificate: whether it shows the client's, over TLS.
        limit: s until it must be let in.
    """
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id,
        protocol=MQTTProtocolVersion(version),
        transport="websockets" if scheme.startswith("ws") else "tcp",
    )
    client.reconnect_delay_set(min_delay=1, max_delay=1)
    for user, password in itertools.islice(broker.users.items(), 1):
        client.username_pw_set(user, password)
    if scheme in ("mqtts", "wss"):
        own = (str(broker.certificate), str(broker.key)) if certificate else (None, None)
        client.tls_set(str(broker.ca), *own)
    connected = threading.Event()
    client.on_connect = lambda _client, _data, _flags, reason, _properties: connected.set() if reason == 0 else None
    made = Publisher(client)
    client.connect("127.0.0.1", broker.ports[scheme], keepalive=30)
    client.loop_start()
    try:
        assert connected.wait(limit), f"{broker.url(scheme)} does not let it in"
        yield made
    finally:
        client.disconnect()
        client.loop_stop()
