"""Telegraf, as it is, with either of its outputs for InfluxDB: what it kept is in iotd once, whatever happens."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from iotd.model.series import Series
from iotd.stack.binaries import RedisBinaries
from tests.clients.building import TOKEN, Building, Readings, building, eventually
from tests.servers.clients import Program, client, running

pytestmark = [pytest.mark.redis, pytest.mark.ecosystem]

OUTPUTS = ("influxdb_v2", "influxdb")


@pytest.fixture(params=OUTPUTS)
def output(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def telegraf(house: Building, output: str, folder: Path, inputs: str, *, batch: int = 1000) -> Iterator[Program]:
    """Telegraf with these inputs, writing to the house; and what it wrote to a file, ``sent``."""
    where = {
        "influxdb_v2": f'organization = "any"\n  bucket = "any"\n  token = "{TOKEN}"',
        "influxdb": f'database = "telegraf"\n  username = "anyone"\n  password = "{TOKEN}"',
    }
    config = folder / "telegraf.conf"
    config.write_text(
        f"""
[agent]
  interval = "100ms"
  flush_interval = "200ms"
  round_interval = false
  metric_batch_size = {batch}
  metric_buffer_limit = 100000
  omit_hostname = true
[[outputs.{output}]]
  urls = ["{house.url}"]
  {where[output]}
[[outputs.file]]
  files = ["{folder / "sent"}"]
  data_format = "influx"
{inputs}
"""
    )
    with running([client("telegraf") / "telegraf", "--config", config], folder / "telegraf.log") as program:
        yield program


MOCK = """
[[inputs.mock]]
  metric_name = "environment"
  [inputs.mock.tags]
    room = "Grand salon"
    sensor_id = "{sensor}"
  [[inputs.mock.sine_wave]]
    name = "temperature"
    amplitude = 5.0
    period = 0.5
    phase = 0.0
    base_line = 21.0
  [[inputs.mock.constant]]
    name = "humidity"
    value = 45
"""


async def test_what_it_measures_is_on_the_house_exactly_as_it_sent_it(
    house: Building, output: str, tmp_path: Path
) -> None:
    sensor = f"mock {output}"
    sent = tmp_path / "sent"
    with telegraf(house, output, tmp_path, MOCK.format(sensor=sensor)) as program:
        await eventually(lambda: sent.exists() and sent.read_bytes().count(b"\n") > 20, 30, "it has sent some")
        program.alive()
        assert program.stop() == 0
    wanted: Readings = {Series(kind, "salon", sensor): [] for kind in ("temperature", "humidity")}
    for line in sent.read_text().splitlines():
        _, fields, ns = line.rsplit(" ", 2)
        for field in fields.split(","):
            kind, _, value = field.partition("=")
            wanted[Series(kind, "salon", sensor)].append((int(ns) // 1_000_000, float(value.rstrip("i"))))
    await house.comes_to_hold(wanted, sensor)


class Feed:
    """A file that grows, which Telegraf follows."""

    def __init__(self, path: Path, sensor: str) -> None:
        self.wanted: Readings = {Series("temperature", "cuisine", sensor): [], Series("co2", "salon", sensor): []}
        self.path = path
        self._sensor = sensor
        self._begun = time.time_ns() // 1_000_000 - 3_600_000
        self._count = 0
        path.touch()

    @property
    def inputs(self) -> str:
        return f"""
[[inputs.tail]]
  files = ["{self.path}"]
  initial_read_offset = "beginning"
  path_tag = ""
  data_format = "influx"
  max_undelivered_lines = 100000
"""

    def add(self, count: int) -> None:
        """So many more lines: of two sensors, in two rooms, as people name them, each at a time of its own."""
        names = {"temperature": "kitchen", "co2": r"living\ room"}
        lines = []
        for _ in range(count):
            self._count += 1
            at = self._begun + self._count
            for series, rows in self.wanted.items():
                value = 20.0 + self._count % 1000 / 10 if series.type == "temperature" else 400.0 + self._count
                rows.append((at, value))
                where = f"{series.type},room={names[series.type]},sensor_id={self._sensor}"
                lines.append(f"{where} value={value} {at}000000\n")
        with self.path.open("a") as file:
            file.write("".join(lines))


async def test_a_daemon_killed_while_it_sends_costs_nothing_that_it_kept(
    own_house: Building, output: str, tmp_path: Path
) -> None:
    feed = Feed(tmp_path / "feed", "tail")
    chance = random.Random(16)

    async def kill() -> None:
        for _ in range(4):
            await asyncio.sleep(chance.uniform(0.1, 1.5))  # at any moment of its sending
            await own_house.restart()

    with telegraf(own_house, output, tmp_path, feed.inputs, batch=200) as program:
        killing = asyncio.create_task(kill())
        while not killing.done():
            feed.add(20)
            await asyncio.sleep(0.05)
        await killing
        feed.add(20)
        await own_house.comes_to_hold(feed.wanted)
        program.alive()
    assert own_house.held() == []


async def test_a_wrong_token_keeps_all_until_it_is_the_right_one(
    own_house: Building, output: str, tmp_path: Path
) -> None:
    own_house.admit("another-token-altogether")
    feed = Feed(tmp_path / "feed", "refused")
    feed.add(100)
    with telegraf(own_house, output, tmp_path, feed.inputs) as program:
        await eventually(lambda: "401" in program.said, 30, "it says that its token is wrong")
        assert await own_house.stored() == {}
        own_house.admit("another-token-altogether", TOKEN)
        await own_house.comes_to_hold(feed.wanted)


async def test_what_is_too_large_for_one_request_comes_in_parts(redis_binaries: RedisBinaries, tmp_path: Path) -> None:
    feed = Feed(tmp_path / "feed", "large")
    feed.add(500)
    with building(redis_binaries, tmp_path, ingest={"body_limit": "8KiB"}) as house:
        await house.start()
        with telegraf(house, "influxdb_v2", tmp_path, feed.inputs) as program:
            await house.comes_to_hold(feed.wanted)
            assert "413" in program.said


async def test_what_is_no_reading_is_held_and_stops_nothing(house: Building, output: str, tmp_path: Path) -> None:
    feed = Feed(tmp_path / "feed", f"among others {output}".replace(" ", "_"))
    feed.add(10)
    with feed.path.open("a") as file:
        file.write(f'weather_station_{output},room=attic wind_direction="NNW"\ntemperature,room=attic value=3\n')
    feed.add(10)
    with telegraf(house, output, tmp_path, feed.inputs):
        await house.comes_to_hold(feed.wanted, "among_others_" + output)
    mine = [reason for reason, _, payload in house.held() if b"attic" in payload]
    assert sorted(set(mine)) == ["unknown location", "unknown type"]
