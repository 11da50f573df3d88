"""What is confirmed, and by what, when a replica is not there or does not fsync; and a spool at its limit."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import FreshSystem
from tests.servers.checker import all_there
from tests.servers.daemon import running_daemon
from tests.servers.system import make_settings, until

SMALL: dict[str, Any] = {"sensors": {"interval": "10ms"}, "redis": {"retention": "3650d"}}


@pytest.mark.parametrize("on_full", ["block", "confirm_on_master"])
async def test_at_the_spools_limit_the_setting_decides_and_nothing_is_lost(
    fresh_system: FreshSystem, on_full: str
) -> None:
    system = fresh_system(**SMALL, spool={"limit": "100KB", "keep": "0", "on_full": on_full})
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        await daemon.writes("salon")
        await system.stack.stop("redis-salon-replica")

        async def handed() -> int:
            return int((await daemon.status())["shards"][0]["handed"])

        async def waiting() -> int:
            return int((await daemon.status())["shards"][0]["depth"]["bytes"])

        if on_full == "block":
            seen: list[int] = []

            async def full() -> bool:
                seen.append(await handed())
                # a hundred readings a second and sensor would have come between two looks
                return await waiting() > 60_000 and len(seen) > 10 and len(set(seen[-10:])) == 1

            await until(full, 30, "the sources wait")
            assert daemon.events("confirmed_on_master_only") == []
        else:

            async def warned() -> bool:
                return bool(daemon.events("confirmed_on_master_only"))

            await until(warned, 30, "it says that it confirms on the master alone")
            before = await handed()

            async def more() -> bool:
                return await handed() > before + 10_000

            await until(more, 30, "the sources go on beyond the limit")
        await system.stack.start("redis-salon-replica")
        before = await handed()

        async def goes_on() -> bool:
            return await handed() > before and await waiting() < 65_537 * 2

        await until(goes_on, 30, "the spool drains")
        assert await daemon.stop() == 0
    await all_there(system, "salon")


async def test_a_replica_without_an_append_only_file_confirms_by_its_memory_and_a_slow_one_is_waited_for(
    fresh_system: FreshSystem,
) -> None:
    system = fresh_system(sensors={"interval": "100ms"})
    # it receives, writes its file, and never says that it has fsynced
    await system.ask("redis-salon-replica", "CONFIG", "SET", "appendfsync", "no")
    with running_daemon(system.settings) as daemon:
        await daemon.running()

        async def waits() -> bool:
            return bool((await daemon.status())["shards"][0]["depth"]["age"] > 15)

        await until(waits, 60, "nothing is confirmed for long")
        assert daemon.events("confirming_by_wait") == []
        await system.ask("redis-salon-replica", "CONFIG", "SET", "appendonly", "no")

        async def confirmed() -> bool:
            return bool((await daemon.status())["shards"][0]["depth"]["age"] < 3)

        await until(confirmed, 60, "the replica's memory is enough")
        assert [event["reason"] for event in daemon.events("confirming_by_wait")] == [
            "the replica keeps no append-only file"
        ]
        assert await daemon.stop() == 0
    await all_there(system, "salon")


async def test_what_was_written_before_a_crash_is_confirmed_after_it_though_no_reading_comes(
    fresh_system: FreshSystem,
) -> None:
    system = fresh_system(sensors={"interval": "3s"})

    async def fence() -> int:
        (key,) = await system.ask("redis-salon-master", "KEYS", "iotd:fence:*")
        return int(await system.ask("redis-salon-master", "GET", key))

    async def waiting(batches: int) -> bool:
        said = await daemon.status()
        return bool(said) and said["shards"][0]["depth"]["batches"] == batches

    with running_daemon(system.settings) as daemon:
        await daemon.running()
        await daemon.writes("salon")
        await until(lambda: waiting(0), 20, "all is confirmed")
        await system.stack.stop("redis-salon-replica")
        before = await fence()

        async def set_and_not_confirmed() -> bool:
            return await fence() > before and await waiting(1)

        await until(set_and_not_confirmed, 20, "the fence stands behind a reading that nobody confirms")
        daemon.process.kill()
    await system.stack.start("redis-salon-replica")
    make_settings(
        system.settings.state.parent,
        system.settings.topology.redis_port,
        ["salon"],
        sensors={"interval": "1d"},
        stack={"redis_dir": system.settings.stack.redis_dir},
    )
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        await until(lambda: waiting(0), 20, "it is confirmed")
        assert await daemon.stop() == 0
