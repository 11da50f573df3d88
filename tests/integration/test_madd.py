"""What Redis makes of readings as they are packed."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iotd.shards.connection import Connection
from iotd.shards.madd import Packer
from tests.servers.system import System, blocking
from tests.unit.test_madd import values

KEY = b"sensor:temperature:salon:90001"
SHORT = [0.0, -0.0, 0.001, -0.5, 9.99, 21.5, 100.0, 999.999, -999.999]
HARD = [0.1, 1e-05, 1.5e16, -2.5e-07, 123456.789012345, 1.7976931348623157e308, 5e-324, -2.2250738585072014e-308, 1 / 3]


async def stored(link: Connection, some: list[float]) -> list[float]:
    """What Redis has after these values were written."""
    times = np.arange(len(some), dtype=np.int64) + 1_790_000_000_000
    commands = Packer([KEY]).pack(np.zeros(len(some), np.int32), times, np.array(some))
    await link.call("DEL", KEY)
    await link.call("TS.CREATE", KEY)
    await link.send([commands.payload])
    said = [time for _ in commands.starts for time in await link.receive()]
    assert said == times.tolist()
    found = await link.call("TS.RANGE", KEY, "-", "+")
    await link.call("DEL", KEY)
    assert [time for time, _ in found] == said
    return [float(value) for _, value in found]


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.lists(values, min_size=1, max_size=600))
def test_redis_reads_each_text_as_the_double_it_was_made_of(system: System, some: list[float]) -> None:
    async def play() -> None:
        async with system.connection("redis-salon-master") as link:
            assert await stored(link, some) == some

    blocking(play())


async def test_redis_reads_what_is_hard_to_read(system: System) -> None:
    rng = np.random.default_rng(5)
    bits = rng.integers(0, 2**64, 20_000, np.uint64).view(np.float64)
    async with system.connection("redis-salon-master") as link:
        for some in (SHORT, HARD, SHORT + HARD, rng.normal(0, 1e-6, 5000).tolist(), bits[np.isfinite(bits)].tolist()):
            assert await stored(link, some) == some
