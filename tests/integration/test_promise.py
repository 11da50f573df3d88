"""The promise, with a source that cannot be asked again: each of these once lost readings while status was green."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from iotd.config import Settings
from iotd.model.series import Series
from iotd.ops.control import request
from tests.conftest import FreshSystem
from tests.servers.archives import archive_of
from tests.servers.daemon import Daemon, iotd, running_daemon
from tests.servers.disk import locked
from tests.servers.system import System, until
from tests.servers.witness import Given, Outcome, compare, witnessed

pytestmark = pytest.mark.redis

ALL_TIME = 2**43


def with_witness(folder: Path, **options: Any) -> dict[str, Any]:
    """Tables of the configuration: no simulated sensors, one source that cannot be asked again."""
    witness = {"kind": "tests.servers.witness", "witness": str(folder / "witness"), "every_ms": 100, **options}
    return {"simulator": {"enabled": "off"}, "sources": {"lab": witness}, "archive": {"interval": "2s"}}


def witness_of(settings: Settings) -> dict[Series, Given]:
    return witnessed(Path(settings.sources["lab"].options["witness"]), list(settings.locations))


async def acknowledged(settings: Settings, more_than: int = 100) -> int:
    """Waits until more readings than these were acknowledged, and returns how many are."""
    count = 0

    async def enough() -> bool:
        nonlocal count
        count = sum(len(given.acknowledged) for given in witness_of(settings).values())
        return count > more_than

    await until(enough, 60, f"more than {more_than} readings are acknowledged")
    return count


async def in_shard(system: System, node: str, series: Series) -> dict[int, float]:
    try:
        rows = await system.ask(node, "TS.RANGE", series.key, 0, ALL_TIME)
    except Exception as e:
        if "does not exist" not in str(e):
            raise
        return {}
    return {int(time): float(value) for time, value in rows}


async def in_archive(settings: Settings, series: Series) -> dict[int, float]:
    from iotd.sources.simulator.source import Span

    store = archive_of(settings)
    return {time: value async for time, value in store.samples(series, Span(0, ALL_TIME))}


async def outcome(system: System, settings: Settings, where: str, found: dict[Series, Given] | None = None) -> Outcome:
    """What became of the readings in a node (by name), or in the ``archive``."""
    found = witness_of(settings) if found is None else found
    stored = {}
    for series in found:
        if where == "archive":
            stored[series] = await in_archive(settings, series)
        else:
            stored[series] = await in_shard(system, where, series)
    return compare(found, stored)


async def settle(system: System, settings: Settings, daemon: Daemon) -> None:
    """Ends the daemon in good order, after everything was archived."""
    await request(settings.state, "POST", "/archive/now")
    assert await daemon.stop() == 0, daemon.log.read_text()[-3000:]


async def assert_all_there(system: System, settings: Settings) -> None:
    for location in settings.locations:
        master = (await system.master(location)).name
        its = {series: given for series, given in witness_of(settings).items() if series.location == location}
        for where in (master, "archive"):
            found = await outcome(system, settings, where, its)
            assert found.good, (where, found)


@asynccontextmanager
async def killed_with_a_backlog(system: System, settings: Settings) -> AsyncIterator[Path]:
    """A daemon that was killed while its shards were away: the log alone has what was acknowledged meanwhile."""
    with running_daemon(settings) as daemon:
        await daemon.running()
        await acknowledged(settings)
        for location in settings.locations:
            await system.stack.stop(f"redis-{location}-replica")
            await system.stack.stop(f"redis-{location}-master")
        await acknowledged(settings, await acknowledged(settings) + 300)
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()
    yield settings.state / "log"


async def servers_back(system: System, settings: Settings) -> None:
    for location in settings.locations:
        await system.stack.start(f"redis-{location}-master")
        await system.stack.start(f"redis-{location}-replica")


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.seg"))


async def test_a_power_cut_that_takes_the_tail_of_the_log_loses_that_tail_and_nothing_else(
    fresh_system: FreshSystem, tmp_path: Path
) -> None:
    system = fresh_system(**with_witness(tmp_path))
    settings = system.settings
    with running_daemon(settings) as daemon:
        await daemon.running()
        await acknowledged(settings)
        before = witness_of(settings)
        await acknowledged(settings, await acknowledged(settings) + 100)

        async def written() -> bool:
            shard = (await daemon.status())["shards"][0]
            return bool(shard["acknowledged"] >= shard["taken"] - 10)

        await until(written, 30, "the shard has the tail")
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()
    # the disk had said that it was there: the end of the last segment is gone, and so is the page cache
    await asyncio.sleep(0)
    last = segments(settings.state / "log")[-1]
    os.truncate(last, last.stat().st_size * 2 // 3)
    (settings.state / "log" / "witness").unlink(missing_ok=True)
    for name in ("master", "replica"):
        await system.stack.stop(f"redis-salon-{name}")
    with running_daemon(settings) as daemon:
        await daemon.running()
        await acknowledged(settings, await acknowledged(settings) + 200)  # dark: sequences grow beyond the lost ones
        await servers_back(system, settings)
        await acknowledged(settings, await acknowledged(settings) + 50)
        await settle(system, settings, daemon)
        assert daemon.events("log_damaged"), "what only the lost tail held is named"
    found = await outcome(system, settings, (await system.master("salon")).name)
    assert (found.missing, found.altered, found.strange) == (0, 0, 0), found  # the shard had got the tail before
    archived = await outcome(system, settings, "archive")
    assert (archived.missing, archived.altered, archived.strange) == (0, 0, 0), archived
    assert before


@pytest.mark.parametrize("how", ["DEL", "TS.DEL", "FLUSHALL", "altered"])
async def test_what_vanishes_from_a_shard_before_the_pass_is_written_again_and_archived(
    fresh_system: FreshSystem, tmp_path: Path, how: str
) -> None:
    system = fresh_system(**with_witness(tmp_path) | {"archive": {"interval": "1h"}})
    settings = system.settings
    series = Series("temperature", "salon", "w0")
    with running_daemon(settings) as daemon:
        await daemon.running()
        await request(settings.state, "POST", "/archive/now")
        await acknowledged(settings, 300)

        async def durable() -> bool:
            return bool((await daemon.status())["shards"][0]["durable"] > 100)

        await until(durable, 30, "the shard was proven to hold something")
        times = sorted(await in_shard(system, "redis-salon-master", series))
        match how:
            case "DEL":
                await system.ask("redis-salon-master", "DEL", series.key)
            case "TS.DEL":
                await system.ask("redis-salon-master", "TS.DEL", series.key, times[5], times[-5])
            case "FLUSHALL":
                await system.ask("redis-salon-master", "FLUSHALL")
            case "altered":
                await system.ask("redis-salon-master", "TS.ADD", series.key, times[-9], 12345, "ON_DUPLICATE", "LAST")
        await acknowledged(settings, await acknowledged(settings) + 100)
        await settle(system, settings, daemon)
        named = {"DEL": "series_vanished", "FLUSHALL": "shard_lost_data"}.get(how, "shard_lost_readings")
        events = {line["event"] for line in daemon.lines()}
        assert events & {named, "series_vanished", "shard_lost_readings"}, events
    await assert_all_there(system, settings)


@pytest.mark.parametrize("damage", ["bit", "page"])
async def test_damage_in_the_log_costs_what_it_hits_is_named_and_alters_nothing(
    fresh_system: FreshSystem, tmp_path: Path, damage: str
) -> None:
    system = fresh_system(("salon", "cuisine"), **with_witness(tmp_path))
    settings = system.settings
    async with killed_with_a_backlog(system, settings) as folder:
        last = segments(folder)[-1]
        data = bytearray(last.read_bytes())
        rng = random.Random(7)
        place = rng.randrange(len(data) // 2, len(data) - 4096)
        if damage == "bit":
            data[place] ^= 1 << rng.randrange(8)
        else:
            place = place // 4096 * 4096
            data[place : place + 4096] = bytes(4096)
        last.write_bytes(data)
        with running_daemon(settings) as daemon:
            await daemon.running()
            (event, *_) = daemon.events("log_damaged")
            assert event["level"] in ("error", "warning")
            status = await daemon.status()
            assert status["damage"]
            shown = await iotd("status", config=system.config)
            assert shown.code == 1
            await servers_back(system, settings)
            await acknowledged(settings, await acknowledged(settings) + 100)
            await settle(system, settings, daemon)
    lost = 0
    for where in ("redis-salon-master", "redis-cuisine-master", "archive"):
        its = {s: g for s, g in witness_of(settings).items() if where == "archive" or s.location in where}
        found = await outcome(system, settings, where, its)
        assert (found.altered, found.strange) == (0, 0), (where, found)
        assert found.missing < found.due / 4, (where, found)
        lost += found.missing
    if damage == "bit":
        assert lost <= 2 * 6 * 6  # one commit of both locations, seen in shard and archive


async def test_readings_older_than_the_shard_keeps_go_to_the_archive(fresh_system: FreshSystem, tmp_path: Path) -> None:
    csv = tmp_path / "old.csv"
    system = fresh_system(
        simulator={"enabled": "off"},
        sources={"old": {"kind": "csv_tail", "path": str(csv)}},
        redis={"retention": "60s"},
        archive={"interval": "1s"},
    )
    settings = system.settings
    new = 1_790_000_000_000
    old = [(new - 86_400_000 + 1_000 * n, n / 7) for n in range(500)]
    lines = [(new, 1.5), *old, (new + 1, 2.5)]
    csv.write_text("".join(f"{t},salon,temperature,probe,{v!r}\n" for t, v in lines))
    series = Series("temperature", "salon", "probe")
    with running_daemon(settings) as daemon:
        await daemon.running()

        async def there() -> bool:
            return len(await in_archive(settings, series)) == len(lines)

        await until(there, 60, "all are archived")
        await settle(system, settings, daemon)
        assert not list((settings.state / "dead-letters").glob("*"))
    assert await in_archive(settings, series) == dict(lines)
    assert set(await in_shard(system, "redis-salon-master", series)) == {new, new + 1}


async def test_a_retention_shorter_than_an_archive_that_is_away_loses_nothing(
    fresh_system: FreshSystem, tmp_path: Path
) -> None:
    system = fresh_system(**with_witness(tmp_path) | {"redis": {"retention": "3s"}, "archive": {"interval": "1s"}})
    settings = system.settings
    with running_daemon(settings) as daemon:
        await daemon.running()
        await acknowledged(settings)
        archive = settings.state / "archive.sqlite"

        async def made() -> bool:
            return archive.exists()

        await until(made, 30, "the archive is there")
        with locked(archive):
            first = await acknowledged(settings)
            await acknowledged(settings, first + 6 * 30)  # longer than the shard keeps
        await acknowledged(settings, await acknowledged(settings) + 30)
        await settle(system, settings, daemon)
    found = await outcome(system, settings, "archive")
    assert found.good, found


async def test_a_retention_that_cannot_hold_two_archive_intervals_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "iotd.toml"
    config.write_text('[redis]\nretention = "5m"\n[archive]\ninterval = "4m"\n')
    said = await iotd("config", "check", config=config)
    assert said.code == 78
    assert "two archive intervals" in said.err
