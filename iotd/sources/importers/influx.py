"""A live InfluxDB, read window by window of time, so that memory stays bounded and a restart goes on at its window."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

from iotd.intake.moments import UNSET_BEFORE
from iotd.model.errors import ArchiveUnavailable, Refused
from iotd.model.observation import Names
from iotd.sources.importers.base import Row, with_fixed
from iotd.sources.importers.influxapi import END, Api, Said, connected
from iotd.sources.importers.influxserver import Where

_POINTS = 20_000
"""Points that a window shall have."""
_MOST = 10 * _POINTS
"""With more the window is read again, shorter."""
_FIRST_MS, _SHORTEST_MS, _LONGEST_MS = 3_600_000, 1, 86_400_000
"""Lengths of a window."""
_TRIES, _PAUSE_S = 4, 0.5
_LATE_MS = 3_600_000
"""What may still come while one reads: the next run reads it again."""


class _TooMany(Exception):
    """The window has more points than are kept in memory."""


class InfluxImporter:
    """The points of a bucket or database, with the rules that line protocol has."""

    def __init__(
        self,
        where: Where,
        columns: Mapping[str, str],
        fixed: Mapping[str, str],
        names: Names,
        *,
        first: int | None = None,
        stop: int | None = None,
    ) -> None:
        """
        Args:
            columns: by the name of a tag or field: the part of a reading that it is.
            first, stop: ms, ``stop`` not included; None: from the oldest point, up to the newest.
        """
        self.size = 0
        self._where = where
        self._columns = columns
        self._fixed = fixed
        self._names = names
        self._first = first
        self._stop = stop

    async def rows(self, after: int = 0) -> AsyncIterator[Row]:
        """See :class:`iotd.sources.importers.base.LiveImporter`; a mark is the time (ms) up to which all is read."""
        async with connected(self._where, self._columns, self._names) as api:
            await api.find()
            first, stop = self._first or 0, self._stop or END
            oldest, newest = await api.edge(first, stop), await api.edge(first, stop, newest=True)
            if oldest is None or newest is None:
                return
            if oldest < UNSET_BEFORE:
                why = Refused("no time", "points before the year 2000 are passed over: their clock was not set")
                yield Row("the oldest points", after, 0, why)
                oldest = await api.edge(UNSET_BEFORE, stop) or stop
            stop, begins = newest + 1, oldest
            safe = self._stop or newest - _LATE_MS
            self.size = max(1, stop - begins)
            at, length = max(begins, after), _FIRST_MS
            while at < stop:
                upto = min(at + length, stop)
                try:
                    found = await self._window(api, at, upto)
                except _TooMany:
                    length = max(_SHORTEST_MS, (upto - at) // 10)
                    continue
                mark = min(at, max(after, safe))
                for one in found:
                    said = one if isinstance(one, Refused) else with_fixed(one, self._fixed)
                    yield Row(f"{at} ms +", mark, at - begins, said)
                yield Row(f"{at} ms +", min(upto, max(after, safe)), upto - begins, [])
                at = upto
                if found:
                    length = max(_SHORTEST_MS, min(round(length * _POINTS / len(found)), 4 * length, _LONGEST_MS))
                elif at < stop:
                    at = await api.edge(at, stop) or stop

    async def _window(self, api: Api, first: int, stop: int) -> list[Said]:
        """All of a window, before any of it is handed on: an answer that is cut is asked for again.

        Raises:
            ArchiveUnavailable: it is cut again and again.
        """
        for once_more in reversed(range(_TRIES)):
            found: list[Said] = []
            try:
                async with aclosing(api.points(first, stop)) as points:  # type: ignore[type-var]
                    async for one in points:
                        found.append(one)
                        if len(found) > _MOST and stop - first > _SHORTEST_MS:
                            raise _TooMany
                return found
            except ArchiveUnavailable as e:
                if not once_more:
                    raise ArchiveUnavailable(f"{e}; the same command goes on where it was") from None
                await asyncio.sleep(_PAUSE_S * 2 ** (_TRIES - once_more - 1))
        raise AssertionError("unreachable")
