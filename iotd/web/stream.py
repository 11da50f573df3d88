"""/events: the page's server-sent events, the daemon is asked once a second, however many watch."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic

import orjson
from aiohttp import web

from iotd.config import Settings
from iotd.config.topology import topology
from iotd.health.silence import SilentSensor
from iotd.health.state import DaemonState, Watched
from iotd.model.types import Kind, SensorType
from iotd.shards.failovers import Failover
from iotd.web.charts import Chart
from iotd.web.readings import LocationReadings, Reading

_EVERY_S = 1.0
_WATCHERS = 32
_WRITE_S = 10.0
_FAILOVERS = 20
_SILENT = 5
"""Silent sensors of a location that are named."""


@dataclass(frozen=True, slots=True)
class LocationNow:
    """A location's readings and failovers, and how its servers are named, for the page.

    Attributes:
        name: what people call it.
        sensors: how many have ever spoken.
        silent: some of those that say nothing; ``silent_in_all`` is how many there are.
    """

    location: str
    name: str
    sensors: int
    silent: Sequence[SilentSensor]
    silent_in_all: int
    readings: list[Reading]
    failovers: list[Failover]
    nodes: list[str]
    sentinels: list[str]


@dataclass(frozen=True, slots=True)
class TypeShown:
    """How the page shows the values of a type; the meaning of each is in ``iotd/model/types.toml``.

    Attributes:
        words: of a state: off, and on.
    """

    title: str
    symbol: str
    kind: Kind
    decimals: int
    span: float
    colour: str
    words: tuple[str, str]

    @classmethod
    def of(cls, row: SensorType) -> TypeShown:
        return cls(row.title, row.shown_unit, row.kind, row.decimals, row.span, row.colour, row.words)


@dataclass(frozen=True, slots=True)
class Ingest:
    """Where readings can be handed over by HTTP, and whether that takes a token."""

    url: str
    token: bool


@dataclass(frozen=True, slots=True)
class Now:
    """Everything the page shows but the charts; ``now`` in ms, ``types`` those of the readings."""

    now: int
    types: dict[str, TypeShown]
    ingest: Ingest | None
    daemon: DaemonState
    locations: list[LocationNow]


class Stream:
    """Looks while somebody watches, and costs nothing while nobody does."""

    def __init__(self, daemon: Watched) -> None:
        self._daemon = daemon
        self._settings = daemon.settings
        self._readings: dict[str, LocationReadings] = {}
        self._latest = b""
        self._charts: dict[str, dict[str, Chart]] = {}
        self._watchers: set[asyncio.Queue[bytes]] = set()
        self._somebody = asyncio.Event()
        self._ended = False

    async def run(self) -> None:
        """Looks until cancelled."""
        try:
            while True:
                if not self._watchers:
                    await self._close_readings()
                    self._somebody.clear()
                    await self._somebody.wait()
                began = monotonic()
                await self._tell()
                await asyncio.sleep(max(0.1, _EVERY_S - (monotonic() - began)))
        finally:
            self._ended = True
            await self._close_readings()

    async def send_to(self, response: web.StreamResponse) -> None:
        """Sends events until the client has gone, or reads too slowly."""
        if len(self._watchers) >= _WATCHERS or self._ended:
            await response.write(b"retry: 30000\n\n")
            return
        mailbox: asyncio.Queue[bytes] = asyncio.Queue(2)
        mailbox.put_nowait(b"retry: 2000\n\n" + self._latest)
        self._watchers.add(mailbox)
        self._somebody.set()
        try:
            while True:
                async with asyncio.timeout(_WRITE_S):
                    await response.write(await mailbox.get())
        except (ConnectionError, TimeoutError):
            return
        finally:
            self._watchers.discard(mailbox)

    async def _tell(self) -> None:
        state = self._daemon.state()
        await self._follow(state)
        silent = _by_location(state.silent_sensors)
        await asyncio.gather(*(one.refresh(silent.get(name, ())) for name, one in self._readings.items()))
        text = _event("now", self._now(state, silent))
        charts = {name: one.view.charts for name, one in self._readings.items()}
        changed = any(charts[name] is not self._charts.get(name) for name in charts)
        self._charts = charts
        self._latest = text + _event("charts", charts)
        if changed:
            text = self._latest
        for mailbox in self._watchers:
            with contextlib.suppress(asyncio.QueueFull):  # it gets the next one
                mailbox.put_nowait(text)

    async def _follow(self, state: DaemonState) -> None:
        if self._settings is not self._daemon.settings:  # a reload
            await self._close_readings()
            self._settings = self._daemon.settings
        names = [shard.location for shard in state.shards]
        for gone in [name for name in self._readings if name not in names]:
            await self._readings.pop(gone).close()
        for name in names:
            if name not in self._readings:
                self._readings[name] = LocationReadings(self._daemon.look(name), self._daemon)

    def _now(self, state: DaemonState, silent: Mapping[str, Sequence[SilentSensor]]) -> Now:
        settings = self._daemon.settings
        failovers = self._daemon.failovers()
        whole = topology(settings)
        shards = [whole.shard(s.location) for s in state.shards]
        seen = {kind: unit for one in self._readings.values() for kind, unit in one.view.units.items()}
        return Now(
            now=self._daemon.now_ms(),
            types={name: TypeShown.of(settings.known_types.row(name, unit)) for name, unit in seen.items()},
            ingest=_ingest(settings),
            # of thousands the rooms below have the first
            daemon=replace(state, silent_sensors=[]),
            locations=[
                LocationNow(
                    shard.location,
                    settings.called(shard.location),
                    state.sensors.get(shard.location, 0),
                    silent.get(shard.location, ())[:_SILENT],
                    len(silent.get(shard.location, ())),
                    self._readings[shard.location].view.readings,
                    list(failovers.get(shard.location, ()))[-_FAILOVERS:],
                    [node.name for node in shard.redis],
                    [node.name for node in shard.sentinels],
                )
                for shard in shards
            ],
        )

    async def _close_readings(self) -> None:
        readings, self._readings = self._readings, {}
        self._charts, self._latest = {}, b""
        for one in readings.values():
            await one.close()


def _by_location(silent: Iterable[SilentSensor]) -> dict[str, list[SilentSensor]]:
    found: dict[str, list[SilentSensor]] = {}
    for one in silent:
        found.setdefault(one.location, []).append(one)
    return found


def _ingest(settings: Settings) -> Ingest | None:
    its = settings.ingest
    if its.listen is None:
        return None
    return Ingest(f"{'https' if its.tls_cert_file else 'http'}://{its.listen}", its.tokens_file is not None)


def _event(name: str, content: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(content, default=str))
