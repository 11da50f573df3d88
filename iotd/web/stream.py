"""/events: the page's server-sent events, the daemon is asked once a second, however many watch."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from time import monotonic

from aiohttp import web

from iotd.config.topology import topology
from iotd.health.state import DaemonState, Watched
from iotd.model.types import Kind, SensorType
from iotd.ops.control import to_json
from iotd.shards.failovers import Failover
from iotd.web.readings import LocationReadings, Points, Reading

_EVERY_S = 1.0
_WATCHERS = 32
_WRITE_S = 10.0
_FAILOVERS = 20


@dataclass(frozen=True, slots=True)
class LocationNow:
    """A location's readings and failovers, and how its servers are named, for the page."""

    location: str
    readings: list[Reading]
    failovers: list[Failover]
    nodes: list[str]
    sentinels: list[str]


@dataclass(frozen=True, slots=True)
class TypeShown:
    """How the page shows the values of a type; the meaning of each is in ``iotd/model/types.toml``."""

    title: str
    symbol: str
    kind: Kind
    decimals: int
    span: float
    colour: str

    @classmethod
    def of(cls, row: SensorType) -> TypeShown:
        return cls(row.title, row.shown_unit, row.kind, row.decimals, row.span, row.colour)


@dataclass(frozen=True, slots=True)
class Now:
    """Everything the page shows but the charts; ``now`` in ms, ``types`` those of the readings."""

    now: int
    interval: int
    types: dict[str, TypeShown]
    daemon: DaemonState
    locations: list[LocationNow]


class Stream:
    """Looks while somebody watches, and costs nothing while nobody does."""

    def __init__(self, daemon: Watched) -> None:
        self._daemon = daemon
        self._settings = daemon.settings
        self._readings: dict[str, LocationReadings] = {}
        self._latest = b""
        self._charts: dict[str, dict[str, Points]] = {}
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
        await asyncio.gather(*(one.refresh() for one in self._readings.values()))
        text = _event("now", self._now(state))
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
                self._readings[name] = LocationReadings(
                    self._daemon.reader(name), self._daemon.settings, self._daemon.now_ms
                )

    def _now(self, state: DaemonState) -> Now:
        settings = self._daemon.settings
        failovers = self._daemon.failovers()
        whole = topology(settings)
        shards = [whole.shard(s.location) for s in state.shards]
        seen = {reading.type: reading.unit for one in self._readings.values() for reading in one.view.readings}
        return Now(
            now=self._daemon.now_ms(),
            interval=round(settings.sensors.interval.total_seconds() * 1000),
            types={name: TypeShown.of(settings.known_types.row(name, unit)) for name, unit in seen.items()},
            daemon=state,
            locations=[
                LocationNow(
                    shard.location,
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


def _event(name: str, content: object) -> bytes:
    return f"event: {name}\ndata: {to_json(content)}\n\n".encode()
