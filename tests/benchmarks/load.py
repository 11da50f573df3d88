"""Readings brought straight into a shard, for benchmarks of what is done with them there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from iotd.config import Settings
from iotd.model.roster import Roster
from iotd.shards.connection import Connection
from iotd.shards.series import make_series
from iotd.sources.signal import Signal
from iotd.wire.commands import Packer

_AT_ONCE = 1_000
"""Ticks."""


async def load(link: Connection, roster: Roster, settings: Settings, times: NDArray[np.int64]) -> None:
    """Makes the roster's series and writes what the simulator reads at these times (ms, rising)."""
    signal, packer = Signal(settings.simulator.seed, roster), Packer(roster)
    await make_series(link, roster, settings.redis)
    for start in range(0, len(times), _AT_ONCE):
        packed = packer.pack(signal.batch(times[start : start + _AT_ONCE]))
        await link.send([packed.payload])
        for _ in range(packed.commands):
            assert all(type(said) is int for said in await link.receive())
