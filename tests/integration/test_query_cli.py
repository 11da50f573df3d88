"""`iotd query`, `distribution` and `completion` as processes: each output, wrong input, pipes, terminals."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from iotd.shards.madd import Packer
from iotd.shards.series import make_series
from iotd.sources.simulator.signal import Signal, sensors
from iotd.stack.binaries import RedisBinaries
from tests.servers.daemon import iotd
from tests.servers.ports import port_block
from tests.servers.system import System, blocking, make_settings, start_system, stop_system

SENSORS = sensors("séjour", ["temperature", "humidity", "air_quality"], 2)
STEP = 10_000
COUNT = 720
START = time.time_ns() // 1_000_000 // STEP * STEP - COUNT * STEP
"""Two hours of readings until now, a gap of ten minutes in the middle."""
TIMES = np.array([START + i * STEP for i in range(COUNT) if not 300 <= i < 360], np.int64)


@pytest.fixture(scope="module")
def house(redis_binaries: RedisBinaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One room with an accent in its name, without a daemon and without an archive."""
    with port_block() as first:
        folder = tmp_path_factory.mktemp("séjour")
        settings = make_settings(
            folder,
            first,
            ("séjour",),
            archive={"store": "none"},
            sensors={"per_type": 2},
            stack={"redis_dir": redis_binaries.server.parent},
        )
        system = start_system(settings)
        try:
            blocking(load_readings(system))
            yield system
        finally:
            stop_system(system)


async def load_readings(system: System) -> None:
    values = Signal(system.settings.simulator.seed, SENSORS).values(TIMES)
    series = np.tile(np.arange(len(SENSORS), dtype=np.int32), len(TIMES))
    commands = Packer([s.key.encode() for s in SENSORS]).pack(series, np.repeat(TIMES, len(SENSORS)), values.ravel())
    async with system.connection("redis-séjour-master") as redis:
        await make_series(redis, SENSORS, lambda one: one.labels, system.settings.redis)
        await redis.send([commands.payload])
        for _ in commands.starts:
            assert all(type(said) is int for said in await redis.receive())


def expected(kind: str) -> list[tuple[int, str, float]]:
    """(time in ms, sensor, value) of a type."""
    values = Signal(1, SENSORS).values(TIMES)
    columns = [(i, s.sensor_id) for i, s in enumerate(SENSORS) if s.type == kind]
    return [(int(t), number, float(values[row, i])) for row, t in enumerate(TIMES) for i, number in columns]


def ms(text: str) -> int:
    moment = datetime.fromisoformat(text)
    assert moment.tzinfo is not None
    return round(moment.timestamp() * 1000)


async def query(house: System, *args: str, **env: str) -> tuple[int, str, str]:
    given: dict[str, Any] = {"TZ": "Europe/Paris", **env}
    ended = await iotd("query", *args, config=house.config, **given)
    assert "Traceback" not in ended.err
    return ended.code, ended.out, ended.err


WHOLE = ("--start", str(START / 1000))


async def test_csv_json_and_parquet_hold_every_reading(house: System, tmp_path: Path) -> None:
    code, out, err = await query(house, "location", "Sejour", "température", *WHOLE, "--output", "csv")
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(ms(r["time"]), r["sensor_id"], float(r["value"])) for r in rows] == expected("temperature")
    assert {(r["location"], r["type"], r["unit"]) for r in rows} == {("séjour", "temperature", "celsius")}
    assert rows[0]["time"].endswith(("+01:00", "+02:00"))

    ended = await iotd("query", "unit", "%", *WHOLE, "--output", "json", config=house.config)
    told = ended.json
    assert [(ms(r["time"]), r["sensor_id"], r["value"]) for r in told["readings"]] == expected("humidity")
    assert (told["complete"], told["count"], told["answers"][0]["role"]) == (True, len(told["readings"]), "master")

    file = tmp_path / "air.parquet"
    assert await query(house, "location", "séjour", "air_quality", *WHOLE, "--to", str(file)) == (0, "", "")
    table = pq.read_table(file)
    times = table["time"].cast("int64").to_pylist()
    columns = zip(times, table["sensor_id"].to_pylist(), table["value"].to_pylist(), strict=True)
    assert list(columns) == expected("air_quality")
    assert [f.name for f in tmp_path.iterdir()] == ["air.parquet"]


