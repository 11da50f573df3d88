"""The ingest: what clients send and what they are told, with real clients where they are Python."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync

from iotd.config.sections.sources import Ingest
from iotd.config.values import Address
from iotd.intake.resolve import Resolver
from iotd.model.errors import ConfigError, LogFull, StateUnwritable
from iotd.model.held import Held
from iotd.model.observation import Message
from iotd.model.types import BUILT_IN
from iotd.sources.base import Intake
from iotd.sources.http.server import IngestServer
from tests.servers.certificates import tls_settings
from tests.servers.system import until

TOKEN = "a-token-that-will-do"
RESOLVER = Resolver(BUILT_IN, {"salon": ()}, {})


class Taken:
    """Takes pieces into memory, or fails as told."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.keys: list[str | None] = []
        self.error: Exception | None = None
        self.full = False
        self.computes_s = 0.0
        self.patience = 60.0

    def patient(self, seconds: float) -> Taken:
        self.patience = seconds
        return self

    async def observe(self, messages: Sequence[Message], key: str | None = None) -> Awaitable[Sequence[Held]]:
        if self.error is not None:
            raise self.error
        if self.full:
            await asyncio.sleep(self.patience)
            raise LogFull("salon: the log is full")
        for _ in range(10):
            time.sleep(self.computes_s / 10)  # it keeps the loop, as making readings of a large body does
            await asyncio.sleep(0)
        return self._written(messages, key)

    async def _written(self, messages: Sequence[Message], key: str | None) -> Sequence[Held]:
        self.messages += messages
        self.keys.append(key)
        return []

    names = RESOLVER

    @property
    def values(self) -> list[Any]:
        return [value for message in self.messages for value in message.columns().values]

    @property
    def refused(self) -> list[tuple[bytes, str]]:
        """What could not be understood, and why not."""
        return [(part.payload, why.reason) for message in self.messages for _, part, why in message.refused()]


class Ingesting:
    def __init__(self, taken: Taken, server: IngestServer, client: aiohttp.ClientSession) -> None:
        self.taken = taken
        self.url = (server.url or "").rstrip("/")
        self.client = client

    async def post(self, path: str, body: bytes | str, **headers: str) -> tuple[int, str]:
        async with self.client.post(self.url + path, data=body, headers=headers) as answer:
            return answer.status, await answer.text()


Make = Callable[..., Any]


@pytest.fixture
async def ingesting(tmp_path: Path) -> AsyncIterator[Make]:
    running: list[asyncio.Task[None]] = []
    clients: list[aiohttp.ClientSession] = []

    async def make(token: str | None = None, **settings: Any) -> Ingesting:
        if token is not None:
            (tmp_path / "tokens").write_text(f"{token}\n")
            settings["tokens_file"] = tmp_path / "tokens"
        taken = Taken()
        server = IngestServer(Ingest(listen=Address("127.0.0.1", 0), **settings))
        running.append(asyncio.create_task(server.run(cast(Intake, taken))))

        async def listening() -> bool:
            return server.url is not None

        await until(listening, 5, "it listens")
        clients.append(aiohttp.ClientSession())
        return Ingesting(taken, server, clients[-1])

    yield make
    for client in clients:
        await client.close()
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_lines_are_taken_and_a_bad_one_fails_nothing(ingesting: Make) -> None:
    here = await ingesting()
    body = "temperature,location=salon value=21.5\nhalf a li\nhumidity,location=salon value=45"
    assert await here.post("/api/v2/write?bucket=b&org=o&precision=s", body) == (204, "")
    assert here.taken.values == [21.5, 45.0]
    assert here.taken.refused == [(b"half a li", "not a line")]
    assert (await here.post("/write?db=x&precision=ms", gzip.compress(body.encode()), **{"Content-Encoding": "gzip"}))[
        0
    ] == 204
    assert len(here.taken.values) == 4
    assert (await here.post("/api/v2/write", ""))[0] == 204, "Home Assistant's first write is empty"


