"""`iotd import` and `iotd export` against a running daemon: what comes in is asked for, and comes out again."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from iotd.stack.binaries import RedisBinaries
from tests.servers.daemon import Daemon, Ended, iotd, running_daemon
from tests.servers.homeassistant import ENTITIES, OLD_SCHEMA, make_database
from tests.servers.influxdb import InfluxServer
from tests.servers.ports import port_block
from tests.servers.system import System, blocking, make_settings, start_system, stop_system, until

HOUR = 3_600_000
NOW_S = int(time.time()) // 3600 * 3600
Rows = set[tuple[int, str, str, str, str, float]]


@pytest.fixture
def house(redis_binaries: RedisBinaries, tmp_path: Path) -> Iterator[System]:
    """Two rooms without a reading, and a daemon."""
    with ExitStack() as life:
        yield empty_house(life, redis_binaries, tmp_path / "house")


def empty_house(life: ExitStack, redis_binaries: RedisBinaries, folder: Path) -> System:
    settings = make_settings(
        folder,
        life.enter_context(port_block()),
        ("salon", "cave"),
        simulator={"enabled": "off"},
        intake={"timezone": "Europe/Paris"},
        stack={"redis_dir": redis_binaries.server.parent},
        archive={"store": "embedded:", "interval": "1s"},
    )
    system = start_system(settings)
    life.callback(stop_system, system)
    daemon: Daemon = life.enter_context(running_daemon(settings))
    blocking(daemon.running())
    return system


async def run(system: System, *args: str, token: str = "") -> Ended:
    ended = await iotd(*args, config=system.config, TZ="Europe/Paris", INFLUX_TOKEN=token)
    assert "Traceback" not in ended.err, ended.err
    return ended


async def exported(system: System, count: int) -> Rows:
    """All readings, once there are so many."""
    found: Rows = set()

    async def all_there() -> bool:
        nonlocal found
        ended = await run(system, "export", "--start", "2000-01-01", "--format", "csv")
        rows = list(csv.DictReader(io.StringIO(ended.out)))
        found = {(ms(r["time"]), r["location"], r["type"], r["sensor_id"], r["unit"], float(r["value"])) for r in rows}
        assert len(found) == len(rows)
        return len(found) >= count

    try:
        await until(all_there, 30, f"{count} readings are there")
    except AssertionError as e:
        raise AssertionError(f"{e}; there are {len(found)}: {sorted(found)[:9]} …") from None
    return found


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


async def test_a_database_of_home_assistant_comes_in_once_and_is_asked_for(house: System, tmp_path: Path) -> None:
    path = tmp_path / "home-assistant_v2.db"
    states, statistics = make_database(path, NOW_S, days=60, state_days=2, step_s=900)
    ended = await run(house, "import", str(path))
    assert (ended.code, ended.out) == (
        0,
        f"{path}: {states:,} readings, {statistics:,} summaries of hours\n",
    )
    found = await exported(house, states)
    begin = NOW_S - 2 * 86_400
    fahrenheit = ENTITIES[1].at(begin)
    assert len(found) == states
    assert (begin * 1000 + 1, "salon", "temperature", ENTITIES[0].id, "celsius", ENTITIES[0].at(begin)) in found
    cave = [row for row in found if row[:2] == (begin * 1000 + 2, "cave")]
    assert [row[5] for row in cave] == [pytest.approx((fahrenheit - 32) / 1.8)]

    assert (await run(house, "import", str(path))).out == f"{path}: 0 readings\n"
    again = await run(house, "import", "--again", str(path))
    assert again.out == ended.out
    packed = tmp_path / "packed.db.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert (await run(house, "import", str(packed))).code == 0
    assert await exported(house, states) == found

    salon = ("query", "location", "salon")
    old = ("--start", str(NOW_S - 50 * 86_400), "--end", str(NOW_S - 49 * 86_400))
    asked = await run(house, *salon, "temperature", *old, "--agg", "avg", "--bucket", "1h", "--output", "json")
    told = asked.json
    assert len(told["readings"]) == 24
    first = told["readings"][0]
    assert first["value"] == pytest.approx(ENTITIES[0].at(ms(first["time"]) / 1000 + 1800))
    assert told["problems"] == ["24 of these buckets hold imported hourly summaries, where there are no readings"]
    asked = await run(house, *salon, "energy", *old, "--agg", "increase", "--bucket", "1h", "--output", "json")
    assert [r["value"] for r in asked.json["readings"]] == pytest.approx([0.1] * 24, abs=0.002)
    # over the hour in which readings begin
    edge = ("--start", str(begin - 5 * 3600), "--end", str(begin + 5 * 3600))
    asked = await run(house, *salon, "temperature", *edge, "--agg", "max", "--bucket", "1h", "--output", "json")
    values = [r["value"] for r in asked.json["readings"]]
    assert len(values) == 10
    assert values[4] == pytest.approx(ENTITIES[0].at(begin - 1800) + 1)
    assert values[5] == max(ENTITIES[0].at(begin + n * 900) for n in range(4))
    # no summary is a reading
    asked = await run(house, *salon, "temperature", *old)
    assert asked.code == 1
    assert "hourly summaries exist from" in asked.err
    assert asked.err.count("\n") == 1

    deleted = await run(house, "delete", "salon", "temperature", *old, "--yes")
    assert (deleted.code, deleted.err) == (0, deleted.err), deleted.err
    asked = await run(house, *salon, "temperature", *old, "--agg", "avg", "--bucket", "1h")
    assert asked.code == 1


async def test_an_import_that_is_interrupted_goes_on(house: System, tmp_path: Path) -> None:
    path = tmp_path / "home-assistant_v2.db"
    states, _ = make_database(path, NOW_S, days=10, state_days=5, step_s=30)
    marks = house.settings.state / "imports.json"

    def begun() -> bool:
        return marks.exists() and max(json.loads(marks.read_bytes()).values()) > 0

    told = await iotd("import", str(path), config=house.config, interrupt=begun)
    assert told.code == 130, told.err
    assert told.err.strip().endswith("interrupted; the same command goes on where it was")
    (mark,) = json.loads(marks.read_bytes()).values()
    assert 0 < mark < states
    ended = await run(house, "import", str(path))
    assert ended.code == 0
    assert f": {states - mark:,} readings" in ended.out
    assert len(await exported(house, states)) == states


async def test_databases_that_are_old_damaged_or_something_else(house: System, tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    with closing(sqlite3.connect(old)) as db:
        db.executescript(OLD_SCHEMA)
        its = json.dumps(ENTITIES[0].attributes)
        for n in range(20):
            at = datetime.fromtimestamp(NOW_S - 3600 + n * 60, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
            db.execute(
                "INSERT INTO states (domain, entity_id, state, attributes, last_updated) VALUES ('sensor', ?, ?, ?, ?)",
                (ENTITIES[0].id, str(n), its, at),
            )
        db.execute("INSERT INTO statistics_meta VALUES (1, ?, 'recorder', '°C', 1, 0)", (ENTITIES[0].id,))
        at = datetime.fromtimestamp(NOW_S - 86_400, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        db.execute("INSERT INTO statistics VALUES (1, ?, 1, ?, 20, 19, 21, NULL, NULL, NULL)", (at, at))
        db.commit()
    ended = await run(house, "import", str(old))
    assert (ended.code, ended.out) == (0, f"{old}: 20 readings, 1 summaries of hours\n")
    found = await exported(house, 20)
    assert {row[0] for row in found} == {(NOW_S - 3600 + n * 60) * 1000 for n in range(20)}

    whole = tmp_path / "whole.db"
    make_database(whole, NOW_S, days=3, state_days=2, step_s=60)
    raw = bytearray(whole.read_bytes())
    raw[len(raw) // 3 : len(raw) // 3 + 40_000] = b"\xff" * 40_000
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(raw)
    ended = await run(house, "import", str(damaged))
    assert ended.code == 64
    assert "can't be read to its end (database disk image is malformed)" in ended.err
    assert ended.err.count("\n") == 1
    assert "readings" in ended.out
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as db:
        db.execute("CREATE TABLE x (y)")
    ended = await run(house, "import", str(other))
    assert (ended.code, ended.err.count("\n")) == (64, 1)
    assert "no database of Home Assistant's recorder" in ended.err


async def test_what_spreadsheets_write(house: System, tmp_path: Path) -> None:
    text = "Date;Température;Humidité\r\n28.11.2026 14:00;21,5;41\r\n28.11.2026 15:00;1.021,25;1 000\r\n"
    mapped = (
        "--column",
        "Date=time",
        "--column",
        "Température=temperature:salon:x",
        "--column",
        "Humidité=humidity:salon:x",
    )
    wanted = {ms("2026-11-28T14:00+01:00"): 21.5}
    for n, encoding in enumerate(("utf-8-sig", "cp1252", "utf-16")):
        path = tmp_path / f"{n}.csv"
        path.write_bytes(text.encode(encoding))
        ended = await run(house, "import", str(path), *mapped)
        # in its own zone, and what is not plausible is held
        assert (ended.code, ended.out) == (1, f"{path}: 2 readings\n  held: 2, not plausible\n"), (encoding, ended.err)
    found = await exported(house, 2)
    assert {row[0]: row[5] for row in found if row[2] == "temperature"} == wanted

    path = tmp_path / "american.csv"
    path.write_text(
        "sep=,\nTime,temperature:cave:1\n11/28/2026 2:00 PM,12\n,13\n01/01/1999 2:00 PM,14\n13/13/2026,15\n"
    )
    ended = await run(house, "import", str(path))
    assert (ended.code, ended.out) == (64, f"{path}: 0 readings\n")
    assert "line 3: '11/28/2026 2:00 PM': day or month first? Say --time-format" in ended.err
    ended = await run(house, "import", str(path), "--time-format", "%m/%d/%Y %I:%M %p")
    assert ended.code == 1
    assert ended.out.startswith(f"{path}: 1 reading\n  not taken: 3\n    line 4: no time: what is imported")
    assert "line 6: not a time: '13/13/2026' is not like" in ended.out
    assert ms("2026-11-28T14:00+01:00") in {row[0] for row in await exported(house, 3) if row[1] == "cave"}


async def test_what_is_exported_comes_in_again_and_is_the_same(
    house: System, redis_binaries: RedisBinaries, tmp_path: Path
) -> None:
    path = tmp_path / "some.lp"
    odd = r"caf\ é\ x\=y"
    lines = [f"temperature,room=salon,sensor={odd} value={20 + n / 7} {NOW_S * 1000 - n * 977}" for n in range(500)]
    lines += [f"energy,room=cave,sensor=m value={1e6 + n / 3} {NOW_S * 1000 - n * 60_000}" for n in range(500)]
    lines += [f"contact,room=cave,sensor=door value={n % 2}i {NOW_S * 1000 - n * 60_000}" for n in range(50)]
    path.write_text("\n".join(lines))
    ended = await run(house, "import", str(path), "--precision", "ms")
    assert (ended.code, ended.out) == (0, f"{path}: 1,050 readings\n"), ended.err
    found = await exported(house, 1_050)
    assert len(found) == 1_050
    files = [tmp_path / f"house.{ending}" for ending in ("csv", "lp", "parquet")]
    for file in files:
        assert (await run(house, "export", "--to", str(file))).code == 0
    table = pq.read_table(files[2]).to_pylist()
    keys = ("location", "type", "sensor_id", "unit", "value")
    assert {(round(r["time"].timestamp() * 1000), *(r[key] for key in keys)) for r in table} == found
    with ExitStack() as life:
        other = empty_house(life, redis_binaries, tmp_path / "other")
        for n, file in enumerate(files[:2]):
            more = ("--precision", "ms") if n else ()
            ended = await run(other, "import", str(file), *more)
            assert (ended.code, ended.out) == (0, f"{file}: 1,050 readings\n"), ended.err
            assert await exported(other, 1_050) == found


async def test_a_server_is_imported_twice_with_a_token_from_a_file(
    house: System, influxdb: InfluxServer, tmp_path: Path
) -> None:
    bucket = influxdb.make_bucket("to import")
    for n in range(0, 3000, 500):
        lines = [f"temperature,room=salon,sensor=n value={k / 100} {(NOW_S - k) * 1000}" for k in range(n, n + 500)]
        assert await influxdb.write(bucket, "\n".join(lines)) == 204
    token = tmp_path / "token"
    token.write_text(influxdb.make_token(bucket, "read") + "\n")
    asked = ("import", influxdb.url, "--bucket", bucket, "--token-file", str(token))
    ended = await run(house, *asked)
    assert (ended.code, ended.out) == (0, f"{influxdb.url}: 3,000 readings\n"), ended.err
    ended = await run(house, *asked)
    assert ended.code == 0
    ended = await run(house, *asked[:2], "--database", bucket, token=influxdb.token)
    assert (ended.code, ended.out) == (0, f"{influxdb.url}: 3,000 readings\n"), ended.err
    assert len(await exported(house, 3_000)) == 3_000
    for args, text in (
        (("import", influxdb.url, "--bucket", bucket), "--token-file"),
        (("import", "http://a:secret@x", "--bucket", "b"), "must not hold a password"),
        (("import", "http://127.0.0.1:1", "--bucket", "b"), "no answer"),
        (("import", str(token), "--bucket", "b"), "is a file"),
        (("import", influxdb.url, "--bucket", bucket, "--token-file", "/none"), "/none: can't be read"),
        (("import", influxdb.url, "--bucket", bucket, "--set", "time=1"), "give one of"),
    ):
        ended = await run(house, *args)
        assert ended.code not in (0, 1), args
        assert text in ended.err
        assert ended.err.count("\n") == 1
        assert "secret" not in ended.err