async def test_a_table_has_a_column_for_each_sensor_and_shows_the_ends_of_a_long_one(house: System) -> None:
    code, out, _ = await query(house, "location", "séjour", "temperature", *WHOLE, "--agg", "avg", "--bucket", "10m")
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "temperature in séjour, avg of 10m (°C)"
    assert lines[2].split() == ["time", "sensor", "1", "sensor", "2"]
    assert "Europe/Paris" in lines[-1]
    _, out, _ = await query(house, "location", "séjour", "all", *WHOLE)
    assert len(out.splitlines()) < 50
    assert "--all" in out.splitlines()[-1]
    _, out, _ = await query(house, "location", "séjour", "all", *WHOLE, "--all")
    assert len(out.splitlines()) > len(TIMES)


@pytest.mark.parametrize("kind", ["temperature", "all"])
async def test_a_table_in_a_terminal_too_narrow_for_it_cuts_no_number_short(house: System, kind: str) -> None:
    args = ("query", "location", "séjour", kind, *WHOLE, "--agg", "avg", "--bucket", "1h")
    wide = (await query(house, *args[1:]))[1]
    async with in_a_terminal(house, *args, columns=30) as terminal:
        shown = await read_until(terminal, "times in")
    for number in re.findall(r"\d+\.\d\b", wide):
        assert number in shown
    assert "…" not in shown


async def test_a_chart_names_unit_sensors_gap_and_zone(house: System) -> None:
    args = ("location", "séjour", "all", *WHOLE, "--output", "chart")
    code, out, err = await query(house, *args)
    assert (code, err) == (0, "")
    assert "\x1b" not in out  # a pipe
    for words in ("temperature (°C)", "humidity (%)", "air quality (AQI)", "sensor 1", "sensor 2"):
        assert words in out
    assert "Europe/Paris (UTC+0" in out.splitlines()[-1]
    assert "1 gap without readings" in out.splitlines()[-1]
    assert "\x1b[38;5;" in (await query(house, *args, FORCE_COLOR="1"))[1]
    assert "\x1b" not in (await query(house, *args, FORCE_COLOR="1", NO_COLOR="1"))[1]


@pytest.mark.parametrize("columns", [40, 80, 160])
async def test_a_chart_fits_the_terminal(house: System, columns: int) -> None:
    args = ("location", "séjour", "temperature", *WHOLE, "--output", "chart")
    _, out, _ = await query(house, *args, COLUMNS=str(columns), LINES="30")
    lines = out.rstrip("\n").splitlines()
    assert max(map(len, lines[:-1])) <= columns
    assert len(lines) <= 30


async def test_a_picture_is_a_png_and_goes_to_a_file_or_a_pipe(house: System, tmp_path: Path) -> None:
    file = tmp_path / "séjour.png"
    assert await query(house, "location", "séjour", "all", *WHOLE, "--to", str(file)) == (0, "", "")
    assert file.read_bytes().startswith(b"\x89PNG")
    assert await query(house, "unit", "celsius", *WHOLE, "--to", str(tmp_path / "a.svg")) == (0, "", "")
    assert "Europe/Paris" in (tmp_path / "a.svg").read_text()


