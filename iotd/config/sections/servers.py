"""The servers of each location: Redis and its Sentinels, where they are, and how they are started."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from iotd.config.sections.base import Port, Section
from iotd.config.values import Duration, HostPort, Period, Size


class ShardNodes(Section):
    """Where one location's servers are, when not at the default place."""

    master: HostPort | None = None
    replica: HostPort | None = None
    sentinels: tuple[HostPort, ...] | None = None
    service: str | None = None
    """The name under which the Sentinels watch the master; default: the location."""


class Topology(Section):
    """Hosts and ports of all servers; the n-th location gets the n-th pair of ports."""

    host: str = "127.0.0.1"
    redis_port: Port = 6379
    sentinel_port: Port = 26379
    port_offset: Annotated[int, Field(ge=0, le=60000)] = 0
    """Moves every default port, InfluxDB's too, so that two systems on one machine never meet."""
    shards: dict[str, ShardNodes] = {}
    address_map: dict[str, HostPort] = {}
    """Name or address as a Sentinel says it (``172.18.0.5:6379``, ``redis-salon-master:6379``) → where we reach it."""


class Credentials(Section):
    """How we identify ourselves to a server."""

    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    tls: bool = False
    tls_ca_file: Path | None = None
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None

    @model_validator(mode="after")
    def _one_password(self) -> Credentials:
        if self.password is not None and self.password_file is not None:
            raise ValueError("set password or password_file, not both")
        return self

    def read_password(self) -> str | None:
        """The password, read anew from its file each time, so that a changed one is taken up."""
        if self.password_file is not None:
            return self.password_file.read_text().strip()
        return self.password.get_secret_value() if self.password is not None else None


class Redis(Credentials):
    """Connections to the shards, and how series are made."""

    connect_timeout: Period = timedelta(seconds=1)
    response_timeout: Period = timedelta(seconds=3)
    """A write without any answer for so long means: the node is as good as dead, ask which one is master."""
    retention: Period = timedelta(days=8)
    chunk_bytes: Annotated[int, Field(ge=48, le=1048576, multiple_of=8)] = 4096


class Sentinel(Credentials):
    """The Sentinels: how we ask them, and how the stack configures them."""

    timeout: Period = timedelta(milliseconds=500)
    poll_interval: Period = timedelta(seconds=5)
    """Polling is the backstop; what happens is heard by Pub/Sub."""
    probe_interval: Period = timedelta(milliseconds=10)
    """Time between two probes of the nodes' roles while a master is in doubt."""
    quorum: Annotated[int, Field(ge=1, le=3)] = 2
    down_after: Period = timedelta(milliseconds=1000)
    failover_timeout: Period = timedelta(seconds=5)


class Docker(Section):
    """The containers of `iotd stack`, where a Docker engine runs them."""

    project: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]*$")] | None = None
    """Goes before the names of containers, volumes and network, so that two systems share an engine; None: the plain
    names, and with a port offset a project of its own for each."""
    redis_image: str = "redis/redis-stack-server:latest"
    influxdb_image: str = "influxdb:2.7"
    redisinsight_image: str = "redis/redisinsight:latest"
    redisinsight_port: Port = 8001
    restart: Literal["no", "on-failure", "unless-stopped", "always"] = "unless-stopped"
    health_interval: Duration = timedelta(seconds=30)
    """How often the engine asks each server whether it is healthy; 0: never. Each time starts a process."""
    memory: Size | None = None
    cpus: Annotated[float, Field(gt=0)] | None = None
    """Limits of each container."""


class Stack(Section):
    """The servers that `iotd stack` starts."""

    backend: Literal["auto", "process", "docker"] = "auto"
    redis_dir: Path | None = None
    """A folder with redis-server and redistimeseries.so (or bin/ and lib/ holding them); None: search, then fetch."""
    influxd: Path | None = None
    """The influxd binary; None: search PATH and the cache."""
    bind: str | None = None
    """Where the servers listen (containers: are published); None: each at the host under which it is reached."""
    start_timeout: Period = timedelta(seconds=60)
    maxmemory: Size | None = None
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    """The servers' own certificate and key, for `redis.tls` and `sentinel.tls`; `redis.tls_ca_file` signed it."""
    docker: Docker = Docker()
