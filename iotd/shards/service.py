"""One location's shard as the daemon runs it: its watcher, its writer, its sharding metadata."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotd.config.topology import Shard
from iotd.config.tree import Tree
from iotd.config.values import Address
from iotd.log.base import Depth, Log, Partition
from iotd.model.batch import Batch, Times, Values
from iotd.model.errors import ShardForeign, ShardMisconfigured
from iotd.model.series import Series
from iotd.ops.lately import Lately
from iotd.ops.loggers import get_logger
from iotd.ops.outage import Outage
from iotd.ops.systemerrors import said
from iotd.ops.tasks import together
from iotd.shards.catalogue import Catalogue, Refuse
from iotd.shards.checkpoint import checkpoint_key
from iotd.shards.failovers import Failover, ShardingMetadata
from iotd.shards.identity import Expected, from_0_1
from iotd.shards.watcher import Watcher
from iotd.shards.writer import Writer

log = get_logger(__name__)

_LATELY_S = 3600.0


@dataclass(frozen=True, slots=True)
class ShardState:
    """What the daemon knows of a shard.

    Attributes:
        master: name of the node written to, None while there is none.
        settled: a majority of the Sentinels names it.
        roles: by node name, what it last said (``master``, ``slave``) or None when it does not answer.
        lag: bytes by which each connected replica is behind, by node name.
        sentinels: names of those that answer.
        waiting: what is in the log and not on the disks of master and replica.
        unarchived: what is in the log and not archived.
        age: seconds since readings last became durable, while batches are pending (0 when none is).
        full: the log is at its limit, and sources wait.
        taken: readings taken since the daemon's start.
        acknowledged: readings that a master has answered for since then; what was written again counts again.
        durable: readings on the disks of master and replica, since then.
        replayed: batches that waited when a master was taken up.
        held: readings that were not accepted since then, by the intake or by Redis.
        expired: readings older than the shard keeps, which only the archive takes.
        lost_series: series of which the shard may lack what the log no longer has, not yet written back.
        trouble: why nothing is written at present, None while all is well.
        unacknowledged_s: seconds since the master last answered for readings, while some wait for it (0 when none do).
        sentinels_in_all: how many there should be.
        foreign: by node name, why it is another location's or system's.
        refusing: by node name, why it does not let us in.
        strangers: names of Sentinels that watch no master of this name.
        blind: by name of a Sentinel whose clock was ahead: for how many seconds it will not ask the nodes.
        without_file: which node keeps no append-only file, so that durable means in memory; None when both do.
        unreadable: why the log can't be read now, None while it can.
        clocks: by name of a node on another machine, by how much its clock is ahead of ours, ms (behind: negative).
        metadata: why the sharding metadata can't be written, None while it can.
        outage_s: seconds during which nothing was written since then, the present outage among them.
        failovers: how often the shard has failed over since then.
        failovers_lately: of these, those of the last hour.
        failovers_known: how often it has, as far as that is remembered.
        last_failover: the last one of these.
    """

    location: str
    master: str | None
    settled: bool
    roles: dict[str, str | None]
    lag: dict[str, int]
    sentinels: list[str]
    waiting: Depth
    unarchived: Depth
    age: float
    full: bool
    taken: int
    acknowledged: int
    durable: int
    replayed: int
    held: int
    expired: int
    lost_series: int
    trouble: str | None
    unacknowledged_s: float
    sentinels_in_all: int
    foreign: dict[str, str]
    refusing: dict[str, str]
    strangers: list[str]
    blind: dict[str, float]
    without_file: str | None
    unreadable: str | None
    clocks: dict[str, float]
    metadata: str | None
    outage_s: float
    failovers: int
    failovers_lately: int
    failovers_known: int
    last_failover: Failover | None


class ShardService:
    """Runs one shard; :meth:`state` is for status and metrics."""

    def __init__(
        self,
        shard: Shard,
        log_: Log,
        catalogue: Catalogue,
        *,
        system: str,
        refuse: Refuse,
        settings: Tree,
        state: Path,
        heard: Callable[[str, float], None] = lambda node, ahead_ms: None,
    ) -> None:
        """
        Args:
            system: the id of the system that its servers are to belong to.
            refuse: holds the readings that Redis refuses.
            state: the state directory, for the sharding metadata.
            heard: told by how much a node's clock is ahead of ours, ms.
        """
        self.shard = shard
        self.partition: Partition = log_.partition(shard.location)
        expected = Expected(shard.name, system, checkpoint_key(log_.id, shard.location), legacy=from_0_1(state))
        self.watcher = Watcher(shard, settings, expected=expected, heard=heard)
        numbers = catalogue.of_location
        self.metadata = ShardingMetadata(
            state, shard, lambda: [catalogue.keys[n].decode() for n in numbers(shard.location)], system
        )
        self._metadata_fails = Outage()
        self._failovers_lately = Lately(_LATELY_S)
        self._failovers = 0
        self._outage_s = 0.0
        self._backlog = self.partition.depth("durable").readings
        self._durable = 0
        self._pending: asyncio.Queue[tuple[str, str, str, float]] = asyncio.Queue()
        self.writer = Writer(
            log_,
            self.partition,
            catalogue,
            watcher=self.watcher,
            refuse=refuse,
            settings=settings,
            failed_over=self._failed_over,
        )

    @property
    def lost_series(self) -> set[int]:
        """Numbers of series of which the shard may lack readings that the log no longer has; who has written back what
        the archive has takes them out."""
        return self.writer.losses.series

    def relabel(self, numbers: Iterable[int]) -> None:
        """See :meth:`iotd.shards.writer.Writer.relabel`."""
        self.writer.relabel(numbers)

    def go_on_from(self, before: ShardService) -> None:
        """Goes on where a service of the same location left off, which this one replaces."""
        self.writer.go_on_from(before.writer)
        self._failovers_lately = before._failovers_lately
        self._failovers = before._failovers
        self._outage_s = before._outage_s
        self._backlog, self._durable = before._backlog, before._durable

    async def write_again(self, batch: Batch, upto: int) -> NDArray[np.bool_]:
        """See :meth:`Writer.write_again`."""
        return await self.writer.write_again(batch, upto)

    async def restore(self, series: Series, times: Times, values: Values) -> int:
        """See :meth:`Writer.restore`."""
        return await self.writer.restore(series, times, values)

    async def run(self) -> None:
        """Watches and writes until cancelled.

        Raises:
            IotdError: one that is not retriable.
        """
        async with together() as group:
            group.create_task(self.watcher.run(), name=f"watch {self.shard.location}")
            group.create_task(self.writer.run(), name=f"write {self.shard.location}")
            group.create_task(self._keep_metadata(), name=f"metadata {self.shard.location}")

    def _failed_over(self, source: Address, target: Address, reason: str, gap_s: float) -> None:
        names = self.shard.name_of(source), self.shard.name_of(target)
        self._failovers += 1
        self._outage_s += gap_s
        gap_ms = round(1000 * gap_s)
        log.info("shard_failed_over", shard=self.shard.location, source=names[0], target=names[1], gap_ms=gap_ms)
        self._pending.put_nowait((*names, reason, gap_s))

    async def _keep_metadata(self) -> None:
        belief = await self.watcher.accepting()
        await self._on_disk(self.metadata.write, self.shard.name_of(belief.address))
        while True:
            await self._on_disk(self.metadata.failed_over, *await self._pending.get())

    async def _on_disk(self, write: Any, *args: Any) -> None:
        try:
            await asyncio.to_thread(write, *args)
        except OSError as e:
            if self._metadata_fails.begins(said(e)):
                log.warning("metadata_not_written", path=str(self.metadata.path), reason=said(e))
        else:
            self._metadata_fails.ends()

    def state(self, *, taken: int, held: int) -> ShardState:
        """What is known now; asks nobody.

        Args:
            taken, held: readings, by the intake, since the daemon's start.
        """
        watcher, belief = self.watcher, self.watcher.belief
        partition, stats = self.partition, self.writer.stats
        waiting = partition.depth("durable")
        self._durable = max(self._durable, taken + self._backlog - waiting.readings)
        name = self.shard.name_of
        return ShardState(
            location=self.shard.location,
            master=name(belief.address) if belief else None,
            settled=bool(belief and belief.settled),
            roles={name(address): role for address, role in watcher.roles.items()},
            lag={name(a): n for a, n in watcher.lags.get(belief.address, {}).items()} if belief else {},
            sentinels=watcher.answering,
            waiting=waiting,
            unarchived=partition.depth("archived"),
            age=round(partition.positions.waiting("durable"), 3),
            full=partition.full,
            taken=taken,
            acknowledged=stats.readings,
            durable=self._durable,
            replayed=stats.replayed,
            held=held + stats.refused,
            expired=stats.expired,
            lost_series=len(self.lost_series),
            # a node that is refused is why nothing is written only where there is no other one to write to
            trouble=stats.outage.reason or (None if belief else watcher.refusal),
            unacknowledged_s=round(partition.positions.waiting("acknowledged"), 3),
            sentinels_in_all=len(self.shard.sentinels),
            foreign={name(a): reason for a, reason in watcher.refusals(ShardForeign).items()},
            refusing={name(a): reason for a, reason in watcher.refusals(ShardMisconfigured).items()},
            strangers=watcher.strange,
            blind=watcher.blind,
            without_file=self.writer.stats.without_file,
            unreadable=partition.unreadable,
            clocks={name(a): round(ahead) for a, ahead in watcher.clocks.items()},
            metadata=self._metadata_fails.reason,
            outage_s=round(self._outage_s + stats.outage.seconds, 3),
            failovers=self._failovers,
            failovers_lately=self._failovers_lately.of(self._failovers),
            failovers_known=len(self.metadata.failovers),
            last_failover=self.metadata.last,
        )
