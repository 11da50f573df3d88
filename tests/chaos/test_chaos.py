"""Faults under load, and a count of what is there afterwards; `make chaos` does the same for as long as one likes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from iotd.stack.binaries import RedisBinaries
from tests.chaos import lab
from tests.chaos.influx import no_influxd
from tests.chaos.mqtt.broker import no_mosquitto
from tests.servers.needs import lacking

pytestmark = [pytest.mark.redis, pytest.mark.timeout(600)]


def chaos(redis: RedisBinaries, *args: str) -> Any:
    """A run of its own, and its outcome."""
    if (reason := lab.lacks()) is not None:
        lacking("lab", reason)
    if (reason := no_influxd()) is not None:
        lacking("influxdb", reason)
    if (reason := no_mosquitto()) is not None:
        lacking("mosquitto", reason)
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--json", *args],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "IOTD_TEST_REDIS_DIR": str(redis.server.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stderr)  # the faults and when they struck, shown when the test fails
    assert done.returncode in (0, 1), done.stderr
    print(done.stdout)  # what was wrong, whole
    return json.loads(done.stdout)


def test_nothing_is_lost_altered_or_invented_whatever_strikes(redis_binaries: RedisBinaries) -> None:
    outcome = chaos(redis_binaries, "--minutes", "0.6", "--seed", "11", "--locations", "2", "--per-type", "5")
    assert outcome["good"], outcome
    assert sum(outcome["faults"].values()) >= 5
    # each location: both nodes and the archive
    assert len(outcome["counts"]) == len(outcome["witnessed"]) == 6
    assert all(count["due"] > 5_000 for count in outcome["counts"].values())
    assert all(count["due"] > 100 for count in outcome["witnessed"].values())
    for counts in (*outcome["clients"].values(), outcome["arrivals"]):
        assert len(counts) == 6
        assert all(count["due"] > 100 for count in counts.values())


_KILLS_AND_CUTS = (
    *("--minutes", "0.5", "--locations", "1", "--per-type", "5", "--seed", "16"),
    *("--only", "daemon killed again and again", "--only", "client link flaps"),
)


def test_what_clients_were_told_is_kept_though_the_daemon_is_killed_and_their_link_is_cut(
    redis_binaries: RedisBinaries,
) -> None:
    outcome = chaos(redis_binaries, *_KILLS_AND_CUTS)
    assert outcome["good"], outcome
    assert outcome["faults"].keys() == {"daemon killed again and again", "client link flaps"}
    assert outcome["repeated"] > 0
    assert outcome["bad"] > 0
    for counts in (*outcome["clients"].values(), outcome["arrivals"]):
        assert all(count["due"] > 100 for count in counts.values())


def test_what_a_broker_was_told_is_kept_though_it_and_the_link_and_the_daemon_are_killed(
    redis_binaries: RedisBinaries,
) -> None:
    faults = ("broker killed", "broker link cut at a puback", "daemon killed between message and puback")
    outcome = chaos(
        redis_binaries,
        *("--minutes", "0.5", "--locations", "1", "--per-type", "5", "--seed", "16"),
        *(arg for fault in faults for arg in ("--only", fault)),
    )
    assert outcome["good"], outcome
    assert outcome["faults"].keys() == set(faults)
    assert outcome["mqtt"]["redelivered as it has to be"] > 0
    for counts in (outcome["clients"]["mqtt"], outcome["arrivals"]):
        assert all(count["due"] > 100 for count in counts.values())


def test_clients_that_are_told_before_the_disk_has_it_are_seen_to_lose_readings(redis_binaries: RedisBinaries) -> None:
    outcome = chaos(redis_binaries, *_KILLS_AND_CUTS, "--early")
    assert not outcome["good"]
    clients = dict(outcome["clients"])
    over_mqtt = [clients.pop("mqtt"), outcome["arrivals"]]
    for counts in (*clients.values(), outcome["witnessed"]):
        assert all(count["missing"] > 0 for count in counts.values()), counts
    # of messages only those of some ten milliseconds before a kill can be lost: with or without times, some are
    for store in over_mqtt[0]:
        assert sum(counts[store]["missing"] for counts in over_mqtt) > 0, over_mqtt
    for counts in (*clients.values(), *over_mqtt, outcome["witnessed"]):
        assert all(count["altered"] == count["strange"] == 0 for count in counts.values()), counts
    # simulated sensors go on behind what is in the log, whatever they were told
    assert all(count["missing"] == 0 for count in outcome["counts"].values())


def test_without_the_replay_from_the_checkpoint_the_same_run_sees_a_loss(redis_binaries: RedisBinaries) -> None:
    outcome = chaos(
        redis_binaries,
        *("--minutes", "0.2", "--seed", "1", "--locations", "1", "--per-type", "5", "--without-replay"),
        *("--only", "master killed with writes that never left it"),
    )
    assert not outcome["good"]
    # the archive may have read some of it from the old master
    nodes = [name for name in outcome["counts"] if "archive" not in name]
    for counts in (outcome["counts"], outcome["witnessed"]):
        assert all(counts[node]["missing"] > 0 for node in nodes)
        assert all(count["altered"] == count["strange"] == 0 for count in counts.values())


def test_with_a_blind_judge_the_same_run_sees_that_the_status_is_not_truthful(redis_binaries: RedisBinaries) -> None:
    outcome = chaos(
        redis_binaries,
        *("--minutes", "0.05", "--seed", "7", "--locations", "1", "--per-type", "5", "--without-judge"),
        *("--hold", "14", "--only", "both nodes killed"),
    )
    assert not outcome["good"]
    assert any("nothing reaches its master, and no error says so" in lie for lie in outcome["lies"])
    # all else is well: it is the status alone that is wrong
    assert all(count["missing"] == 0 for counts in ("counts", "witnessed") for count in outcome[counts].values())
