"""Passwords, ACL users and TLS for Redis and Sentinel; secrets stay where they belong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from iotd.config import Address
from iotd.config.sections.servers import Redis
from iotd.model.errors import ShardMisconfigured, ShardUnavailable, StackError
from iotd.shards.connection import Connection
from iotd.stack import Stack
from tests.conftest import FreshSystem
from tests.servers.certificates import tls_settings
from tests.servers.checker import all_there
from tests.servers.daemon import iotd, running_daemon
from tests.servers.ports import port_block
from tests.servers.system import System, make_settings, server_pids, until

REDIS_PASSWORD, SENTINEL_PASSWORD = 'r3dis-"$ecret\\', "s3ntinel-s€cret"


def locked(folder: Path) -> dict[str, Any]:
    """Settings with an ACL user, a password from a file and TLS with client certificates, for Redis and Sentinel."""
    tables = tls_settings(folder)
    for name, password in (("redis", REDIS_PASSWORD), ("sentinel", SENTINEL_PASSWORD)):
        secret = folder / f"{name}.password"
        secret.write_text(password + "\n")
        tables[name] = tables[name] | {"username": f"iotd-{name}", "password_file": str(secret)}
    return tables


async def test_a_shard_with_acl_users_and_tls_fails_over_and_no_reading_and_no_secret_gets_lost(
    fresh_system: FreshSystem, tmp_path: Path
) -> None:
    system = fresh_system(sensors={"interval": "100ms"}, logging={"level": "debug"}, **locked(tmp_path / "tls"))
    told: list[str] = []
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        await daemon.writes("salon")
        drill = ("failover-test", "--location", "salon", "--yes", "--restore", "--output", "json")
        # `stack up` waits until the Sentinels have ended the failover, for which `stack status` does not
        for args in (drill, ("stack", "up"), ("stack", "status"), ("status",), ("config", "show")):
            ended = await iotd(*args, config=system.config)
            assert ended.code == 0, ended
            told += [ended.out, ended.err]
        assert json.loads(told[0])["drill"]["target"] == "redis-salon-replica"
        assert await system.says_master("redis-salon-replica") != await system.says_master("redis-salon-master")
        await daemon.writes("salon")
        told += [" ".join(psutil.Process(pid).cmdline()) for pid in server_pids(system.settings.state)]
        assert await daemon.stop() == 0
        told.append(daemon.log.read_text())
    await all_there(system, "salon")
    told += [log.read_text() for log in (system.settings.state / "nodes").glob("*/log")]
    assert len(told) > 15
    for text in told:
        assert REDIS_PASSWORD not in text
        assert SENTINEL_PASSWORD not in text
    for secret in (system.settings.state / "nodes").glob("*/*.conf"):
        assert secret.stat().st_mode & 0o077 == 0, secret


async def test_neither_the_wrong_password_nor_no_user_nor_plain_text_gets_in_and_the_error_tells_no_secret(
    fresh_system: FreshSystem, tmp_path: Path
) -> None:
    tables = locked(tmp_path / "tls")
    system = fresh_system(**tables)
    right = tables["redis"]
    wrong: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"password_file": None, "password": "wr0ng"}, ShardMisconfigured),
        ({"password_file": None, "username": None}, ShardMisconfigured),
        ({"username": "default"}, ShardMisconfigured),
        ({"tls": False}, ShardUnavailable),
        ({"tls_cert_file": None, "tls_key_file": None}, ShardUnavailable),
        ({"tls_ca_file": None}, ShardUnavailable),
    ]
    for node in (system.topology.node("redis-salon-master"), system.topology.node("sentinel-salon-2")):
        base = right if node.role == "master" else tables["sentinel"]
        for change, error in wrong:
            with pytest.raises(error) as raised:
                await _role(node.address, Redis(**base | change))
            for secret in ("wr0ng", REDIS_PASSWORD, SENTINEL_PASSWORD):
                assert secret not in str(raised.value)


async def _role(address: Address, credentials: Redis) -> None:
    connection = await Connection.open(address, credentials, connect_timeout=5, response_timeout=5)
    try:
        await connection.call("ROLE")
    finally:
        await connection.close()


async def test_a_sentinel_with_an_acl_user_hears_the_others(fresh_system: FreshSystem, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text(SENTINEL_PASSWORD)
    system = fresh_system(sentinel={"username": "watcher", "password_file": str(secret), "down_after": "500ms"})
    system.stack.backend.kill(system.topology.node("redis-salon-master"))
    # takes a majority: Sentinels that could not speak to each other would never agree
    await until(lambda: system.says_master("redis-salon-replica"), 20, "the replica is promoted")


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"redis": {"tls": True}}, "set both redis.tls and sentinel.tls"),
        ({"redis": {"tls": True}, "sentinel": {"tls": True}}, "set stack.tls_cert_file"),
        ({"redis": {"password": "two words"}}, "can't have spaces"),
        ({"redis": {"password_file": "/no/such/file"}}, "/no/such/file: can't be read"),
    ],
)
async def test_what_the_servers_can_not_be_given_is_said_before_any_is_started(
    tmp_path: Path, redis_binaries: Any, tables: dict[str, Any], says: str
) -> None:
    with port_block() as first:
        tables["stack"] = {"redis_dir": redis_binaries.server.parent}
        settings = make_settings(tmp_path, first, ("salon",), **tables)
        ended = await iotd("stack", "up", config=tmp_path / "iotd.toml")
        assert ended.code in (StackError.exit_code, 78)
        assert says in ended.err
        assert "two words" not in ended.err
        assert ended.err.count("\n") <= 2
        assert server_pids(settings.state) == []


async def test_listening_beyond_this_machine_without_a_password_is_warned_of(
    tmp_path: Path, redis_binaries: Any
) -> None:
    with port_block() as first:
        stack = {"redis_dir": redis_binaries.server.parent, "bind": "0.0.0.0"}
        settings = make_settings(tmp_path, first, ("salon",), stack=stack, sentinel={"password": "given"})
        system = System(settings, Stack(settings))
        try:
            ended = await iotd("stack", "up", config=tmp_path / "iotd.toml")
            assert ended.code == 0, ended
            assert "warning: Redis listens beyond this machine and has no password" in ended.err
            assert "redis.password_file" in ended.err
            assert "warning: Sentinel" not in ended.err
        finally:
            await system.stack.down()