async def test_what_can_not_be_understood_is_held_and_not_sent_back(ingesting: Make) -> None:
    here = await ingesting()
    assert (await here.post("/api/v2/write?precision=weeks", "temperature value=1"))[0] == 204
    assert (await here.post("/api/v2/write", b"not gzip", **{"Content-Encoding": "gzip"}))[0] == 204
    assert here.taken.refused == [(b"temperature value=1", "unknown precision"), (b"", "not a body")]


async def test_a_token_is_needed_where_there_are_tokens_and_asked_for_in_every_way(ingesting: Make) -> None:
    here = await ingesting(token=TOKEN)
    line = "temperature,location=salon value=1"
    assert (await here.post("/api/v2/write", line))[0] == 401
    assert (await here.post("/api/v2/write", line, Authorization="Token nonsense-nonsense"))[0] == 401
    assert (await here.post("/api/v2/write", line, Authorization=f"Token {TOKEN}"))[0] == 204
    assert (await here.post(f"/write?u=me&p={TOKEN}", line))[0] == 204
    assert (await here.post(f"/webhook/airgradient?token={TOKEN}", '{"serialno": "a", "rco2": 1}'))[0] == 204
    assert len(here.taken.messages) == 3
    async with here.client.get(f"{here.url}/ping") as answer:
        assert (answer.status, answer.headers["X-Influxdb-Version"]) == (204, "v2.7.12")


async def test_what_can_not_be_taken_now_is_to_be_sent_again(ingesting: Make) -> None:
    here = await ingesting(body_limit=1024)
    line = "temperature,location=salon value=1"
    assert (await here.post("/api/v2/write", line * 100))[0] == 413
    here.taken.error = StateUnwritable("no space left on the disk: free some")
    status, text = await here.post("/api/v2/write", line)
    assert (status, "no space left" in text) == (503, True)
    here.taken.error, here.taken.full = None, True
    async with here.client.post(f"{here.url}/api/v2/write", data=line) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert here.taken.messages == []


async def test_a_large_body_is_taken_though_it_takes_long_and_others_come_meanwhile(ingesting: Make) -> None:
    here = await ingesting()
    here.taken.computes_s = 1.0
    answers = await asyncio.gather(*(here.post("/api/v2/write", f"temperature value={n}") for n in range(2)))
    assert [status for status, _ in answers] == [204, 204]
    assert sorted(here.taken.values) == [0, 1]


async def test_what_influxdb_3_has_for_a_write_is_one(ingesting: Make) -> None:
    here = await ingesting()
    line = "temperature,location=salon value=1 1796000000000"
    assert await here.post("/api/v3/write_lp?db=any&precision=millisecond", line) == (204, "")
    (message,) = here.taken.messages
    assert message.columns().times == [1_796_000_000_000]
    assert message.part(0).topic == "/api/v3/write_lp?precision=ms line 1", "it can be read again"


async def test_json_and_webhooks(ingesting: Make) -> None:
    here = await ingesting()
    reading = '{"type": "temperature", "location": "salon", "sensor": "north", "value": 21.3}'
    assert (await here.post("/readings", reading, **{"Idempotency-Key": "k1"}))[0] == 204
    assert here.taken.keys == ["k1"]
    status, text = await here.post("/readings", "{")
    assert (status, '{\\"type\\": \\"temperature\\"' in text) == (400, True)
    form = {"PASSKEY": "SECRET", "dateutc": "now", "tempf": "70.7"}
    async with here.client.post(f"{here.url}/webhook/ecowitt?location=salon", data=form) as answer:
        assert answer.status == 204
    piece = here.taken.messages[-1]
    assert [(one.type, one.location, one.value) for one in piece.said] == [("temperature", "salon", "70.7")]
    assert b"SECRET" not in piece.payload
    async with here.client.get(f"{here.url}/webhook/shelly?id=ht-1&temp=21.4&location=salon") as answer:
        assert answer.status == 204
    assert here.taken.messages[-1].columns().values[0] == "21.4"
    assert (await here.post("/webhook/nothing", "{}"))[0] == 400
    assert (await here.post("/webhook/airgradient", "{"))[0] == 204
    assert here.taken.refused


