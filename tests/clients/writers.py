"""The clients of InfluxDB for Python: a program, run with the Python that they are installed for.

`writers.py HOW URL TOKEN SENSOR FIRST COUNT` writes so many temperatures of a sensor in the kitchen, the n-th with the
value 20 + n % 64 / 8 at the time FIRST + n (ms), and ends when its client says that they are written.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

Sample = tuple[int, float]


def sync(url: str, token: str, sensor: str, samples: Sequence[Sample]) -> None:
    """influxdb-client, each write by itself, in each form that it takes."""
    from influxdb_client import InfluxDBClient, Point, WritePrecision
    from influxdb_client.client.write_api import SYNCHRONOUS

    with InfluxDBClient(url, token, org="any", enable_gzip=True) as client:
        assert client.ping()
        assert client.version() == "v2.7.12"
        assert client.health().status == "pass"
        writing = client.write_api(write_options=SYNCHRONOUS)
        tags = {"room": "kitchen", "sensor_id": sensor}
        for n, (at, value) in enumerate(samples):
            point = Point("temperature").tag("room", "kitchen").tag("sensor_id", sensor).field("value", value)
            line = f"temperature,room=kitchen,sensor_id={sensor} value={value} {at}"
            table = {"measurement": "temperature", "tags": tags, "fields": {"value": value}, "time": at}
            forms: list[Any] = [point.time(at, WritePrecision.MS), line, table, [line], line.encode()]
            writing.write("any", record=forms[n % len(forms)], write_precision=WritePrecision.MS)


def batching(url: str, token: str, sensor: str, samples: Sequence[Sample]) -> None:
    """influxdb-client, in batches, from a thread of its own, with its retries."""
    from influxdb_client import InfluxDBClient, Point, WriteOptions, WritePrecision

    options = WriteOptions(
        batch_size=50, flush_interval=100, retry_interval=300, max_retries=30, max_retry_delay=1_000, jitter_interval=0
    )
    with (
        InfluxDBClient(url, token, org="any", enable_gzip=True) as client,
        client.write_api(write_options=options) as writing,
    ):
        for at, value in samples:
            point = Point("temperature").tag("room", "kitchen").tag("sensor_id", sensor).field("value", value)
            writing.write("any", record=point.time(at, WritePrecision.MS), write_precision=WritePrecision.MS)


def asynchronous(url: str, token: str, sensor: str, samples: Sequence[Sample]) -> None:
    """influxdb-client's asyncio API, several writes at once."""
    from influxdb_client import Point, WritePrecision
    from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync

    async def write() -> None:
        async with InfluxDBClientAsync(url, token, org="any", enable_gzip=True) as client:
            assert await client.ping()
            points = [
                Point("temperature")
                .tag("room", "kitchen")
                .tag("sensor_id", sensor)
                .field("value", value)
                .time(at, "ms")
                for at, value in samples
            ]
            parts = [points[n : n + 10] for n in range(0, len(points), 10)]
            writing = client.write_api()
            done = [writing.write("any", record=part, write_precision=WritePrecision.MS) for part in parts]
            assert all(await asyncio.gather(*done))

    asyncio.run(write())


def first(url: str, token: str, sensor: str, samples: Sequence[Sample]) -> None:
    """influxdb, the client of InfluxDB 1."""
    from influxdb import InfluxDBClient

    host, _, port = url.removeprefix("http://").partition(":")
    client = InfluxDBClient(host, int(port), "anyone", token, database="home", gzip=True)
    assert client.ping()
    client.create_database("home")
    assert client.get_list_database()
    tags = {"room": "kitchen", "sensor_id": sensor}
    points = [
        {"measurement": "temperature", "tags": tags, "fields": {"value": value}, "time": at} for at, value in samples
    ]
    half = len(points) // 2
    assert client.write_points(points[:half], time_precision="ms", batch_size=25)
    lines = [f"temperature,room=kitchen,sensor_id={sensor} value={value} {at}" for at, value in samples[half:]]
    assert client.write_points(lines, time_precision="ms", protocol="line")
    client.close()


def third(url: str, token: str, sensor: str, samples: Sequence[Sample]) -> None:
    """influxdb3-python, by the write API of InfluxDB 3 and by that of 2."""
    from influxdb_client_3 import InfluxDBClient3, Point

    half = len(samples) // 2
    for by_v2, some in ((False, samples[:half]), (True, samples[half:])):
        with InfluxDBClient3(url, database="any", token=token, write_use_v2_api=by_v2, enable_gzip=True) as client:
            assert client.get_server_version() == "v2.7.12"
            points = [
                Point("temperature")
                .tag("room", "kitchen")
                .tag("sensor_id", sensor)
                .field("value", value)
                .time(at, "ms")
                for at, value in some
            ]
            client.write(points, write_precision="ms")


HOW = {"sync": sync, "batching": batching, "asynchronous": asynchronous, "first": first, "third": third}

if __name__ == "__main__":
    _, how, url, token, sensor, begin, count = sys.argv
    HOW[how](url, token, sensor, [(int(begin) + n, 20 + n % 64 / 8) for n in range(int(count))])
