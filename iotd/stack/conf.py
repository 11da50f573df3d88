"""The configuration texts of the servers, made from the settings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath

from iotd.config import Address, Settings
from iotd.config.sections.servers import Credentials
from iotd.config.topology import Node, Shard
from iotd.model.errors import ConfigError, StackError
from iotd.model.instants import milliseconds


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A server's certificate, its key, and the authority that signed those of all servers and clients."""

    cert: PurePath
    key: PurePath
    ca: PurePath


@dataclass(frozen=True, slots=True)
class Site:
    """The place where one server runs, as it sees it itself.

    Attributes:
        bind: the addresses it listens on, with spaces between them.
        folder: its data.
        log: its log file; None: standard output.
        announce: the name by which the other servers know it; None: its address.
        tls: None where the settings ask for no TLS.
    """

    bind: str
    folder: PurePath
    log: PurePath | None = None
    announce: str | None = None
    tls: TlsFiles | None = None


def quoted(value: object) -> str:
    """A value as Redis reads it in a configuration line."""
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def redis_conf(settings: Settings, node: Node, site: Site, module: PurePath | None, master: Address | None) -> str:
    """A Redis node's configuration.

    Args:
        module: the TimeSeries module; None when the command that starts the server names it.
        master: of whom it is a replica, as it reaches it; None when it is master itself.

    Raises:
        ConfigError: the password can't be read, or can't be part of an ACL.
    """
    lines = [
        *_common(node, site, settings.redis),
        # the append-only file is what WAITAOF, and so the checkpoint, stands on
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
    if module is not None:
        lines.append(f"loadmodule {quoted(module)}")
    if site.announce is not None:
        lines += [f"replica-announce-ip {site.announce}", f"replica-announce-port {node.address.port}"]
    if settings.stack.maxmemory is not None:
        lines.append(f"maxmemory {int(settings.stack.maxmemory)}")
    if (password := _password(settings.redis)) is not None:
        if (user := settings.redis.username) is not None:
            lines.append(f"masteruser {quoted(user)}")
        lines.append(f"masterauth {quoted(password)}")
    if master is not None:
        lines.append(f"replicaof {master.host} {master.port}")
    return "\n".join(lines) + "\n"


def sentinel_conf(settings: Settings, shard: Shard, node: Node, site: Site, master: Address) -> str:
    """A Sentinel's first configuration; from then on Sentinel itself rewrites the file.

    Raises:
        ConfigError: a password can't be read, or can't be part of an ACL.
    """
    s, name = settings.sentinel, shard.service
    lines = _common(node, site, s)
    if site.announce is not None or not re.fullmatch(r"[\d.]+|.*:.*", master.host):
        lines += ["sentinel resolve-hostnames yes", "sentinel announce-hostnames yes"]
    if site.announce is not None:
        lines += [f"sentinel announce-ip {site.announce}", f"sentinel announce-port {node.address.port}"]
    lines += [
        f"sentinel monitor {name} {master.host} {master.port} {s.quorum}",
        f"sentinel down-after-milliseconds {name} {milliseconds(s.down_after)}",
        f"sentinel failover-timeout {name} {milliseconds(s.failover_timeout)}",
        f"sentinel parallel-syncs {name} 1",
        # a master that comes back too fast to be missed, and empty, must not empty its replica (sentinel.conf)
        f"sentinel master-reboot-down-after-period {name} {milliseconds(s.down_after)}",
    ]
    if (password := _password(settings.redis)) is not None:
        if settings.redis.username is not None:
            lines.append(f"sentinel auth-user {name} {quoted(settings.redis.username)}")
        lines.append(f"sentinel auth-pass {name} {quoted(password)}")
    if (own := _password(s)) is not None:
        # how Sentinels identify themselves to each other
        if s.username is not None:
            lines.append(f"sentinel sentinel-user {quoted(s.username)}")
        lines.append(f"sentinel sentinel-pass {quoted(own)}")
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


def tls_files(settings: Settings) -> TlsFiles | None:
    """The files that every server of the stack needs for TLS, on this machine; None when there is to be no TLS.

    Raises:
        StackError: one is not set or not there, or only one of Redis and Sentinel is to use TLS: a Sentinel uses it for
            all of its connections or for none, to the nodes and to the other Sentinels (redis.conf, tls-replication).
    """
    if settings.redis.tls != settings.sentinel.tls:
        raise StackError("set both redis.tls and sentinel.tls, or neither: a Sentinel has one setting for both")
    if not settings.redis.tls:
        return None
    files = {
        "stack.tls_cert_file": settings.stack.tls_cert_file,
        "stack.tls_key_file": settings.stack.tls_key_file,
        "redis.tls_ca_file": settings.redis.tls_ca_file,
    }
    for name, path in files.items():
        if path is None:
            raise StackError(f"redis.tls is set, so the servers need a certificate of their own: set {name} too")
        if not path.is_file():
            raise StackError(f"{name}: no file {path}")
    cert, key, ca = (path.absolute() for path in files.values() if path is not None)
    return TlsFiles(cert, key, ca)


def _common(node: Node, site: Site, credentials: Credentials) -> list[str]:
    port = node.address.port
    lines = [
        f"bind {site.bind}",
        f"port {0 if site.tls else port}",
        f"dir {quoted(site.folder)}",
        f"logfile {quoted(site.log or '')}",
        "daemonize no",
    ]
    if site.tls is not None:
        lines += [
            f"tls-port {port}",
            f"tls-cert-file {quoted(site.tls.cert)}",
            f"tls-key-file {quoted(site.tls.key)}",
            f"tls-ca-cert-file {quoted(site.tls.ca)}",
            "tls-replication yes",
            # a client that has a certificate must show it; servers show theirs to each other anyway
            f"tls-auth-clients {'yes' if credentials.tls_cert_file else 'no'}",
        ]
    password = _password(credentials)
    if password is None:
        # where it listens was said above: without this, Redis would also refuse whom it listens for
        return [*lines, "protected-mode no"]
    if credentials.username in (None, "default"):
        return [*lines, f"requirepass {quoted(password)}"]
    return [*lines, f"user {credentials.username} on {quoted('>' + password)} ~* &* +@all", "user default off"]


def _password(credentials: Credentials) -> str | None:
    try:
        password = credentials.read_password()
    except OSError as e:
        raise ConfigError(f"{credentials.password_file}: can't be read ({e.strerror}); fix password_file") from None
    if password is not None and any(sign.isspace() or not sign.isprintable() for sign in password):
        raise ConfigError("a Redis or Sentinel password can't have spaces or line breaks in it (redis.conf, ACL)")
    return password
