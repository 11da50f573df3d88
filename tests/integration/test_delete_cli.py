"""`iotd delete` against the running daemon: what it says, what it refuses, and that a killed daemon goes on."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from iotd.config import Settings
from iotd.model.series import Series
from iotd.ops.control import request
from tests.conftest import FreshSystem
from tests.servers.archives import embedded_rows
from tests.servers.daemon import iotd, running_daemon
from tests.servers.system import System, make_settings, until

HOUR = 3_600_000
NORTH, SOUTH = (Series("temperature", "salon", sensor_id) for sensor_id in ("north", "south"))
DAMP = Series("humidity", "salon", "north")
EVERY = (NORTH, SOUTH, DAMP)
MASTER = "redis-salon-master"


class Meters:
    """A CSV file of readings that a daemon follows; three sensors of the salon, a reading every ten seconds."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.begin = (time.time_ns() // 1_000_000 // HOUR - 3) * HOUR
        self.wanted: dict[Series, dict[int, float]] = {series: {} for series in EVERY}
        self.file.write_text("time,location,type,sensor,value\n")

    def write(self, first: int = 0, count: int = 360, value: float = 20.0) -> None:
        """Readings from the ``first`` on."""
        times = [self.begin + 10_000 * n for n in range(first, first + count)]
        with self.file.open("a") as out:
            for ms in times:
                for series in EVERY:
                    out.write(f"{ms},{series.location},{series.type},{series.sensor_id},{value}\n")
        for series in EVERY:
            self.wanted[series] |= dict.fromkeys(times, value)

    def deleted(self, series: Series, first: int, stop: int) -> None:
        """Is to be gone: from the reading ``first`` to before ``stop``."""
        low, high = self.time(first), self.time(stop)
        self.wanted[series] = {ms: v for ms, v in self.wanted[series].items() if not low <= ms < high}

    def time(self, n: int) -> int:
        """When the reading is, ms."""
        return self.begin + 10_000 * n

    def range(self, first: int, stop: int) -> tuple[str, ...]:
        """The options for a range of readings."""
        return "--start", str(self.time(first)), "--end", str(self.time(stop))


@pytest.fixture
def meters(tmp_path: Path) -> Meters:
    return Meters(tmp_path / "meters.csv")


def tables(meters: Meters) -> dict[str, Any]:
    return {
        "sources": {"meters": {"kind": "csv_tail", "path": str(meters.file)}},
        "archive": {"store": "embedded:", "interval": "1h"},
    }


async def holds(system: System, wanted: Mapping[Series, Mapping[int, float]], node: str = MASTER) -> bool:
    """Whether shard and archive hold this, and nothing else."""
    for series, readings in wanted.items():
        found = await system.ask(node, "TS.RANGE", series.key, "-", "+")
        if [(int(t), float(v)) for t, v in found] != sorted(readings.items()):
            return False
        if embedded_rows(system.settings.state / "archive.sqlite", series) != sorted(readings.items()):
            return False
    return True


async def archived(system: System, meters: Meters) -> None:
    """Waits until all that the meters gave is in shard and archive."""

    async def there() -> bool:
        await iotd("archive", "now", config=system.config)
        return await holds(system, meters.wanted)

    await until(there, 60, "all is archived")


@asynccontextmanager
async def archive_away(settings: Settings) -> AsyncIterator[None]:
    """Somebody holds the file of the archive."""
    with closing(sqlite3.connect(settings.state / "archive.sqlite", isolation_level=None, timeout=30)) as db:
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            db.execute("ROLLBACK")


async def test_it_says_what_it_deletes_and_nothing_else_is_gone(fresh_system: FreshSystem, meters: Meters) -> None:
    system = fresh_system(**tables(meters))
    meters.write()
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        await archived(system, meters)
        asked = ("delete", "Salon", "temperature", "north", *meters.range(100, 200))
        ended = await iotd(*asked, "--yes", "--output", "json", config=system.config)
        assert ended.code == 0, ended.err
        said = ended.json
        assert (said["readings"], said["complete"], said["series"]) == (100, True, [NORTH.key])
        assert (said["start"], said["end"]) == (meters.time(100), meters.time(200))
        assert [said[who] for who in ("master", "replica", "archive", "waits_for")] == [True, True, True, None]
        assert "recorded" in ended.err
        meters.deleted(NORTH, 100, 200)
        assert await holds(system, meters.wanted)
        assert await holds(system, meters.wanted, "redis-salon-replica")
        line = await daemon.logs("readings_deleted")
        assert (line["series"], line["readings"], line["uid"], line["shard"]) == (
            [NORTH.key],
            100,
            os.getuid(),
            "salon",
        )

        # all sensors of all types, as a person sees it
        ended = await iotd("delete", "salon", "all", *meters.range(0, 50), "-y", config=system.config)
        assert ended.code == 0, ended.err
        for series in EVERY:
            assert series.key in ended.out
            meters.deleted(series, 0, 50)
        assert await holds(system, meters.wanted)
        found = await iotd("query", "location", "salon", "temperature", *meters.range(0, 200), "--agg", "count",
                           "--bucket", "1d", "--output", "json", config=system.config)  # fmt: skip
        assert sum(row["value"] for row in found.json["readings"]) == 50 + 150
        verified = await iotd("archive", "verify", "--deep", "--output", "json", config=system.config)
        assert verified.code == 0
        assert all(its["gaps"] == [] for its in verified.json.values())
        assert await holds(system, meters.wanted)
        assert (await iotd(*asked, "--yes", config=system.config)).code == 1  # nothing is left of it
        assert await daemon.stop() == 0


