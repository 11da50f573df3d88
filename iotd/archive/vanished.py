"""Readings that the archive had when it was last verified, and that neither it nor the shard has any more.

Nothing can give them back but a backup of the archive, so a person must know of them. Hours that the shard still has
are looked at by the comparison; those that it no longer has, here: a month of them after each verification in turn,
all of them after the first one and when a person asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from iotd.archive.presence import oldest_kept
from iotd.archive.state import ArchiveState
from iotd.archive.verified import Counts
from iotd.model.buckets import HOUR
from iotd.model.instants import ENDLESS
from iotd.model.series import Series
from iotd.stores.base import Store

_MONTH = 30 * 24 * HOUR


@dataclass(frozen=True, slots=True)
class Vanished:
    """``count`` readings of a series, in whole hours from ``first`` to ``last`` (ms, both included)."""

    sensor: str
    first: int
    last: int
    count: int


def joined(hours: Iterable[tuple[Series, int, int]]) -> list[Vanished]:
    """(series, start of the hour, readings) as few ranges as there can be, by series, in time order."""
    found: list[Vanished] = []
    for series, hour, count in sorted(hours):
        before = found[-1] if found else None
        if before is not None and before.sensor == series.key and before.last + 1 == hour:
            found[-1] = Vanished(series.key, before.first, hour + HOUR - 1, before.count + count)
        else:
            found.append(Vanished(series.key, hour, hour + HOUR - 1, count))
    return found


class OldHours:
    """Those of one location that its shard no longer has."""

    def __init__(self, store: Store, state: ArchiveState, location: str) -> None:
        self._store = store
        self._state = state
        self._location = location
        self._found: dict[int, list[tuple[Series, int, int]]] = {}
        self._looked = False
        self._turn = 0

    async def look(self, begins: Mapping[Series, int], *, whole: bool) -> list[tuple[Series, int, int]]:
        """What is known to have vanished, (series, start of the hour, readings), after a look at a month or ``whole``.

        Args:
            begins: where the shard's readings of each series begin, ms; of others it has none.

        Raises:
            ArchiveError: the archive can't be asked, or the state not be read.
        """
        identity = self._store.identity
        counts = await asyncio.to_thread(self._state.verified, identity, self._location, 0, ENDLESS)
        if oldest := await oldest_kept(self._store):
            oldest += HOUR  # it goes on letting go while it is asked
        months: dict[int, Counts] = {}
        for series, hours in counts.items():
            end = begins.get(series, ENDLESS) // HOUR * HOUR
            for hour, count in hours.items():
                if oldest <= hour < end:
                    months.setdefault(hour // _MONTH, {}).setdefault(series, {})[hour] = count
        self._found = {month: found for month, found in self._found.items() if month in months}
        wanted = sorted(months)
        if not whole and self._looked and wanted:
            self._turn = (self._turn + 1) % len(wanted)
            wanted = [wanted[self._turn]]
        for month in wanted:
            self._found[month] = await self._gone(months[month])
        self._looked = True
        return [one for found in self._found.values() for one in found]

    async def _gone(self, verified: Counts) -> list[tuple[Series, int, int]]:
        starts = [hour for hours in verified.values() for hour in hours]
        held = await self._store.counts(self._location, min(starts), max(starts) + HOUR - 1, HOUR)
        by_key = {series.key: hours for series, hours in held.items()}
        return [
            (series, hour, gone)
            for series, hours in verified.items()
            for hour, count in hours.items()
            if (gone := count - by_key.get(series.key, {}).get(hour, 0)) > 0
        ]
