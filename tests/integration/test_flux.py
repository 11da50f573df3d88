"""Every query of the Flux cookbook (iotd/stores/influxdb/flux.md) and of the README, on a real InfluxDB."""

from __future__ import annotations

import csv
import io
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

import iotd.stores.influxdb
from iotd.config import Settings
from iotd.model.batch import Times, Values
from iotd.model.series import Series
from iotd.sources.simulator.signal import Signal, sensors
from iotd.stores.influxdb.store import InfluxStore
from iotd.stores.points import Points
from tests.servers.influxdb import InfluxServer
from tests.servers.system import blocking, make_settings

COOKBOOK = Path(iotd.stores.influxdb.__file__).with_name("flux.md")
README = Path(__file__).parents[2] / "README.md"
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
LOCATIONS = ("salon", "chambre1", "cuisine")
SILENT = Series("humidity", "cuisine", "2")
"""Stops reading two hours before the end."""

Row = dict[str, str]


@dataclass
class Written:
    """What is in the bucket: eight days until now, a reading a minute, two sensors of each type in three rooms."""

    server: InfluxServer
    bucket: str
    times: Times
    values: dict[Series, Values]
    settings: Settings

    async def ask(self, flux: str) -> tuple[int, list[Row]]:
        """The rows of an answer, and the ms at which it was asked."""
        now = time.time_ns() // 1_000_000
        sink = InfluxStore(self.settings, self.server.url)  # its connections belong to one test's loop
        try:
            text = (await sink.query(flux.replace("sensors_archive", self.bucket))).decode()
        finally:
            await sink.close()
        rows: list[Row] = []
        for block in re.split(r"\r?\n\r?\n", text.strip()):
            rows += list(csv.DictReader(io.StringIO(block)))
        assert not any("error" in row for row in rows), rows
        return now, rows

    def of(self, kind: str, location: str | None = None, sensor: str | None = None) -> list[Series]:
        return [
            s
            for s in self.values
            if s.type == kind and location in (None, s.location) and sensor in (None, s.sensor_id)
        ]

    def since(self, sensor: Series, first: int, stop: int) -> tuple[Times, Values]:
        upto = self.times[-1] - 2 * HOUR if sensor == SILENT else self.times[-1]
        inside = (self.times >= first) & (self.times < stop) & (self.times <= upto)
        return self.times[inside], self.values[sensor][inside]

    def mean(self, sensors: list[Series], first: int, stop: int) -> float:
        return float(np.concatenate([self.since(s, first, stop)[1] for s in sensors]).mean())


@pytest.fixture(scope="module")
def written(influxdb: InfluxServer, tmp_path_factory: pytest.TempPathFactory) -> Written:
    bucket = influxdb.make_bucket(f"flux{uuid.uuid4().hex}")
    influx = {"url": influxdb.url, "org": influxdb.org, "token": influxdb.token, "bucket": bucket}
    settings = make_settings(tmp_path_factory.mktemp("flux"), 12_000, ["salon"], influxdb=influx)
    end = time.time_ns() // 1_000_000 // MINUTE * MINUTE
    times = np.arange(end - 8 * DAY, end + 1, MINUTE, dtype=np.int64)
    values: dict[Series, Values] = {}
    for location in LOCATIONS:
        series = sensors(location, ["temperature", "humidity", "air_quality"], 2)
        table = Signal(1, series).values(times)
        values |= {sensor: table[:, i] for i, sensor in enumerate(series)}

    async def load() -> None:
        sink = InfluxStore(settings, influxdb.url)
        try:
            for sensor, its in values.items():
                upto = len(times) - 120 if sensor == SILENT else len(times)
                samples = [
                    (t, repr(v).encode()) for t, v in zip(times[:upto].tolist(), its[:upto].tolist(), strict=True)
                ]
                for start in range(0, len(samples), 5_000):
                    await sink.write([Points.of(sensor, samples[start : start + 5_000])])
        finally:
            await sink.close()

    blocking(load())
    return Written(influxdb, bucket, times, values, settings)


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def near(found: str, wanted: float) -> None:
    assert float(found) == pytest.approx(wanted, rel=1e-9, abs=1e-9)


# ── what each query must answer, by its heading ──


async def minute_means(w: Written, flux: str) -> None:
    _, rows = await w.ask(flux)
    full = [row for row in rows if row["_value"]]
    assert {row["sensor_id"] for row in full} == {"1", "2"}
    assert len(full) >= 2 * 59
    for row in full:
        (sensor,) = w.of("temperature", "salon", row["sensor_id"])
        stop = ms(row["_time"])
        if ms(row["_start"]) <= stop - MINUTE and stop % MINUTE == 0:
            near(row["_value"], w.mean([sensor], stop - MINUTE, stop))


