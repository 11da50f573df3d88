"""Reading a shard: all ways give the same, and a node that fails is replaced where that is wanted."""

from __future__ import annotations

import numpy as np
import pytest

from iotd.config.values import Address
from iotd.model.batch import Batch
from iotd.model.errors import ShardError
from iotd.model.series import Series
from iotd.shards import reader as module
from iotd.shards.audit import audit
from iotd.shards.madd import Packer
from iotd.shards.reader import ShardReader
from iotd.shards.series import make_series
from tests.servers.system import System

T0 = 1_790_000_000_000
SERIES = [Series("pressure", "salon", str(n), "hPa") for n in range(1, 8)]
NONE = Series("pressure", "salon", "none", "hPa")
COUNT = 250
TIMES = T0 + 1000 * np.arange(COUNT, dtype=np.int64)
VALUES = np.random.default_rng(3).normal(1013, 5, (COUNT, len(SERIES)))


async def load(system: System) -> Batch:
    series = np.tile(np.arange(len(SERIES), dtype=np.int32), COUNT)
    batch = Batch("salon", series, TIMES.repeat(len(SERIES)), VALUES.ravel())
    commands = Packer([one.key.encode() for one in SERIES]).pack(batch.series, batch.times, batch.values)
    async with system.connection("redis-salon-master") as redis:
        await redis.call("DEL", *(one.key for one in SERIES))
        await make_series(redis, SERIES, system.settings.redis)
        await redis.send([commands.payload])
        for _ in commands.starts:
            assert all(type(said) is int for said in await redis.receive())
    return batch


async def test_few_series_and_many_in_pages_give_the_same(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    await load(system)
    reader = ShardReader("salon", system.settings, _master(system))
    wanted = [(one, T0 + 5000, T0 + 200_000) for one in SERIES] + [(NONE, T0, T0 + 1000), (SERIES[0], T0 - 9, T0 - 1)]
    monkeypatch.setattr(module, "PAGE", 60)
    try:
        found = await reader.samples(wanted)
        monkeypatch.setattr(module, "_FEW", 1)
        again = await reader.samples(wanted)
        for number, one in enumerate(found[: len(SERIES)]):
            assert one.times.tolist() == TIMES[5:201].tolist()
            assert one.values.tolist() == VALUES[5:201, number].tolist()
        assert [len(one.times) for one in found[len(SERIES) :]] == [0, 0]
        assert [one.begins for one in found] == [T0] * len(SERIES) + [None, T0]
        for one, other in zip(found, again, strict=True):
            assert (one.times.tolist(), one.values.tolist()) == (other.times.tolist(), other.values.tolist())
        assert await reader.series(["pressure"]) == SERIES
        assert set(SERIES) <= set(await reader.series())
        assert await reader.begins([SERIES[0], NONE]) == {SERIES[0]: T0}
        (means,) = await reader.buckets([(SERIES[2], "avg", 0, 10_000, T0, T0 + 99_999)])
        assert means[1] == pytest.approx(VALUES[:100, 2].reshape(10, 10).mean(axis=1))
        assert reader.opened == 1
    finally:
        await reader.close()


async def test_an_audit_finds_what_is_missing_altered_and_strange(system: System) -> None:
    batch = await load(system)
    reader = ShardReader("salon", system.settings, _master(system))
    try:
        assert (await audit(reader, batch, SERIES.__getitem__)).missing == 0
        async with system.connection("redis-salon-master") as redis:
            await redis.call("TS.DEL", SERIES[1].key, T0 + 3000, T0 + 4000)
            await redis.call("TS.ADD", SERIES[2].key, T0 + 1000, 1)
            await redis.call("TS.ADD", SERIES[2].key, T0 + 1001, 1)
        twice = Batch(  # the later of two values for one time is due
            "salon", np.append(batch.series, 0), np.append(batch.times, T0), np.append(batch.values, VALUES[0, 0] + 1)
        )
        found = await audit(reader, twice, SERIES.__getitem__)
        assert (found.due, found.missing, found.strange) == (len(batch), 4, 1)
        assert found.first == f"{SERIES[0].key} at {T0}"
    finally:
        await reader.close()


async def test_a_node_that_fails_is_replaced_when_another_may_be_asked(system: System) -> None:
    await load(system)
    good, dead = system.topology.shard("salon").replica.address, Address("127.0.0.1", 1)
    nodes = [dead, good]

    async def node() -> Address:
        return nodes[0]

    def failed() -> bool:
        nodes[:] = [good]
        return True

    reader = ShardReader("salon", system.settings, node, failed=failed)
    only = ShardReader("salon", system.settings, node)
    try:
        with pytest.raises(ShardError):
            await only.samples([(SERIES[0], T0, T0 + 1000)])
        (found,) = await reader.samples([(SERIES[0], T0, T0 + 1000)])
        assert len(found.times) == 2
        none, (count, resp) = await reader.pairs([(NONE, T0, T0 + 1000, 10), (SERIES[0], T0 - 1, T0, 10)])
        assert none == (0, b"")
        assert (count, resp[: resp.index(b"+")]) == (1, b"*2\r\n:%d\r\n" % T0)
    finally:
        await reader.close()
        await only.close()


def _master(system: System):  # type: ignore[no-untyped-def]
    async def master() -> Address:
        return system.topology.shard("salon").master.address

    return master
