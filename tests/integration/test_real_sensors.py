"""Readings of real sensors, by HTTP and from Python, through a real daemon into real shards and the archive."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from iotd.producer import Held, Producer
from iotd.query.system import ShardingSystem
from tests.conftest import FreshSystem
from tests.servers.daemon import Daemon, iotd, running_daemon
from tests.servers.ports import port_block
from tests.servers.system import System, until


@pytest.fixture
def taking() -> Iterator[dict[str, Any]]:
    """A configuration that takes readings by HTTP and archives them soon."""
    with port_block() as port:
        yield {"ingest": {"listen": f"127.0.0.1:{port}"}, "archive": {"interval": "1s"}}


@asynccontextmanager
async def fed(system: System) -> AsyncIterator[tuple[Daemon, str]]:
    """A daemon that takes readings by HTTP, and where."""
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        url = (await daemon.logs("ingest_listening"))["url"]
        yield daemon, url.rstrip("/")
        assert await daemon.stop() == 0


async def post(url: str, body: str, **headers: str) -> int:
    async with aiohttp.ClientSession() as client, client.post(url, data=body.encode(), headers=headers) as answer:
        return answer.status


async def samples(system: System, key: str) -> list[tuple[int, float]]:
    """What a master has of a series; nothing as long as there is none."""
    if not await system.ask("redis-salon-master", "EXISTS", key):
        return []
    said = await system.ask("redis-salon-master", "TS.RANGE", key, "-", "+")
    return [(int(at), float(value)) for at, value in said]


async def labels(system: System, key: str) -> dict[str, str]:
    said = await system.ask("redis-salon-master", "TS.INFO", key)
    found = dict(zip(said[::2], said[1::2], strict=True))[b"labels"]
    return {name.decode(): text.decode() for name, text in found}


async def run(system: System, *args: str) -> str:
    """What a command says."""
    done = await iotd(*args, config=system.config)
    assert done.code == 0, done.err
    return done.out


async def test_lines_are_in_the_shard_with_their_values_and_nothing_else_is(
    fresh_system: FreshSystem, taking: dict[str, Any]
) -> None:
    system = fresh_system(("salon", "cuisine"), **taking)
    now = time.time_ns()
    body = (
        f"temperature,location=salon,sensor_id=north value=21.53 {now}\n"
        f"climate,room=Salon,device=bme280-1 temperature_F=70.7,humidity=45i {now}\n"
        f"half a li\n"
        f"temperature,location=attic,sensor_id=top value=20 {now}\n"
        f"temperature,location=salon,sensor_id=north value=-300 {now + 10**6}\n"
    )
    async with fed(system) as (_, url):
        for _ in range(2):  # a repeat after an answer that was lost
            assert await post(f"{url}/api/v2/write?precision=ns", body) == 204
        ms = now // 10**6

        async def there() -> bool:
            return bool(await samples(system, "sensor:humidity:salon:bme280-1"))

        await until(there, 20, "the readings are in the shard")
        assert await samples(system, "sensor:temperature:salon:north") == [(ms, 21.53)]
        assert await samples(system, "sensor:temperature:salon:bme280-1") == [(ms, 21.5)]
        assert await samples(system, "sensor:humidity:salon:bme280-1") == [(ms, 45.0)]
        assert len(await system.ask("redis-salon-master", "TS.QUERYINDEX", "location=salon")) == 3
        held = json.loads(await run(system, "sensors", "held", "--output", "json"))
        assert {one["reason"] for one in held["latest"]} == {"not a line", "not plausible", "unknown location"}
    async with ShardingSystem.connect(system.config) as sharding:
        readings = await sharding.query_location_data("salon", "temperature", "-1h")
        assert sorted(one.value for one in readings) == [21.5, 21.53]


async def test_what_is_older_than_the_shard_keeps_is_in_the_archive_alone(
    fresh_system: FreshSystem, taking: dict[str, Any]
) -> None:
    system = fresh_system(**{**taking, "redis": {"retention": "1d"}})
    now = time.time_ns() // 10**6
    old = [now - days * 86_400_000 for days in (3, 30, 400)]
    async with fed(system) as (daemon, _):
        async with Producer(system.settings.state) as producer:
            await producer.put("temperature", "salon", "north", 20.25, time=now)
            for at in old:
                await producer.put("temperature", "salon", "north", 21.125, time=at)
            with pytest.raises(Held, match="unknown location"):
                await producer.put("temperature", "attic", "north", 21.125, time=now)

        async def all_of_them() -> bool:
            async with ShardingSystem.connect(system.config) as sharding:
                return len(await sharding.query_location_data("salon", "temperature", "-2y")) == 4

        await until(all_of_them, 30, "all are found")
        assert [at for at, _ in await samples(system, "sensor:temperature:salon:north")] == [now]
        await run(system, "archive", "verify")
        await daemon.calm()


async def test_a_catalogue_that_was_lost_is_made_again_of_what_the_shards_say(
    fresh_system: FreshSystem, taking: dict[str, Any]
) -> None:
    system = fresh_system(("salon",), **taking)
    state: Path = system.settings.state
    key = "sensor:temperature:salon:0x00158d0001"
    async with fed(system) as (_, url):
        line = "temperature,location=salon,sensor_id=0x00158d0001,unit=°F value=70.7"
        assert await post(f"{url}/write", line) == 204

        async def there() -> bool:
            return bool(await samples(system, key))

        await until(there, 20, "the reading is in the shard")
        await run(system, "sensors", "rename", "0x00158d0001", "north window")
        assert await post(f"{url}/write", line) == 204

        async def named() -> bool:
            return (await labels(system, key)).get("name") == "north window"

        await until(named, 20, "the label follows the name")
        before = await sensors(system)
    assert (await labels(system, key))["original_unit"] == "°F"
    for file in state.glob("catalogue.sqlite*"):
        file.unlink()
    for file in (state / "log").rglob("*"):
        if file.is_file():
            file.unlink()
    async with fed(system):

        async def known() -> bool:
            return await sensors(system) == before

        await until(known, 30, "the sensor is known again")
    assert [one["name"] for one in before] == ["north window"]


async def sensors(system: System) -> Sequence[Any]:
    found: Sequence[Any] = json.loads(await run(system, "sensors", "--output", "json"))
    return found
