"""The configuration texts of the servers."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

import pytest

from iotd.config import Address, Settings, load
from iotd.config.topology import topology
from iotd.stack.conf import Site, monitored, quoted, redis_conf, sentinel_conf

MASTER = Address("127.0.0.1", 6379)
HERE = Site("127.0.0.1", PurePath("/state/nodes/x"), PurePath("/state/nodes/x/log"))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "iotd.toml"
    path.write_text("")
    return path


def redis_lines(settings: Settings, master: Address | None = None, site: Site = HERE) -> list[str]:
    node = topology(settings).shard("salon").replica
    return redis_conf(settings, node, site, PurePath("/lib/redistimeseries.so"), master).splitlines()


def sentinel_lines(settings: Settings, master: Address = MASTER, site: Site = HERE) -> list[str]:
    shard = topology(settings).shard("salon")
    return sentinel_conf(settings, shard, shard.sentinels[0], site, master).splitlines()


def test_a_redis_keeps_an_append_only_file_and_listens_on_loopback_only(config: Path) -> None:
    lines = redis_lines(load(config))
    assert {"bind 127.0.0.1", "port 6380", "appendonly yes", 'save ""'} <= set(lines)
    assert 'loadmodule "/lib/redistimeseries.so"' in lines
    assert 'logfile "/state/nodes/x/log"' in lines
    assert not [line for line in lines if line.startswith(("replicaof", "requirepass", "masterauth", "maxmemory "))]
    assert "replicaof 127.0.0.1 6379" in redis_lines(load(config), MASTER)


def test_a_password_protects_the_node_and_lets_its_replica_and_the_sentinels_in(config: Path) -> None:
    secret: dict[str, Any] = {"password": 'it\'s"secret"'}
    settings = load(config, redis=secret)
    assert [line for line in redis_lines(settings) if line.startswith("masterauth")] == [
        f"masterauth {quoted(secret['password'])}"
    ]
    assert f"sentinel auth-pass salon {quoted(secret['password'])}" in sentinel_lines(settings)
    assert "secret" not in "\n".join(sentinel_lines(load(config, redis={})))


def test_a_sentinel_watches_the_master_under_the_service_name_with_the_settings_times(config: Path) -> None:
    settings = load(
        config,
        sentinel={"quorum": 3, "down_after": "700ms", "failover_timeout": "3s"},
        topology={"shards": {"salon": {"service": "living"}}},
    )
    lines = sentinel_lines(settings, Address("127.0.0.1", 6380))
    assert "sentinel monitor living 127.0.0.1 6380 3" in lines
    assert "sentinel down-after-milliseconds living 700" in lines
    assert "sentinel failover-timeout living 3000" in lines
    assert "sentinel master-reboot-down-after-period living 700" in lines


@pytest.mark.parametrize(("host", "by_name"), [("127.0.0.1", False), ("::1", False), ("redis-salon-master", True)])
def test_names_are_resolved_only_where_the_master_has_one(config: Path, host: str, by_name: bool) -> None:
    lines = sentinel_lines(load(config), Address(host, 6379))
    assert ("sentinel resolve-hostnames yes" in lines) == by_name


@pytest.mark.parametrize("text", ["plain", "with space", 'a"quote', "back\\slash", "", "C:\\x\\"])
def test_a_quoted_value_is_read_back_as_redis_reads_it(text: str) -> None:
    written = quoted(text)
    assert written[0] == written[-1] == '"'
    assert written[1:-1].replace('\\"', '"').replace("\\\\", "\\") == text or "\\" in text
    assert '"' not in written[1:-1].replace('\\"', "")


def said(address: str, epoch: int | None, service: str = "salon") -> str:
    text = f"port 26379\nsentinel monitor {service} {address} 2\n"
    return text + (f"sentinel config-epoch {service} {epoch}\n" if epoch is not None else "")


def test_the_master_that_sentinels_last_agreed_on_is_the_one_of_the_highest_epoch() -> None:
    texts = [said("10.0.0.1 6379", 3), said("10.0.0.2 6380", 12), said("10.0.0.1 6379", 3)]
    assert monitored(texts, "salon") == Address("10.0.0.2", 6380)
    assert monitored([said("10.0.0.1 6379", None)], "salon") == Address("10.0.0.1", 6379)
    assert monitored([], "salon") is None
    assert monitored([said("10.0.0.1 6379", 3, "salon2"), "garbage"], "salon") is None
