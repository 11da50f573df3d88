"""Readings brought straight into a shard, for benchmarks of what is done with them there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iotd.config import Settings
from iotd.model.batch import Times
from iotd.model.series import Series
from iotd.shards.connection import Connection
from iotd.shards.madd import Packer
from iotd.shards.series import make_series
from iotd.sources.simulator.signal import Signal

_AT_ONCE = 1_000
"""Ticks."""


async def load(link: Connection, series: Sequence[Series], settings: Settings, times: Times) -> None:
    """Makes a location's simulated series and writes what the simulator reads at these times (ms, rising)."""
    signal = Signal(settings.simulator.seed, series, settings.known_types)
    packer = Packer([one.key.encode() for one in series])
    numbers = np.arange(len(series), dtype=np.int32)
    await make_series(link, series, lambda one: one.labels, settings.redis)
    for start in range(0, len(times), _AT_ONCE):
        some = times[start : start + _AT_ONCE]
        commands = packer.pack(np.tile(numbers, len(some)), np.repeat(some, len(series)), signal.values(some).ravel())
        await link.send([commands.payload])
        for _ in commands.starts:
            assert all(type(said) is int for said in await link.receive())
