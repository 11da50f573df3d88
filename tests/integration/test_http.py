"""The HTTP server of a running daemon: what it says, and that nobody can use it to disturb the readings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from iotd.config import Settings
from iotd.stack.binaries import RedisBinaries
from tests.servers.checker import all_there
from tests.servers.daemon import Daemon, iotd, running_daemon
from tests.servers.http import get, metrics, raw
from tests.servers.ports import port_block
from tests.servers.system import System, make_settings, start_system, stop_system, until


@pytest.fixture(scope="module")
def served(redis_binaries: RedisBinaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[System, Daemon]]:
    """One daemon on real shards for all tests here, none of which leaves a trace in it."""
    with ExitStack() as life:
        first = life.enter_context(port_block())
        folder = tmp_path_factory.mktemp("http")
        settings = make_settings(
            folder,
            first,
            stack={"redis_dir": redis_binaries.server.parent},
            sensors={"interval": "100ms"},
            archive={"interval": "1s"},
        )
        system = start_system(settings)
        life.callback(stop_system, system)
        yield system, life.enter_context(running_daemon(settings))


async def test_metrics_are_in_the_format_and_count_what_happens(served: tuple[System, Daemon]) -> None:
    system, daemon = served
    await daemon.serving()
    await daemon.writes("salon")
    _, text, headers = await get(system.settings, "/metrics")
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for family in families.values():
        if family.name.startswith("iotd_"):
            assert family.documentation, family.name
    assert families["iotd_readings_durable"].type == "counter"
    assert families["iotd_write_latency_seconds"].type == "histogram"

    async def archived() -> bool:
        now = await metrics(system.settings)
        passed = 'iotd_archive_lag_seconds{shard="salon"}' in now and now["iotd_loop_lag_seconds_count"] > 0
        return passed and now['iotd_readings_durable_total{shard="salon"}'] > 0

    await until(archived, 30, "something is durable and archived, and the loop's lag was looked at")
    now = await metrics(system.settings)
    shard = '{shard="salon"}'
    taken, durable = now[f"iotd_readings_taken_total{shard}"], now[f"iotd_readings_durable_total{shard}"]
    assert taken >= durable > 0
    assert taken == durable + now[f"iotd_log_waiting_readings{shard}"]
    assert now[f"iotd_shard_up{shard}"] == 1
    assert now[f"iotd_replicas_connected{shard}"] == 1
    assert now['iotd_node_role{node="redis-salon-master",role="master",shard="salon"}'] == 1
    assert now[f"iotd_archive_lag_seconds{shard}"] < 60
    assert now['iotd_write_latency_seconds_bucket{le="+Inf",shard="salon"}'] > 0


async def test_health_says_why(served: tuple[System, Daemon]) -> None:
    system, daemon = served
    await daemon.serving()
    assert (await get(system.settings, "/livez"))[:2] == (200, "ok\n")
    code, text, _ = await get(system.settings, "/readyz")
    said = json.loads(text)
    assert (code, said["ready"]) == (200, True)
    assert [one for one in said["conditions"] if one["severity"] == "error"] == []


async def test_status_is_what_the_command_prints(served: tuple[System, Daemon]) -> None:
    system, daemon = served
    await daemon.writes("salon")
    _, text, _ = await get(system.settings, "/status")
    printed = (await iotd("status", "--output", "json", config=system.config)).json
    answered = json.loads(text)
    assert answered.keys() == printed.keys()
    assert answered["daemon"].keys() == printed["daemon"].keys()
    assert [s["location"] for s in answered["shards"]] == ["salon", "chambre1"]
    assert answered["shards"][0].keys() == printed["shards"][0].keys()


async def test_nothing_can_be_changed_and_no_other_name_is_answered_to(served: tuple[System, Daemon]) -> None:
    system, daemon = served
    await daemon.serving()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{system.settings.http.port}") as session:
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            for path in ("/", "/metrics", "/status", "/reload", "/archive/now"):
                async with session.request(method, path, data=b"x") as response:
                    assert response.status in (404, 405), (method, path)
    # a name of elsewhere that was made to point at us
    code, _, headers = await get(system.settings, "/status", Host="evil.example")
    assert code == 403
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert (await get(system.settings, "/livez", Host="localhost:9108"))[0] == 200


MALFORMED = {
    "no HTTP at all": b"\x16\x03\x01\x02\x00" + bytes(range(256)) * 8,
    "a request line without an end": b"GET /" + b"a" * 200_000,
    "a header without an end": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"b" * 500_000,
    "many headers": b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(50_000)),
    "a body that is announced and never comes": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n",
    "two lengths": b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a chunk of a negative size": b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n\r\n",
    "a way out of the folder": b"GET /../../../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an absolute address": b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "a half request": b"GET /metr",
    "nothing": b"",
}


@asynccontextmanager
async def undisturbed(system: System, daemon: Daemon) -> AsyncIterator[None]:
    """Asserts that readings went on meanwhile, and that nothing of the daemon's died or stayed behind."""
    process = psutil.Process(daemon.process.pid)
    before = await metrics(system.settings)
    yield
    await daemon.writes("salon")
    await daemon.writes("chambre1")

    async def let_go() -> bool:
        # not all descriptors: a daemon that has just begun still opens connections and files of its own
        return not any(
            c.laddr.port == system.settings.http.port and c.status != psutil.CONN_LISTEN
            for c in process.net_connections("tcp")
        )

    await until(let_go, 30, "the connections are gone")
    after = await metrics(system.settings)
    assert [n for n in after if n.startswith("iotd_task_restarts_total") and after[n] > before.get(n, 0)] == []
    assert after['iotd_outage_seconds_total{shard="salon"}'] == before['iotd_outage_seconds_total{shard="salon"}']


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=[name.replace(" ", "-") for name in MALFORMED])
async def test_what_is_no_request_is_refused_or_cut_off(served: tuple[System, Daemon], sent: bytes) -> None:
    system, daemon = served
    await daemon.serving()
    async with undisturbed(system, daemon):
        answer = await raw(system.settings, sent)  # which ends: the server closes in its time
        assert not answer.startswith(b"HTTP/1.1 200"), answer[:200]
        assert b"root:" not in answer
    assert (await get(system.settings, "/livez"))[0] == 200


