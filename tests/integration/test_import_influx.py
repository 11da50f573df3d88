"""`iotd import URL`: a real InfluxDB by both of its APIs, window by window, from any mark on, and its refusals."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from iotd.intake.resolve import Resolver
from iotd.model.errors import ArchiveRefused, ArchiveUnavailable, IotdError, Refused, UsageError
from iotd.model.observation import Moment
from iotd.model.types import BUILT_IN
from iotd.sources.importers import influx
from iotd.sources.importers.base import Row
from iotd.sources.importers.influx import InfluxImporter
from iotd.sources.importers.influxserver import Where
from tests.servers.influxdb import InfluxServer
from tests.servers.system import blocking

NAMES = Resolver(BUILT_IN, {}, {})
HOUR = 3_600_000
T0 = 1_790_000_000_000 // HOUR * HOUR
COUNT = 3_000
STEP = 10_000
LATER = T0 + 400 * 24 * HOUR
"""After a long time without any point."""


@pytest.fixture(scope="session")  # as long as its server: a worker may come back to a module
def bucket(influxdb: InfluxServer) -> str:
    """Two sensors at once, a point of Home Assistant, one of Telegraf, and texts that need quotes."""
    name = influxdb.make_bucket("house ${x}")
    lines = [
        f"climate,room=salon,sensor=n temperature={20 + n % 7 / 10},humidity={40 + n % 9}i {T0 + n * STEP}"
        for n in range(COUNT)
    ]
    lines += [
        rf'°C,domain=sensor,entity_id=cave\ temp value=12.5,friendly_name_str="the ""x"", cave",'
        rf'device_class_str="temperature" {LATER}'.replace('""', '\\"'),
        f'co2,room=salon,unit=ppm value=612,note="two\nlines" {LATER + 1}',
        f'weather,room=salon text="rain" {LATER + 2}',
        f"battery,room=salon,sensor=n value=3u,state=true {LATER + 3}",
    ]
    assert blocking(influxdb.write(name, "\n".join(lines))) == 204
    return name


@pytest.fixture(params=["flux", "influxql"])
def where(request: pytest.FixtureRequest, influxdb: InfluxServer, bucket: str) -> dict[str, Any]:
    """The same points by either API."""
    key = "bucket" if request.param == "flux" else "database"
    return {"url": influxdb.url, "token": influxdb.token, key: bucket}


async def rows(where: dict[str, Any], after: int = 0, most: int = 10**9, **more: Any) -> list[Row]:
    given: dict[str, Any] = {"columns": {}, "fixed": {}, "names": NAMES} | more
    importer, found = InfluxImporter(Where(**where), **given), []
    async for row in importer.rows(after):
        found.append(row)
        assert row.done <= importer.size
        if len(found) >= most:
            break
    assert [row.mark for row in found] == sorted(row.mark for row in found)
    return found


def said(found: list[Row]) -> set[tuple[object, ...]]:
    return {
        (s.type, s.location, s.sensor, s.value, s.unit, s.time.ms)
        for row in found
        if isinstance(row.said, list)
        for s in row.said
        if isinstance(s.time, Moment)
    }


def wanted() -> set[tuple[object, ...]]:
    found: set[tuple[object, ...]] = {
        ("temperature", "", "sensor.cave temp", 12.5, "°C", LATER),
        ("co2", "salon", "unit=ppm", 612, "ppm", LATER + 1),
        ("battery", "salon", "n", 3, None, LATER + 3),
    }
    for n in range(COUNT):
        found.add(("temperature", "salon", "n", 20 + n % 7 / 10, None, T0 + n * STEP))
        found.add(("humidity", "salon", "n", 40 + n % 9, None, T0 + n * STEP))
    return found


async def test_every_point_is_read_once_by_the_rules_of_line_protocol(where: dict[str, Any]) -> None:
    found = await rows(where)
    assert said(found) == wanted()
    assert sum(len(row.said) for row in found if isinstance(row.said, list)) == len(wanted())
    assert [row.said.reason for row in found if isinstance(row.said, Refused)] == ["unknown type"]


async def test_small_windows_and_any_mark_give_the_same(where: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(influx, "_POINTS", 100)
    monkeypatch.setattr(influx, "_MOST", 150)
    found = await rows(where)
    assert said(found) == wanted()
    marks = sorted({row.mark for row in found})
    assert len(marks) > 20
    for cut in (1, 250, 1_777, len(found) - 1):
        first = await rows(where, most=cut)
        rest = await rows(where, after=first[-1].mark)
        assert said(first) | said(rest) == wanted()
        assert len(said(first) & said(rest)) <= 2 * 150  # at most the window that it was in, once more
    assert len(said(await rows(where, after=found[-1].mark))) <= 3  # what may still have come late


async def test_a_part_is_named_by_measurement_time_and_tags(where: dict[str, Any]) -> None:
    found = await rows({**where, "measurements": ("co2", "battery")}, fixed={"location": "cave"})
    assert said(found) == {
        ("co2", "cave", "unit=ppm", 612, "ppm", LATER + 1),
        ("battery", "cave", "n", 3, None, LATER + 3),
    }
    found = await rows(where, first=T0 + 5 * STEP, stop=T0 + 7 * STEP)
    assert {one[-1] for one in said(found)} == {T0 + 5 * STEP, T0 + 6 * STEP}
    assert found[-1].mark == T0 + 7 * STEP - STEP + 1 or found[-1].mark == T0 + 6 * STEP + 1
    found = await rows({**where, "measurements": ("co2",)}, columns={"room": "sensor", "unit": "location"})
    assert said(found) == {("co2", "ppm", "salon", 612, None, LATER + 1)}
    assert await rows(where, first=T0 - HOUR, stop=T0) == []


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"token": "wrong"}, ArchiveRefused, "(?i)unauthorized.*--token-file"),
        ({"token": None}, ArchiveRefused, "--token-file"),
        ({"bucket": "house x", "database": None}, UsageError, r"house x'; there are house \$\{x\}"),
        ({"bucket": None, "database": "house x"}, UsageError, r"house x'; there are house \$\{x\}"),
        ({"bucket": None, "database": None}, UsageError, "--bucket NAME"),
        ({"measurements": ("fog",)}, UsageError, "no measurement 'fog'; there are battery, climate, co2"),
        ({"database": None, "bucket": "house ${x}", "org": "nobody"}, UsageError, "nobody"),
        ({"bucket": None, "database": "house ${x}", "policy": "no"}, UsageError, "no retention policy 'no'"),
        ({"url": "http://127.0.0.1:1"}, ArchiveUnavailable, "no answer"),
        ({"url": "http://"}, UsageError, "no URL"),
    ],
)
async def test_a_refusal_is_one_clear_line_without_a_secret(
    where: dict[str, Any], change: dict[str, Any], error: type[IotdError], text: str
) -> None:
    with pytest.raises(error, match=text) as raised:
        await rows({**where, **change})
    assert "\n" not in str(raised.value)
    assert where["token"] not in str(raised.value)


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def standing_in(handle: Handler) -> AsyncIterator[str]:
    """A server of our own; its URL. All its connections are ended at the end."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handle(reader, writer)
        writer.close()
        with suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)


