"""The way of a reading behind the sources: log, shards, archive."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ByteSize, Field, SecretStr, field_validator, model_validator

from iotd.config.sections.base import Port, Section
from iotd.config.values import Duration, Period, Size


class Log(Section):
    """The durable log between sources and shards, in the state directory."""

    limit: Size = ByteSize(1024**3)
    """Per location: a log that is full makes its sources wait, and never another location's."""
    segment: Annotated[Size, Field(ge=64 * 1024)] = ByteSize(8 * 1024**2)
    """Size of one file of it; what is archived is removed a file at a time."""
    keep: Duration = timedelta(hours=1)
    """How long readings stay in it after shard and archive have them, in at most a 32nd of the limit: an archive
    that was started again may have lost what it had acknowledged."""
    memory: Size = ByteSize(20 * 1024**2)
    """One budget for the whole process: readings on their way into shards and archive. What does not fit is read from
    the disk."""


class Writer(Section):
    """Writing into the shards."""

    in_flight: Size = ByteSize(4 * 1024 * 1024)
    """Bytes sent to a shard and not yet answered."""
    confirm: Literal["auto", "waitaof", "wait"] = "auto"
    """auto: WAITAOF 1 1, and WAIT 1 where a node keeps no append-only file."""


class Archive(Section):
    """Moving readings from the shards into the long-term archive."""

    store: Annotated[str, Field(pattern=r"^(auto|none|[a-z][a-z0-9+.-]*:\S*)$")] = "auto"
    """A URL whose scheme names the store: ``influxdb:`` (section [influxdb]), ``embedded:`` (a file in the state
    directory) or ``embedded:PATH``, or that of a plugin (entry point iotd.stores); ``none``; ``auto``: InfluxDB where
    one is configured or the stack runs one, else the embedded archive."""
    interval: Period = timedelta(minutes=5)
    verify_interval: Period = timedelta(hours=1)
    """How often counts per series and hour are compared, shards against archive, and gaps repaired."""
    restore: Duration | None = None
    """How far back what only the archive still has is written back into a shard that has lost it; None: as far as
    redis.retention, 0: not at all."""
    batch: Annotated[int, Field(ge=100, le=100_000)] = 5_000
    """Points in one write."""
    in_flight: Annotated[int, Field(ge=1, le=64)] = 4
    """Writes under way at once."""

    @property
    def scheme(self) -> str:
        """``auto``, ``none``, or the scheme of the store's URL."""
        return self.store.partition(":")[0]


class InfluxDB(Section):
    """The InfluxDB 2 server."""

    url: str | None = None
    """None: the one that the stack runs, when it runs one."""
    port: Port = 8086
    org: str = "tp_iot"
    bucket: str = "sensors_archive"
    username: str = "admin"
    password: SecretStr = SecretStr("strongpassword")
    token: SecretStr | None = None
    token_file: Path | None = None
    timeout: Period = timedelta(seconds=10)
    """For a write: the answer, whole."""
    query_timeout: Period = timedelta(seconds=60)
    bucket_retention: Period | None = None
    """How long a bucket that iotd makes keeps readings; None: for ever."""
    gzip: Literal["auto", "on", "off"] = "auto"
    """auto: for a server on another machine (on loopback it only costs)."""
    tls_ca_file: Path | None = None
    """Trusted for an https URL instead of the system's certificates."""

    @field_validator("url")
    @classmethod
    def _http(cls, url: str | None) -> str | None:
        if url is not None and not re.match(r"https?://[^/\s]+", url):
            raise ValueError('write it like "http://127.0.0.1:8086" or "https://influx.example.org"')
        return url

    @model_validator(mode="after")
    def _one_token(self) -> InfluxDB:
        if self.token is not None and self.token_file is not None:
            raise ValueError("set token or token_file, not both")
        return self
