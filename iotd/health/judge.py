"""What the daemon's state means: the one place where conditions are found."""

from __future__ import annotations

from collections.abc import Iterator

from iotd.archive.archiver import ArchiveStatus
from iotd.config import Settings
from iotd.health.conditions import Found
from iotd.health.silence import SilentSensor
from iotd.health.state import DaemonState
from iotd.model.instants import duration, iso
from iotd.model.wording import many
from iotd.shards.service import ShardState

_STALLED_S = 1.0
"""A master that answers nothing for so long, and the ``after_s`` of the kind, is not a slow one."""
_SLOW_S = 2.0
"""The same of two disks: a replica writes its own out once a second (appendfsync everysec)."""
_BEHIND_INTERVALS, _BEHIND_S = 2, 60.0
"""The archive is behind when nothing came into it for so many of its intervals and seconds."""
_NEAR_MS = 2 * 86_400_000
_LATELY_MS = 3_600_000
_NAMED = 5
"""Silent sensors that are named."""
_OFTEN = 3
"""Failovers within an hour."""


def judge(state: DaemonState, settings: Settings) -> Iterator[Found]:
    """All that a person should know of now; pure."""
    yield from _of_daemon(state)
    for source in state.sources:
        for kind, detail, about in source.troubles:
            yield Found(kind, detail=detail, about=f"{source.name} {about}".rstrip())
    yield from _of_held(state)
    yield from _of_sensors(state)
    yield from _of_log(state)
    yield from _of_clock(state)
    for shard in state.shards:
        yield from _of_location(shard)
        yield from _of_nodes(shard)
    yield from _of_archive(state.archive, settings)


def _of_daemon(state: DaemonState) -> Iterator[Found]:
    if state.phase != "running":
        yield Found("not_running", detail=f"the daemon is {state.phase}")
    for task, reason in state.failing.items():
        yield Found("task_failing", detail=f"{task}: {reason}", about=task)
    full = {shard.location for shard in state.shards if shard.full}
    for silent in state.silent_sources:
        if state.log_failing is not None or state.clock.waits or silent.location in full or state.phase != "running":
            continue  # it would, and is kept waiting: that is told
        detail = f"{silent.name} has handed nothing over for {silent.seconds:.0f} s"
        yield Found("source_silent", silent.location, detail, silent.name)
    if state.reload.refused is not None:
        yield Found("reload_refused", detail=state.reload.refused)
    if state.reload.restart:
        yield Found("restart_needed", detail=", ".join(state.reload.restart))
    if state.page_failing is not None:
        yield Found("page_not_served", detail=state.page_failing)
    if state.held_up_s:
        yield Found("loop_held_up", detail=f"for {state.held_up_s:.1f} s")


def _of_held(state: DaemonState) -> Iterator[Found]:
    for source, its in state.held.items():
        if its.newest is not None and state.clock.time_ms - its.newest < _LATELY_MS:
            reasons = ", ".join(f"{count} {why}" for why, count in sorted(its.reasons.items(), key=lambda r: -r[1])[:3])
            yield Found("readings_held", detail=f"{source}: {reasons}", about=source)
        if its.bytes > state.held_limit / 2:
            detail = f"{source}: {its.bytes / state.held_limit:.0%} of intake.held_limit"
            yield Found("held_filling", detail=detail, about=source)
        if its.let_go:
            upto = f", the youngest of {iso(its.let_go_upto)}" if its.let_go_upto else ""
            yield Found("held_let_go", detail=f"{source}: {its.let_go}{upto}", about=source)


def _of_sensors(state: DaemonState) -> Iterator[Found]:
    by_location: dict[str, list[SilentSensor]] = {}
    for sensor in state.silent_sensors:
        by_location.setdefault(sensor.location, []).append(sensor)
    for location, silent in by_location.items():
        told = [_silent(sensor, state.clock.time_ms) for sensor in silent[:_NAMED]]
        more = f", and {len(silent) - _NAMED} more" if len(silent) > _NAMED else ""
        yield Found("sensor_silent", location, ", ".join(told) + more)


def _silent(sensor: SilentSensor, now: int) -> str:
    health = [f"battery {sensor.battery:.0f} %"] if sensor.battery is not None else []
    health += [f"{sensor.rssi:.0f} dBm"] if sensor.rssi is not None else []
    said = "; ".join([f"for {duration(now - sensor.since)}, usually {duration(sensor.usual)} at most", *health])
    return f"{sensor.name or sensor.sensor} ({', '.join(sensor.types)}): {said}"


def _of_log(state: DaemonState) -> Iterator[Found]:
    if state.log_failing is not None:
        yield Found("log_failing", detail=f"the log can't be written: {state.log_failing}")
    if state.log_files_replaced:
        times = state.log_files_replaced
        yield Found("log_file_replaced", detail=f"{many(times, 'time')} within the last hour")
    for damage in state.damage:
        about = f"{damage.first}-{damage.last} {damage.reason}"
        if damage.readings == 0:
            yield Found("log_mended", damage.partition, damage.reason, about)
            continue
        count = "an unknown number of readings" if damage.readings is None else many(damage.readings, "reading")
        where = f", sequences {damage.first} to {damage.last}" if damage.last else ""
        detail = f"{count}{where}: {damage.reason}"
        yield Found("log_damaged", damage.partition, detail, about)