@asynccontextmanager
async def in_a_terminal(house: System, *args: str, columns: int = 100) -> AsyncIterator[int]:
    """The command in a pseudo-terminal so wide; gives the end to read its output from."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    env = {**os.environ, "TERM": "xterm-256color", "TZ": "Europe/Paris"}
    command = [sys.executable, "-m", "iotd", "--config", str(house.config), *args]
    process = await asyncio.create_subprocess_exec(*command, stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    try:
        yield ours
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        os.close(ours)


async def read_until(terminal: int, text: str, limit: float = 60) -> str:
    seen = b""
    async with asyncio.timeout(limit):
        while text.encode() not in seen:
            seen += await asyncio.to_thread(os.read, terminal, 65536)
    return seen.decode(errors="replace")


async def test_bytes_are_not_written_to_a_terminal(house: System) -> None:
    async with in_a_terminal(house, "query", "unit", "celsius", "--output", "png") as terminal:
        assert "name a file: --to readings.png" in await read_until(terminal, "readings.png")


async def test_status_keeps_watching_in_a_narrow_terminal(house: System) -> None:
    async with in_a_terminal(house, "status", "--watch") as terminal:
        first = await read_until(terminal, "no daemon runs")
        assert "master" in first
        assert "Sentinels" in first
        await read_until(terminal, "no daemon runs")  # and again, a second later


async def test_a_reader_that_leaves_early_is_no_error(house: System) -> None:
    command = f"'{sys.executable}' -m iotd --config '{house.config}' query unit celsius --start -3h --output csv --all"
    process = await asyncio.create_subprocess_shell(
        f"{command} | head -2; exit ${{PIPESTATUS[0]}}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        executable="/bin/bash",
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert len(out.splitlines()) == 2
    assert b"Traceback" not in err


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("location", "sejur", "temperature"), 64, "did you mean 'séjour'?"),
        (("location", "séjour", "temprature"), 64, "did you mean 'temperature'?"),
        (("unit", "celcius"), 64, "did you mean 'celsius'?"),
        (("unit", "celsius", "--start", "-1h", "--end", "-2h"), 64, "the start must come before the end"),
        (("unit", "celsius", "--start", "now", "--end", "now"), 64, "the end is not part of it"),
        (("unit", "celsius", "--start", "sometime"), 64, "can't read 'sometime' as a time; write it like -1h"),
        (("unit", "celsius", "--end", "25:00"), 64, "can't read '25:00'"),
        (("unit", "celsius", "--agg", "median", "--bucket", "1m"), 64, "there are avg, min, max"),
        (("unit", "celsius", "--agg", "avg"), 64, "needs a bucket"),
        (("unit", "celsius", "--bucket", "1m"), 64, "needs an aggregation"),
        (("unit", "celsius", "--bucket", "soon", "--agg", "avg"), 64, "write it like 30s, 1m, 1h or 1d"),
        (("unit", "celsius", "--sensor", "9"), 1, "no sensor 9 in celsius; there are 1, 2"),
        (("unit", "celsius", "--start", "2020-01-01", "--end", "2020-01-02"), 1, "they begin at 20"),
        (("unit", "celsius", "--to", "/nowhere/a.csv"), 64, "/nowhere/a.csv: can't be written"),
        (("unit", "celsius", "--output", "png", "--to", "a.docx"), 64, "the picture can't be written"),
    ],
)
async def test_bad_input_is_one_line_that_says_what_is_right(
    house: System, args: tuple[str, ...], code: int, says: str
) -> None:
    ended, out, err = await query(house, *args)
    assert says in err
    assert (ended, out, err.count("\n")) == (code, "", 1)


@pytest.mark.parametrize(
    ("module", "output", "extra"), [("matplotlib", "png", "iotd[png]"), ("pyarrow", "parquet", "iotd[parquet]")]
)
async def test_a_missing_extra_is_one_line_that_says_what_to_install(
    house: System, tmp_path: Path, module: str, output: str, extra: str
) -> None:
    (tmp_path / module).mkdir()
    (tmp_path / module / "__init__.py").write_text("raise ImportError('not installed')\n")
    args = ("unit", "celsius", "--to", str(tmp_path / f"a.{output}"))
    code, _, err = await query(house, *args, PYTHONPATH=str(tmp_path))
    assert (code, err.count("\n")) == (64, 1)
    assert f"pip install '{extra}'" in err
    assert not (tmp_path / f"a.{output}").exists()


async def test_distribution_for_people_and_programs(house: System) -> None:
    shown = await iotd("distribution", config=house.config)
    assert shown.code == 0
    assert f"{len(TIMES) * len(SENSORS):,}" in shown.out
    assert "1.00 times the mean" in shown.out
    told = (await iotd("distribution", "--output", "json", config=house.config)).json
    assert (told["samples"], told["imbalance"], told["shards"][0]["share"]) == (len(TIMES) * len(SENSORS), 1.0, 1.0)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("iotd que", "query"),
        ("iotd query location sé", "séjour"),
        ("iotd query unit per", "percent"),
        ("iotd query unit celsius --output ch", "chart"),
        ("iotd query unit celsius --agg std", "std.p"),
        ("iotd sensors calibrate 0x0015 --type temp", "temperature"),
        ("iotd stack stop redis-séjour-r", "redis-séjour-replica"),
    ],
)
async def test_a_shell_completes(house: System, words: str, offered: str) -> None:
    asked: dict[str, Any] = {
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
        "_IOTD_COMPLETE": "bash_complete",
        "IOTD_CONFIG": str(house.config),
    }
    ended = await iotd(**asked)
    assert ended.out.splitlines() == [f"plain,{offered}"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_completion_scripts_call_iotd(shell: str) -> None:
    ended = await iotd("completion", shell)
    assert ended.code == 0
    assert "_IOTD_COMPLETE" in ended.out


async def test_help_brings_none_of_the_heavy_libraries() -> None:
    code = "import sys; from iotd.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted(m for m in ('numpy', 'redis', 'aiohttp', 'pydantic', 'rich') if m in sys.modules))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert out.decode().splitlines()[-1] == "[]"
