"""InfluxDB as a store: tokens, buckets, and what is said of either; the contract is tests/contract/test_stores.py."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from iotd.model.buckets import HOUR
from iotd.model.errors import ArchiveRefused, ArchiveUnavailable, ArchiveUnverifiable
from iotd.model.series import Series
from iotd.stores.base import samples_of
from iotd.stores.points import Points
from tests.contract.makers import influx_store
from tests.servers.influxdb import InfluxServer

SALON = Series("temperature", "salon", "1")
T0 = 1_790_000_000_000 // HOUR * HOUR


async def test_influxdb_refuses_a_wrong_token_and_takes_up_the_right_one_from_the_file(
    influxdb: InfluxServer, tmp_path: Path
) -> None:
    bucket = influxdb.make_bucket(f"b{uuid.uuid4().hex}")
    token = tmp_path / "token"
    token.write_text("wrong")
    store = influx_store(influxdb, tmp_path, bucket=bucket)
    batch = [Points.of(SALON, [(T0, b"21.5")])]
    with pytest.raises(ArchiveRefused, match="token is wrong"):
        await store.write([])
    with pytest.raises(ArchiveRefused, match="token is wrong or has expired"):
        await store.write(batch)
    token.write_text(influxdb.token)
    await store.write(batch)
    assert (await samples_of(store, SALON, T0, T0))[1].tolist() == [21.5]
    await store.close()


async def test_influxdb_makes_the_missing_bucket_where_the_token_may_and_says_so(
    influxdb: InfluxServer, tmp_path: Path
) -> None:
    bucket = f"b{uuid.uuid4().hex}"
    store = influx_store(influxdb, tmp_path, bucket=bucket, bucket_retention="3650d")
    assert await store.incarnation() is None
    with pytest.raises(ArchiveUnavailable, match="was missing and has been made"):
        await store.write([Points.of(SALON, [(T0, b"1")])])
    await store.write([Points.of(SALON, [(T0, b"1")])])
    assert (await samples_of(store, SALON, T0, T0))[1].tolist() == [1.0]
    first = await store.incarnation()
    influxdb.drop_bucket(bucket)
    influxdb.make_bucket(bucket)
    assert first is not None
    assert await store.incarnation() not in (None, first)
    await store.close()


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
        store = influx_store(influxdb, tmp_path / name, **over)
        with pytest.raises(ArchiveRefused, match=match):
            await store.write([Points.of(SALON, [(T0, b"1")])])
        await store.close()


async def test_a_token_that_may_only_write_archives_and_can_not_be_verified_with(
    influxdb: InfluxServer, tmp_path: Path
) -> None:
    bucket = influxdb.make_bucket(f"b{uuid.uuid4().hex}")
    (tmp_path / "token").write_text(influxdb.make_token(bucket, "write"))
    store = influx_store(influxdb, tmp_path, bucket=bucket)
    await store.write([Points.of(SALON, [(T0, b"1")])])
    with pytest.raises(ArchiveUnverifiable, match="may write the bucket"):
        await store.counts("salon", T0, T0 + HOUR - 1, HOUR)
    assert await store.incarnation() is None
    await store.close()


async def test_an_influxdb_that_is_not_there_is_unavailable(influxdb: InfluxServer, tmp_path: Path) -> None:
    store = influx_store(influxdb, tmp_path, url="http://127.0.0.1:9")
    with pytest.raises(ArchiveUnavailable):
        await store.write([Points.of(SALON, [(T0, b"1")])])
    await store.close()


async def test_a_token_that_may_write_may_delete_and_one_that_may_not_is_named(
    influxdb: InfluxServer, tmp_path: Path
) -> None:
    bucket = influxdb.make_bucket(f"b{uuid.uuid4().hex}")
    series = Series("temperature", "salon", "1")
    (tmp_path / "token").write_text(influxdb.make_token(bucket, "write"))
    store = influx_store(influxdb, tmp_path, bucket=bucket)
    await store.write([Points.of(series, [(1000, b"1"), (9000, b"2")])])
    await store.delete(series, 0, 5000)
    (tmp_path / "token").write_text(influxdb.make_token(bucket, "read"))
    times, _ = await samples_of(store, series, 0, 10_000)
    assert times.tolist() == [9000]
    with pytest.raises(ArchiveRefused, match="may not use the bucket"):
        await store.delete(series, 0, 10_000)
    await store.close()


async def test_in_a_bucket_that_is_missing_nothing_is_there_to_be_deleted(
    influxdb: InfluxServer, tmp_path: Path
) -> None:
    store = influx_store(influxdb, tmp_path, bucket=f"b{uuid.uuid4().hex}")
    with pytest.raises(ArchiveUnavailable, match="has been made"):
        await store.delete(Series("temperature", "salon", "1"), 0, 5000)
    await store.delete(Series("temperature", "salon", "1"), 0, 5000)
    await store.close()
    nowhere = influx_store(influxdb, tmp_path, org="nobody")
    with pytest.raises(ArchiveRefused, match="no organisation 'nobody'"):
        await nowhere.delete(Series("temperature", "salon", "1"), 0, 5000)
    await nowhere.close()
