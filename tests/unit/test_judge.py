"""What the daemon's state means, kind by kind; and that the runbook says of each what the daemon says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from iotd.archive.archiver import ArchiveStatus, LocationStatus
from iotd.archive.retention import Loss
from iotd.archive.vanished import Vanished
from iotd.config import Settings
from iotd.health.clock import ClockState
from iotd.health.judge import judge
from iotd.health.kinds import KINDS
from iotd.health.silence import SilentSensor
from iotd.health.state import DaemonState, ReloadState, SilentSource, SourceState
from iotd.log.base import Damage, Depth
from iotd.model.held import Holdings
from iotd.shards.service import ShardState
from iotd.sources.base import Trouble

NOTHING = Depth(0, 0, 0)
SHARD = ShardState(
    location="salon",
    master="redis-salon-master",
    settled=True,
    roles={"redis-salon-master": "master", "redis-salon-replica": "slave"},
    lag={"redis-salon-replica": 0},
    sentinels=["sentinel-salon-1", "sentinel-salon-2", "sentinel-salon-3"],
    waiting=NOTHING,
    unarchived=NOTHING,
    age=0.0,
    full=False,
    taken=10,
    acknowledged=10,
    durable=10,
    replayed=0,
    held=0,
    expired=0,
    lost_series=0,
    trouble=None,
    unacknowledged_s=0.0,
    sentinels_in_all=3,
    foreign={},
    refusing={},
    strangers=[],
    blind={},
    without_file=None,
    unreadable=None,
    clocks={"redis-salon-master": 3.0, "redis-salon-replica": -900.0},
    metadata=None,
    outage_s=0.0,
    failovers=2,
    failovers_lately=2,
    failovers_known=2,
    last_failover=None,
)
ARCHIVED = LocationStatus(
    watermark=1,
    trouble=None,
    compared=10,
    gaps=0,
    repaired=0,
    unverified=None,
    waiting=0,
    waiting_s=30.0,
    left_ms=None,
    lost=[],
)
CLOCK = ClockState(time_ms=1, wall_ms=1, doubt=None, waits=False, stepped=None, synchronised=True)
WELL = DaemonState(
    version="1",
    started="2026-01-01T00:00:00",
    phase="running",
    shards=[SHARD],
    archive=ArchiveStatus("embedded", locations={"salon": ARCHIVED}),
    restarts={"shard salon": 4},
    failing={},
    held={},
    held_limit=1_000,
    sources=[],
    silent_sources=[],
    sensors={"salon": 0},
    silent_sensors=[],
    held_up_s=0.0,
    memory_used=0,
    memory_limit=1,
    log_failing=None,
    log_files_replaced=0,
    damage=(),
    clock=CLOCK,
    reload=ReloadState(),
    page="http://127.0.0.1:9108/",
    page_failing=None,
    conditions=[],
    past=[],
)
SETTINGS = Settings.model_validate({"archive": {"interval": timedelta(minutes=5)}})


def holdings(**changes: Any) -> Holdings:
    old = CLOCK.time_ms - 2 * 3_600_000
    return replace(Holdings(3, 300, old, old, {"unknown type": 3}, 0, None), **changes)


def daemon(**changes: Any) -> DaemonState:
    return replace(WELL, **changes)


def shard(**changes: Any) -> DaemonState:
    return replace(WELL, shards=[replace(SHARD, **changes)])


def archive(**changes: Any) -> DaemonState:
    return replace(WELL, archive=replace(WELL.archive, **changes))


def archived(**changes: Any) -> DaemonState:
    return archive(locations={"salon": replace(ARCHIVED, **changes)})


def clock(**changes: Any) -> DaemonState:
    return replace(WELL, clock=replace(CLOCK, **changes))


def troubled(kind: str) -> DaemonState:
    source = SourceState("mqtt", None, 0, 0, 0, 0, 0, None, troubles=[Trouble(kind, "as its source says it")])
    return replace(WELL, sources=[source])


CASES: dict[str, list[DaemonState]] = {
    "not_running": [daemon(phase=phase) for phase in ("starting", "draining", "stopped")],
    "log_failing": [
        daemon(log_failing="no space left", silent_sources=[SilentSource("simulator salon", "salon", 20.0)])
    ],
    "log_unreadable": [shard(unreadable="out of file descriptors")],
    "log_full": [shard(full=True), replace(shard(full=True), silent_sources=[SilentSource("s", "salon", 20.0)])],
    "log_damaged": [
        daemon(damage=(Damage("salon", 3, 9, 12, "checksum"),)),
        daemon(damage=(Damage(None, 0, 0, None, "gone"),)),
    ],
    "log_mended": [daemon(damage=(Damage(None, 0, 0, 0, "meta"),)), daemon(damage=(Damage("salon", 3, 3, 0, "x"),))],
    "log_file_replaced": [daemon(log_files_replaced=1)],
    "not_written": [
        shard(master=None, settled=False, lag={}),
        shard(master=None, settled=False, lag={}, trouble="no master"),
        shard(trouble="MISCONF"),
        shard(unacknowledged_s=9.0),
    ],
    "not_durable": [shard(age=20.0)],
    "node_foreign": [shard(foreign={"redis-salon-replica": "it is cuisine's"})],
    "node_refuses": [shard(refusing={"redis-salon-replica": "WRONGPASS"})],
    "no_replica": [shard(lag={}), shard(lag={}, age=500.0)],
    "failing_over": [shard(failovers_lately=3)],
    "two_masters": [shard(roles={"redis-salon-master": "master", "redis-salon-replica": "master"})],
    "sentinels_missing": [shard(sentinels=["sentinel-salon-1"])],
    "sentinel_foreign": [shard(strangers=["sentinel-salon-2"])],
    "sentinel_blind": [shard(blind={"sentinel-salon-1": 7100.0})],
    "not_on_disk": [shard(without_file="redis-salon-replica keeps no append-only file")],
    "restoring": [shard(lost_series=2)],
    "sensor_silent": [daemon(silent_sensors=[SilentSensor("salon", "n", ("co2",), 0, 9, 12.0, None)] * 7)],
    "readings_held": [daemon(held={"http": holdings(newest=CLOCK.time_ms - 5_000)})],
    "held_filling": [daemon(held={"http": holdings(bytes=501)})],
    "held_let_go": [daemon(held={"http": holdings(let_go=7, let_go_upto=CLOCK.time_ms)})],
    "archive_failing": [archive(trouble="401")],
    "archive_behind": [archived(waiting_s=2 * 300 + 61.0), archived(waiting_s=5000.0, trouble="shard away")],
    "retention_near": [archived(left_ms=3_600_000)],
    "readings_lost": [archived(lost=[Loss("sensor:temperature:salon:1", 1, 5, 5)])],
    "archive_lost": [archived(vanished=[Vanished("sensor:temperature:salon:1", 0, 3_599_999, 5)])],
    "archive_differs": [archived(gaps=1)],
    "verification_failing": [archived(unverified="403")],
    "archive_rejected": [archive(refused_points=3)],
    "source_silent": [daemon(silent_sources=[SilentSource("simulator salon", "salon", 20.0)])],
    "mqtt_away": [troubled("mqtt_away")],
    "mqtt_refused": [troubled("mqtt_refused")],
    "mqtt_client_id_taken": [troubled("mqtt_client_id_taken")],
    "mqtt_session_lost": [troubled("mqtt_session_lost")],
    "mqtt_session_short": [troubled("mqtt_session_short")],
    "mqtt_flooded": [troubled("mqtt_flooded")],
    "gateway_offline": [troubled("gateway_offline")],
    "device_offline": [troubled("device_offline")],
    "task_failing": [daemon(failing={"http": "boom"})],
    "clock_doubted": [clock(doubt="it was set ahead")],
    "clock_behind": [
        clock(doubt="it is behind", waits=True),
        replace(clock(doubt="it is behind", waits=True), silent_sources=[SilentSource("s", "salon", 20.0)]),
    ],
    "clock_stepped": [clock(stepped="it was set ahead")],
    "clock_unsynchronised": [clock(synchronised=False)],
    "node_clock": [shard(clocks={"redis-salon-master": -1500.0})],
    "reload_refused": [daemon(reload=ReloadState(refused="locations: empty"))],
    "restart_needed": [daemon(reload=ReloadState(restart=("log.memory",)))],
    "loop_held_up": [daemon(held_up_s=1.5)],
    "metadata_not_written": [shard(metadata="read-only")],
    "page_not_served": [daemon(page=None, page_failing="127.0.0.1:9108: address already in use")],
}


def test_when_all_is_well_there_is_nothing_to_say() -> None:
    assert list(judge(WELL, SETTINGS)) == []
    without = replace(WELL, archive=ArchiveStatus(None), page=None, clock=replace(CLOCK, synchronised=None))
    assert list(judge(without, SETTINGS)) == []


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_is_found_where_it_is_and_nothing_beside_it(name: str) -> None:
    for state in CASES[name]:
        found = list(judge(state, SETTINGS))
        assert [one.name for one in found] == [name]
        assert found[0].detail
        assert found[0].location == ("salon" if state.shards != WELL.shards or "salon" in str(found[0]) else None)


def test_what_is_wrong_with_several_is_told_of_each() -> None:
    state = replace(WELL, shards=[replace(SHARD, lag={}), replace(SHARD, location="cuisine", lag={}, full=True)])
    assert {(one.name, one.location) for one in judge(state, SETTINGS)} == {
        ("no_replica", "salon"),
        ("no_replica", "cuisine"),
        ("log_full", "cuisine"),
    }


def runbook() -> str:
    rows = [f"| `{kind.name}` | {kind.severity} | {kind.meaning} | {kind.remedy} |" for kind in KINDS.values()]
    return "\n".join(["| condition | severity | what it means | what to do |", "| --- | --- | --- | --- |", *rows])


def test_the_readmes_runbook_says_the_same() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert runbook() in readme, f"put this into the README's runbook:\n{runbook()}"


@pytest.mark.parametrize("trouble", [None, "connection refused"])
def test_a_missing_replica_is_told_whatever_else_begins(trouble: str | None) -> None:
    found = judge(shard(lag={}, trouble=trouble, unacknowledged_s=9.0), SETTINGS)
    assert {one.name for one in found} == {"no_replica", "not_written"}
