"""The watcher of one shard: finds out, all the time, which node is master."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import aclosing
from time import monotonic, time_ns
from typing import Any, cast

from iotd.config.topology import Shard
from iotd.config.tree import Tree
from iotd.config.values import Address
from iotd.model.errors import IotdError, ShardForeign, ShardMisconfigured
from iotd.ops.backoff import Backoff
from iotd.ops.loggers import get_logger
from iotd.ops.outage import Outage
from iotd.ops.tasks import Group, together
from iotd.shards.connection import Connection
from iotd.shards.election import Belief, Claim, NodeRole, elect
from iotd.shards.identity import Expected, identify
from iotd.shards.sentinels import TROUBLE, AddressMap, NotWatched, SentinelClient, SentinelEvent

log = get_logger(__name__)

_PROBE_TIMEOUT_S = 0.25
_ASK_IN_DOUBT_S = 0.25
_CALM_AFTER_S = 3.0
"""Without a sign of trouble for so long, the nodes are only polled."""
_CLAIM_LASTS = 3
"""Poll intervals after which a Sentinel that fell silent no longer counts."""


class Watcher:
    """Knows the node to write to (:attr:`belief`), and tells those who wait when that changes.

    Hears the events of all Sentinels, asks them and the nodes now and then, and from the first sign of trouble asks
    the nodes for their ROLE all the time. :func:`iotd.shards.election.elect` decides.
    """

    def __init__(
        self,
        shard: Shard,
        settings: Tree,
        on_event: Callable[[SentinelEvent], None] = lambda event: None,
        *,
        expected: Expected | None = None,
        heard: Callable[[str, float], None] = lambda node, ahead_ms: None,
    ) -> None:
        """
        Args:
            expected: what the nodes are to be; None: any shard of this name.
            heard: told a node's name, and by how much its clock is ahead of ours, ms.
        """
        self.shard = shard
        self.expected = expected or Expected(shard.name)
        self.belief: Belief | None = None
        self.roles: dict[Address, NodeRole | None] = {node.address: None for node in shard.redis}
        self.claims: dict[str, tuple[Claim, float]] = {}
        """By Sentinel's name: what it said last, and when (monotonic)."""
        self.lags: dict[Address, dict[Address, int]] = {}
        """By master: how far each connected replica is behind it, in bytes of the replication stream."""
        self.clocks: dict[Address, float] = {}
        """By node: by how much its clock is ahead of ours, ms, as it last said."""
        self.strangers: dict[str, float] = {}
        """By Sentinel's name: when it last said (monotonic) that it watches no such master."""
        self._refusals: dict[Address, tuple[type[ShardMisconfigured], Outage]] = {}
        self._settings = settings
        self._on_event = on_event
        self._heard = heard
        self._poll_interval = settings.sentinel.poll_interval.total_seconds()
        self._map = AddressMap(shard, settings)
        self._sentinels = [SentinelClient(node, shard, settings) for node in shard.sentinels]
        self._were_slaves: set[Address] = set()
        self._changed = asyncio.Condition()
        self._trouble_at = monotonic()
        self._alarms: dict[str | Address, asyncio.Event] = {}
        self._probes: dict[Address, asyncio.Task[None]] = {}

    # ── for those who write ──

    async def accepting(self) -> Belief:
        """The node to write to, as soon as there is one."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.belief is not None)
            return cast(Belief, self.belief)

    async def failed_over_from(self, address: Address) -> None:
        """Returns when ``address`` is no longer the node to write to."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.belief is None or self.belief.address != address)

    async def settled(self, address: Address) -> None:
        """Returns when a majority of the Sentinels agrees that ``address`` is master."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: self.belief is not None and self.belief.address == address and self.belief.settled
            )

    async def doubt(self, address: Address, *, demoted: bool) -> None:
        """A writer had trouble with a node: probe all of them closely.

        Args:
            demoted: the node itself said that it is no master.
        """
        self.roles[address] = "slave" if demoted else None
        self._stir()
        await self._elect()

    @property
    def answering(self) -> list[str]:
        """Names of the Sentinels that answered lately."""
        return [name for name, (_, at) in self.claims.items() if self._fresh(at)]

    # ── watching ──

    async def run(self) -> None:
        """Watches until cancelled."""
        try:
            async with together() as group:
                for sentinel in self._sentinels:
                    group.create_task(self._listen(sentinel), name=f"listen {sentinel.node.name}")
                    group.create_task(self._ask(sentinel), name=f"ask {sentinel.node.name}")
                group.create_task(self._keep_probing(group), name=f"probe {self.shard.location}")
        finally:
            for sentinel in self._sentinels:
                await sentinel.close_asking()

    async def _listen(self, sentinel: SentinelClient) -> None:
        backoff = Backoff(0.1, self._poll_interval)
        while True:
            try:
                async with aclosing(sentinel.events()) as events:
                    async for event in events:
                        backoff.reset()
                        self._hear(event)
            except IotdError:
                pass  # _ask() reports a Sentinel that does not answer
            await asyncio.sleep(backoff.next())

    def _hear(self, event: SentinelEvent) -> None:
        self._on_event(event)
        if event.event in TROUBLE and event.master:
            self._stir()

    async def _ask(self, sentinel: SentinelClient) -> None:
        name = sentinel.node.name
        silence = Outage()
        while True:
            self.strangers.pop(name, None)
            try:
                claim = await sentinel.claim()
            except IotdError as e:
                new = silence.begins(str(e))
                if isinstance(e, NotWatched):
                    self.strangers[name] = monotonic()
                    if new:
                        log.warning("sentinel_of_others", shard=self.shard.location, sentinel=name, reason=str(e))
                elif new:
                    log.warning("sentinel_silent", shard=self.shard.location, sentinel=name, reason=str(e))
                self.claims.pop(name, None)
                sentinel.hang_up()
            else:
                if (over := silence.ends()) is not None:
                    log.info("sentinel_answers", shard=self.shard.location, sentinel=name, after_s=over[1])
                self.claims[name] = (claim, monotonic())
                if claim.address not in self.roles:
                    self._meet(claim.address, name)
            await self._elect()
            await self._pause(name, _ASK_IN_DOUBT_S, self._poll_interval)

    def _meet(self, address: Address, sentinel: str) -> None:
        self.roles[address] = None
        log.warning(
            "sentinel_names_unknown_node",
            shard=self.shard.location,
            sentinel=sentinel,
            address=str(address),
            hint=f'if it is one of ours under another address, set topology.address_map."{address}"',
        )

    async def _keep_probing(self, group: Group) -> None:
        # nodes may be met on the way; each is probed by a task of its own, so that one that hangs delays no other
        while True:
            for address in self.roles:
                if address not in self._probes:
                    self._probes[address] = group.create_task(self._probe(address), name=f"probe {address}")
            async with self._changed:
                await self._changed.wait_for(lambda: len(self.roles) > len(self._probes))

    async def _probe(self, address: Address) -> None:
        connection: Connection | None = None
        try:
            while True:
                role: NodeRole | None = None
                try:
                    connection = connection or await self._open(address)
                    role = self._heed(address, await connection.call("ROLE"))
                    if not self._in_doubt or address not in self.clocks:
                        await self._ask_time(address, connection)
                except IotdError as e:
                    if isinstance(e, ShardMisconfigured):
                        self._note_refusal(address, e)
                    if connection is not None:
                        await connection.close()
                        connection = None
                    self.clocks.pop(address, None)
                if role == "slave":
                    self._were_slaves.add(address)
                if role != self.roles[address]:
                    self.roles[address] = role
                    await self._elect()
                # one that is away is probed even when all is well: once it is back as a replica, it may be promoted
                calm = _PROBE_TIMEOUT_S if role is None else self._poll_interval
                await self._pause(address, self._probe_pause(), calm)
        finally:
            if connection is not None:
                await connection.close()

    async def _ask_time(self, address: Address, connection: Connection) -> None:
        before = time_ns()
        seconds, micros = await connection.call("TIME")
        after = time_ns()
        ahead_ms = (int(seconds) * 1000 + int(micros) / 1000) - (before + after) / 2_000_000
        self.clocks[address] = ahead_ms
        self._heard(str(address), ahead_ms)

    @property
    def refusal(self) -> str | None:
        """Why a node refuses us (credentials) or is refused by us (another's), where one does or is."""
        return next((outage.reason for _, outage in self._refusals.values() if outage.reason is not None), None)

    def refusals(self, kind: type[ShardMisconfigured]) -> dict[Address, str]:
        """The nodes that are refused, or refuse us, with an error of exactly this kind, and why."""
        return {a: o.reason for a, (its, o) in self._refusals.items() if its is kind and o.reason is not None}

    @property
    def strange(self) -> list[str]:
        """Names of the Sentinels that said lately that they watch no such master."""
        return [name for name, at in self.strangers.items() if self._fresh(at)]

    @property
    def blind(self) -> dict[str, float]:
        """By name of a Sentinel that answers: for how many seconds it will not ask the nodes, where it does not."""
        found = {client.node.name: client.blind_s for client in self._sentinels}
        return {name: seconds for name, seconds in found.items() if seconds and name in self.answering}

    def _note_refusal(self, address: Address, error: ShardMisconfigured) -> None:
        _, outage = self._refusals.get(address, (type(error), Outage()))
        self._refusals[address] = type(error), outage
        if not outage.begins(str(error)):
            return
        shard, effect = self.shard.location, "readings wait in the log"
        if isinstance(error, ShardForeign):
            log.error("node_of_others", shard=shard, reason=str(error), effect=effect)
        else:
            log.error("node_refuses_us", shard=shard, reason=str(error), effect=effect)

    async def _open(self, address: Address) -> Connection:
        connection = await Connection.open(
            address, self._settings.redis, connect_timeout=_PROBE_TIMEOUT_S, response_timeout=_PROBE_TIMEOUT_S
        )
        try:
            await identify(connection, self.expected)
        except BaseException:
            await connection.close()
            raise
        return connection

    def _heed(self, address: Address, said: list[Any]) -> NodeRole:
        if address in self._refusals and (over := self._refusals[address][1].ends()) is not None:
            log.info("node_accepts_us", shard=self.shard.location, was=over[0], after_s=over[1])
        if said[0] != b"master":
            return "slave"
        # of a master: its offset, and (host, port, offset) of each replica that is connected
        self.lags[address] = {
            self._map(host.decode(), int(port)): max(0, int(said[1]) - int(offset)) for host, port, offset in said[2]
        }
        return "master"

    # ── deciding ──

    async def _elect(self) -> None:
        current = self.belief
        fresh = [claim for claim, at in self.claims.values() if self._fresh(at)]
        in_all, strange = len(self._sentinels), len(self.strange)
        belief = elect(current, fresh, in_all, self.roles, self._were_slaves, strangers=strange)
        if belief == current:
            async with self._changed:
                self._changed.notify_all()  # a node may have been met
            return
        if (belief and belief.address) != (current and current.address):
            self._were_slaves.clear()
            self._stir()
            log.info(
                "master_believed" if belief else "master_lost",
                shard=self.shard.location,
                node=self.shard.name_of(belief.address) if belief else None,
                settled=belief.settled if belief else None,
                before=self.shard.name_of(current.address) if current else None,
            )
        async with self._changed:
            self.belief = belief
            self._changed.notify_all()

    def _stir(self) -> None:
        self._trouble_at = monotonic()
        for alarm in self._alarms.values():
            alarm.set()

    @property
    def _in_doubt(self) -> bool:
        b = self.belief
        steady = b is not None and b.settled and self.roles.get(b.address) == "master"
        return not steady or monotonic() - self._trouble_at < _CALM_AFTER_S

    def _probe_pause(self) -> float:
        # a node that stays away for long is probed less often; an event of a Sentinel makes it urgent again
        urgent = self._settings.sentinel.probe_interval.total_seconds()
        return min(urgent * max(1.0, (monotonic() - self._trouble_at) / 10), _PROBE_TIMEOUT_S)

    async def _pause(self, who: str | Address, in_doubt: float, calm: float) -> None:
        alarm = self._alarms.setdefault(who, asyncio.Event())
        alarm.clear()
        pause = in_doubt if self._in_doubt else calm
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await alarm.wait()

    def _fresh(self, at: float) -> bool:
        return monotonic() - at < _CLAIM_LASTS * self._poll_interval
