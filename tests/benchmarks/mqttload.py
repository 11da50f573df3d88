"""`python -m tests.benchmarks.mqttload`: messages of QoS 1 published to a broker, by a process of its own.

The n-th message has the value n, which nothing else has; those with a time have a millisecond of their own too, the
n-th ``first + n``. A sensor is in one room, and no two sensors have one name.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from dataclasses import asdict, dataclass
from time import monotonic
from typing import Literal

import click

from iotd.sources.mqtt import packets
from tests.benchmarks.lineload import ROOMS

Form = Literal["json", "plain"]
FORMS: tuple[Form, ...] = ("json", "plain")
KIND = "energy"
"""All are of this type: of it any number of a message is plausible."""
SENSORS = 240
_WINDOW = 5_000
"""Messages that may wait for the broker's PUBACK."""
_AT_ONCE = 250
_TICK_S = 0.002
_ANSWER_BYTES = 4
"""Of a CONNACK, and of a PUBACK."""


@dataclass(frozen=True)
class Published:
    """What became of the messages.

    Attributes:
        messages: that the broker has acknowledged.
        seconds: until it had.
    """

    messages: int
    seconds: float


def topic_of(n: int, form: Form) -> str:
    """Where the n-th message goes."""
    sensor = n % SENSORS
    return f"{form}/{ROOMS[sensor % len(ROOMS)]}/s{sensor}/{KIND}"


def payload_of(n: int, form: Form, first: int) -> bytes:
    """What it says."""
    return f'{{"value":{n}.0,"time":{first + n}}}'.encode() if form == "json" else f"{n}.0".encode()


async def publish(port: int, messages: list[bytes], rate: float) -> Published:
    """Publishes packets, as fast as the broker takes them or so many a second; SIGTERM ends it in between."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    writer.write(
        packets.connect(
            packets.V311, "load", keep_alive=0, clean=True, username=None, password=None, receive_maximum=65_535
        )
    )
    await reader.readexactly(_ANSWER_BYTES)
    answered, stopped = 0, False
    changed = asyncio.Event()

    def stop() -> None:
        nonlocal stopped
        stopped = True

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)

    async def answers() -> None:
        nonlocal answered
        bytes_ = 0
        while data := await reader.read(1 << 16):
            bytes_ += len(data)
            answered = bytes_ // _ANSWER_BYTES
            changed.set()

    reading = asyncio.create_task(answers())
    began, sent = monotonic(), 0
    while sent < len(messages) and not stopped:
        due = min(len(messages), round(rate * (monotonic() - began)) if rate else len(messages), answered + _WINDOW)
        for at in range(sent, due, _AT_ONCE):
            writer.write(b"".join(messages[at : min(due, at + _AT_ONCE)]))
            await writer.drain()
        sent = max(sent, due)
        if rate:
            await asyncio.sleep(_TICK_S)
        elif sent < len(messages):
            changed.clear()
            await changed.wait()
    while answered < sent:
        changed.clear()
        await changed.wait()
    seconds = monotonic() - began
    writer.write(packets.disconnect(packets.V311))
    await writer.drain()
    writer.close()
    await reading
    return Published(answered, seconds)


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--form", type=click.Choice(FORMS), required=True)
@click.option("--first", type=int, required=True, help="Time of the first message, ms.")
@click.option("--messages", type=int, required=True)
@click.option("--rate", default=0.0, help="Messages a second; 0: as fast as they are taken.")
def main(*, port: int, form: Form, first: int, messages: int, rate: float) -> None:
    """Publishes messages. Says READY once they are made, and begins with a line from stdin."""
    made = [
        packets.publish(packets.V311, topic_of(n, form), payload_of(n, form, first), qos=1, id_=n % 65_535 + 1)
        for n in range(messages)
    ]
    click.echo("READY")
    sys.stdin.readline()
    click.echo(json.dumps(asdict(asyncio.run(publish(port, made, rate)))))


if __name__ == "__main__":
    main()
