"""The stack: all servers of the topology, started in the right roles, repaired, watched until healthy, stopped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Literal

from filelock import FileLock, Timeout

from iotd.config import Address, Settings
from iotd.config.topology import Node, Shard, topology
from iotd.config.values import is_loopback
from iotd.model.errors import IotdError, StackError, UsageError
from iotd.model.wording import many
from iotd.shards.failovers import note_places
from iotd.stack import health
from iotd.stack.backend import Running
from iotd.stack.choose import choose_backend, forget, remember, started_by
from iotd.stack.engine import NoImage
from iotd.stack.influxdb import set_up
from iotd.stack.processes import Processes

_LOOK_EVERY_S = 0.05
_MASTERLESS_S = 15.0
"""So long Sentinels have to promote one: after 20 s they would begin to doubt a master that says it is a replica."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What was done to a node."""

    name: str
    action: Literal["started", "resumed", "ran already", "stopped"]


_DONE: dict[Running, Literal["started", "resumed", "ran already"]] = {
    "stopped": "started",
    "paused": "resumed",
    "running": "ran already",
}
"""What brings a node up, by how it was before."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """How a node is; ``problem`` is None when it runs and does its work."""

    name: str
    role: str
    address: str
    running: Running
    problem: str | None


class Stack:
    """The servers of one system."""

    def __init__(self, settings: Settings, tell: Tell = lambda line: None) -> None:
        """
        Args:
            tell: called with a line for people, now and then, while something takes long.
        """
        self._settings = settings
        self._tell = tell
        self.topology = topology(settings)
        self.backend = choose_backend(settings, tell)

    def close(self) -> None:
        """Lets go of the engine; the servers go on."""
        self.backend.close()

    def nodes(self) -> list[Node]:
        """The nodes that this stack runs: InfluxDB only where the archive wants it and it can be had."""
        nodes = [node for shard in self.topology.shards for node in shard.nodes]
        if self._runs_influxdb():
            nodes.append(self.topology.influxdb)
        if self.backend.has(self.topology.redisinsight):
            nodes.append(self.topology.redisinsight)
        return nodes

    def _runs_influxdb(self) -> bool:
        s = self._settings
        if s.influxdb.url is not None or s.archive.scheme not in ("auto", "influxdb"):
            return False
        return s.archive.scheme == "influxdb" or self.backend.has_influxdb()

    # ── all of them ──

    async def up(self, extras: Collection[str] = ()) -> list[NodeReport]:
        """Starts what does not run, leaves the rest alone, and returns when all are healthy.

        Args:
            extras: servers that only some want: ``redisinsight``. One that was asked for once is kept up, until `down`.

        Raises:
            StackError: a port is taken, a server does not start or does not become healthy in time.
        """
        with self._alone():
            self._prepare()
            note_places(self._settings, self.topology.shards)
            nodes = self.nodes()
            nodes += [node for node in map(self.topology.node, extras) if node not in nodes]
            self._warn_of_open_doors(nodes)
            before = {node.name: self.backend.state(node) for node in nodes}
            for node in nodes:
                if before[node.name] == "stopped":
                    self.backend.require_free(node, self.topology.port_setting(node))
                elif before[node.name] == "paused":
                    self.backend.resume(node)
            masters = await self._masters()
            if count := sum(state == "stopped" for state in before.values()):
                self._tell(f"starting {many(count, 'server')}")
            # Sentinels last: one that looks before the replica is in sync looks again only 10 s later
            for wave in ([n for n in nodes if n.role != "sentinel"], [n for n in nodes if n.role == "sentinel"]):
                due = [node for node in wave if before[node.name] == "stopped"]
                due += (blind := await self._blind(wave))
                await asyncio.gather(*(asyncio.to_thread(self.backend.stop, node) for node in blind))
                await asyncio.gather(*(asyncio.to_thread(self._start, node, masters) for node in due))
                await asyncio.gather(*(self._require_master(shard) for shard in self.topology.shards))
                await self._until_healthy(wave)
            if self.topology.influxdb in nodes:
                await set_up(self._settings, self.topology.influxdb)
        return [NodeReport(node.name, _DONE[before[node.name]]) for node in nodes]

    async def down(self) -> list[NodeReport]:
        """Stops what runs: Sentinels first, so that they see no failure, replicas before masters.

        What the state directory says was started, whatever the configuration says now: nodes of locations that were
        renamed or taken out, another backend, another Docker project.
        """
        with self._alone():
            if (started := started_by(self._settings, self._tell)) is not None and started.name != self.backend.name:
                self.backend.close()
                self.backend = started
            stopped = await self._end_others()
            now = await asyncio.gather(*(health.current_master(self._settings, s) for s in self.topology.shards))
            masters = {now or s.master.address for now, s in zip(now, self.topology.shards, strict=True)}
            nodes = list(self.topology.nodes)
            waves = (
                [n for n in nodes if n.role == "sentinel"],
                [n for n in nodes if n.role in ("master", "replica") and n.address not in masters],
                [n for n in nodes if n.role in ("influxdb", "redisinsight") or n.address in masters],
            )
            for wave in waves:
                ended = await asyncio.gather(*(asyncio.to_thread(self.backend.stop, node) for node in wave))
                stopped += [NodeReport(node.name, "stopped") for node, did in zip(wave, ended, strict=True) if did]
            await asyncio.to_thread(self.backend.clear)
            forget(self._settings)
        return stopped

    async def _end_others(self) -> list[NodeReport]:
        known = {node.name for node in self.topology.nodes}
        others = [name for name in await asyncio.to_thread(self.backend.made) if name not in known]
        stopped = []
        for kind in ("sentinel-", "redis-", ""):
            wave = [name for name in others if name.startswith(kind)]
            others = [name for name in others if name not in wave]
            ended = await asyncio.gather(*(asyncio.to_thread(self.backend.end, name) for name in wave))
            stopped += [NodeReport(name, "stopped") for name, did in zip(wave, ended, strict=True) if did]
        return stopped

    async def forget(self) -> int:
        """Deletes the data of all servers, and the token of the InfluxDB that is gone with it; all must be down.

        Returns:
            of how many servers.
        """
        with self._alone():
            count = await asyncio.to_thread(self.backend.forget)
            self._settings.stack_token.unlink(missing_ok=True)
        return count

    async def status(self) -> list[NodeStatus]:
        """How each node is."""
        nodes = self.nodes()

        async def one(node: Node) -> NodeStatus:
            running = self.backend.state(node)
            problem = await health.problem(self._settings, self.topology, node) if running == "running" else running
            return NodeStatus(node.name, node.role, str(node.address), running, problem)

        return list(await asyncio.gather(*map(one, nodes)))

    # ── one of them ──

    async def start(self, name: str) -> NodeReport:
        """Starts one node and waits until it is healthy; a former master comes back as a replica, in sync.

        Raises:
            StackError: the port is taken, or it does not become healthy.
            UsageError: there is no such node.
        """
        node = self._node(name)
        with self._alone():
            state = self.backend.state(node)
            if state == "stopped":
                self._prepare()
                self.backend.require_free(node, self.topology.port_setting(node))
                self._start(node, await self._masters())
            elif state == "paused":
                self.backend.resume(node)
            await self._until_healthy([node])
        return NodeReport(name, _DONE[state])

    async def stop(self, name: str) -> bool:
        """Stops one node in good order; False when it did not run.

        Raises:
            UsageError: there is no such node.
        """
        return await asyncio.to_thread(self.backend.stop, self._node(name))

    def log(self, name: str, lines: int, *, follow: bool = False) -> Generator[str]:
        """The last lines of a node's log, each with its line break; with ``follow`` also what comes, without end.

        Raises:
            UsageError: there is no such node.
        """
        return self.backend.log(self._node(name), lines, follow=follow)

    # ── how ──

    def _prepare(self) -> None:
        try:
            self.backend.prepare()
        except NoImage as e:
            if self._settings.stack.backend != "auto":
                raise
            self._tell(f"{e}. Plain processes instead")
            self.backend = Processes(self._settings, self._tell)
            self.backend.prepare()
        remember(self._settings, self.backend)

    def _warn_of_open_doors(self, nodes: list[Node]) -> None:
        s = self._settings
        for role, credentials, setting in (("sentinel", s.sentinel, "sentinel"), ("master", s.redis, "redis")):
            bound = [s.stack.bind or node.address.host for node in nodes if node.role == role]
            if not all(map(is_loopback, bound)) and credentials.read_password() is None:
                self._tell(
                    f"warning: {'Sentinel' if role == 'sentinel' else 'Redis'} listens beyond this machine and has no "
                    f"password: whoever reaches it can read and change all; set {setting}.password_file"
                )

    def _node(self, name: str) -> Node:
        node = self.topology.node(name)
        if node.role == "influxdb" and not self._runs_influxdb():
            raise UsageError("influxdb: this stack runs none (influxdb.url is set, or there is no influxd here)")
        return node

    def _start(self, node: Node, masters: dict[str, Address]) -> None:
        if node.role == "influxdb":
            self.backend.start_influxdb(node)
            return
        if node.role == "redisinsight":
            self.backend.start_extra(node)
            return
        shard = self.topology.shard_of(node)
        master = masters[shard.location]
        if node.role == "sentinel":
            self.backend.start_sentinel(shard, node, master)
        else:
            self.backend.start_redis(node, None if node.address == master else master)

    async def _masters(self) -> dict[str, Address]:
        """By location: who is master now, else who was last, else who is by default."""

        async def one(shard: Shard) -> Address:
            known = {node.address for node in shard.redis}
            now = await health.current_master(self._settings, shard)
            if now is not None and now in known:
                return now
            last = await asyncio.to_thread(self.backend.last_master, shard)
            return last if last is not None and last in known else shard.master.address

        found = await asyncio.gather(*map(one, self.topology.shards))
        return {shard.location: address for shard, address in zip(self.topology.shards, found, strict=True)}

    async def _blind(self, nodes: list[Node]) -> list[Node]:
        """The Sentinels among them that run, and ask the nodes nothing; told."""
        running = [n for n in nodes if n.role == "sentinel" and self.backend.state(n) == "running"]
        asked = (health.is_blind(self._settings, self.topology.shard_of(node), node) for node in running)
        blind = [node for node, is_so in zip(running, await asyncio.gather(*asked), strict=True) if is_so]
        if blind:
            names = ", ".join(node.name for node in blind)
            self._tell(f"starting {names} again: the clock was ahead, and they would ask the nodes nothing")
        return blind

    async def _require_master(self, shard: Shard) -> None:
        """Where all nodes of a shard are replicas, and no Sentinel mends that, makes one of them master."""
        deadline = monotonic() + _MASTERLESS_S
        while await health.all_replicas(self._settings, shard):
            if monotonic() > deadline:
                master = (await self._masters())[shard.location]
                self._tell(f"{shard.location}: all nodes are replicas; making {shard.name_of(master)} the master")
                with contextlib.suppress(IotdError):
                    await health.promote(self._settings, master)
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _until_healthy(self, nodes: list[Node]) -> None:
        deadline = monotonic() + self._settings.stack.start_timeout.total_seconds()

        async def one(node: Node) -> None:
            while (problem := await health.problem(self._settings, self.topology, node)) is not None:
                if self.backend.state(node) == "stopped":
                    raise StackError(f"{node.name} ended right after its start; its log: {self._log_of(node)}")
                if monotonic() > deadline:
                    raise StackError(f"{node.name} is not healthy: {problem}; its log: {self._log_of(node)}")
                await asyncio.sleep(_LOOK_EVERY_S)

        await _all([one(node) for node in nodes])

    def _log_of(self, node: Node) -> str:
        last = "".join(self.backend.log(node, 1)).strip()
        return f"{last or 'empty'} (`iotd stack logs {node.name}`)"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        state = self._settings.state
        try:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(state / "stack.lock", timeout=self._settings.stack.start_timeout.total_seconds()):
                yield
        except Timeout:
            raise StackError(f"another `iotd stack` command works on {state}; wait for it") from None


async def _all(waits: list[Awaitable[None]]) -> None:
    """Waits for all; the first error ends the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