async def daily_means(w: Written, flux: str) -> None:
    now, rows = await w.ask(flux)
    assert {row["location"] for row in rows} == set(LOCATIONS)
    paris = ZoneInfo("Europe/Paris")
    whole = 0
    for row in rows:
        begins = datetime.fromisoformat(row["_time"]).astimezone(paris)
        if begins.time().isoformat() != "00:00:00":
            continue  # the first day, of which the range holds a part
        ends = begins.replace(hour=0) + (datetime(2026, 1, 2) - datetime(2026, 1, 1))
        stop = min(round(ends.timestamp() * 1000), now)
        near(row["_value"], w.mean(w.of("temperature", row["location"]), ms(row["_time"]), stop))
        whole += 1
    assert whole >= 3 * 6


async def humidity_of_days(w: Written, flux: str) -> None:
    _, rows = await w.ask(flux)
    assert len(rows) >= 3 * 7
    for row in rows:
        first = ms(row["_start"])
        if first % DAY:
            continue
        found = np.concatenate([w.since(s, first, first + DAY)[1] for s in w.of("humidity", row["location"])])
        near(row["lowest"], found.min())
        near(row["mean"], found.mean())
        near(row["highest"], found.max())


async def moving_means(w: Written, flux: str) -> None:
    _, rows = await w.ask(flux)
    checked = 0
    for row in rows:
        (sensor,) = w.of("air_quality", "cuisine", row["sensor_id"])
        stop = ms(row["_time"])
        if row["_value"] and ms(row["_start"]) <= stop - HOUR and stop < ms(row["_stop"]):
            near(row["_value"], w.mean([sensor], stop - HOUR, stop))
            checked += 1
    assert checked > 100


async def quantiles(w: Written, flux: str) -> None:
    now, rows = await w.ask(flux)
    assert {row["location"] for row in rows} == set(LOCATIONS)
    for row in rows:
        found = np.concatenate([w.since(s, now - 7 * DAY, now)[1] for s in w.of("air_quality", row["location"])])
        assert float(row["_value"]) == pytest.approx(float(np.quantile(found, 0.95)), abs=1.0)


async def rooms_beside(w: Written, flux: str) -> None:
    now, rows = await w.ask(flux)
    assert len(rows) in (24, 25)
    for row in rows:
        stop = ms(row["_time"])
        if stop % HOUR == 0 and stop - HOUR >= now - DAY + MINUTE:
            for location in LOCATIONS:
                near(row[location], w.mean(w.of("temperature", location), stop - HOUR, stop))


async def warmer(w: Written, flux: str) -> None:
    now, rows = await w.ask(flux)
    assert len(rows) in (24, 25)
    for row in rows:
        stop = ms(row["_time"])
        if stop % HOUR == 0 and stop - HOUR >= now - DAY + MINUTE:
            means = [w.mean(w.of("temperature", room), stop - HOUR, stop) for room in ("salon", "chambre1")]
            near(row["warmer"], means[0] - means[1])


async def from_cold_to_warm(w: Written, flux: str) -> None:
    _, rows = await w.ask(flux)
    last = {room: float(np.mean([w.values[s][-1] for s in w.of("temperature", room)])) for room in LOCATIONS}
    assert [row["location"] for row in rows] == sorted(LOCATIONS, key=last.__getitem__)
    for row in rows:
        near(row["_value"], last[row["location"]])


async def dew_points(w: Written, flux: str) -> None:
    now, rows = await w.ask(flux)
    checked = 0
    for row in rows:
        stop = ms(row["_time"])
        if stop % (10 * MINUTE) or stop - 10 * MINUTE < now - DAY + MINUTE or not row["humidity"]:
            continue
        t, h = (
            w.mean(w.of(kind, row["location"], row["sensor_id"]), stop - 10 * MINUTE, stop)
            for kind in ("temperature", "humidity")
        )
        g = np.log(h / 100) + 17.62 * t / (243.12 + t)
        near(row["dew_point"], 243.12 * g / (17.62 - g))
        assert float(row["dew_point"]) < t
        checked += 1
    assert checked > 500


async def too_damp(w: Written, flux: str) -> None:
    now, rows = await w.ask(flux)
    means = {room: w.mean(w.of("humidity", room), now - 10 * MINUTE, now) for room in LOCATIONS}
    assert {row["location"] for row in rows} == {room for room, mean in means.items() if mean > 46}
    # whatever the hour, the query has something to find, and something to leave out
    middle = sorted(means.values())[1]
    _, rows = await w.ask(flux.replace("46.0", f"{middle - 1e-9:.12f}"))
    assert len(rows) == 2


