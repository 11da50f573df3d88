"""Reading a shard: all ways give the same, and a node that fails is replaced where that is wanted."""

from __future__ import annotations

import numpy as np
import pytest

from iotd.config.values import Address
from iotd.model.batch import Batch
from iotd.model.calibration import Calibration, Calibrations, Line, Span
from iotd.model.errors import ShardError
from iotd.model.series import Series
from iotd.shards import charts
from iotd.shards import reader as module
from iotd.shards.audit import audit
from iotd.shards.look import ShardLook
from iotd.shards.madd import Packer
from iotd.shards.reader import ShardReader
from iotd.shards.series import make_series
from iotd.sources.simulator.source import Span as Handed
from tests.servers import checker
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
        await make_series(redis, SERIES, lambda one: one.labels, system.settings.redis)
        await redis.send([commands.payload])
        for _ in commands.starts:
            assert all(type(said) is int for said in await redis.receive())
    return batch


async def test_the_checker_of_other_tests_sees_what_is_there_and_nothing_of_a_series_that_is_not(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    await load(system)
    monkeypatch.setattr(checker, "_PAGE", 60)
    async with system.connection("redis-salon-master") as redis:
        store, span = checker.RedisStore(redis), Handed(T0 + 5000, T0 + 200_000)
        assert [sample async for sample in store.samples(NONE, span)] == []
        found = [sample async for sample in store.samples(SERIES[2], span)]
    assert found == list(zip(TIMES[5:201].tolist(), VALUES[5:201, 2].tolist(), strict=True))


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


async def test_what_is_joined_over_sensors_is_calibrated_first(system: System) -> None:
    await load(system)
    reader = ShardLook("salon", system.settings, _master(system))
    first, changes = T0 - T0 % 10_000, T0 + 123_456
    lines = {"1": [Span(0, Line(-2.0, 3000.0))], "2": [Span(0, Line(offset=5.0)), Span(changes, Line(offset=-5.0))]}
    true = VALUES.copy()
    true[:, 0] = VALUES[:, 0] * -2 + 3000
    true[:, 1] += np.where(changes > TIMES, 5.0, -5.0)
    try:
        for values, said in ((VALUES, {}), (true, {one: {"pressure": Calibration(its)} for one, its in lines.items()})):
            found = await charts.by_type(reader, Calibrations(said), ["pressure"], first, 10_000)
            buckets = TIMES // 10_000 * 10_000
            starts, rows = found["pressure"]
            for start, (mean, low, high) in zip(starts.tolist(), rows.tolist(), strict=True):
                its = values[buckets == start]
                assert mean == pytest.approx(its.mean(axis=0).mean())
                assert (low, high) == pytest.approx((its.min(), its.max()))
            assert starts.tolist() == np.unique(buckets).tolist()
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


ODD = ("north, old (2)", "a=b", "{x}", "!=", "50 %", "Salle à manger", "☃", 'it\'s "x"', "*", "(", ",", "a:b\n")


async def test_a_series_can_be_made_and_looked_at_whatever_its_sensor_is_called(system: System) -> None:
    series = [Series("co2", "chambre1", sensor) for sensor in ODD]
    look = ShardLook("chambre1", system.settings, _master(system, "chambre1"))
    try:
        async with system.connection("redis-chambre1-master") as redis:
            await make_series(redis, series, lambda one: one.labels, system.settings.redis)
            for one in series:
                await redis.call("TS.ADD", one.key, T0, 400)
        assert {one for one in await look.latest() if one.type == "co2"} == set(series)
        assert [times.tolist() for times in await look.recent([*series, NONE], 5)] == [[T0]] * len(series) + [[]]
        assert await look.before([series[0], NONE], T0 + 5) == [(T0, 400.0), None]
        assert set(await look.lasts("co2", T0, 5000)) == set(series)
        starts, rows = (await look.by_type(["co2", "pressure"], T0, 5000))["co2"]
        assert (starts.tolist(), rows.tolist()) == ([T0], [[400.0, 400.0, 400.0]])
    finally:
        await look.close()
        async with system.connection("redis-chambre1-master") as redis:
            await redis.call("DEL", *(one.key for one in series))


def _master(system: System, location: str = "salon"):  # type: ignore[no-untyped-def]
    async def master() -> Address:
        return system.topology.shard(location).master.address

    return master
