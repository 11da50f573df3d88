"""One session with one master: takes it up at its checkpoint, then sends the log and examines every reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile
from time import monotonic
from typing import Any

import numpy as np
from prometheus_client import Histogram

from iotd.config.tree import Tree
from iotd.config.values import Address
from iotd.log.base import Deletion, Partition
from iotd.model.arrays import columns_of, distinct
from iotd.model.batch import Numbers, Times, Values
from iotd.model.errors import ShardUnavailable
from iotd.model.instants import milliseconds
from iotd.ops.histogram import write_latency
from iotd.ops.loggers import get_logger
from iotd.ops.outage import Outage
from iotd.ops.tasks import together
from iotd.ops.turns import turn
from iotd.shards.catalogue import Catalogue
from iotd.shards.checkpoint import Checkpoint
from iotd.shards.connection import Connection
from iotd.shards.deleting import delete_range
from iotd.shards.losses import Losses
from iotd.shards.madd import Packer
from iotd.shards.repair import READINGS, Refusals
from iotd.shards.replies import all_good, examine
from iotd.shards.series import Made
from iotd.shards.window import Sent, Window

log = get_logger(__name__)

_PAGE = READINGS * 20
"""Bytes of the log read at once."""
_SOME = 1_024
"""So many readings are packed, and their replies examined, in no time; what is more takes turns."""
_MARGIN_MS = 60_000
"""A reading must be older than the shard keeps by so much before it is not even sent: else the shard decides."""
_ASK_AGAIN_S = 10.0
"""After so long it is tried again to make a series whose key something else has taken."""

FailedOver = Callable[[Address, Address, str, float], None]


class SeriesVanished(ShardUnavailable):
    """A series that was made is gone: the node has lost data, and is taken up anew."""


@dataclass(slots=True)
class WriterStats:
    """What a shard's writers have done since the daemon's start; a writer that replaces another goes on with them.

    Attributes:
        readings: acknowledged by a master; one that was written again counts again.
        refused: held, because Redis will never take them.
        expired: older than the shard keeps; the archive takes them from the log.
        replayed: batches that waited when a session began.
        accepted_at: when a master last acknowledged something (monotonic seconds), None before.
        node: which one that was.
        latency: seconds from sending to the last of the replies.
        outage: what keeps it from writing.
        without_file: which node keeps no append-only file; None when both do, as far as is known.
    """

    readings: int = 0
    refused: int = 0
    expired: int = 0
    replayed: int = 0
    accepted_at: float | None = None
    node: Address | None = None
    latency: Histogram = field(default_factory=write_latency)
    outage: Outage = field(default_factory=Outage)
    without_file: str | None = None


@dataclass(frozen=True, slots=True)
class Shared:
    """What all sessions of a writer share.

    Attributes:
        failed_over: told (node before, node now, reason, seconds without an accepted write) at the first write that
            another node has accepted.
        accepted: called whenever a master has acknowledged something.
        mending: held by whoever writes again into the master what it had before, and while a range is deleted there.
    """

    partition: Partition
    catalogue: Catalogue
    settings: Tree
    made: Made
    refusals: Refusals
    losses: Losses
    packer: Packer
    failed_over: FailedOver
    accepted: Callable[[], None]
    mending: asyncio.Lock


class Session:
    """Writes to one master until something fails."""

    def __init__(self, shared: Shared, stats: WriterStats, data: Connection, side: Connection, node: str) -> None:
        """
        Args:
            data: for TS.MADD alone.
            side: to the same run of the same node, for everything else.
            node: its name.
        """
        self.stats = stats
        self._data = data
        self._side = side
        self._node = node
        self._partition = shared.partition
        self._location = shared.partition.name
        self._catalogue = shared.catalogue
        self._made = shared.made
        self._refusals = shared.refusals
        self._losses = shared.losses
        self._packer = shared.packer
        self._failed_over = shared.failed_over
        self._accepted = shared.accepted
        self._mending = shared.mending
        self._retention = milliseconds(shared.settings.redis.retention) + _MARGIN_MS
        self._timeout = shared.settings.redis.response_timeout.total_seconds()
        self._window = Window(shared.settings.writer.in_flight)
        self._side_turn = asyncio.Lock()
        self._asked_again_at = monotonic()

    async def run(self, checkpoint: Checkpoint) -> None:
        """Writes for ever.

        Raises:
            ShardError: what ended it.
        """
        start = await self._take_up(checkpoint)
        async with together() as work:
            work.create_task(self._send(start))
            work.create_task(self._receive())
            work.create_task(checkpoint.keep())

    async def _take_up(self, checkpoint: Checkpoint) -> int:
        await self._made.look_up(self._side)
        found = await checkpoint.read()
        if found.value is not None and found.position is None:
            log.warning(
                "checkpoint_unknown",
                shard=self._location,
                found=found.value.decode(errors="replace"),
                effect="it proves nothing here: all that the log has is written again",
            )
        positions = self._partition.positions
        proven = found.position or 0
        self._losses.compare(proven, self._side.address)
        start = max(proven, positions.truncated)
        positions.rewind(start)
        positions.advance("acknowledged", start)
        waiting = self._partition.depth("acknowledged").batches
        self.stats.replayed += waiting
        log.info(
            "writing",
            shard=self._location,
            node=self._node,
            checkpoint=found.position,
            batches_to_replay=waiting,
        )
        if await self._losses.mend(self._side, start):
            positions.rewind(positions.truncated)  # durable is only what a new checkpoint proves
            positions.advance("acknowledged", start)
        return start

    async def _send(self, after: int) -> None:
        while True:
            end = await self._partition.appended_beyond(after)
            records = await self._partition.read(after, _PAGE)
            if records and self._partition.next_deletion(after) is not None:
                if (deletion := records[0].deletion) is not None:
                    await self._delete(deletion)
                    after = deletion.sequence
                    continue
                records = list(takewhile(lambda record: record.deletion is None, records))
            upto = records[-1].sequence if records else end  # what lies up to there can't be read
            series, times, values = columns_of(records)
            for first in range(0, max(1, len(times)), READINGS):
                part = slice(first, first + READINGS)
                last = first + READINGS >= len(times)
                if len(times) > _SOME:
                    await turn()
                sent = self._pack(series[part], times[part], values[part], upto if last else None)
                if len(lacking := self._made.lacking(sent.commands.series)):
                    await self._make(lacking.tolist(), after)
                await self._window.push(sent)
                await self._data.send([sent.commands.payload])
            after = upto

    def _pack(self, series: Numbers, times: Times, values: Values, upto: int | None) -> Sent:
        keep = times >= self._catalogue.newest[series] - self._retention
        expired = len(times) - int(np.count_nonzero(keep))
        if expired:
            series, times, values = series[keep], times[keep], values[keep]
        return Sent(self._packer.pack(series, times, values), upto, expired)

    async def _delete(self, deletion: Deletion) -> None:
        """Deletes a range, once the master has answered for all that stands before it; what follows is sent then."""
        await self._window.empty()
        keys = [self._catalogue.keys[number] for number in deletion.series.tolist()]
        async with self._mending, self._side_turn:
            await delete_range(self._side, keys, deletion.first, deletion.last)
        log.info(
            "shard_deleted",
            shard=self._location,
            node=self._node,
            series=len(keys),
            first=deletion.first,
            last=deletion.last,
        )
        self._acknowledged(self._pack(*columns_of([]), deletion.sequence))

    async def _make(self, numbers: list[int], after: int) -> None:
        async with self._side_turn:
            made = await self._made.make(self._side, numbers)
        self._losses.first_sent(numbers, after)
        if made:
            log.info("series_made", shard=self._location, count=made, node=self._node)

    async def _receive(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            sent = await self._window.oldest()
            if len(sent.commands) > _SOME:
                await turn()
            replies = []
            try:
                async with asyncio.timeout(self._timeout) as limit:
                    for _ in sent.commands.starts:
                        replies.append(await self._data.receive())
                        limit.reschedule(clock() + self._timeout)
            except TimeoutError:
                raise ShardUnavailable(
                    f"{self._data.address}: no answer to a write within {self._timeout:g} s"
                ) from None
            if not all_good(replies):
                await self._examine(sent, replies)
            self.stats.latency.observe(self._window.pop())
            self._acknowledged(sent)

    def _acknowledged(self, sent: Sent) -> None:
        stats, address = self.stats, self._data.address
        if address != (before := stats.node):
            if before is not None:
                gap = monotonic() - (stats.accepted_at or monotonic())
                self._failed_over(before, address, stats.outage.reason or "", gap)
            stats.node = address
        stats.readings += len(sent.commands)
        stats.expired += sent.expired
        stats.accepted_at = monotonic()
        self._accepted()
        if (over := stats.outage.ends()) is not None:
            log.info("writes_resumed", shard=self._location, was=over[0], after_s=over[1])
        if sent.upto is not None:
            self._partition.positions.advance("acknowledged", sent.upto)
            self._partition.release(sent.upto)

    # ── what was not taken ──

    async def _examine(self, sent: Sent, replies: list[Any]) -> None:
        commands = sent.commands
        findings = examine(commands, replies, self._side.address)
        numbers: list[int] = distinct(commands.series[findings.missing]).tolist()
        if freed := await self._freed(self._made.taken.intersection(numbers)):
            log.info("key_freed", shard=self._location, count=len(freed))
        if vanished := freed or [number for number in numbers if number not in self._made.taken]:
            key = self._catalogue.keys[vanished[0]].decode()
            raise SeriesVanished(f"{self._side.address}: {len(vanished)} series are gone, {key} among them")
        self.stats.expired += len(findings.expired)
        await self._refusals.hold(
            commands, findings.refused + [(place, "the key is not a TSDB key") for place in findings.missing]
        )
        self.stats.refused += len(findings.refused) + len(findings.missing)

    async def _freed(self, taken: set[int]) -> list[int]:
        if not taken or monotonic() - self._asked_again_at < _ASK_AGAIN_S:
            return []
        self._asked_again_at = monotonic()
        async with self._side_turn:
            await self._made.make(self._side, list(taken))
        return [number for number in taken if number not in self._made.taken]
