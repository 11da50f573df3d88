"""The proxy that the fault tests rely on does what it says, in front of a real InfluxDB."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest

from iotd.model.series import Series
from iotd.sources.simulator.source import Span
from tests.servers.archives import InfluxWitness
from tests.servers.influxdb import InfluxServer
from tests.servers.influxproxy import WRITE, Answer, CutAnswer, CutRequest, Endless, InfluxProxy, Mute, running_proxy

SALON = Series("temperature", "salon", "1")
T0 = 1_790_000_000_000


@dataclass
class Rig:
    """A bucket behind a proxy, written to as anyone would."""

    proxy: InfluxProxy
    store: InfluxWitness
    session: aiohttp.ClientSession
    params: dict[str, str]

    async def write(self, time: int) -> int:
        line = f"temperature,location=salon,sensor_id=1,unit=celsius value=21.5 {time}"
        async with self.session.post(f"{self.proxy.url}{WRITE}", params=self.params, data=line.encode()) as answer:
            await answer.read()
            return answer.status

    async def stored(self) -> list[int]:
        return [time async for time, _ in self.store.samples(SALON, Span(T0, T0 + 100))]


@pytest.fixture
async def rig(influxdb: InfluxServer) -> AsyncIterator[Rig]:
    bucket = influxdb.make_bucket(f"b{uuid.uuid4().hex}")
    headers = {"Authorization": f"Token {influxdb.token}"}
    timeout = aiohttp.ClientTimeout(total=2)
    async with running_proxy(influxdb.url) as proxy, aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        store = InfluxWitness(influxdb.url, org=influxdb.org, bucket=bucket, token=influxdb.token)
        yield Rig(proxy, store, session, {"org": influxdb.org, "bucket": bucket, "precision": "ms"})


async def test_what_meets_no_fault_is_passed_on(rig: Rig) -> None:
    assert [await rig.write(T0), await rig.write(T0 + 1)] == [204, 204]
    assert await rig.stored() == [T0, T0 + 1]
    assert rig.proxy.passed[WRITE] == 2


async def test_an_answer_of_its_own_keeps_the_request_from_the_server_as_often_as_asked(rig: Rig) -> None:
    rig.proxy.inject(Answer(503), times=2, path=WRITE)
    assert [await rig.write(T0 + n) for n in range(3)] == [503, 503, 204]
    assert await rig.stored() == [T0 + 2]


@pytest.mark.parametrize("after", [0, 300, 10_000])
async def test_a_cut_request_never_reaches_the_server(rig: Rig, after: int) -> None:
    rig.proxy.inject(CutRequest(after), times=1)
    with pytest.raises((aiohttp.ClientError, OSError)):
        await rig.write(T0)
    assert await rig.stored() == []


@pytest.mark.parametrize("after", [0, 20])
async def test_a_lost_answer_leaves_the_point_stored_and_the_client_without_a_word(rig: Rig, after: int) -> None:
    rig.proxy.inject(CutAnswer(after), times=1)
    with pytest.raises((aiohttp.ClientError, OSError)):
        await rig.write(T0)
    assert await rig.stored() == [T0]


@pytest.mark.parametrize("fault", [Mute(), Endless()])
async def test_one_that_hangs_or_never_ends_does_so_until_it_is_healed(rig: Rig, fault: Mute | Endless) -> None:
    rig.proxy.inject(fault)
    with pytest.raises(TimeoutError):
        await rig.write(T0)
    writing = asyncio.create_task(rig.write(T0))
    rig.proxy.heal()
    assert await writing == 204
