"""What a shard has lost or altered: found by comparison with the log, named, and written again from there.

A reading that the shard does not have as the log has it is not lost for that alone. A later reading for the same
series and time may have replaced it, or a deletion have removed it; it may have left the shard by retention; and right
after a failover the writer is about to write it again by itself. All this is ruled out before anything is called lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from iotd.archive.base import Catalogue, Partition, Shard
from iotd.archive.expected import clusters, found
from iotd.archive.late import GAP_MS
from iotd.archive.pages import Pages
from iotd.log.deletions import standing
from iotd.model.arrays import among, distinct
from iotd.model.batch import Batch, Times, Values
from iotd.model.errors import ShardUnavailable
from iotd.model.instants import iso
from iotd.model.series import Series
from iotd.ops.loggers import get_logger
from iotd.shards.reader import ShardReader

log = get_logger(__name__)

_READ = 4 * 1024 * 1024
_AT_ONCE = 10_000
"""Readings written again at once."""
_CONFIRM_S = 0.5
"""The shard is asked once more after this time: after a failover the writer writes again by itself."""


@dataclass(frozen=True, slots=True)
class Readings:
    """Readings of a series as the log has them, in time order, at least one."""

    series: Series
    times: Times
    values: Values


@dataclass(frozen=True, slots=True)
class Mended:
    """What became of doubtful readings.

    Attributes:
        wanted: those that the archive must be given from the log.
        repaired: how many the shard had lost, and has again.
    """

    wanted: list[Readings]
    repaired: int


class Repair:
    """One location's."""

    def __init__(
        self,
        reader: ShardReader,
        partition: Partition,
        catalogue: Catalogue,
        shard: Shard,
        pages: Pages,
        *,
        retention_ms: int,
    ) -> None:
        """
        Args:
            retention_ms: of the location's series; 0: they keep everything.
        """
        self._reader = reader
        self._partition = partition
        self._catalogue = catalogue
        self._shard = shard
        self._pages = pages
        self._retention = retention_ms

    async def mend(self, doubts: Sequence[Readings], upto: int) -> Mended:
        """Finds out what is lost, and writes it into the shard again.

        Args:
            upto: the sequence up to which the doubtful readings stand in the log.

        Raises:
            ShardError: the shard can't be asked or written to now, or was taken up anew meanwhile.
        """
        wanted = await self._not_deleted(await self._not_replaced(doubts, upto), upto)
        if not wanted:
            return Mended([], 0)
        await asyncio.sleep(_CONFIRM_S)
        newest = await self._reader.latest()
        lost: list[Readings] = []
        altered = 0
        for doubt in wanted:
            kept = 0
            if self._retention and doubt.series in newest:
                kept = int(doubt.times.searchsorted(newest[doubt.series][0] - self._retention))
            times, values = doubt.times[kept:], doubt.values[kept:]
            there = np.zeros(len(times), bool)
            for first, last in clusters(times, GAP_MS):
                part = slice(*times.searchsorted((first, last + 1)))
                held = await self._pages.held(doubt.series, first, last)
                there[part] = found(times[part], values[part], *held)
                altered += int((among(times[part], held[0]) & ~there[part]).sum())
            if not there.all():
                lost.append(Readings(doubt.series, times[~there], values[~there]))
        if self._partition.positions.acknowledged < upto:
            raise ShardUnavailable(
                f"{self._reader.location}: the shard was taken up anew and is being written to again"
            )
        lost = await self._not_deleted(lost, upto)
        count = sum(len(doubt.times) for doubt in lost)
        if lost:
            log.error(
                "shard_lost_readings",
                shard=self._reader.location,
                readings=count,
                altered=altered,
                series=len(lost),
                example=lost[0].series.key,
                first=iso(min(int(doubt.times[0]) for doubt in lost)),
                last=iso(max(int(doubt.times[-1]) for doubt in lost)),
                effect="they are written again from the log, and archived",
            )
            await self._write_again(lost, upto)
        return Mended(wanted, count)

    async def _not_replaced(self, doubts: Sequence[Readings], upto: int) -> list[Readings]:
        """Without the readings that a later one in the log replaces: its own turn comes."""
        numbers = {self._number(doubt): doubt for doubt in doubts}
        of_interest = np.array(sorted(numbers), np.int32)
        moments = distinct(np.concatenate([doubt.times for doubt in doubts]))
        replaced: dict[int, set[int]] = {}
        while records := await self._partition.read(upto, _READ):
            for record in records:
                which = among(record.series, of_interest) & among(record.times, moments)
                for number, time in zip(record.series[which].tolist(), record.times[which].tolist(), strict=True):
                    replaced.setdefault(number, set()).add(time)
            upto = records[-1].sequence
        left = []
        for doubt in doubts:
            gone = np.array(list(replaced.get(self._number(doubt), ())), np.int64)
            keep = ~among(doubt.times, gone)
            if keep.any():
                left.append(Readings(doubt.series, doubt.times[keep], doubt.values[keep]))
        return left

    async def _not_deleted(self, doubts: list[Readings], upto: int) -> list[Readings]:
        """Without the readings that a deletion beyond ``upto`` concerns."""
        if not (deletions := await self._partition.deletions(upto)):
            return doubts
        left = []
        for doubt in doubts:
            numbers = np.full(len(doubt.times), self._number(doubt), np.int32)
            stands = standing(deletions, upto, numbers, doubt.times)
            if stands is None:
                left.append(doubt)
            elif stands.any():
                left.append(Readings(doubt.series, doubt.times[stands], doubt.values[stands]))
        return left

    async def _write_again(self, lost: Sequence[Readings], upto: int) -> None:
        numbers = np.repeat(
            np.array([self._number(doubt) for doubt in lost], np.int32), [len(doubt.times) for doubt in lost]
        )
        times = np.concatenate([doubt.times for doubt in lost])
        values = np.concatenate([doubt.values for doubt in lost])
        batch = Batch(self._reader.location, numbers, times, values)
        for start in range(0, len(batch), _AT_ONCE):
            await self._shard.write_again(batch.take(slice(start, start + _AT_ONCE)), upto)

    def _number(self, doubt: Readings) -> int:
        number = self._catalogue.number_of(doubt.series)
        assert number is not None, "the log names it by its number"
        return number
