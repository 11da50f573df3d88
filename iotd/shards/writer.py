"""The writer of one shard: sends its partition of the log to the master, in order, from the checkpoint on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from iotd.config.tree import Tree
from iotd.config.values import Address
from iotd.log.base import Log, Partition
from iotd.log.deletions import standing
from iotd.model.batch import Batch, Times, Values
from iotd.model.errors import IotdError, NotMaster, ShardError, ShardMisconfigured, ShardUnavailable
from iotd.model.series import Series
from iotd.ops.backoff import Backoff
from iotd.ops.loggers import get_logger
from iotd.ops.tasks import together
from iotd.shards.catalogue import Catalogue, Refuse
from iotd.shards.checkpoint import CONNECTIONS, Checkpoint
from iotd.shards.connection import Connection
from iotd.shards.election import Belief
from iotd.shards.identity import claim
from iotd.shards.losses import Losses
from iotd.shards.madd import Packer
from iotd.shards.renaming import rename_series
from iotd.shards.repair import Refusals, Repair
from iotd.shards.series import Made
from iotd.shards.session import FailedOver, SeriesVanished, Session, Shared, WriterStats
from iotd.shards.watcher import Watcher

log = get_logger(__name__)


class Writer:
    """Runs sessions, each with one master, for as long as that one is to be written to.

    Attributes:
        losses: what nodes were found to have lost.
    """

    def __init__(
        self,
        log_: Log,
        partition: Partition,
        catalogue: Catalogue,
        *,
        watcher: Watcher,
        refuse: Refuse,
        settings: Tree,
        failed_over: FailedOver = lambda before, now, reason, gap: None,
    ) -> None:
        """
        Args:
            failed_over: told (node before, node now, reason, seconds without an accepted write) at the first write
                that another node has accepted.
        """
        self.stats = WriterStats()
        self._log = log_
        self._partition = partition
        self._watcher = watcher
        self._settings = settings
        self._location = partition.name
        self._backoff = Backoff(0.02, 2.0, free=1)
        made = Made(partition.name, catalogue, settings.redis)
        refusals = Refusals(partition.name, refuse)
        self._repair = Repair(catalogue, settings.redis, refusals)
        self.losses = Losses(partition, catalogue, made, self._repair)
        self._shared = Shared(
            partition=partition,
            catalogue=catalogue,
            settings=settings,
            made=made,
            refusals=refusals,
            losses=self.losses,
            packer=Packer(catalogue.keys),
            failed_over=failed_over,
            accepted=self._backoff.reset,
            mending=asyncio.Lock(),
        )

    def go_on_from(self, before: Writer) -> None:
        """Goes on where a writer of the same partition left off, which this one replaces."""
        self.stats = before.stats
        self.losses.series |= before.losses.series
        self._shared = replace(self._shared, mending=before._shared.mending)

    async def run(self) -> None:
        """Writes until cancelled.

        Raises:
            IotdError: one that is not retriable.
        """
        while True:
            belief = await self._watcher.accepting()
            try:
                await self._session(belief)
            except IotdError as e:
                if not e.retriable:
                    raise
                self._note_trouble(e, belief.address)
                if not isinstance(e, SeriesVanished):
                    await self._watcher.doubt(belief.address, demoted=isinstance(e, NotMaster))
                await self._pause(e, belief.address)

    def relabel(self, numbers: Iterable[int]) -> None:
        """What is known of these series has changed: their labels follow before their next reading is written."""
        self._shared.made.unsure(numbers)

    # ── for the archiver ──

    async def write_again(self, batch: Batch, upto: int) -> NDArray[np.bool_]:
        """Writes readings into the present master, in their order, and returns when it has answered.

        Args:
            upto: the sequence up to which they stand in the log: what a deletion behind it concerns is not written.

        Returns:
            which of them it has taken; the others were deleted, are older than it keeps, or refused and held.

        Raises:
            ShardError: there is no master, or it does not take them now.
        """
        async with self._shared.mending, AsyncExitStack() as connections:
            taken = standing(await self._partition.deletions(upto), upto, batch.series, batch.times)
            if taken is None:
                taken = np.ones(len(batch), bool)
            some = batch.take(taken)
            if len(some):
                master = await self._master(connections)
                taken[taken] = await self._repair.write(master, some.series, some.times, some.values)
            return taken

    async def restore(self, series: Series, times: Times, values: Values) -> int:
        """Writes readings of one series (times rising) into the present master, never over one that is there.

        They are the archive's: what a deletion concerns that is not archived yet is not written.

        Returns:
            how many it has now; the others were deleted, or are older than it keeps.

        Raises:
            ShardError: there is no master, or it does not take them now.
        """
        async with self._shared.mending, AsyncExitStack() as connections:
            archived = self._partition.positions.archived
            deletions = await self._partition.deletions(archived)
            if deletions and (number := self._shared.catalogue.number_of(series)) is not None:
                stands = standing(deletions, archived, np.full(len(times), number, np.int32), times)
                if stands is not None:
                    times, values = times[stands], values[stands]
            return await self._repair.restore(await self._master(connections), series, times, values)

    async def _master(self, connections: AsyncExitStack) -> Connection:
        belief = self._watcher.belief
        if belief is None:
            raise ShardUnavailable(f"{self._location}: no master at present")
        connection = await self._open(belief.address)
        connections.push_async_callback(connection.close)
        await _same_master([connection])
        await claim(connection, self._watcher.expected)  # one that was emptied is ours before anything is in it
        return connection

    # ── one session ──

    async def _session(self, belief: Belief) -> None:
        address = belief.address
        async with together() as group, AsyncExitStack() as connections:
            group.create_task(
                self._until_failover(address)
            )  # from the first moment: a node that hangs must not hold us
            opened = []
            for _ in range(2 + CONNECTIONS):
                opened.append(connection := await self._open(address))
                connections.push_async_callback(connection.close)
            await _same_master(opened)
            data, side, *control = opened
            await claim(side, self._watcher.expected)
            formers = [name for name, _ in self._watcher.shard.formers]
            await rename_series(side, formers, self._location, self._shared.catalogue, self._settings.redis)
            checkpoint = Checkpoint(
                control,
                self._log,
                self._partition,
                watcher=self._watcher,
                settings=self._settings,
                without_file=partial(setattr, self.stats, "without_file"),
            )
            node = self._watcher.shard.name_of(address)
            await Session(self._shared, self.stats, data, side, node).run(checkpoint)

    async def _open(self, address: Address) -> Connection:
        return await Connection.to_node(address, self._settings.redis)

    async def _until_failover(self, address: Address) -> None:
        await self._watcher.failed_over_from(address)
        raise NotMaster(f"{address}: another node is master now")

    # ── between sessions ──

    def _note_trouble(self, error: IotdError, address: Address) -> None:
        if self.stats.outage.begins(str(error)):
            log.warning(
                "writes_interrupted",
                shard=self._location,
                node=self._watcher.shard.name_of(address),
                reason=str(error),
                effect="readings wait in the log",
            )

    async def _pause(self, error: ShardError | IotdError, address: Address) -> None:
        pause = self._backoff.next()
        if isinstance(error, ShardMisconfigured):
            pause = self._backoff.longest
        try:
            async with asyncio.timeout(pause):
                await self._watcher.failed_over_from(address)  # another master ends the pause
        except TimeoutError:
            pass


async def _same_master(opened: list[Connection]) -> None:
    # all connections must reach the same run of the same server, or the checkpoint would vouch for another's data
    runs = set()
    for connection in opened:
        role, info = await connection.call_many([("ROLE",), ("INFO", "server")])
        for reply in (role, info):
            if isinstance(reply, BaseException):
                raise ShardUnavailable(f"{connection.address}: {reply}")
        if role[0] != b"master":
            raise NotMaster(f"{connection.address}: ROLE says {role[0].decode()}")
        runs.add(next(line for line in info.split(b"\r\n") if line.startswith(b"run_id:")))
    if len(runs) > 1:
        raise ShardUnavailable(f"{opened[0].address}: restarted while we connected")
