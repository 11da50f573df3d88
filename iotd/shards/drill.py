"""The failover drill: strikes a master, and notes what the Sentinels do and when writes are accepted again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic

from iotd.config.topology import Shard
from iotd.config.tree import Tree
from iotd.config.values import Address
from iotd.model.errors import IotdError, StackError
from iotd.ops.tasks import together
from iotd.shards.connection import Connection
from iotd.shards.sentinels import SentinelClient, SentinelEvent
from iotd.shards.watcher import Watcher

_WRITE_EVERY_S = 0.01
_GIVE_UP_S = 0.2

_TOLD = {
    "+sdown": "does not hear from it any more",
    "+odown": "agrees with others that it is down",
    "+try-failover": "wants to lead a failover",
    "+elected-leader": "was elected to lead it",
    "+selected-slave": "chose the replica to promote",
    "+promoted-slave": "sees the replica promoted",
    "+switch-master": "publishes the new master",
    "+failover-end": "has ended the failover",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """One entry of the timeline; ``after`` is in seconds since the strike, negative before it."""

    after: float
    who: str
    what: str


@dataclass(slots=True)
class Drill:
    """What came of a drill.

    Attributes:
        source: the master that was struck, by name.
        target: the master that writes went to afterwards, by name.
        outage_ms: from the last accepted write before to the first accepted one after.
        timeline: what happened when.
    """

    location: str
    source: str
    target: str | None = None
    outage_ms: int | None = None
    timeline: list[Moment] = field(default_factory=list)


async def failover_drill(
    shard: Shard,
    settings: Tree,
    strike: Callable[[str], Awaitable[str]],
    tell: Callable[[Moment], None],
    limit: float = 60,
) -> Drill:
    """Strikes the shard's master and watches until another node accepts writes.

    Args:
        strike: given the master's name, makes it fail, and returns what it did in a few words.
        tell: called with each moment as it happens.
        limit: seconds until the drill gives up; ``target`` is None then.

    Raises:
        StackError: there is no master to strike.
    """
    events: asyncio.Queue[SentinelEvent] = asyncio.Queue()
    watcher = Watcher(shard, settings, events.put_nowait)
    writes = _Writes(watcher, settings)
    async with together() as group:
        tasks = [group.create_task(watcher.run()), group.create_task(writes.run())]
        try:
            async with asyncio.timeout(10):
                before = await watcher.accepting()
                await writes.accepted_by(lambda address: address == before.address)
        except TimeoutError:
            raise StackError(
                f"{shard.location}: no master accepts writes, so there is nothing to strike; "
                "see `iotd status`, repair with `iotd stack up`"
            ) from None
        drill = Drill(shard.location, shard.name_of(before.address))
        struck = monotonic()

        def note(who: str, what: str) -> None:
            moment = Moment(round(monotonic() - struck, 3), who, what)
            drill.timeline.append(moment)
            tell(moment)

        note("drill", await strike(drill.source))
        tasks.append(group.create_task(_narrate(events, note)))
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                after = await writes.accepted_by(lambda address: address != before.address)
                drill.target = shard.name_of(after)
                drill.outage_ms = round(1000 * writes.gap)
                note(drill.target, f"accepts writes; none was accepted for {drill.outage_ms} ms")
                await watcher.settled(after)
                note("iotd", f"a majority of the Sentinels names {drill.target}")
        for task in tasks:
            task.cancel()
    return drill


async def hand_over(shard: Shard, settings: Tree) -> str:
    """Has a Sentinel promote the replica: for a master that is not ours to stop. Returns what was done, in words.

    Raises:
        StackError: none of the Sentinels does it; the message has the last one's reason.
    """
    reason = "there are none"
    for node in shard.sentinels:
        try:
            await SentinelClient(node, shard, settings).fail_over()
        except IotdError as e:
            reason = str(e)
        else:
            return f"told {node.name} to promote the replica"
    raise StackError(f"{shard.location}: no Sentinel starts a failover: {reason}")


async def _narrate(events: asyncio.Queue[SentinelEvent], note: Callable[[str, str], None]) -> None:
    while True:
        event = await events.get()
        if event.event in _TOLD and (event.master or event.event in ("+selected-slave", "+promoted-slave")):
            note(event.sentinel, f"{event.event}: {_TOLD[event.event]}")


class _Writes:
    """Writes a key of its own again and again to whoever is believed to be master."""

    def __init__(self, watcher: Watcher, settings: Tree) -> None:
        self._watcher = watcher
        self._settings = settings
        self._accepted = asyncio.Condition()
        self._by: Address | None = None
        self._at = 0.0
        self.gap = 0.0
        """Seconds between the last write accepted by the node before and the first accepted by the present one."""

    async def run(self) -> None:
        while True:
            belief = await self._watcher.accepting()
            try:
                await self._to(belief.address)
            except IotdError as e:
                await self._watcher.doubt(belief.address, demoted=e.rediscover)
            await asyncio.sleep(_WRITE_EVERY_S)

    async def _to(self, address: Address) -> None:
        async with await Connection.open(
            address, self._settings.redis, connect_timeout=_GIVE_UP_S, response_timeout=_GIVE_UP_S
        ) as connection:
            while self._watcher.belief is not None and self._watcher.belief.address == address:
                await connection.call("SET", "iotd:drill", "1", "PX", 60_000)
                now = monotonic()
                async with self._accepted:
                    if self._by is not None and self._by != address:
                        self.gap = now - self._at
                    self._by, self._at = address, now
                    self._accepted.notify_all()
                await asyncio.sleep(_WRITE_EVERY_S)

    async def accepted_by(self, which: Callable[[Address], bool]) -> Address:
        """The node that accepted the last write, once it is one that is wanted."""
        async with self._accepted:
            await self._accepted.wait_for(lambda: self._by is not None and which(self._by))
            assert self._by is not None
            return self._by