async def test_what_is_wrong_is_said_and_nothing_is_deleted(fresh_system: FreshSystem, meters: Meters) -> None:
    system = fresh_system(("salon", "chambre1"), **tables(meters))
    meters.write()
    past, config = meters.range(0, 10), system.config
    no_daemon = await iotd("delete", "salon", "temperature", *past, "--yes", config=config)
    assert (no_daemon.code, no_daemon.err.count("\n")) == (69, 1)
    assert "no iotd daemon runs" in no_daemon.err
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        await archived(system, meters)
        for args, code, why in (
            (("cave", "temperature", *past, "-y"), 64, "no location 'cave'"),
            (("all", "temperature", *past, "-y"), 64, "name one location"),
            (("salon", "warmth", *past, "-y"), 64, "no type 'warmth'"),
            (
                ("salon", "temperature", "attic", *past, "-y"),
                64,
                "no sensor 'attic' in salon temperature; there are north, south",
            ),
            (("salon", "temperature", *meters.range(10, 0), "-y"), 64, "the start must come before the end"),
            (("salon", "temperature", *meters.range(5, 5), "-y"), 64, "the range is empty"),
            (("salon", "temperature", "--start", "2100-01-01", "--end", "2100-01-02", "-y"), 64, "in the future"),
            (("salon", "temperature", *past), 64, "--yes"),
            (("salon", "temperature", "--start", "-1h", "-y"), 2, "--end"),
            (("salon", "temperature", *meters.range(-500, -400), "-y"), 1, "has no readings of temperature"),
            (("chambre1", "temperature", *past, "-y"), 1, "has no readings of temperature"),
        ):
            ended = await iotd("delete", *args, config=config)
            assert (ended.code, why in ended.err) == (code, True), (args, ended)
        assert not daemon.events("readings_deleted")
        assert await holds(system, meters.wanted)
        assert await daemon.stop() == 0
    tables_without = {**tables(meters), "stack": {"redis_dir": system.settings.stack.redis_dir}}
    make_settings(system.settings.state.parent, system.settings.topology.redis_port, ["chambre1"], **tables_without)
    retired = await iotd("delete", "salon", "temperature", *past, "--yes", config=config)
    assert (retired.code, "retired" in retired.err) == (64, True), retired


@pytest.mark.parametrize(("says", "code"), [(b"n\n", 130), (b"y\n", 0)])
async def test_it_asks_first(fresh_system: FreshSystem, meters: Meters, says: bytes, code: int) -> None:
    system = fresh_system(**tables(meters))
    meters.write()
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        await archived(system, meters)
        ours, theirs = os.openpty()
        try:
            os.write(ours, says)
            ended = await iotd(
                "delete", "salon", "temperature", *meters.range(10, 20), config=system.config, stdin=theirs
            )
        finally:
            os.close(ours)
            os.close(theirs)
        assert ended.code == code, ended
        assert "This deletes 20 readings of salon" in ended.err
        if code == 0:
            meters.deleted(NORTH, 10, 20)
            meters.deleted(SOUTH, 10, 20)
        assert await holds(system, meters.wanted)
        assert bool(daemon.events("readings_deleted")) == (code == 0)


