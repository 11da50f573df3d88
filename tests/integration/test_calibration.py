"""Calibrated queries over a real shard and archive: every aggregation is that of the calibrated readings."""

from __future__ import annotations

import json
import math
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iotd import ShardingSystem
from iotd.model.aggregate import AGGREGATIONS
from iotd.model.calibration import Line
from iotd.model.series import Series
from iotd.ops.control import request as ask
from iotd.producer import Producer, reading
from iotd.query.result import Readings
from tests.conftest import FreshSystem
from tests.contract.memory import aggregate
from tests.servers.daemon import Ended, iotd, running_daemon
from tests.servers.influxdb import InfluxServer
from tests.servers.system import System

STEP = 20_000
NOW = time.time_ns() // 1_000_000 // STEP * STEP
HOUR = 3_600_000
REPLACED = NOW - HOUR
"""The old sensor's last reading is before it, and the new one's first."""
NORTH, DAMP = Series("temperature", "salon", "0xa1"), Series("humidity", "salon", "0xa1")
METER = Series("energy", "salon", "meter")


def value_of(kind: str, at: int) -> float:
    if kind == "energy":
        return (at - NOW + 3 * HOUR) / STEP  # 0, 1, 2 …
    return round(20 + 10 * math.sin(at / 1e6) + (at // STEP % 7) / 10, 2)


async def hand_over(system: System, sensor: str, kinds: tuple[str, ...], first: int, stop: int) -> None:
    """Readings of a sensor in the salon, every 20 s."""
    times = range(first, stop, STEP)
    said = [reading(kind, "salon", sensor, value_of(kind, at), time=at / 1000) for at in times for kind in kinds]
    async with Producer(system.settings.state) as producer:
        for at in range(0, len(said), 500):
            await producer.put_many(said[at : at + 500])
    await ask(system.settings.state, "POST", "/check", {"location": "salon"})


async def say(system: System, *args: str) -> Ended:
    return await iotd("sensors", *args, config=system.config)


def expect(found: Readings, stored: Readings, calibrated: dict[Series, list[tuple[int, Line]]]) -> None:
    """The readings, or buckets, of the stored ones, each calibrated by the last line that began before it."""
    raw = stored.by_sensor()
    assert set(found.by_sensor()) == set(raw)
    for sensor, (starts, got) in found.by_sensor().items():
        times, values = raw[sensor]
        true = values.copy()
        for since, line in calibrated.get(sensor, []):
            true[times >= since] = values[times >= since] * line.factor + line.offset
        if found.aggregation is None or found.aggregation == "increase":
            assert got.tolist() == true.tolist()
            continue
        shares = np.split(true, np.searchsorted(times, starts[1:]))
        wanted = [aggregate(found.aggregation, share) for share in shares]
        exact = 1e-5 if found.aggregation == "std.p" else 1e-9
        np.testing.assert_allclose(got, wanted, rtol=exact, atol=1e-5, err_msg=f"{found.aggregation} {sensor.key}")


@pytest.mark.parametrize("sink", ["embedded", "influxdb"])
async def test_a_sensor_is_calibrated_and_replaced_and_each_of_both_goes_by_its_own(
    fresh_system: FreshSystem, request: pytest.FixtureRequest, sink: str, tmp_path: Path
) -> None:
    overrides: dict[str, Any] = {"archive": {"store": f"{sink}:", "interval": "1h"}, "simulator": {"enabled": "off"}}
    if sink == "influxdb":
        server: InfluxServer = request.getfixturevalue("influxdb")
        bucket = server.make_bucket(f"c{uuid.uuid4().hex}")
        overrides["influxdb"] = {"url": server.url, "org": server.org, "token": server.token, "bucket": bucket}
    system = fresh_system(("salon", "cuisine"), **overrides)
    state = system.settings.state
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        await hand_over(system, "0xa1", ("temperature", "humidity"), NOW - 3 * HOUR, REPLACED - STEP)
        await ask(state, "POST", "/archive/now")
        await hand_over(system, "0xa1", ("temperature", "humidity"), REPLACED - STEP, REPLACED)
        await hand_over(system, "meter", ("energy",), NOW - 3 * HOUR, NOW)

        assert (await say(system, "replace", "0xa1", "90")).code == 0
        assert (await say(system, "rename", "90", "Fenêtre nord")).code == 0
        await hand_over(system, "90", ("temperature", "humidity"), REPLACED, NOW)
        ended = await say(system, "calibrate", "0xa1", "--type", "temperature", "--offset", "-0.5")
        assert ended.out == "temperature of 0xa1: × factor + offset: - 0.5\n"
        since = NOW - HOUR // 2 + 7
        ended = await say(system, "calibrate", "fenetre nord", "--type", "temp", "--factor", "-1.5", "--offset", "60")
        assert ended.out.startswith("temperature of 90:"), ended.err
        assert (
            await say(system, "calibrate", "90", "--type", "temp", "--factor", "2", "--since", str(since))
        ).code == 0
        assert (await say(system, "calibrate", "meter", "--factor", "0.01", "--offset", "7")).code == 0
        calibrated = {
            NORTH: [(0, Line(offset=-0.5)), (REPLACED - STEP + 1, Line(-1.5, 60)), (since, Line(2.0))],
            METER: [(0, Line(0.01, 7.0))],
        }
        await it_is_right(system, calibrated, "45s", "17m", "1d")
        await people_see_it(system, tmp_path)

        await ask(state, "POST", "/archive/now")  # now nothing is in the shard alone
        await it_is_right(system, calibrated, "17m")
        assert (await say(system, "calibrate", "90", "--type", "temperature", "--none")).out.endswith(
            "as it is stored\n"
        )
        calibrated[NORTH] = [(0, Line(offset=-0.5)), (REPLACED - STEP + 1, Line())]
        assert await daemon.stop() == 0
    await it_is_right(system, calibrated, "1d")  # no daemon is needed
    (state / "sensors.json").write_text("{")
    span = ["--start", str((NOW - HOUR) / 1000), "--end", str(NOW / 1000)]
    ended = await iotd("query", "location", "salon", "temperature", *span, config=system.config)
    assert (ended.code, ended.err.count("\n")) == (73, 1)
    assert "calibrations can't be read" in ended.err
    assert (await iotd("query", "location", "salon", "temperature", *span, "--raw", config=system.config)).code == 0


async def it_is_right(system: System, calibrated: dict[Series, list[tuple[int, Line]]], *lengths: str) -> None:
    first, stop = (NOW - 3 * HOUR) / 1000, NOW / 1000
    async with ShardingSystem.connect(system.config) as s:
        stored = await s.query_location_data("salon", None, first, stop, raw=True)
        assert not stored.calibrated
        assert set(stored.sensors) == {NORTH, DAMP, METER}
        for sensor, (times, values) in stored.by_sensor().items():
            assert times.tolist() == list(range(NOW - 3 * HOUR, NOW, STEP))
            assert values.tolist() == [value_of(sensor.type, at) for at in times.tolist()]
        found = await s.query_location_data("salon", None, first, stop)
        assert found.calibrated
        expect(found, stored, calibrated)
        for kind in ("temperature", "humidity"):
            of_kind = await s.query_location_data("salon", kind, first, stop, raw=True)
            for what in AGGREGATIONS:
                for bucket in lengths:
                    buckets = await s.query_location_data("salon", kind, first, stop, agg=what, bucket=bucket)
                    expect(buckets, of_kind, calibrated)
                    assert buckets.calibrated is (kind == "temperature" and what != "count")
        grown = await s.query_location_data("salon", "energy", first, stop, agg="increase", bucket="1h")
        assert grown.values.sum() == pytest.approx(0.01 * (3 * HOUR // STEP - 1))


async def people_see_it(system: System, tmp_path: Path) -> None:
    """The list of sensors, the table, JSON and the export."""
    listed = json.loads((await say(system, "--output", "json")).out)
    north = next(one for one in listed if (one["type"], one["sensor"]) == ("temperature", "0xa1"))
    assert north["raw"] == value_of("temperature", NOW - STEP)
    assert north["value"] == north["raw"] * 2
    assert [span["factor"] for span in north["calibration"]] == [1.0, -1.5, 2.0]
    assert "× 0.01 + 7" in (await say(system)).out

    span = ["--start", str((NOW - HOUR) / 1000), "--end", str(NOW / 1000)]
    for raw in ([], ["--raw"]):
        table = await iotd("query", "location", "salon", "temperature", *span, *raw, config=system.config)
        assert table.out.splitlines()[0].count("calibrated") == int(not raw), table.out
        as_json = await iotd("query", "location", "salon", "all", *span, *raw, "--output", "json", config=system.config)
        assert json.loads(as_json.out)["calibrated"] is not bool(raw)
    exported = tmp_path / "salon.csv"
    assert (await iotd("export", "salon", "temperature", "--to", str(exported), config=system.config)).code == 0
    values = [float(line.rsplit(",", 1)[1]) for line in exported.read_text().splitlines()[1:]]
    assert values == [value_of("temperature", at) for at in range(NOW - 3 * HOUR, NOW, STEP)]


async def test_what_is_not_clear_or_can_not_be_is_refused_and_sensors_of_one_id_have_their_own(
    fresh_system: FreshSystem,
) -> None:
    system = fresh_system(("salon", "cuisine"), archive={"store": "embedded:"}, simulator={"enabled": "off"})
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        async with Producer(system.settings.state) as producer:
            await producer.put("temperature", "salon", "thermo", 20)
            await producer.put("humidity", "salon", "thermo", 50)
            await producer.put("energy", "salon", "meter", 7)
            await producer.put("contact", "salon", "door", 1)
            await producer.put("temperature", "cuisine", "1", 20)
            await producer.put("temperature", "salon", "1", 20)
        for args, told in [
            (("thermo", "--offset", "1"), "has humidity and temperature: say which one with --type"),
            (("thermo", "--type", "co2", "--offset", "1"), "there is no co2 of it; it has humidity and temperature"),
            (("thermo", "--type", "temperatur", "--offset", "1"), "did you mean 'temperature'"),
            (("nobody", "--offset", "1"), "no sensor of that id or name was ever seen"),
            (("door", "--offset", "1"), "contact is a state, and can't be calibrated"),
            (("1", "--offset", "1"), "is in cuisine and salon: give --location"),
            (
                ("meter", "--offset", "1", "--location", "cuisine"),
                "no energy of it in cuisine; it is in salon",
            ),
            (("meter", "--factor", "0"), "give another one than 0"),
            (("meter", "--offset", "nan"), "offset nan: give a number"),
            (("meter", "--factor=-inf"), "factor -inf: give a number"),
            (("meter",), "give --factor or --offset or both, or else --none"),
            (("meter", "--none", "--offset", "1"), "or else --none"),
            (("meter", "--offset", "1", "--since", "whenever"), "can't read 'whenever' as a time"),
        ]:
            ended = await say(system, "calibrate", *args)
            assert (ended.code, ended.err.count("\n")) == (64, 1), (args, ended)
            assert told in ended.err
        ended = await say(system, "replace", "meter", "meter")
        assert (ended.code, "can't replace itself" in ended.err) == (64, True)
        assert not (system.settings.state / "sensors.json").exists()

        async def shown() -> dict[str, float]:
            listed = json.loads((await say(system, "--output", "json")).out)
            return {one["location"]: one["value"] for one in listed if one["sensor"] == "1"}

        ended = await say(system, "calibrate", "1", "--offset", "1", "--location", "cuisine")
        assert ended.out == "temperature of 1 in cuisine: × factor + offset: + 1\n"
        assert await shown() == {"salon": 20, "cuisine": 21}
        assert (await say(system, "calibrate", "1", "--factor", "2", "--location", "all")).code == 0
        assert await shown() == {"salon": 40, "cuisine": 40}

        # one that replaces another that replaced a third continues the third's series
        assert (await say(system, "replace", "meter", "meter 2")).code == 0
        assert (await say(system, "replace", "meter 2", "meter 3")).code == 0
        assert (await say(system, "calibrate", "meter 3", "--offset", "100")).code == 0
        async with Producer(system.settings.state) as producer:
            await producer.put("energy", "salon", "meter 3", 3)
        listed = json.loads((await say(system, "--output", "json")).out)
        assert [(one["sensor"], one["raw"], one["value"]) for one in listed if one["type"] == "energy"] == [
            ("meter", 3, 103)
        ]
        assert await daemon.stop() == 0
