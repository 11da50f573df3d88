"""The settings tree: every setting with its default, its bounds and what it means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode

from iotd.config.places import Known, given
from iotd.config.values import Duration, HostPort, Names, Period, Size, parse_names
from iotd.model.types import BUILT_IN, Kind, SensorType, Types

Port = Annotated[int, Field(ge=1, le=65535)]


class Section(BaseModel):
    """A table of the configuration; an unknown key in it is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class TypeRow(Section):
    """A sensor type of one's own, as a row of ``iotd/model/types.toml``."""

    unit: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    title: str = ""
    symbol: str = ""
    kind: Kind = "gauge"
    range: tuple[float, float] = (-1e15, 1e15)
    simulated: tuple[float, float] | None = None
    resolution: Annotated[int, Field(ge=0, le=12)] | None = None
    decimals: Annotated[int, Field(ge=0, le=12)] = 2
    span: Annotated[float, Field(gt=0)] = 1.0
    colour: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")] = "#475569"
    aliases: tuple[str, ...] = ()
    unit_aliases: tuple[str, ...] = ()

    @field_validator("range")
    @classmethod
    def _rising(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if not limits[0] < limits[1]:
            raise ValueError("the first value must be smaller than the second")
        return limits

    @model_validator(mode="after")
    def _can_be_simulated(self) -> TypeRow:
        if self.simulated is None:
            return self
        low, high = self.simulated
        least, most = {"gauge": self.range, "counter": (0.0, 1e15), "state": (0.0, 1.0)}[self.kind]
        if not least <= low <= high <= most or (self.kind == "counter" and low <= 0.0):
            within = "be above 0" if self.kind == "counter" else f"lie within {least:g} and {most:g}"
            raise ValueError(f"simulated: the values of a {self.kind} must {within}, the smaller one first")
        return self


class Sensors(Section):
    """Which sensors there are, and how often each is read."""

    types: Names = ("temperature", "humidity", "air_quality")
    per_type: Annotated[int, Field(ge=1, le=100_000)] = 3
    """Sensors of each type in each location, numbered from 1."""
    interval: Period = timedelta(seconds=1)
    """Time between two readings of a sensor; readings lie on whole multiples of it since the epoch."""

    @field_validator("types")
    @classmethod
    def _known(cls, types: tuple[str, ...]) -> tuple[str, ...]:
        if not types:
            raise ValueError("name at least one sensor type")
        if len(set(types)) != len(types):
            raise ValueError("a sensor type is named twice")
        return types

    @field_validator("interval")
    @classmethod
    def _whole_ms(cls, interval: timedelta) -> timedelta:
        if interval.microseconds % 1000:
            raise ValueError("the interval must be a whole number of milliseconds")
        return interval


class Simulator(Section):
    """The simulated building."""

    enabled: Literal["auto", "on", "off"] = "auto"
    """auto: only while no other source is configured, so that nobody's house has invented readings in it."""
    seed: int = 1
    catch_up: Duration = timedelta(hours=1)
    """What a sensor remembers at its full rate while iotd does not run; what is older it keeps at history_step."""
    history_days: Annotated[float, Field(ge=0, le=3650)] = 7
    history_step: Period = timedelta(seconds=10)


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


class Source(Section):
    """A source of readings; what it takes beside its kind is the source's own."""

    model_config = ConfigDict(extra="allow", frozen=True, validate_default=True)

    kind: str
    silent_after: Duration | None = None
    """A source that hands nothing over for so long is an error that `iotd status` names; None: it may be silent."""

    @property
    def options(self) -> dict[str, Any]:
        """The other keys of the table."""
        return dict(self.model_extra or {})


class Intake(Section):
    """What is taken, and how long readings wait for company on their way into the log."""

    future: Duration = timedelta(seconds=60)
    """A reading further ahead of our clock is held: retention counts from the largest time in a series, so that one
    such reading would expire all others (TS.ADD documentation, RETENTION)."""
    linger: Duration = timedelta(milliseconds=500)
    """So long readings that nobody waits for are gathered: each fsync of the log writes a page, which wears a card."""
    answer_within: Duration = timedelta(milliseconds=20)
    """So long at most while somebody waits for the answer."""

    @field_validator("answer_within")
    @classmethod
    def _short(cls, answer_within: timedelta) -> timedelta:
        if answer_within > timedelta(milliseconds=50):
            raise ValueError("who waits for an answer must not wait longer than 50ms for others")
        return answer_within


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


class Logging(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    """auto: for people on a terminal, JSON lines otherwise."""


class Startup(Section):
    """What becomes of a daemon whose shards are not there when it starts."""

    missing: Literal["wait", "fail"] = "wait"
    """A shard without a master: wait for it, while its readings wait in the log; or end, with exit code 69."""
    limit: Duration = timedelta(seconds=30)
    """How long a shard may take before it counts as missing."""
    shards: dict[str, Literal["wait", "fail"]] = {}
    """By location, where it differs from ``missing``."""


class Http(Section):
    """The HTTP server: metrics, health, status, the page."""

    enabled: bool = True
    host: str = "127.0.0.1"
    """Whoever reaches it may read everything it says, and change nothing."""
    port: Port = 9108
    """Moved by topology.port_offset, like all others."""


class Shutdown(Section):
    """How the daemon ends."""

    drain: Duration = timedelta(seconds=10)
    """After SIGTERM, how long the writers may go on until all is durable; the log keeps the rest."""


class Tree(Section):
    """All settings. Each is checked by itself here; what must hold between them is in :mod:`iotd.config.check`."""

    locations: Names = ("salon", "chambre1", "chambre2", "cuisine", "salle_de_bain")
    serve: Annotated[tuple[str, ...] | None, NoDecode, BeforeValidator(parse_names)] = None
    """The locations that this daemon carries, when several share the work; None: all."""
    types: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+$")], TypeRow] = {}
    """Sensor types beyond the built-in ones."""
    state_dir: Path | None = None
    """None: $STATE_DIRECTORY (systemd), else the user's state folder (XDG)."""
    sensors: Sensors = Sensors()
    simulator: Simulator = Simulator()
    topology: Topology = Topology()
    redis: Redis = Redis()
    sentinel: Sentinel = Sentinel()
    sources: dict[Annotated[str, Field(pattern=r"^[\w-]+$")], Source] = {}
    intake: Intake = Intake()
    log: Log = Log()
    writer: Writer = Writer()
    archive: Archive = Archive()
    influxdb: InfluxDB = InfluxDB()
    stack: Stack = Stack()
    logging: Logging = Logging()
    startup: Startup = Startup()
    http: Http = Http()
    shutdown: Shutdown = Shutdown()
    _known: dict[str, Known] = PrivateAttr(default_factory=dict)

    @field_validator("locations")
    @classmethod
    def _named(cls, locations: tuple[str, ...]) -> tuple[str, ...]:
        if not locations:
            raise ValueError("name at least one location")
        if len(set(locations)) != len(locations):
            raise ValueError("a location is named twice")
        for name in locations:
            if not re.fullmatch(r"[\w-]+", name):
                raise ValueError(f"{name!r}: use letters, digits, _ and - (the name becomes part of Redis keys)")
        return locations

    @property
    def known_types(self) -> Types:
        """The built-in sensor types and those of ``[types]``."""
        return BUILT_IN.extended({name: SensorType(name, **row.model_dump()) for name, row in self.types.items()})

    @property
    def known(self) -> Mapping[str, Known]:
        """What the state directory remembers of locations, those that are no longer configured among them."""
        return self._known

    @property
    def places(self) -> dict[str, int]:
        """Which of the default ports are each location's, see :mod:`iotd.config.places`."""
        return given(
            self.locations, {name: known.place for name, known in self._known.items() if known.place is not None}
        )

    @property
    def retired(self) -> tuple[str, ...]:
        """Locations that are remembered, and no longer configured: they can be asked for by name."""
        return tuple(name for name in self._known if name not in self.locations)

    @property
    def served(self) -> tuple[str, ...]:
        """The locations that this daemon carries."""
        return self.locations if self.serve is None else self.serve