async def test_what_clients_ask_before_they_write(ingesting: Make) -> None:
    here = await ingesting()
    status, text = await here.post("/query?q=CREATE+DATABASE+%22x%22", "")
    assert (status, text) == (200, '{"results": [{"statement_id": 0}]}')
    async with here.client.post(f"{here.url}/query", data={"q": "SHOW DATABASES"}) as answer:
        assert (await answer.json())["results"][0]["series"][0]["values"] == [["iotd"]]
    assert (await here.post("/query?q=SELECT+1", ""))[0] == 400
    async with here.client.get(f"{here.url}/health") as answer:
        assert (await answer.json())["status"] == "pass"


async def test_influxdbs_own_client_works_unchanged(ingesting: Make) -> None:
    here = await ingesting(token=TOKEN)
    async with InfluxDBClientAsync(here.url, TOKEN, org="any", enable_gzip=True) as client:
        assert await client.ping()
        await client.write_api().write("any", record="temperature,location=salon value=21.5 1796000000000000000")
    assert here.taken.values == [21.5]


async def test_a_path_that_is_not_here_is_named_with_those_that_are(ingesting: Make) -> None:
    here = await ingesting()
    for path in ("/", "/api/v9/write", "/writes"):
        status, said = await here.post(path, "temperature value=1")
        assert (status, "/api/v2/write" in said, "/readings" in said) == (404, True, True)
    async with here.client.get(here.url + "/write") as answer:
        assert answer.status == 404


async def test_a_large_body_is_read_in_pieces_and_a_bad_line_has_its_number_in_the_whole(ingesting: Make) -> None:
    here = await ingesting()
    rows = [f"temperature,location=salon,sensor_id={n} value=20" for n in range(20_000)]
    rows[15_000] = "half a li"
    assert (await here.post("/write", "\n".join(rows)))[0] == 204
    assert len(here.taken.values) == 19_999
    assert len(here.taken.messages) > 2
    (part,) = [part for message in here.taken.messages for _, part, _ in message.refused()]
    assert (part.topic, part.payload) == ("/write?precision=ns line 15001", b"half a li")


async def test_who_holds_connections_open_keeps_nobody_out(ingesting: Make) -> None:
    here = await ingesting()
    host, port = here.url.removeprefix("http://").split(":")
    held = [await asyncio.open_connection(host, int(port)) for _ in range(600)]
    try:
        for _, writer in held[::2]:
            writer.write(b"POST /write HTTP/1.1\r\nHost: x\r\n")  # and no more
        for _ in range(20):
            assert (await here.post("/write", "temperature,location=salon value=20"))[0] == 204
        gone = [reader for reader, _ in held if reader.at_eof() or reader.exception()]
        assert len(gone) >= 600 - 512
    finally:
        for _, writer in held:
            writer.transport.abort()


async def test_over_tls_as_over_plain_http(ingesting: Make, tmp_path: Path) -> None:
    made = tls_settings(tmp_path / "certificates")["stack"]
    here = await ingesting(**{name: Path(file) for name, file in made.items()})
    assert here.url.startswith("https://127.0.0.1:")
    trust = ssl.create_default_context(cafile=tmp_path / "certificates" / "ca.pem")
    async with here.client.post(f"{here.url}/write", data="temperature value=20", ssl=trust) as answer:
        assert answer.status == 204
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await here.post("/write", "temperature value=21")
    assert here.taken.values == [20.0]
    (tmp_path / "server.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"ingest.tls_cert_file: .*server.pem and its key can't be used"):
        await ingesting(tls_cert_file=tmp_path / "server.pem", tls_key_file=tmp_path / "server.pem")
