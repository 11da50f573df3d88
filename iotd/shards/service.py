"""One location's shard as the daemon runs it: its watcher, its writer, its sharding metadata."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from iotd.config.topology import Shard
from iotd.config.tree import Tree
from iotd.config.values import Address
from iotd.model.roster import Roster
from iotd.ops.tasks import together
from iotd.pipeline.lane import LaneDepth
from iotd.pipeline.queue import Queue
from iotd.shards.fence import Late
from iotd.shards.moves import Move, ShardingMetadata
from iotd.shards.watcher import Watcher
from iotd.shards.writer import Writer

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ShardState:
    """What the daemon knows of a shard.

    Attributes:
        master: name of the node written to, None while there is none.
        settled: a majority of the Sentinels names it.
        roles: by node name, what it last said (``master``, ``slave``) or None when it does not answer.
        lag: bytes by which each connected replica is behind, by node name.
        sentinels: names of those that answer.
        depth: what waits in the lane.
        handed: readings handed over since the start of the daemon.
        written: readings that the master has taken since then; what was written again counts again.
        confirmed: readings that master and replica hold for certain, since then.
        replayed: batches that were sent again.
        refused: readings in the dead-letter file since then.
        trouble: why nothing is written at present, None while all is well.
        outage_s: seconds during which nothing was written since then, the present outage among them.
        failovers: how often the shard has moved since then.
        moves: how often it has, as far as that is remembered.
        last_move: the last time it did.
    """

    location: str
    master: str | None
    settled: bool
    roles: dict[str, str | None]
    lag: dict[str, int]
    sentinels: list[str]
    depth: LaneDepth
    handed: int
    written: int
    confirmed: int
    replayed: int
    refused: int
    trouble: str | None
    outage_s: float
    failovers: int
    moves: int
    last_move: Move | None


class ShardService:
    """Runs one shard; :meth:`state` is for status and metrics."""

    def __init__(self, shard: Shard, roster: Roster, queue: Queue, settings: Tree, state: Path, *, late: Late) -> None:
        self.shard = shard
        self.lane = queue.lanes[shard.location]
        self.watcher = Watcher(shard, settings)
        self.metadata = ShardingMetadata(state, shard, roster)
        self._failovers = 0
        self._outage_s = 0.0
        self._moves: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        self.writer = Writer(
            roster,
            self.lane,
            spool=queue.spool,
            watcher=self.watcher,
            dead_letters=queue.dead_letters,
            settings=settings,
            late=late,
            moved=self._moved,
            newest=self.lane.span.last if self.lane.span else 0,
        )

    def go_on_from(self, before: ShardService) -> None:
        """Counts on where a service of the same location left off, which this one replaces."""
        self.writer.stats = before.writer.stats
        self._failovers = before._failovers
        self._outage_s = before._outage_s

    async def run(self) -> None:
        """Watches and writes until cancelled.

        Raises:
            IotdError: one that is not retriable.
        """
        async with together() as group:
            group.create_task(self.watcher.run(), name=f"watch {self.shard.location}")
            group.create_task(self.writer.run(), name=f"write {self.shard.location}")
            group.create_task(self._keep_metadata(), name=f"metadata {self.shard.location}")

    def _moved(self, source: Address, target: Address, reason: str, gap_s: float) -> None:
        names = self.shard.name_of(source), self.shard.name_of(target)
        self._failovers += 1
        self._outage_s += gap_s
        log.info("shard_moved", shard=self.shard.location, source=names[0], target=names[1], gap_ms=round(1000 * gap_s))
        self._moves.put_nowait((*names, reason, gap_s))

    async def _keep_metadata(self) -> None:
        belief = await self.watcher.accepting()
        await self._on_disk(self.metadata.write, self.shard.name_of(belief.address))
        while True:
            await self._on_disk(self.metadata.moved, *await self._moves.get())

    async def _on_disk(self, write: Any, *args: Any) -> None:
        try:
            await asyncio.to_thread(write, *args)
        except OSError as e:
            log.warning("metadata_not_written", path=str(self.metadata.path), reason=str(e))

    def state(self) -> ShardState:
        watcher, belief = self.watcher, self.watcher.belief
        name = self.shard.name_of
        return ShardState(
            location=self.shard.location,
            master=name(belief.address) if belief else None,
            settled=bool(belief and belief.settled),
            roles={name(address): role for address, role in watcher.roles.items()},
            lag={name(a): n for a, n in watcher.lags.get(belief.address, {}).items()} if belief else {},
            sentinels=watcher.answering,
            depth=self.lane.depth(),
            handed=self.lane.readings,
            written=self.writer.stats.readings,
            confirmed=self.lane.confirmed_readings,
            replayed=self.writer.stats.replayed,
            refused=self.writer.stats.refused,
            trouble=self.writer.stats.outage.reason or watcher.refusal.reason,
            outage_s=round(self._outage_s + self.writer.stats.outage.seconds, 3),
            failovers=self._failovers,
            moves=len(self.metadata.moves),
            last_move=self.metadata.last,
        )
