"""`iotd influx token rotate` and `iotd archive …` against a real InfluxDB, with and without a running daemon."""

from __future__ import annotations

import stat
import uuid
from pathlib import Path

import pytest

from iotd.config import Settings
from iotd.model.errors import ArchiveError, ArchiveRefused, ConfigError
from iotd.model.series import Series
from iotd.stores.base import samples_of
from iotd.stores.influxdb.store import InfluxStore
from iotd.stores.influxdb.token import rotate
from iotd.stores.points import Points
from tests.conftest import FreshSystem
from tests.servers.daemon import iotd, running_daemon
from tests.servers.influxdb import InfluxServer
from tests.servers.influxproxy import WRITE, Answer, running_proxy
from tests.servers.system import make_settings, until

SALON = Series("temperature", "salon", "1")
T0 = 1_790_000_000_000


def settings_for(server: InfluxServer, folder: Path, **influx: str) -> Settings:
    bucket = server.make_bucket(f"b{uuid.uuid4().hex}")
    token = folder / "token"
    token.write_text(server.make_token(bucket, "read", "write"))
    table = {"url": server.url, "org": server.org, "bucket": bucket, "token_file": str(token), **influx}
    return make_settings(folder, 12_000, ["salon"], influxdb=table)


async def test_a_new_token_is_stored_and_used_and_the_old_one_is_of_no_use(
    influxdb: InfluxServer, tmp_path: Path
) -> None:
    settings = settings_for(influxdb, tmp_path)
    token = tmp_path / "token"
    old = token.read_text()
    sink = InfluxStore(settings, influxdb.url)
    await sink.write([Points.of(SALON, [(T0, b"1")])])
    done = await rotate(settings, influxdb.url, keep_old=False)
    assert (done.stored, done.revoked) == (token, True)
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert token.read_text() != old
    await sink.write([Points.of(SALON, [(T0 + 1, b"2")])])  # not one write is refused
    assert (await samples_of(sink, SALON, T0, T0 + 1))[1].tolist() == [1.0, 2.0]
    await sink.close()
    token.write_text(old)
    revoked = InfluxStore(settings, influxdb.url)
    with pytest.raises(ArchiveRefused, match="wrong or has expired"):
        await revoked.write([])
    await revoked.close()


async def test_what_can_not_be_rotated_is_one_clear_line_and_changes_nothing(
    influxdb: InfluxServer, tmp_path: Path
) -> None:
    settings = settings_for(influxdb, tmp_path, password="wrong")
    token = tmp_path / "token"
    old = token.read_text()
    with pytest.raises(ArchiveRefused, match="'admin' can't sign in with this password"):
        await rotate(settings, influxdb.url, keep_old=False)
    with pytest.raises(ArchiveError, match=r"127\.0\.0\.1:9"):
        await rotate(settings, "http://127.0.0.1:9", keep_old=False)
    within = settings.model_copy(
        update={"influxdb": settings.influxdb.model_validate({"token": "abc", "url": influxdb.url})}
    )
    with pytest.raises(ConfigError, match=r"set influxdb\.token_file"):
        await rotate(within, influxdb.url, keep_old=False)
    assert token.read_text() == old


async def test_the_commands_with_a_running_daemon(
    fresh_system: FreshSystem, influxdb: InfluxServer, tmp_path: Path
) -> None:
    bucket = influxdb.make_bucket(f"b{uuid.uuid4().hex}")
    token = tmp_path / "token"
    token.write_text(influxdb.make_token(bucket, "read", "write"))
    async with running_proxy(influxdb.url) as proxy:
        influx = {"url": proxy.url, "org": influxdb.org, "bucket": bucket, "token_file": str(token)}
        system = fresh_system(influxdb=influx, archive={"store": "influxdb:"})
        config = system.config
        with running_daemon(system.settings) as daemon:
            await daemon.running()
            await daemon.writes("salon")
            assert (await iotd("archive", "now", config=config)).code == 0

            rotated = await iotd("influx", "token", "rotate", config=config)
            assert (rotated.code, rotated.err) == (0, "")
            assert "the old one is revoked" in rotated.out
            await daemon.writes("salon")
            assert (await iotd("archive", "now", config=config)).code == 0

            proxy.inject(Answer(400, message="no luck"), path=WRITE, holding=b"humidity,location=salon,sensor_id=1")
            await daemon.writes("salon")
            assert (await iotd("archive", "now", config=config)).code == 0
            said = await iotd("archive", "status", config=config)
            assert "refused for good" in said.out
            assert "retry-rejected" in said.out
            refused = await iotd("archive", "retry-rejected", config=config)
            assert refused.code == 1
            proxy.heal()
            taken = await iotd("archive", "retry-rejected", "--output", "json", config=config)
            assert taken.code == 0
            assert (taken.json["accepted"] > 0, taken.json["refused"]) == (True, 0)
            assert (await iotd("archive", "verify", "--deep", config=config)).code == 0

            token.write_text("expired")

            async def told() -> bool:
                await iotd("archive", "now", config=config)
                return bool(daemon.events("archive_failing"))

            await until(told, 30, "the daemon tells that the token has expired")
            failing = await iotd("archive", "now", config=config)
            assert failing.code == 69
            assert "the token is wrong or has expired" in failing.err
            assert (await iotd("archive", "status", config=config)).code == 1
            again = await iotd("influx", "token", "rotate", "--output", "json", config=config)
            assert again.json["revoked"] is False
            await daemon.logs("archive_recovered")  # it takes the new token up by itself
            assert await daemon.stop() == 0
            assert not daemon.events("library_log")