async def bad_air(w: Written, flux: str) -> None:
    now, rows = await w.ask(flux)
    (sensor,) = w.of("air_quality", "cuisine", "1")
    times, values = w.since(sensor, now - 2 * DAY, now)
    bad = values > 60
    assert len(rows) == bad.sum() > 0
    begins = np.flatnonzero(bad & ~np.concatenate(([False], bad[:-1])))
    longest = max(int(row["stateDuration"]) for row in rows)
    spells = [int(np.argmin(np.concatenate((bad[i:], [False])))) - 1 for i in begins]
    assert longest == max(spells)
    assert times[begins[0]] == ms(rows[0]["_time"])


async def silent(w: Written, flux: str) -> None:
    _, rows = await w.ask(flux)
    (row,) = rows
    assert (row["_measurement"], row["location"], row["sensor_id"]) == ("humidity", "cuisine", "2")
    assert 7200 <= int(row["silent_s"]) < 7500


async def disagreeing(w: Written, flux: str) -> None:
    now, rows = await w.ask(flux)
    found = {(row["location"], ms(row["_time"])) for row in rows}
    for location in LOCATIONS:
        for stop in range(now // HOUR * HOUR - 22 * HOUR, now // HOUR * HOUR + 1, HOUR):
            one, two = (w.mean([s], stop - HOUR, stop) for s in w.of("temperature", location))
            assert ((location, stop) in found) == (abs(one - two) > 1.0)
    assert found


async def missing_hours(w: Written, flux: str) -> None:
    now, rows = await w.ask(flux)
    # only the first and the last hour are not whole
    starts = {ms(row["_time"]) for row in rows}
    assert starts <= {now - DAY, now // HOUR * HOUR} | {t for t in starts if abs(t - (now - DAY)) < MINUTE}
    assert rows


async def hourly_task(w: Written, flux: str) -> None:
    hourly = w.server.make_bucket(f"hourly{uuid.uuid4().hex}")
    now, _ = await w.ask(flux.replace("sensors_hourly", hourly))
    _, rows = await w.ask(f'from(bucket: "{hourly}") |> range(start: -3h)')
    assert {row["_field"] for row in rows} == {"value"}
    whole = [row for row in rows if ms(row["_time"]) == now // HOUR * HOUR - HOUR]
    assert len(whole) == len(w.values) - (now // HOUR * HOUR - HOUR > int(w.times[-1]) - 2 * HOUR)
    for row in whole:
        (sensor,) = w.of(row["_measurement"], row["location"], row["sensor_id"])
        near(row["_value"], w.mean([sensor], ms(row["_time"]), ms(row["_time"]) + HOUR))


CHECKS: dict[str, Callable[[Written, str], Awaitable[None]]] = {
    "The mean of each minute in the salon": minute_means,
    "Daily means of each room, by local days": daily_means,
    "Lowest, mean and highest humidity of each day": humidity_of_days,
    "A smooth curve: the mean of the last hour, every ten minutes": moving_means,
    "What 95 % of the readings stay below": quantiles,
    "Rooms beside each other, hour by hour": rooms_beside,
    "How much warmer the salon is than chambre1": warmer,
    "The rooms from cold to warm, now": from_cold_to_warm,
    "The dew point, from temperature and humidity of the same sensor place": dew_points,
    "Rooms that were too damp for the last ten minutes": too_damp,
    "When and how long the air in the kitchen was bad": bad_air,
    "Sensors that fell silent": silent,
    "Sensors of one room that disagree": disagreeing,
    "Hours with readings missing": missing_hours,
    "A task that keeps hourly means in a bucket of their own": hourly_task,
}


def queries() -> dict[str, str]:
    """The queries of the cookbook, by heading."""
    found = re.findall(r"^### (.+?)\n(?:(?!^#).)*?^```flux\n(.*?)^```", COOKBOOK.read_text(), re.M | re.S)
    assert len(found) == COOKBOOK.read_text().count("```flux")
    return dict(found)


def test_every_query_of_the_cookbook_has_a_check() -> None:
    assert list(queries()) == list(CHECKS)


def test_the_query_of_the_readme_is_the_one_of_the_cookbook() -> None:
    readme = "\n".join(line.strip() for line in README.read_text().splitlines())
    wanted = "\n".join(line.strip() for line in queries()["The mean of each minute in the salon"].splitlines())
    assert wanted in readme


@pytest.mark.parametrize("heading", list(CHECKS))
async def test_a_query_of_the_cookbook_answers_what_was_written(written: Written, heading: str) -> None:
    await CHECKS[heading](written, queries()[heading])