class Cutting:
    """Stands before InfluxDB and cuts its answers: so many of them after so many bytes."""

    def __init__(self, server: InfluxServer) -> None:
        self.port = int(server.url.rpartition(":")[2])
        self.cuts = 0
        self.after = 2_000
        self.passed = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind = await asyncio.open_connection("127.0.0.1", self.port)
        ways = [
            asyncio.create_task(self._asks(reader, behind)),
            asyncio.create_task(self._answers(behind_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            behind.close()
            with suppress(ConnectionError):
                await behind.wait_closed()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(1_000):
            self.passed += len(piece)
            if self.passed > self.after and self.cuts:
                self.cuts -= 1
                return
            writer.write(piece)
            await writer.drain()

    async def _asks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65_536):
            self.passed = 0
            writer.write(piece)


async def test_half_an_answer_is_asked_for_again_and_said_when_it_stays_half(
    where: dict[str, Any], influxdb: InfluxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(influx, "_PAUSE_S", 0.01)
    between = Cutting(influxdb)
    async with standing_in(between.serve) as url:
        through = {**where, "url": url}
        between.cuts = 2
        assert said(await rows(through)) == wanted()
        assert between.cuts == 0
        between.cuts = 1_000
        with pytest.raises(ArchiveUnavailable, match="in its middle; the same command goes on where it was"):
            await rows(through)


async def test_what_is_no_influxdb_is_said() -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")

    async with standing_in(other) as url:
        with pytest.raises(UsageError, match="no InfluxDB"):
            await rows({"url": url, "bucket": "x"})


async def test_version_1_is_asked_by_its_user_and_names_its_databases() -> None:
    seen: list[str] = []

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode():
            length = next((int(x.split(":")[1]) for x in head.lower().split("\r\n") if x.startswith("content-l")), 0)
            await reader.readexactly(length)
            seen.append(head)
            if "/ping" in head:
                writer.write(b"HTTP/1.1 204 No Content\r\nX-Influxdb-Version: 1.8.10\r\n\r\n")
            else:
                body = b'{"error":"authorization failed"}'
                writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    async with standing_in(one) as url:
        with pytest.raises(UsageError, match="InfluxDB 1, which has databases: --database"):
            await rows({"url": url, "bucket": "x"})
        with pytest.raises(ArchiveRefused, match=r"authorization failed; give .*--password-file"):
            await rows({"url": url, "database": "x", "user": "iotd", "password": "hush"})
    assert base64.b64encode(b"iotd:hush").decode() in seen[-1]
