"""`python -m tests.benchmarks.lineload`: line protocol posted over HTTP, by a process of its own.

Lines are as Telegraf (its own measurements, its mqtt_consumer) and Home Assistant write them, with one reading each.
Each has a millisecond of its own, the n-th ``first + n``, so that whoever drops the tags loses nothing by it. A body is
repeated until it was acknowledged, and never again.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from time import monotonic

import click

ROOMS = ("salon", "cuisine")
_SENSORS = 40
"""Of each way of writing, in each room."""
KINDS = (("temperature", "°C", 20.0), ("humidity", "%", 45.0), ("co2", "ppm", 600.0), ("pressure", "hPa", 1013.0))
"""Type, unit, and about what they are."""
_AGAIN_S = 0.02


@dataclass(frozen=True)
class Posted:
    """What became of the bodies.

    Attributes:
        bodies: numbers of those that were acknowledged.
        seconds: from the first byte to the last acknowledgement.
        tries: requests, repeated ones among them.
    """

    bodies: Sequence[int]
    seconds: float
    tries: int


def line(n: int, first: int) -> str:
    """The n-th line."""
    way, room = n % 3, ROOMS[n // 3 % len(ROOMS)]
    sensor = n // 6 % _SENSORS
    kind, unit, base = KINDS[sensor % len(KINDS)]
    value = f"{base + n % 997 / 100:.2f}"
    if way == 0:
        return f"environment,host=pi4,room={room},sensor_id=t{sensor} {kind}={value} {first + n}000000\n"
    if way == 1:
        return f"mqtt_consumer,host=pi4,topic=zigbee2mqtt/{room}/t{sensor} {kind}={value} {first + n}000000\n"
    said = f'device_class_str="{kind}",friendly_name_str="Sensor {sensor}",state_class_str="measurement"'
    return f"{unit},domain=sensor,entity_id={room}_t{sensor}_{kind} {said},value={value} {first + n}000000\n"


class Load:
    """Bodies, made before the first is posted, over some connections at once."""

    def __init__(self, port: int, token: str, first: int, size: int, bodies: int) -> None:
        head = "POST /api/v2/write?org=bench&bucket=bench&precision=ns HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        head += f"Authorization: Token {token}\r\nContent-Type: text/plain\r\n"
        self._requests = []
        for number in range(bodies):
            body = "".join(line(n, first) for n in range(number * size, (number + 1) * size)).encode()
            self._requests.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self._port = port
        self._acknowledged: list[int] = []
        self._tries = 0
        self._stopped = False

    def stop(self) -> None:
        """No new bodies, and no more tries for those that were not acknowledged."""
        self._stopped = True

    async def post(self, connections: int, every: float) -> Posted:
        """Posts all, one every so many seconds at most (0: as fast as they are taken)."""
        waiting = iter(range(len(self._requests)))
        began = monotonic()
        await asyncio.gather(*(self._connection(waiting, began, every) for _ in range(connections)))
        return Posted(self._acknowledged, monotonic() - began, self._tries)

    async def _connection(self, waiting: Iterator[int], began: float, every: float) -> None:
        stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for number in waiting:
            if self._stopped:
                break
            if every:
                await asyncio.sleep(began + number * every - monotonic())
            while not self._stopped:
                try:
                    stream = stream or await asyncio.open_connection("127.0.0.1", self._port)
                    self._tries += 1
                    if await _posted(*stream, self._requests[number]):
                        self._acknowledged.append(number)
                        break
                except (OSError, EOFError):
                    stream = None
                await asyncio.sleep(_AGAIN_S)
        if stream:
            stream[1].close()


async def _posted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bool:
    writer.write(request)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b" 204 " in head:
        return True
    length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length or 0))
    return False


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--token", required=True)
@click.option("--first", type=int, required=True, help="Time of the first line, ms.")
@click.option("--size", type=int, required=True, help="Lines of a body.")
@click.option("--bodies", type=int, required=True)
@click.option("--connections", default=8)
@click.option("--every", default=0.0, help="Seconds between two bodies.")
def main(*, port: int, token: str, first: int, size: int, bodies: int, connections: int, every: float) -> None:
    """Posts bodies, until SIGTERM. Says READY once they are made, and begins with a line from stdin."""
    load = Load(port, token, first, size, bodies)
    click.echo("READY")
    sys.stdin.readline()

    async def run() -> Posted:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, load.stop)
        return await load.post(connections, every)

    click.echo(json.dumps(asdict(asyncio.run(run()))))


if __name__ == "__main__":
    main()