async def test_a_request_that_comes_byte_by_byte_is_cut_off(served: tuple[System, Daemon]) -> None:
    system, daemon = served
    await daemon.serving()
    async with undisturbed(system, daemon):
        reader, writer = await asyncio.open_connection("127.0.0.1", system.settings.http.port)

        async def drip() -> None:
            for byte in b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.1)

        with suppress(ConnectionError):
            async with asyncio.timeout(20):  # far from the end of the drip
                await asyncio.gather(drip(), reader.read())
        writer.close()


async def test_a_thousand_connections_that_ask_nothing_keep_nobody_out(served: tuple[System, Daemon]) -> None:
    system, daemon = served
    await daemon.serving()
    async with undisturbed(system, daemon):
        opened: list[asyncio.StreamWriter] = []
        for _ in range(1_000):
            with suppress(ConnectionError):
                _, writer = await asyncio.open_connection("127.0.0.1", system.settings.http.port)
                opened.append(writer)
            if len(opened) % 100 == 0:
                assert (await get(system.settings, "/livez"))[0] == 200
        assert psutil.Process(daemon.process.pid).num_fds() < 300
        for writer in opened:
            writer.close()


async def test_a_client_that_reads_nothing_is_let_go_and_the_others_get_their_events(
    served: tuple[System, Daemon],
) -> None:
    system, daemon = served
    await daemon.serving()
    async with undisturbed(system, daemon):
        deaf = []
        for _ in range(8):
            reader, writer = await asyncio.open_connection("127.0.0.1", system.settings.http.port, limit=1)
            writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            deaf.append((reader, writer))
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{system.settings.http.port}/events") as response,
        ):
            seen = 0
            async for line in response.content:
                seen += line.startswith(b"event: now")
                if seen == 3:
                    break
        for _, writer in deaf:
            writer.close()


async def test_a_port_that_is_taken_costs_the_page_and_not_the_readings(
    served: tuple[System, Daemon], tmp_path: Path
) -> None:
    system, daemon = served
    await daemon.serving()
    # another daemon, for the other half of the work, with the same port in its configuration
    settings = _second(system, tmp_path)
    with running_daemon(settings) as second:
        await second.running()

        async def taken() -> bool:
            said = await second.status()
            return bool(said["shards"][0]["taken"])

        await until(taken, 30, "it takes readings")
        await second.says("page_not_served")
        failed = second.events("task_failed")
        assert [e["task"] for e in failed] == ["http"]
        assert "http.port" in failed[0]["reason"]
        assert (await second.status())["page"] is None
        assert await second.stop() == 0


def _second(system: System, folder: Path) -> Settings:
    first = system.settings.topology.redis_port
    return make_settings(folder, first, ["salon", "chambre1", "cuisine"], serve=["cuisine"])


async def test_after_all_that_every_reading_is_there(served: tuple[System, Daemon]) -> None:
    system, daemon = served
    await daemon.writes("salon")
    assert await daemon.stop() == 0
    await all_there(system, "salon")
