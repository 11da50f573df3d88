"""What talks to InfluxDB from C++ and Perl, byte by byte as its source has it: ESP libraries, and Proxmox."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from iotd.model.series import Series
from tests.clients.building import TOKEN, Building
from tests.servers.system import until

pytestmark = pytest.mark.redis

AGENT = "influxdb-client-arduino/3.13.2 (ESP32 v2.0.17)"
PROXMOX_S = 1.0
"""Proxmox waits no longer for an answer."""


async def answered(house: Building, *requests: bytes, limit: float = 10) -> list[tuple[int, dict[str, str], bytes]]:
    """Sends requests over one connection, each after the answer to the one before: status, headers, body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    found = []
    try:
        for request in requests:
            writer.write(request)
            async with asyncio.timeout(limit):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.rstrip("\r\n").split("\r\n")
                headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
            found.append((int(first.split(" ")[1]), headers, body))
    finally:
        writer.close()
        await writer.wait_closed()
    return found


def arduino(method: str, path: str, house: Building, lines: Sequence[str] = (), *, token: str = "") -> bytes:
    """As HTTPClient of the ESP32 core sends it for the library."""
    body = "".join(f"{line}\n" for line in lines).encode()
    head = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{house.port}", f"User-Agent: {AGENT}"]
    head += ["Connection: keep-alive", "Accept-Encoding: identity;q=1,chunked;q=0.1,*;q=0"]
    head += [f"Authorization: Token {token}"] if token else []
    head += ["Content-Type: text/plain", f"Content-Length: {len(body)}"] if method == "POST" else []
    return "\r\n".join([*head, "", ""]).encode() + body


def seconds_ago(seconds: int) -> int:
    return int(time.time()) - seconds


async def test_an_esp_of_version_2_asks_for_health_and_writes_batches(house: Building) -> None:
    begin = seconds_ago(60)
    write = "/api/v2/write?org=my%20home&bucket=sensors&precision=s"
    said = "environment,device=ESP32,room=kitchen temperature={}.50,humidity={}i {}"
    lines = [said.format(20 + n, 40 + n, begin + n) for n in (0, 1)]
    health, first, second = await answered(
        house,
        arduino("GET", "/health", house, token=TOKEN),
        arduino("POST", write, house, lines[:1], token=TOKEN),
        arduino("POST", write, house, lines[1:], token=TOKEN),
    )
    assert (health[0], first[0], second[0]) == (200, 204, 204)
    assert second[2] == b""
    at = begin * 1000
    wanted = {
        Series("temperature", "cuisine", "ESP32"): [(at, 20.5), (at + 1000, 21.5)],
        Series("humidity", "cuisine", "ESP32"): [(at, 40.0), (at + 1000, 41.0)],
    }
    await house.comes_to_hold(wanted, "ESP32")


async def test_an_esp_of_version_1_asks_by_a_verbose_ping(house: Building) -> None:
    begin = seconds_ago(60)
    login = f"&u=me&p={TOKEN}"
    line = f"temperature,device=ESP8266,room=kitchen value=19.25 {begin}123"
    ping, written = await answered(
        house,
        arduino("GET", f"/ping?verbose=true{login}", house),
        arduino("POST", f"/write?db=home{login}&precision=ms", house, [line]),
    )
    assert (ping[0], written[0]) == (200, 204)
    assert ping[1]["x-influxdb-version"]
    await house.comes_to_hold({Series("temperature", "cuisine", "ESP8266"): [(begin * 1000 + 123, 19.25)]}, "ESP8266")


async def test_an_esp_without_a_clock_sends_no_time_and_gets_that_of_arrival(house: Building) -> None:
    before = time.time_ns() // 1_000_000
    line = "temperature,device=clockless,room=kitchen value=18.5"
    ((status, _, _),) = await answered(
        house, arduino("POST", "/api/v2/write?org=o&bucket=b", house, [line], token=TOKEN)
    )
    assert status == 204
    after = time.time_ns() // 1_000_000
    rows: list[tuple[int, float]] = []

    async def there() -> bool:
        rows[:] = [row for rows in (await house.stored("clockless")).values() for row in rows]
        return bool(rows)

    await until(there, 30, "it is in the shard")
    ((at, value),) = rows
    assert before <= at <= after
    assert value == 18.5


async def test_an_esp_is_never_answered_what_makes_it_drop_a_batch(house: Building) -> None:
    """It drops what is answered with 300 to 428."""
    bodies = [
        "half a li",
        "temperature,device=x value=1",
        "unheard_of,room=kitchen value=1",
        "temperature,room=attic value=1",
    ]
    for precision in ("s", "us", "n", "fortnights", ""):
        path = f"/api/v2/write?org=o&bucket=none-of-that-name&precision={precision}"
        requests = [arduino("POST", path, house, [body], token=TOKEN) for body in bodies]
        for status, _, _ in await answered(house, *requests):
            assert status == 204


def proxmox(method: str, path: str, house: Building, body: bytes = b"", *, token: str = TOKEN) -> bytes:
    """As LWP::UserAgent sends it: a connection for each request."""
    head = [f"{method} {path} HTTP/1.1", "TE: deflate,gzip;q=0.3", "Connection: TE, close"]
    head += [f"Authorization: Token {token}", f"Host: 127.0.0.1:{house.port}", "User-Agent: libwww-perl/6.68"]
    head += [f"Content-Length: {len(body)}"] if method == "POST" else []
    return "\r\n".join([*head, "", ""]).encode() + body


async def test_proxmox_is_answered_within_its_second_however_much_it_says(house: Building) -> None:
    ((status, _, _),) = await answered(house, proxmox("GET", "/health", house), limit=PROXMOX_S)
    assert status == 200
    at = seconds_ago(10)
    guest = 'system,object=qemu,vmid={0},nodename=pve1,host=guest\\ {0} cpu=0.02,name="guest {0}" {1}000000000\n'
    guests = (guest.format(n, at) for n in range(100, 200))
    sensor = f"temperature,object=nodes,host=pve1,room=kitchen value=41.5 {at}000000000\n"
    body = "".join((*guests, sensor)).encode()
    write = "/api/v2/write?org=proxmox&bucket=proxmox"
    ((status, _, _),) = await answered(house, proxmox("POST", write, house, body), limit=PROXMOX_S)
    assert status == 204
    await house.comes_to_hold({Series("temperature", "cuisine", "pve1"): [(at * 1000, 41.5)]}, "pve1")
    ((status, _, _),) = await answered(house, proxmox("GET", "/health", house, token="wrong"), limit=PROXMOX_S)
    assert status == 200, "who may write is no question of health"
