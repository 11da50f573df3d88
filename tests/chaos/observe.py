"""What a chaos run sees by itself, without the daemon's word: what goes on, for each location, and when it last did.

The masters are asked for how many TS.MADD they have carried out, the witness's file tells what was acknowledged, and
the proxy which writes the archive has taken. None of it is what the daemon says of itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic

from iotd.config.topology import Node
from iotd.model.errors import IotdError
from iotd.shards.connection import Connection
from tests.chaos.clients.book import events
from tests.chaos.world import World
from tests.servers.witness import SIZES, records

_LOOK_S = 0.25
_ANSWER_S = 0.5
_REFUSED_GAP_S = 5.0
"""A client that was told nothing for so long was cut off, or waited for a daemon."""


@dataclass
class Pulse:
    """Something that is to go on.

    Attributes:
        gap_s: pauses up to this are none.
        last: when it last went on (monotonic seconds).
        steady_since: since when there was no longer pause.
    """

    gap_s: float
    last: float = field(default_factory=monotonic)
    steady_since: float = field(default_factory=monotonic)

    def beat(self) -> None:
        """It goes on."""
        now = monotonic()
        if now - self.last > self.gap_s:
            self.steady_since = now
        self.last = now

    def begin(self) -> None:
        """It is expected from now on."""
        self.last = self.steady_since = monotonic()

    def silent_s(self) -> float:
        """Seconds since it last went on."""
        return monotonic() - self.last


@dataclass
class Refusal:
    """Since when a client is told to come back later, and nothing else."""

    since: float | None = None
    last: float = 0.0

    def told(self, at: float) -> None:
        """The answer was 503, at this moment (monotonic seconds)."""
        if self.since is None or at - self.last > _REFUSED_GAP_S:
            self.since = at
        self.last = at

    def over(self) -> None:
        """Something was acknowledged."""
        self.since = None

    def seconds(self, since: float) -> float:
        """How long it goes on, from a moment on at most."""
        return 0.0 if self.since is None else max(0.0, self.last - max(self.since, since))


@dataclass
class Seen:
    """What is seen of one location.

    Attributes:
        refusal: of what the HTTP client brings.
        source: the source that can't be asked again gets its acknowledgements.
        master: a node that says it is master carries out writes.
        archive: the archive takes points.
        replica: a replica is connected to a master.
    """

    archive_every_s: float
    source: Pulse = field(default_factory=lambda: Pulse(3))
    master: Pulse = field(default_factory=lambda: Pulse(3))
    replica: Pulse = field(default_factory=lambda: Pulse(3))
    archive: Pulse = field(init=False)
    refusal: Refusal = field(default_factory=Refusal)

    def __post_init__(self) -> None:
        self.archive = Pulse(2 * self.archive_every_s + 5)

    def begin(self) -> None:
        """The location is served from now on."""
        for pulse in (self.source, self.master, self.replica, self.archive):
            pulse.begin()


class Observer:
    """Looks several times a second; :attr:`seen` by location."""

    def __init__(self, world: World) -> None:
        self._world = world
        every = world.settings.archive.interval.total_seconds()
        self.seen = {room: Seen(every) for room in world.rooms}
        self._done: dict[str, int] = {}
        self._offset = 0
        self._rest = b""
        self._places: dict[int, int] = {}
        world.influx.witness.heard = self._archived

    async def run(self) -> None:
        """Looks until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._witness())
            group.create_task(self._client())
            for room in self._world.rooms:
                for node in self._world.system.topology.shard(room).redis:
                    group.create_task(self._node(room, node))

    def _archived(self, location: str) -> None:
        self.seen[location].archive.beat()

    async def _witness(self) -> None:
        while True:
            for place in self._acknowledged():
                self.seen[self._world.rooms[place // 1_000]].source.beat()
            await asyncio.sleep(_LOOK_S)

    async def _client(self) -> None:
        rooms: dict[int, str] = {}
        offset = 0
        while True:
            with suppress(OSError), self._world.clients.books["http"].open("rb") as f:
                f.seek(offset)
                whole = f.read().rpartition(b"\n")
                offset += len(whole[0]) + len(whole[1])
                for event in events(whole[0] + whole[1]):
                    match event:
                        case {"give": number, "readings": [[_, room, *_], *_]}:
                            rooms[number] = room
                        case {"later": number, "at": at}:
                            self.seen[rooms[number]].refusal.told(at)
                        case {"done": number}:
                            self.seen[rooms.pop(number)].refusal.over()
            await asyncio.sleep(_LOOK_S)

    def _acknowledged(self) -> Iterator[int]:
        with suppress(OSError), self._world.witness.open("rb") as f:
            f.seek(self._offset)
            data = f.read()
            self._offset += len(data)
            self._rest += data
        used = 0
        for record in records(self._rest):
            used += SIZES[record[0]]
            if record[0] == 0:
                self._places[record[1]] = record[2]
            elif record[1] in self._places:
                yield self._places.pop(record[1])
        self._rest = self._rest[used:]

    async def _node(self, room: str, node: Node) -> None:
        connection: Connection | None = None
        seen = self.seen[room]
        try:
            while True:
                try:
                    async with asyncio.timeout(2 * _ANSWER_S):
                        if connection is None:
                            connection = await Connection.open(
                                node.address,
                                self._world.system.settings.redis,
                                connect_timeout=_ANSWER_S,
                                response_timeout=_ANSWER_S,
                            )
                        role = await connection.call("ROLE")
                        done = _writes(await connection.call("INFO", "commandstats"))
                except (IotdError, TimeoutError):
                    if connection is not None:
                        await connection.close()
                        connection = None
                else:
                    if role[0] == b"master":
                        if done != self._done.get(node.name, done) and done:
                            seen.master.beat()
                        if role[2]:
                            seen.replica.beat()
                    self._done[node.name] = done
                await asyncio.sleep(_LOOK_S)
        finally:
            if connection is not None:
                await connection.close()


def _writes(info: bytes) -> int:
    """How many TS.MADD a node has carried out since its start; those that it refused do not count."""
    for line in info.decode().lower().splitlines():
        if line.startswith("cmdstat_ts.madd:"):
            said = dict(part.split("=") for part in line.partition(":")[2].split(","))
            return int(said["calls"]) - int(said.get("failed_calls", 0))
    return 0
