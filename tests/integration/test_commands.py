"""What Redis makes of the commands as they are packed."""

from __future__ import annotations

import numpy as np

from iotd.model.roster import Batch, Roster
from iotd.model.series import Series
from iotd.wire.commands import Packer
from tests.servers.system import System

ROSTER = Roster("salon", [Series("temperature", "salon", str(n)) for n in (90_001, 90_002)])
SHORT = [0.0, -0.0, 0.001, -0.5, 9.99, 21.5, 100.0, 999.999, -999.999]
HARD = [0.1, 1e-05, 1.5e16, -2.5e-07, 123456.789012345, 1.7976931348623157e308, 5e-324, -2.2250738585072014e-308, 1 / 3]


async def test_redis_reads_each_text_as_the_double_it_was_made_of(system: System) -> None:
    packer = Packer(ROSTER)
    async with system.connection("redis-salon-master") as link:
        for series in ROSTER.keys:
            await link.call("TS.CREATE", series)
        try:
            for values in (SHORT, HARD, SHORT + HARD):
                times = np.arange(len(values), dtype=np.int64) + 1_790_000_000_000
                batch = Batch(
                    ROSTER, np.tile(np.arange(2, dtype=np.int32), len(values)), times.repeat(2), np.repeat(values, 2)
                )
                for series in ROSTER.keys:
                    await link.call("TS.DEL", series, "-", "+")
                await link.send([packer.pack(batch).payload])
                assert await link.receive() == times.repeat(2).tolist()
                for series in ROSTER.keys:
                    found = await link.call("TS.RANGE", series, "-", "+")
                    assert [(time, float(value)) for time, value in found] == list(
                        zip(times.tolist(), values, strict=True)
                    )
        finally:
            await link.call("DEL", *ROSTER.keys)
