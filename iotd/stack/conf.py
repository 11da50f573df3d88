"""The configuration texts of the servers, made from the settings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from iotd.settings import Address, Settings
from iotd.topology import Node, Shard


def quoted(value: object) -> str:
    """A value as Redis reads it in a configuration line."""
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def redis_conf(settings: Settings, node: Node, folder: Path, module: Path, master: Address | None) -> str:
    """A Redis node's configuration.

    Args:
        folder: its data and log.
        master: of whom it is a replica; None when it is master itself.
    """
    password = settings.redis.read_password()
    user = settings.redis.username
    lines = [
        f"bind {node.address.host}",
        f"port {node.address.port}",
        f"dir {quoted(folder)}",
        f"logfile {quoted(folder / 'log')}",
        "daemonize no",
        f"loadmodule {quoted(module)}",
        # the append-only file is what WAITAOF, and so the fence, stands on
        "appendonly yes",
        "appendfsync everysec",
        "aof-load-truncated yes",
        'save ""',
        # a replica that lost its link for a while goes on where it was, instead of copying everything
        "repl-backlog-size 64mb",
        "repl-ping-replica-period 1",
        "repl-timeout 20",
        "repl-diskless-sync-delay 0",
        "repl-diskless-load disabled",
        "maxmemory-policy noeviction",
    ]
    if settings.stack.maxmemory is not None:
        lines.append(f"maxmemory {int(settings.stack.maxmemory)}")
    if password is not None:
        if user not in (None, "default"):
            lines += [f"user {user} on {quoted('>' + password)} ~* &* +@all", f"masteruser {user}"]
        lines += [f"requirepass {quoted(password)}", f"masterauth {quoted(password)}"]
    if master is not None:
        lines.append(f"replicaof {master.host} {master.port}")
    return "\n".join(lines) + "\n"


def sentinel_conf(settings: Settings, shard: Shard, node: Node, folder: Path, master: Address) -> str:
    """A Sentinel's first configuration; from then on Sentinel itself rewrites the file."""
    s, name = settings.sentinel, shard.service
    lines = [
        f"bind {node.address.host}",
        f"port {node.address.port}",
        f"dir {quoted(folder)}",
        f"logfile {quoted(folder / 'log')}",
        "daemonize no",
    ]
    if not re.fullmatch(r"[\d.]+|.*:.*", master.host):
        lines += ["sentinel resolve-hostnames yes", "sentinel announce-hostnames yes"]
    lines += [
        f"sentinel monitor {name} {master.host} {master.port} {s.quorum}",
        f"sentinel down-after-milliseconds {name} {_ms(s.down_after)}",
        f"sentinel failover-timeout {name} {_ms(s.failover_timeout)}",
        f"sentinel parallel-syncs {name} 1",
        # a master that comes back too fast to be missed, and empty, must not empty its replica (facts.md)
        f"sentinel master-reboot-down-after-period {name} {_ms(s.down_after)}",
    ]
    if (password := settings.redis.read_password()) is not None:
        if settings.redis.username is not None:
            lines.append(f"sentinel auth-user {name} {settings.redis.username}")
        lines.append(f"sentinel auth-pass {name} {quoted(password)}")
    if (own := settings.sentinel.read_password()) is not None:
        lines.append(f"requirepass {quoted(own)}")
    return "\n".join(lines) + "\n"


def monitored(texts: Iterable[str], service: str) -> Address | None:
    """The master that Sentinels last agreed on, from their rewritten files: the one of the highest epoch."""
    best: tuple[int, Address] | None = None
    for text in texts:
        where = re.search(rf"^sentinel monitor {re.escape(service)} (\S+) (\d+) ", text, re.M)
        epoch = re.search(rf"^sentinel config-epoch {re.escape(service)} (\d+)", text, re.M)
        if where is None:
            continue
        found = (int(epoch[1]) if epoch else 0, Address(where[1], int(where[2])))
        if best is None or found[0] > best[0]:
            best = found
    return best[1] if best else None


def _ms(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)
