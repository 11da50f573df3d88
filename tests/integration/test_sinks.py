"""The contract of an archive, kept by both: the embedded one and a real InfluxDB."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from iotd.archive.points import Points
from iotd.archive.sinks.base import Sink
from iotd.archive.sinks.embedded import EmbeddedSink
from iotd.archive.sinks.influxdb import InfluxSink
from iotd.model.errors import ArchiveRefused, ArchiveRejected, ArchiveUnavailable, ArchiveUnverifiable
from iotd.model.series import Series
from tests.servers.influxdb import InfluxServer
from tests.servers.system import make_settings

SALON = Series("temperature", "salon", "1")
CUISINE = Series("humidity", "cuisine", "2")
HOUR = 3_600_000
T0 = 1_790_000_000_000 // HOUR * HOUR


def influx_sink(server: InfluxServer, folder: Path, **overrides: Any) -> InfluxSink:
    token = folder / "token"
    token.parent.mkdir(parents=True, exist_ok=True)
    if not token.exists():
        token.write_text(server.token)
    values = {"url": server.url, "org": server.org, "token_file": str(token), **overrides}
    settings = make_settings(folder, 12_000, ["salon"], influxdb=values)
    assert settings.influxdb.url is not None
    return InfluxSink(settings, settings.influxdb.url)


@pytest.fixture(params=["embedded", "influxdb"])
async def sink(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Sink]:
    made: Sink
    if request.param == "embedded":
        made = EmbeddedSink(tmp_path / "archive.sqlite")
    else:
        server: InfluxServer = request.getfixturevalue("influxdb")
        bucket = server.make_bucket(f"b{uuid.uuid4().hex}")
        made = influx_sink(server, tmp_path, bucket=bucket)
    yield made
    await made.close()


async def test_what_was_acknowledged_can_be_read_with_the_same_value(sink: Sink) -> None:
    values = [b"21.5", b"-0.03", b"1e-05", b"100", b"19.999999999999996"]
    await sink.write([Points.of(SALON, [(T0 + 1000 * i, v) for i, v in enumerate(values)])])
    assert await sink.read(SALON, T0, T0 + 10_000) == [(T0 + 1000 * i, float(v)) for i, v in enumerate(values)]


async def test_an_empty_batch_changes_nothing(sink: Sink) -> None:
    await sink.write([])
    assert await sink.counts("salon", T0, T0 + HOUR - 1, HOUR) == {}


async def test_writing_again_changes_nothing_and_a_later_value_stands(sink: Sink) -> None:
    batch = [Points.of(SALON, [(T0, b"21.5"), (T0 + 1000, b"21.6")])]
    await sink.write(batch)
    await sink.write(batch)
    await sink.write([Points.of(SALON, [(T0, b"22")])])
    assert await sink.read(SALON, T0, T0 + 1000) == [(T0, 22.0), (T0 + 1000, 21.6)]
    assert await sink.counts("salon", T0, T0 + HOUR - 1, HOUR) == {SALON: {T0: 2}}


async def test_a_batch_may_hold_several_sensors_and_each_is_found_by_its_tags(sink: Sink) -> None:
    await sink.write([Points.of(SALON, [(T0, b"21.5")]), Points.of(CUISINE, [(T0, b"48.2")])])
    assert await sink.read(SALON, T0, T0) == [(T0, 21.5)]
    assert await sink.read(CUISINE, T0, T0) == [(T0, 48.2)]
    assert await sink.read(Series("humidity", "cuisine", "1"), T0, T0) == []


async def test_reading_takes_both_ends_and_nothing_beyond(sink: Sink) -> None:
    await sink.write([Points.of(SALON, [(T0 + i, b"1") for i in range(5)])])
    assert [time for time, _ in await sink.read(SALON, T0 + 1, T0 + 3)] == [T0 + 1, T0 + 2, T0 + 3]


async def test_counts_are_by_sensor_and_whole_bucket(sink: Sink) -> None:
    other = Series("air_quality", "salon", "3")
    samples = [(T0 + minute * 60_000, b"20") for minute in range(150)]
    await sink.write([Points.of(SALON, samples), Points.of(other, samples[:61]), Points.of(CUISINE, samples)])
    counts = await sink.counts("salon", T0, T0 + 149 * 60_000, HOUR)
    assert counts == {
        SALON: {T0: 60, T0 + HOUR: 60, T0 + 2 * HOUR: 30},
        other: {T0: 60, T0 + HOUR: 1},
    }
    # the last bucket is counted up to the end that was asked for
    assert (await sink.counts("salon", T0, T0 + 29 * 60_000, HOUR))[SALON] == {T0: 30}


async def test_a_value_that_is_no_number_is_rejected_and_the_batch_can_be_taken_apart(sink: Sink) -> None:
    with pytest.raises(ArchiveRejected):
        await sink.write([Points.of(SALON, [(T0, b"nan"), (T0 + 1000, b"21.5")])])
    await sink.write([Points.of(SALON, [(T0 + 1000, b"21.5")])])
    assert await sink.read(SALON, T0, T0 + 1000) == [(T0 + 1000, 21.5)]


async def test_names_with_accents_and_signs_come_back_as_they_were(sink: Sink) -> None:
    room = Series("temperature", "salle_à_manger-2", "1")
    await sink.write([Points.of(room, [(T0, b"21.5")])])
    assert await sink.read(room, T0, T0) == [(T0, 21.5)]
    assert await sink.counts("salle_à_manger-2", T0, T0 + HOUR - 1, HOUR) == {room: {T0: 1}}


async def test_influxdb_refuses_a_wrong_token_and_takes_up_the_right_one_from_the_file(
    influxdb: InfluxServer, tmp_path: Path
) -> None:
    bucket = influxdb.make_bucket(f"b{uuid.uuid4().hex}")
    token = tmp_path / "token"
    token.write_text("wrong")
    sink = influx_sink(influxdb, tmp_path, bucket=bucket)
    batch = [Points.of(SALON, [(T0, b"21.5")])]
    with pytest.raises(ArchiveRefused, match="token is wrong"):
        await sink.write([])
    with pytest.raises(ArchiveRefused, match="token is wrong or has expired"):
        await sink.write(batch)
    token.write_text(influxdb.token)
    await sink.write(batch)
    assert await sink.read(SALON, T0, T0) == [(T0, 21.5)]
    await sink.close()


async def test_influxdb_makes_the_missing_bucket_where_the_token_may_and_says_so(
    influxdb: InfluxServer, tmp_path: Path
) -> None:
    bucket = f"b{uuid.uuid4().hex}"
    sink = influx_sink(influxdb, tmp_path, bucket=bucket, bucket_retention="3650d")
    assert await sink.incarnation() is None
    with pytest.raises(ArchiveUnavailable, match="was missing and has been made"):
        await sink.write([Points.of(SALON, [(T0, b"1")])])
    await sink.write([Points.of(SALON, [(T0, b"1")])])
    assert await sink.read(SALON, T0, T0) == [(T0, 1.0)]
    first = await sink.incarnation()
    influxdb.drop_bucket(bucket)
    influxdb.make_bucket(bucket)
    assert first is not None
    assert await sink.incarnation() not in (None, first)
    await sink.close()


async def test_what_is_missing_or_not_allowed_is_refused_and_the_message_names_it(
    influxdb: InfluxServer, tmp_path: Path
) -> None:
    bucket = influxdb.make_bucket(f"b{uuid.uuid4().hex}")
    writes, reads = influxdb.make_token(bucket, "write"), influxdb.make_token(bucket, "read")
    for name, token, match, over in (
        ("a", writes, "'nowhere' is missing", {"bucket": "nowhere"}),
        ("b", writes, "no organisation 'nobody'", {"org": "nobody"}),
        ("c", reads, "may not use the bucket", {"bucket": bucket}),
        ("d", None, "no token", {"token_file": str(tmp_path / "none")}),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(token or "")
        sink = influx_sink(influxdb, tmp_path / name, **over)
        with pytest.raises(ArchiveRefused, match=match):
            await sink.write([Points.of(SALON, [(T0, b"1")])])
        await sink.close()


async def test_a_token_that_may_only_write_archives_and_can_not_be_verified_with(
    influxdb: InfluxServer, tmp_path: Path
) -> None:
    bucket = influxdb.make_bucket(f"b{uuid.uuid4().hex}")
    (tmp_path / "token").write_text(influxdb.make_token(bucket, "write"))
    sink = influx_sink(influxdb, tmp_path, bucket=bucket)
    await sink.write([Points.of(SALON, [(T0, b"1")])])
    with pytest.raises(ArchiveUnverifiable, match="may write the bucket"):
        await sink.counts("salon", T0, T0 + HOUR - 1, HOUR)
    assert await sink.incarnation() is None
    await sink.close()


async def test_an_influxdb_that_is_not_there_is_unavailable(influxdb: InfluxServer, tmp_path: Path) -> None:
    sink = influx_sink(influxdb, tmp_path, url="http://127.0.0.1:9")
    with pytest.raises(ArchiveUnavailable):
        await sink.write([Points.of(SALON, [(T0, b"1")])])
    await sink.close()


async def test_a_damaged_embedded_archive_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "archive.sqlite"
    path.write_bytes(b"this is no database, and long enough to be looked at as one" * 100)
    sink = EmbeddedSink(path)
    with pytest.raises(ArchiveRefused, match="move it away"):
        await sink.write([Points.of(SALON, [(T0, b"1")])])
    await sink.close()


_READER = """
import sqlite3, sys
seen = 0
while seen < int(sys.argv[2]):
    db = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
    for _ in range(20):
        count, last = db.execute("SELECT count(*), max(time) FROM samples").fetchone()
        assert count % 100 == 0, count  # whole writes only
        assert count >= seen, (count, seen)
        seen = count
    db.close()
"""


async def test_two_others_read_the_embedded_archive_while_it_is_written_and_see_whole_writes(tmp_path: Path) -> None:
    sink = EmbeddedSink(tmp_path / "archive.sqlite")
    batches = 200
    await sink.write([])
    readers = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", _READER, str(sink.path), str(100 * batches))
        for _ in range(2)
    ]
    for n in range(batches):
        first = T0 + n * 100_000
        await sink.write([Points.of(SALON, [(first + 1000 * i, b"21.5") for i in range(100)])])
        if n % 20 == 0:  # and so does iotd itself
            assert (await sink.counts("salon", T0, first + 100_000, 2 * HOUR))[SALON]
    async with asyncio.timeout(60):
        assert [await reader.wait() for reader in readers] == [0, 0]
    await sink.close()
