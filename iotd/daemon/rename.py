"""Renaming a location: its shard, its series and what is known of them stay, and the old name finds them too."""

from __future__ import annotations

import asyncio
import json

from iotd.config.places import metadata_file
from iotd.daemon.reload import Reloader
from iotd.daemon.runtime import Runtime
from iotd.model.buckets import HOUR
from iotd.model.errors import StateError, UsageError
from iotd.model.series import Series
from iotd.ops.files import write_atomically
from iotd.ops.loggers import get_logger
from iotd.ops.systemerrors import said
from iotd.stores.registry import open_store

log = get_logger(__name__)


async def rename(runtime: Runtime, reloader: Reloader, old: str, new: str) -> None:
    """Renames a location; the configuration has the new name already, the daemon has not taken it over.

    Sources stop for a moment. All that was taken is written and archived under the old name first; what comes is
    taken under the new one. Keys and labels in the shard follow whenever its master is taken up, by
    :func:`iotd.shards.renaming.rename_series`, so that a failover in the midst of it loses nothing.

    Raises:
        UsageError: there is no such location, the name is taken, or the configuration does not have it.
        StateError: not all of it is durable and archived yet, or the state directory can't be written; then nothing
            was changed.
        ConfigError: the configuration can't be used.
    """
    after, _ = await asyncio.to_thread(reloader.plan)
    settings = after.settings
    if old not in runtime.locations:
        raise UsageError(f"no location {old!r}; there are {', '.join(runtime.locations)}")
    known = settings.known
    if new in runtime.locations or new in known or any(new == name for k in known.values() for name, _ in k.formers):
        raise UsageError(f"{new!r} is, or was, a location of this system; choose another name")
    if new not in settings.served or old in settings.locations:
        raise UsageError(f"write {new!r} in place of {old!r} in locations first, and do not reload: this does it")
    await runtime.stop_sources([old])
    try:
        _require_archived(runtime, old)
        await runtime.archiving.stop(runtime.tasks)
        location = runtime.locations.pop(old)
        await location.stop(runtime.tasks)
        try:
            await _carry_over(runtime, old, new)
        except BaseException:
            runtime.locations[old] = location
            location.start(runtime.tasks)
            raise
    except BaseException:
        if not runtime.tasks.runs("archiver"):
            runtime.archiving.use(runtime.settings, await asyncio.to_thread(open_store, runtime.settings))
            runtime.archiving.start(runtime.tasks)
        runtime.sources.start(runtime.tasks, runtime.progress)
        raise
    location.partition.discard()
    log.info("location_renamed", shard=new, former=old)
    await reloader.apply()


def _require_archived(runtime: Runtime, name: str) -> None:
    partition = runtime.locations[name].partition
    if partition.depth("durable").batches:
        raise StateError(f"{name}: not all readings are durable yet; see `iotd status`, and try again")
    if "archived" in partition.positions.required and partition.depth("archived").batches:
        raise StateError(f"{name}: not all readings are archived yet; see `iotd archive status`, and try again")


async def _carry_over(runtime: Runtime, old: str, new: str) -> None:
    catalogue = runtime.catalogue
    known = catalogue.of_location(old)
    before = [catalogue.series(number) for number in known]
    after = [Series(one.type, new, one.sensor_id, one.unit) for one in before]
    numbers = await catalogue.register(after, f"renamed from {old}")
    newest = catalogue.newest[known]
    catalogue.note(numbers, newest, catalogue.values[known])
    await catalogue.save()
    # the present hour's readings are the new name's: an hour's summary lies on one side of it
    until = runtime.now_ms() // HOUR * HOUR - 1
    again = [(one, until + 1, last) for one, last in zip(after, newest.tolist(), strict=True) if last > until]
    await asyncio.to_thread(runtime.archiving.rename, old, new, again)
    await asyncio.to_thread(runtime.assignments.rename, old, new)
    await runtime.summaries.rename(old, new)
    try:
        await asyncio.to_thread(_rename_metadata, runtime, old, new, until)
    except OSError as e:
        raise StateError(f"{metadata_file(runtime.state_dir, new)}: can't be written ({said(e)})") from None


def _rename_metadata(runtime: Runtime, old: str, new: str, until: int) -> None:
    file = metadata_file(runtime.state_dir, old)
    content = json.loads(file.read_text(encoding="utf-8"))
    content |= {
        "location": new,
        "shard": content.get("shard", old),
        "formers": [*content.get("formers", ()), {"name": old, "until": until}],
    }
    write_atomically(metadata_file(runtime.state_dir, new), json.dumps(content, indent=2, ensure_ascii=False))
    file.unlink()
