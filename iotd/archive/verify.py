"""Verification: what a shard holds, against what the archive holds, per series and hour."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from iotd.archive.sinks.base import Sink
from iotd.archive.watermarks import Dirty, Watermarks
from iotd.sensors import Sensor
from iotd.shards.reader import ShardReader

HOUR = 3_600_000
_PAGE = 10_000


@dataclass(frozen=True, slots=True)
class Gap:
    """An hour of a series in which shard and archive differ; ``first`` and ``last`` in ms, both included.

    Attributes:
        held: samples in the shard.
        archived: points in the archive.
        differing: of those that both have, how many have another value (deep verification only).
    """

    sensor: str
    first: int
    last: int
    held: int
    archived: int
    differing: int = 0

    def __str__(self) -> str:
        return f"{self.sensor} from {self.first}: {self.archived} of {self.held}, {self.differing} differ"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification found.

    Attributes:
        compared: samples of the shard that were compared.
        gaps: where the archive differs still.
        repaired: how many gaps were found and are gone.
    """

    compared: int
    gaps: list[Gap]
    repaired: int = 0


async def verify(reader: ShardReader, sink: Sink, watermarks: Watermarks, *, deep: bool = False) -> Verdict:
    """Compares counts, or with ``deep`` every value, of all that is behind the watermarks.

    The first hour of a series is compared from its first sample on, and the last up to the watermarks. A range that
    is known to be dirty is no gap: it is archived again in the next pass anyway.

    Raises:
        ShardError: the shard can't be asked.
        ArchiveError: the archive can't be asked.
    """
    ends = await reader.ends()
    marks = await asyncio.to_thread(watermarks.marks, sink.identity, ends)
    if not marks:
        return Verdict(0, [])
    newest = max(marks.values())
    last = min(mark for mark in marks.values() if mark > newest - HOUR)
    first = min(ends[sensor][0] for sensor in marks) // HOUR * HOUR
    held = await reader.counts(first, last, HOUR)
    archived = await sink.counts(reader.location, first, last, HOUR)
    compared, gaps = 0, []
    for sensor, mark in sorted(marks.items()):
        for start, count in held.get(sensor, {}).items():
            # what retention has taken from the shard, the archive still has
            begins, stops = max(start, ends[sensor][0]), min(start + HOUR - 1, last)
            if stops > mark:
                continue
            compared += count
            if begins == start:
                there = archived.get(sensor, {}).get(start, 0)
            else:
                there = len(await sink.read(sensor, begins, stops))
            if there != count:
                there += len(await asyncio.to_thread(watermarks.rejected, sink.identity, sensor, begins, stops))
            if there != count:
                gaps.append(Gap(sensor.key, begins, stops, count, there))
            elif deep and (gap := await _compare(reader, sink, watermarks, sensor, first=begins, last=stops)):
                gaps.append(gap)
    dirty = await asyncio.to_thread(watermarks.dirty, sink.identity, reader.location)
    return Verdict(compared, [gap for gap in gaps if not _known(gap, dirty)])


async def _compare(
    reader: ShardReader, sink: Sink, watermarks: Watermarks, sensor: Sensor, *, first: int, last: int
) -> Gap | None:
    samples = await reader.page(sensor, first - 1, last, _PAGE)
    if len(samples) == _PAGE:  # more than one page in an hour: the rest goes by halves
        middle = (first + last) // 2
        return await _compare(reader, sink, watermarks, sensor, first=first, last=middle) or await _compare(
            reader, sink, watermarks, sensor, first=middle + 1, last=last
        )
    refused = await asyncio.to_thread(watermarks.rejected, sink.identity, sensor, first, last)
    held = {time: float(value) for time, value in samples if time not in refused}
    archived = dict(await sink.read(sensor, first, last))
    differing = sum(1 for time, value in held.items() if time in archived and archived[time] != value)
    if held.keys() <= archived.keys() and not differing:
        return None
    return Gap(sensor.key, first, last, len(held), len(held.keys() & archived.keys()), differing)


def _known(gap: Gap, dirty: list[Dirty]) -> bool:
    return any(d.first <= gap.last and d.last >= gap.first for d in dirty)
