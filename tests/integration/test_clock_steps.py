"""The clock of the machine is stepped: of daemon and servers alike, by one preloaded library, as one clock is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from time import time

import pytest

from tests.conftest import FreshSystem
from tests.servers.checker import all_there
from tests.servers.daemon import Daemon, iotd, running_daemon
from tests.servers.needs import lacking
from tests.servers.system import System, until

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
HOUR_MS = 3_600_000


class MachineClock:
    """The wall clock that every process of the test sees; what waits, waits by the real one."""

    def __init__(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._file = file
        self.set(0)
        if FAKETIME is None:
            lacking("faketime", "no libfaketime (apt install libfaketime)")
        for name, value in {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }.items():
            monkeypatch.setenv(name, value)

    def set(self, seconds: float) -> None:
        """Puts it off by so much; everybody sees it within a second."""
        part = self._file.with_suffix(".part")
        part.write_text(f"{seconds:+.0f}")
        part.replace(self._file)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MachineClock:
    return MachineClock(tmp_path / "clock", monkeypatch)


@pytest.fixture
async def running(machine: MachineClock, fresh_system: FreshSystem) -> AsyncIterator[tuple[System, Daemon]]:
    system = fresh_system(sensors={"interval": "100ms"})
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        await daemon.writes("salon")
        yield system, daemon


async def newest(system: System) -> int:
    """Of all series in the master, ms."""
    async with system.connection((await system.master("salon")).name) as redis:
        found = await redis.call("TS.MGET", "FILTER", "location=salon")
    return max(int(sample[0]) for _, _, sample in found if sample)


async def stays_live(daemon: Daemon, system: System, seconds: float) -> None:
    """Readings come all the while, each stamped with the real time."""
    until_s = time() + seconds
    while time() < until_s:
        await daemon.writes("salon")
        assert abs(await newest(system) - time() * 1000) < 10_000


@pytest.mark.parametrize("by", [2 * 3600, 9 * 86_400, -2 * 3600, -9 * 86_400], ids=lambda s: f"{s / 3600:g}h")
async def test_a_step_that_nothing_confirms_alters_no_reading_and_costs_none(
    machine: MachineClock, running: tuple[System, Daemon], by: int
) -> None:
    system, daemon = running
    machine.set(by)
    await daemon.says("clock_doubted")
    await stays_live(daemon, system, 4)
    shown = await iotd("status", config=system.config)
    assert "clock_doubted" in shown.out
    assert shown.code == 0  # nothing is lost, and nothing stuck
    machine.set(0)

    async def over() -> bool:
        return not {"clock_doubted", "clock_stepped"} & {name for name, _ in await daemon.conditions()}

    await until(over, 30, "it is over")
    await stays_live(daemon, system, 1)
    assert [one["event"] for one in daemon.events("clock_went_back")] == []
    assert await daemon.stop() == 0
    await all_there(system, "salon")


async def test_a_step_that_a_person_confirms_is_gone_by_and_back_again_without_waiting_it_out(
    machine: MachineClock, running: tuple[System, Daemon]
) -> None:
    system, daemon = running
    machine.set(2 * 3600)
    await daemon.says("clock_doubted")
    accepted = await iotd("clock", "accept", config=system.config)
    assert (accepted.code, "a person has confirmed it" in accepted.out) == (0, True)
    await daemon.says("clock_stepped")

    async def ahead() -> bool:
        return await newest(system) > time() * 1000 + HOUR_MS

    await until(ahead, 30, "readings go by the new time")
    machine.set(0)
    await daemon.says("clock_doubted")
    await iotd("clock", "accept", config=system.config)
    taken = (await daemon.status())["shards"][0]["taken"]

    async def goes_on() -> bool:
        return bool((await daemon.status())["shards"][0]["taken"] > taken + 100)

    await until(goes_on, 30, "readings go on, two hours before the newest ones")
    assert len(daemon.events("clock_went_back")) == 1
    assert await daemon.stop() == 0


async def test_a_machine_that_starts_in_the_past_waits_for_the_time_and_then_goes_on(
    machine: MachineClock, running: tuple[System, Daemon]
) -> None:
    system, daemon = running
    assert await daemon.stop() == 0
    (system.settings.state / "clock.json").unlink()  # another boot
    machine.set(-30 * 86_400)
    before = await newest(system)
    with running_daemon(system.settings) as again:
        await again.running()
        await again.says("clock_behind")
        assert (await iotd("status", config=system.config)).code == 1
        shown = await iotd("clock", config=system.config)
        assert "sources wait" in shown.out
        assert (await again.status())["shards"][0]["taken"] == 0
        machine.set(0)
        await again.calm()
        await again.writes("salon")
        assert await newest(system) > before
        assert await again.stop() == 0
    await all_there(system, "salon")


async def test_clocks_of_other_machines_are_witnesses_and_one_that_differs_is_told(
    machine: MachineClock, fresh_system: FreshSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = fresh_system(sensors={"interval": "100ms"})  # its servers go by this clock,
    other = MachineClock(tmp_path / "another", monkeypatch)  # and the daemon by that one
    other.set(-2 * 3600)
    with running_daemon(system.settings) as daemon:
        await daemon.says("node_clock", "salon", limit=60)
        assert "the clock of redis-salon-master is 7200" in (await iotd("status", config=system.config)).out
        await daemon.writes("salon")
        other.set(0)  # somebody sets it right

        async def believed() -> bool:
            return any("other machines agree" in line["because"] for line in daemon.events("clock_believed"))

        await until(believed, 30, "the nodes' clocks speak for it")

        async def caught_up() -> bool:
            return abs(await newest(system) - time() * 1000) < 10_000

        await until(caught_up, 60, "what its sensors read meanwhile is there")
        await stays_live(daemon, system, 1)
        other.set(3600)  # and somebody sets it wrong
        await daemon.says("clock_doubted")
        await stays_live(daemon, system, 3)
        assert await daemon.stop() == 0


async def test_sentinels_whose_clock_was_ahead_are_told_and_started_again_and_then_a_failover_works(
    machine: MachineClock, running: tuple[System, Daemon]
) -> None:
    system, daemon = running
    sentinels = system.topology.shard("salon").sentinels
    machine.set(2 * 3600)

    async def all_asked_in_the_future() -> bool:
        for node in sentinels:
            log = system.settings.state / "nodes" / node.name / "log"
            said = await system.ask(node.name, "SENTINEL", "MASTER", "salon")
            if "+tilt" not in log.read_text() or int(said[said.index(b"info-refresh") + 1]) > 10_000:
                return False
        return True

    await until(all_asked_in_the_future, 60, "the Sentinels see the new time, and ask by it")
    machine.set(0)
    await daemon.says("sentinel_blind", "salon")
    shown = await iotd("stack", "status", config=system.config)
    assert "its clock was ahead" in shown.out
    up = await iotd("stack", "up", config=system.config, limit=120, LD_PRELOAD="")
    assert up.code == 0, up
    assert "sentinel-salon-1" in up.err

    async def over() -> bool:
        return ("sentinel_blind", "salon") not in await daemon.conditions()

    await until(over, 30, "they ask again")
    drill = await iotd(
        "failover-test", "--location", "salon", "--yes", "--restore", config=system.config, LD_PRELOAD=""
    )
    assert drill.code == 0, drill
    assert await daemon.stop() == 0


async def test_two_replicas_that_follow_each_other_get_a_master_by_stack_up(fresh_system: FreshSystem) -> None:
    system = fresh_system()
    master, replica = system.topology.shard("salon").redis
    for node in system.topology.shard("salon").sentinels:
        await system.stack.stop(node.name)
    await system.ask(master.name, "REPLICAOF", replica.address.host, replica.address.port)
    up = await iotd("stack", "up", config=system.config, limit=120)
    assert up.code == 0, up
    assert "all nodes are replicas" in up.err
    assert (await system.master("salon")).name == master.name
