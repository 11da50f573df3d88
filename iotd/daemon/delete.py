"""Deleting on purpose: recorded in the log, from where shard and archive carry it out, whatever fails meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from iotd.daemon.runtime import Runtime
from iotd.intake.summaries import Summaries
from iotd.model.errors import ArchiveError, ShardError, StateError, UsageError
from iotd.model.instants import iso
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.ops.loggers import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A deletion that is on disk in the log.

    Attributes:
        series: keys of the series that it is about.
        sequence: its place in the location's partition.
    """

    series: list[str]
    sequence: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Who has carried out all that the log says up to a sequence.

    Attributes:
        master: the shard's master.
        replica: master and replica have it on disk.
        archive: the archive; None where there is none.
        waits_for: what keeps it, as far as is known; None when nothing does.
    """

    master: bool
    replica: bool
    archive: bool | None
    waits_for: str | None


async def delete(
    runtime: Runtime, what: Selection, first: int, last: int, *, readings: int | None, uid: int | None
) -> Recorded:
    """Records that readings of one location are deleted, durably; shard and archive follow by themselves.

    All that was handed over before is deleted, what is handed over later stays. Imported summaries go with it: those of
    every hour that the range touches.

    Args:
        what: a selection of one location.
        first, last: ms, both included.
        readings: how many that are, as far as who asks knows; uid: who that is.

    Raises:
        UsageError: this daemon does not serve the location, no series is selected, or the range is empty or ahead.
        StateError: catalogue or log can't be written; nothing was recorded.
    """
    (name,) = what.locations
    runtime.location(name)
    if first > last or first > runtime.now_ms():
        raise UsageError(f"the range from {iso(first)} to {iso(last)} is empty, or in the future")
    series = sorted(set(await _series(runtime, what, first, last)))
    if not series:
        raise UsageError(f"no series of {name} is known that this would concern")
    numbers = await runtime.catalogue.register(series, "deleted")
    await runtime.intake.settled()
    sequence = await runtime.log.delete(name, numbers, first, last)
    hours = await runtime.summaries.delete(series, first, last)
    keys = [one.key for one in series]
    log.warning(
        "readings_deleted",
        shard=name,
        series=keys,
        first=iso(first),
        last=iso(last),
        readings=readings,
        summaries=hours,
        uid=uid,
        sequence=sequence,
    )
    return Recorded(keys, sequence)


def progress(runtime: Runtime, name: str, sequence: int) -> Progress:
    """Who has carried it out.

    Raises:
        UsageError: this daemon does not serve the location.
    """
    location = runtime.location(name)
    positions, archive = location.partition.positions, runtime.archiving.status
    master, replica = positions.acknowledged >= sequence, positions.durable >= sequence
    archived = None if archive.store is None else positions.archived >= sequence
    waits_for = None
    if not master:
        waits_for = location.state().trouble or "the shard's master"
    elif not replica:
        waits_for = location.state().trouble or "the disks of master and replica"
    elif archived is False:
        its = archive.locations.get(name)
        waits_for = archive.trouble or (its and its.trouble) or "the archive"
    return Progress(master, replica, archived, waits_for)


async def _series(runtime: Runtime, what: Selection, first: int, last: int) -> Sequence[Series]:
    """The selected series that catalogue, shard, archive or summaries know; who can't be asked now is done without."""
    (name,) = what.locations
    found = [runtime.catalogue.series(number) for number in runtime.catalogue.of_location(name)]
    reader = runtime.reader(name)
    try:
        with suppress(ShardError):
            found += await reader.series(what.types)
    finally:
        await reader.close()
    with suppress(ArchiveError):
        found += await runtime.archiving.series(what, first, last)
    with suppress(StateError):
        summaries = Summaries(runtime.state_dir, runtime.settings.known_types)
        found += [span.series for span in await asyncio.to_thread(summaries.spans)]
    if what.ids is not None and len(what.types) == 1:  # named by whoever asks, though nobody may be there to know it
        (kind,) = what.types
        found += [Series(kind, name, sensor_id, runtime.settings.known_types.unit(kind)) for sensor_id in what.ids]
    return [one for one in found if one in what]
