"""The writer of one shard: sends its lane to the master, in order, and again from the fence when that one changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import structlog
from prometheus_client import Histogram

from iotd.config.tree import Tree
from iotd.config.values import Address
from iotd.model.errors import IotdError, NotMaster, ShardError, ShardMisconfigured, ShardUnavailable
from iotd.model.roster import Roster
from iotd.model.series import Series
from iotd.ops.histogram import write_latency
from iotd.ops.outage import Outage
from iotd.ops.tasks import together
from iotd.pipeline.deadletter import DeadLetters
from iotd.pipeline.journal import Entry
from iotd.pipeline.lane import Lane
from iotd.pipeline.spool import Spool
from iotd.shards.connection import Connection
from iotd.shards.fence import CONNECTIONS, Fence, Late, fence_lost
from iotd.shards.replies import all_good, examine, sort_out
from iotd.shards.series import make_series
from iotd.shards.verdict import Belief
from iotd.shards.watcher import Watcher
from iotd.shards.window import Window
from iotd.wire.commands import Element, elements, repack

log = structlog.get_logger(__name__)

_PAGE = 1024 * 1024
"""Bytes taken from the lane at once."""
_PAUSES_S = (0.0, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
"""Pauses after sessions that failed one after the other."""


Moved = Callable[[Address, Address, str, float], None]


@dataclass(slots=True)
class WriterStats:
    """What a shard's writers have done since the daemon's start; a writer that replaces another goes on with them.

    Attributes:
        readings: answered well by a master; one that was written again counts again.
        refused: put into the dead-letter file.
        replayed: batches that were sent again.
        accepted_at: when a master last answered well (monotonic seconds), None before.
        node: which one that was.
        latency: seconds from sending a batch to the last of its replies.
        outage: what keeps it from writing.
    """

    readings: int = 0
    refused: int = 0
    replayed: int = 0
    accepted_at: float | None = None
    node: Address | None = None
    latency: Histogram = field(default_factory=write_latency)
    outage: Outage = field(default_factory=Outage)


class Writer:
    """Runs sessions, each with one master, for as long as that one is to be written to."""

    def __init__(
        self,
        roster: Roster,
        lane: Lane,
        *,
        spool: Spool,
        watcher: Watcher,
        dead_letters: DeadLetters,
        settings: Tree,
        late: Late,
        moved: Moved,
        newest: int = 0,
    ) -> None:
        """
        Args:
            moved: told (node before, node now, reason, seconds without an accepted write) at the first write
                that another node has accepted.
            late: called, before the fence passes them, for readings not newer than others that were written.
            newest: largest time (ms) that may have been archived already, from an earlier run.
        """
        self.stats = WriterStats()
        self._roster = roster
        self._lane = lane
        self._spool = spool
        self._watcher = watcher
        self._dead_letters = dead_letters
        self._settings = settings
        self._late = late
        self._moved = moved
        self._newest = newest
        self._failures = 0
        self._series_made = False

    async def run(self) -> None:
        """Writes until cancelled.

        Raises:
            IotdError: one that is not retriable (a spool that lost a part).
        """
        while True:
            belief = await self._watcher.accepting()
            try:
                await self._session(belief)
            except IotdError as e:
                if not e.retriable:
                    raise
                self._note_trouble(e, belief.address)
                await self._watcher.doubt(belief.address, demoted=isinstance(e, NotMaster))
                await self._pause(e, belief.address)

    # ── one session ──

    async def _session(self, belief: Belief) -> None:
        address = belief.address
        async with together() as group, AsyncExitStack() as connections:
            group.create_task(self._until_moved(address))  # from the first moment: a node that hangs must not hold us
            opened = []
            for _ in range(1 + CONNECTIONS):
                opened.append(connection := await self._open(address))
                connections.push_async_callback(connection.close)
            await self._same_master(opened)
            data, *control = opened
            if not self._series_made:
                await make_series(data, self._roster, self._settings.redis)
                self._series_made = True
            fence = await self._take_up(control)
            window = Window(self._settings.writer.in_flight)
            async with together() as work:
                work.create_task(self._send(data, window))
                work.create_task(self._receive(data, window))
                work.create_task(fence.keep_confirming())

    async def _open(self, address: Address) -> Connection:
        redis = self._settings.redis
        return await Connection.open(
            address,
            redis,
            connect_timeout=redis.connect_timeout.total_seconds(),
            response_timeout=redis.response_timeout.total_seconds(),
        )

    async def _same_master(self, opened: list[Connection]) -> None:
        # all connections must reach the same run of the same server, or the fence would vouch for another's data
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

    async def _take_up(self, control: list[Connection]) -> Fence:
        lane = self._lane
        fence = self._fence(control, self._spool.producer)
        found = await fence.read()
        if found is not None and found > lane.handed:
            # the spool is older than its own fence: it was restored from a copy, its sequences are used up
            log.warning("spool_older_than_fence", shard=lane.location, fence=found, spool=lane.handed)
            fence = self._fence(control, self._spool.renew_producer())
            found = await fence.read()
        fence_lost(found, lane, control[0].address)
        waiting = lane.rewind(found or 0)
        self.stats.replayed += waiting
        log.info(
            "writing",
            shard=lane.location,
            node=self._watcher.shard.name_of(control[0].address),
            fence=found,
            batches_to_replay=waiting,
        )
        return fence

    def _fence(self, control: list[Connection], producer: str) -> Fence:
        return Fence(control, producer, self._lane, watcher=self._watcher, late=self._late, settings=self._settings)

    async def _send(self, data: Connection, window: Window) -> None:
        while True:
            entries = await self._lane.next(_PAGE)
            await window.push(entries)
            await data.send([e.packed.payload for e in entries])

    async def _receive(self, data: Connection, window: Window) -> None:
        timeout = self._settings.redis.response_timeout.total_seconds()
        while True:
            entry = await window.oldest()
            try:
                async with asyncio.timeout(timeout):
                    replies = [await data.receive() for _ in range(entry.packed.commands)]
            except TimeoutError:
                raise ShardUnavailable(f"{data.address}: no answer to a write within {timeout:g} s") from None
            if not all_good(replies):
                await self._mend(entry, replies, data.address)
            self.stats.latency.observe(window.pop())
            await self._applied(entry, data.address)

    async def _applied(self, entry: Entry, address: Address) -> None:
        packed = entry.packed
        if address != (before := self.stats.node):
            if before is not None:
                gap = monotonic() - (self.stats.accepted_at or monotonic())
                self._moved(before, address, self.stats.outage.reason or "", gap)
            self.stats.node = address
        if packed.first <= self._newest:
            self._lane.note_late(packed.first, packed.last)
        self._newest = max(self._newest, packed.last)
        self.stats.readings += packed.count
        self.stats.accepted_at = monotonic()
        self._failures = 0
        if (over := self.stats.outage.ends()) is not None:
            log.info("writes_resumed", shard=self._lane.location, was=over[0], after_s=over[1])
        await self._lane.apply(entry.seq)

    async def _until_moved(self, address: Address) -> None:
        await self._watcher.moved_from(address)
        raise NotMaster(f"{address}: another node is master now")

    # ── what was not taken ──

    async def _mend(self, entry: Entry, replies: list[Any], address: Address) -> None:
        findings = examine(entry.packed, replies, address)
        refused = findings.refused
        if findings.missing:
            repair = await self._open(address)
            try:
                refused += await self._write_missing(repair, findings.missing)
            finally:
                await repair.close()
        if refused:
            letters = [
                {"location": self._lane.location, "key": e.key, "time": e.time, "value": e.value, "said": said}
                for e, said in refused
            ]
            await asyncio.to_thread(self._dead_letters.add, letters, "refused by Redis")
            self.stats.refused += len(letters)
            log.warning("readings_refused", shard=self._lane.location, count=len(letters), said=refused[0][1])

    async def _write_missing(self, repair: Connection, missing: list[Element]) -> list[tuple[Element, str]]:
        sensors = {s.key: s for s in self._roster}
        types = self._settings.known_types
        for e in missing:
            sensors.setdefault(e.key, Series.from_key(e.key, types))  # of a sensor that the configuration no longer has
        made = await make_series(repair, sensors.values(), self._settings.redis)
        if made:
            log.info("series_made", shard=self._lane.location, count=made, node=str(repair.address))
        command = repack(missing)
        await repair.send([command])
        async with asyncio.timeout(self._settings.redis.response_timeout.total_seconds()):
            reply = await repair.receive()
        findings = sort_out(elements(command), [reply], repair.address)
        # still no series: the key is taken by something else
        return findings.refused + [(e, "the key is not a TSDB key") for e in findings.missing]

    # ── between sessions ──

    def _note_trouble(self, error: IotdError, address: Address) -> None:
        if self.stats.outage.begins(str(error)):
            log.warning(
                "writes_interrupted",
                shard=self._lane.location,
                node=self._watcher.shard.name_of(address),
                reason=str(error),
                effect="readings wait in the spool",
            )

    async def _pause(self, error: ShardError | IotdError, address: Address) -> None:
        pause = _PAUSES_S[min(self._failures, len(_PAUSES_S) - 1)]
        if isinstance(error, ShardMisconfigured):
            pause = _PAUSES_S[-1]
        self._failures += 1
        try:
            async with asyncio.timeout(pause):
                await self._watcher.moved_from(address)  # another master ends the pause
        except TimeoutError:
            pass