def _of_clock(state: DaemonState) -> Iterator[Found]:
    clock = state.clock
    if clock.doubt is not None:
        yield Found("clock_behind" if clock.waits else "clock_doubted", detail=clock.doubt)
    if clock.stepped is not None:
        yield Found("clock_stepped", detail=clock.stepped)
    if clock.synchronised is False:
        yield Found("clock_unsynchronised", detail="the kernel says that its clock is not synchronised")


def _of_location(shard: ShardState) -> Iterator[Found]:
    name = shard.location
    if shard.full:
        yield Found("log_full", name, "its log is at its limit (log.limit); sources wait")
    if shard.unreadable is not None:
        yield Found("log_unreadable", name, f"the log can't be read: {shard.unreadable}")
    if shard.master is None:
        why = f": {shard.trouble}" if shard.trouble else ""
        yield Found("not_written", name, f"no master{why}; readings wait in the log")
    elif shard.trouble is not None:
        yield Found("not_written", name, f"{shard.trouble.rstrip('.')}; readings wait in the log")
    elif shard.unacknowledged_s > _STALLED_S:
        detail = f"{shard.master} has taken nothing for {shard.unacknowledged_s:.0f} s; readings wait in the log"
        yield Found("not_written", name, detail)
    elif shard.lag and shard.age > _SLOW_S:
        detail = f"nothing became durable for {shard.age:.0f} s, though the replica is connected"
        yield Found("not_durable", name, detail)
    if shard.master is not None and not shard.lag:
        # whatever else there is: what else begins now is told only when it has lasted
        yield Found("no_replica", name, f"no replica is connected to {shard.master}")
    if shard.failovers_lately >= _OFTEN:
        yield Found("failing_over", name, f"{shard.failovers_lately} failovers within the last hour")
    if shard.lost_series:
        yield Found("restoring", name, f"{shard.lost_series} series are being written back from the archive")
    if shard.metadata is not None:
        yield Found("metadata_not_written", name, shard.metadata)


def _of_nodes(shard: ShardState) -> Iterator[Found]:
    name = shard.location
    for node, reason in shard.foreign.items():
        yield Found("node_foreign", name, reason, node)
    for node, reason in shard.refusing.items():
        yield Found("node_refuses", name, reason, node)
    for node, role in shard.roles.items():
        if role == "master" and shard.master is not None and node != shard.master:
            yield Found("two_masters", name, f"{node} believes itself master beside {shard.master}", node)
    answering = len(shard.sentinels)
    if answering < shard.sentinels_in_all:
        yield Found("sentinels_missing", name, f"{answering} of {shard.sentinels_in_all} Sentinels answer")
    for sentinel in shard.strangers:
        yield Found("sentinel_foreign", name, f"{sentinel} watches no master of this shard's name", sentinel)
    for sentinel, seconds in shard.blind.items():
        detail = f"{sentinel} asks the nodes nothing for {seconds:.0f} s more: its clock was ahead"
        yield Found("sentinel_blind", name, detail, sentinel)
    if shard.without_file is not None:
        yield Found("not_on_disk", name, shard.without_file)
    for node, offset in shard.clocks.items():
        if abs(offset) > 1000:
            direction = "ahead of" if offset > 0 else "behind"
            yield Found("node_clock", name, f"the clock of {node} is {abs(offset) / 1000:.1f} s {direction} ours", node)


def _of_archive(archive: ArchiveStatus, settings: Settings) -> Iterator[Found]:
    if archive.store is None:
        return
    if archive.trouble is not None:
        yield Found("archive_failing", detail=f"archive: {archive.trouble}")
    if archive.refused_points:
        yield Found("archive_rejected", detail=f"{archive.refused_points} points")
    late_s = _BEHIND_INTERVALS * settings.archive.interval.total_seconds() + _BEHIND_S
    for name, location in archive.locations.items():
        if location.waiting_s > late_s:
            why = f": {location.trouble}" if location.trouble else ""
            yield Found("archive_behind", name, f"nothing was archived for {location.waiting_s:.0f} s{why}")
        if location.left_ms is not None and location.left_ms < _NEAR_MS:
            yield Found("retention_near", name, f"the shard drops readings in {location.left_ms / 3_600_000:.1f} h")
        for loss in location.lost:
            detail = f"{many(loss.count, 'reading')} of {loss.sensor}, from {loss.first} to {loss.until} (ms)"
            yield Found("readings_lost", name, detail, f"{loss.sensor} {loss.first}-{loss.until}")
        if location.vanished:
            count, sensors = sum(one.count for one in location.vanished), {one.sensor for one in location.vanished}
            first, last = min(one.first for one in location.vanished), max(one.last for one in location.vanished)
            detail = f"{many(count, 'reading')} of {len(sensors)} series, between {iso(first)} and {iso(last)}"
            yield Found("archive_lost", name, detail)
        if location.gaps:
            yield Found("archive_differs", name, f"{many(location.gaps, 'hour')} of a series differ")
        if location.unverified is not None:
            yield Found("verification_failing", name, location.unverified)
