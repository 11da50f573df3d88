"""What a store must still have: of what it had acknowledged the newest readings, which one that was set back lacks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import numpy as np

from iotd.archive.expected import clusters
from iotd.model.arrays import among
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.stores.base import Store

_NEAR_MS = 10_000
_QUESTIONS = 16
"""Series whose newest readings lie near each other are asked for together; so many groups at most, the latest ones. A
store that was set back lacks these before any other."""


async def oldest_kept(store: Store) -> int:
    """The time (ms) before which a store may have let readings go by itself; 0 where it keeps them for ever.

    Raises:
        ArchiveError: it can't be asked now.
    """
    keeps = await store.keeps()
    return 0 if keeps is None else round(time.time() * 1000) - keeps


async def lacking(store: Store, marks: Mapping[Series, int]) -> set[Series]:
    """The series of which the store lacks the reading at a time (ms) at which it had one.

    Raises:
        ArchiveError: it can't answer.
    """
    moments = np.array(sorted(set(marks.values())), np.int64)
    groups = [
        ({series: ms for series, ms in marks.items() if first <= ms <= last}, first, last)
        for first, last in list(clusters(moments, _NEAR_MS))[-_QUESTIONS:]
    ]
    found = await asyncio.gather(*(_lacking(store, *group) for group in groups))
    return {series for gone in found for series in gone}


async def _lacking(store: Store, marks: Mapping[Series, int], first: int, last: int) -> list[Series]:
    what = Selection(tuple({s.location for s in marks}), tuple({s.type for s in marks}))
    held = await store.samples(what, first, last)
    nothing = np.empty(0, np.int64)
    return [
        series
        for series, ms in marks.items()
        if not among(np.array([ms], np.int64), held[series][0] if series in held else nothing)[0]
    ]