@pytest.mark.parametrize("killed", ["recorded", "in the shard"])
async def test_a_daemon_killed_in_the_midst_goes_on(fresh_system: FreshSystem, meters: Meters, killed: str) -> None:
    system = fresh_system(**tables(meters), redis={"response_timeout": "1s"})
    backend, nodes = system.stack.backend, system.topology.shard("salon").redis
    meters.write()
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        await archived(system, meters)
        async with archive_away(system.settings):
            if killed == "recorded":
                for node in nodes:
                    backend.pause(node)
                await request(
                    system.settings.state,
                    "POST",
                    "/delete",
                    {
                        "location": "salon",
                        "types": "temperature",
                        "sensor": "north",
                        "first": str(meters.time(100)),
                        "last": str(meters.time(200) - 1),
                    },
                )
            else:
                asked = ("delete", "salon", "temperature", "north", *meters.range(100, 200), "--yes")
                command = asyncio.create_task(iotd(*asked, config=system.config, limit=120))
                await daemon.logs("shard_deleted")
            daemon.process.kill()
            await daemon.ended()
            assert bool(daemon.events("shard_deleted")) == (killed == "in the shard")
            assert not daemon.events("archive_deleted")
        meters.deleted(NORTH, 100, 200)
    for node in nodes:
        backend.resume(node)
    meters.write(150, 10, 5.0)  # again, afterwards
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        if killed == "in the shard":
            ended = await command  # it has looked on meanwhile
            assert ended.code == 0, ended.err
            assert "deleted from the archive" in ended.err
        await archived(system, meters)
        verified = await iotd("archive", "verify", "--deep", "--output", "json", config=system.config)
        assert all(its["gaps"] == [] for its in verified.json.values())
        assert await holds(system, meters.wanted)
        wrong = {"shard_lost_readings", "archive_gaps", "readings_lost", "shard_restored"}
        assert not [line for line in daemon.lines() if line["event"] in wrong]


async def test_without_an_archive_the_shard_is_all(fresh_system: FreshSystem, meters: Meters) -> None:
    system = fresh_system(**tables(meters) | {"archive": {"store": "none"}})
    meters.write()

    async def held() -> dict[Series, dict[int, float]]:
        found = {series: await system.ask(MASTER, "TS.RANGE", series.key, "-", "+") for series in EVERY}
        return {series: {int(t): float(v) for t, v in its} for series, its in found.items()}

    with running_daemon(system.settings) as daemon:
        await daemon.running()

        async def there() -> bool:
            keys = await system.ask(MASTER, "KEYS", "sensor:*")
            return len(keys) == len(EVERY) and await held() == meters.wanted

        await until(there, 30, "the shard has it")
        asked = ("delete", "salon", "all", "north", *meters.range(10, 20), "--yes", "--output", "json")
        ended = await iotd(*asked, config=system.config)
        assert ended.code == 0, ended.err
        assert (ended.json["readings"], ended.json["replica"], ended.json["archive"]) == (20, True, None)
        assert ended.json["series"] == sorted([NORTH.key, DAMP.key])
        for series in (NORTH, DAMP):
            meters.deleted(series, 10, 20)
        assert await held() == meters.wanted


async def test_a_check_of_a_shard_does_not_miss_what_was_deleted(fresh_system: FreshSystem, meters: Meters) -> None:
    system = fresh_system(**tables(meters))
    meters.write()
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        await archived(system, meters)
        state = system.settings.state
        await request(state, "POST", "/check/begin", {"location": "salon"})
        meters.write(360, 10)
        await archived(system, meters)
        asked = ("delete", "salon", "temperature", *meters.range(365, 370), "--yes")
        assert (await iotd(*asked, config=system.config)).code == 0
        found = await request(state, "POST", "/check", {"location": "salon"})
        assert (found["due"], found["missing"], found["strange"]) == (3 * 370 - 10, 0, 0)


async def test_of_a_renamed_location_what_lies_before_the_renaming_is_deleted(
    fresh_system: FreshSystem, meters: Meters
) -> None:
    system = fresh_system(**tables(meters))
    meters.write()
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        await archived(system, meters)
        more = {**tables(meters), "stack": {"redis_dir": system.settings.stack.redis_dir}}
        make_settings(system.settings.state.parent, system.settings.topology.redis_port, ["sejour"], **more)
        renamed = await iotd("rename", "salon", "sejour", "--yes", config=system.config)
        assert renamed.code == 0, renamed.err
        ended = await iotd("delete", "salon", "temperature", "north", *meters.range(100, 200), "--yes", "--output",
                           "json", config=system.config)  # fmt: skip
        assert ended.code == 0, ended.err
        assert (ended.json["location"], ended.json["readings"], ended.json["archive"]) == ("sejour", 100, True)
        meters.deleted(NORTH, 100, 200)
        file = system.settings.state / "archive.sqlite"
        for series in EVERY:
            wanted = sorted(meters.wanted[series].items())
            assert embedded_rows(file, series) == wanted  # under the name that it had then
            key = series.key.replace(":salon:", ":sejour:")
            assert [(int(t), float(v)) for t, v in await system.ask(MASTER, "TS.RANGE", key, "-", "+")] == wanted
        verified = await iotd("archive", "verify", "--deep", "--output", "json", config=system.config)
        assert all(its["gaps"] == [] for its in verified.json.values())
