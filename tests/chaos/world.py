"""The world of a chaos run: each node on a host of the lab, and the daemon as a process with a disk and a clock."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

from iotd.config import Address
from iotd.config.topology import Node
from iotd.model.errors import IotdError, ShardUnavailable
from iotd.ops.control import request
from iotd.stack import Stack
from tests.chaos import damage
from tests.chaos.clients.processes import PORT, Clients
from tests.chaos.configuration import BEHAVIOUR, WITNESS, Configuration
from tests.chaos.disk import BlockDisk
from tests.chaos.expected import Expected
from tests.chaos.hosts import Host, Hosts
from tests.chaos.influx import Influx
from tests.chaos.losses import Losses
from tests.chaos.mqtt.parts import Mqtt
from tests.chaos.runs import DaemonRuns
from tests.chaos.servers import Clocks, NodesOnHosts
from tests.servers.system import System, make_settings, until

_DISK_MB = 1_000
_MEND_S = 120
_RESTORE_S = 900
"""So long a shard that was emptied may take until it has everything again, at some ten thousand readings a second."""
_ANSWERS_S = 10
SPARE = "grenier"
"""A room that has servers, and that the daemon serves only while a fault configures it."""


class World(DaemonRuns):
    """Servers, the daemon, and what can be done to them.

    Attributes:
        rooms: all locations that there may ever be: those of the run, and the spare one.
        clients: beside the daemon, by HTTP and in Python, and publishers beside the broker.
        mqtt: the broker, and the witness on the way to it.
        losses: what faults took out of the log.
        tampered: locations of whose shard data, or archive, something was taken or altered.
        wrong: what the daemon did otherwise than it has to, as a fault has seen it.
        striking: names of the faults that are held now; ``struck``: of all that were.
        expected: conditions that the faults held now must bring about.
        mended: whether all servers were healthy after the last fault.
    """

    def __init__(self, folder: Path, locations: Sequence[str], *, per_type: int, daemon: Sequence[str]) -> None:
        """
        Args:
            folder: an empty one, for everything.
            per_type: sensors of each type and location; each gives ten readings a second.
            daemon: the command that runs the daemon.
        """
        self.hosts = Hosts()
        home = self.home = self.hosts.add("home")
        self.rooms = (*locations, SPARE)
        self.tampered: set[str] = set()
        self.wrong: list[str] = []
        self.striking: list[str] = []
        self.struck: set[str] = set()
        self.expected: list[Expected] = []
        self.mended = True
        self.witness = folder / "witness"  # not on the daemon's disk, which may be full
        disk, clocks = BlockDisk(folder / "daemon", _DISK_MB), Clocks(folder / "clocks")
        self._places: dict[str, Host] = {}
        self.shards = {room: self._placed(room, 7100 + i) for i, room in enumerate(self.rooms)}
        influx_host = self._places["influxdb"] = self.hosts.add("influxdb")
        common = {
            # not only for the sake of it: a Redis without a password answers nobody from another host
            "redis": {"password": "chaos"},
            "stack": {"redis_dir": named} if (named := os.environ.get("IOTD_TEST_REDIS_DIR")) else {},
            "sentinel": {"password": "chaos", "down_after": "500ms", "failover_timeout": "3s"},
        }
        stack = make_settings(folder / "servers", 7000, self.rooms, **common, topology={"shards": self.shards})
        self.system = System(stack, Stack(stack))
        self.backend = NodesOnHosts(stack, self._places, clocks)
        self.system.stack.backend = self.backend
        self.influx = Influx(self.backend, stack, influx_host.address, self.hosts.ours)
        self.clients = Clients(folder / "clients", host=self.hosts.add("client"), home=home, clocks=clocks)
        self.mqtt = Mqtt(folder / "mqtt", self.hosts.add("broker"), self.hosts.ours)
        tables = {
            **common,
            "state_dir": disk.path / "state",
            "topology": {"shards": {room: self.shards[room] for room in locations}},
            "sensors": {"per_type": per_type, "interval": "100ms"},
            "sources": {"witness": {"witness": str(self.witness), "places": self.rooms, **WITNESS}},
            "mqtt": self.mqtt.tables,
            "ingest": {"listen": f"{home.address}:{PORT}", "tokens_file": self.clients.tokens_file},
            "influxdb": {"url": self.influx.proxy_url, "token_file": self.influx.token_file, "timeout": "3s"},
        }
        configuration = Configuration(folder / "configuration", 7000, locations, {**tables, **BEHAVIOUR})
        super().__init__(
            home, daemon, configuration=configuration, clocks=clocks, disk=disk, daemon_log=folder / "daemon.log"
        )
        self.losses = Losses(self.settings.state / "log", self.daemon_log)
        self._debts: list[Callable[[], Awaitable[None]]] = []

    def _placed(self, room: str, port: int) -> dict[str, Any]:
        a, b = self.hosts.add(f"{room}-a"), self.hosts.add(f"{room}-b")
        sentinels = (a, b, self.home)
        self._places |= {f"redis-{room}-master": a, f"redis-{room}-replica": b}
        self._places |= {f"sentinel-{room}-{n}": host for n, host in enumerate(sentinels, start=1)}
        return {
            "master": f"{a.address}:7000",
            "replica": f"{b.address}:7000",
            "sentinels": [f"{host.address}:{port}" for host in sentinels],
        }

    @property
    def locations(self) -> tuple[str, ...]:
        """Those of the run; the daemon serves :attr:`Configuration.locations`."""
        return self.settings.served

    # ── servers ──

    def node(self, name: str) -> Node:
        return self.system.topology.node(name)

    def host(self, node: Node) -> Host:
        return self._places[node.name]

    def sentinels(self, location: str) -> tuple[Node, ...]:
        return self.system.topology.shard(location).sentinels

    async def master(self, location: str) -> Node:
        """A node that says it is master; the one named so at first if none does."""
        shard = self.system.topology.shard(location)
        for node in shard.redis:
            if self.backend.state(node) == "running":
                try:
                    if await self.system.says_master(node.name):
                        return node
                except IotdError:
                    continue
        return shard.master

    async def pair(self, location: str) -> tuple[Node, Node]:
        """Master and replica, as they are now."""
        master = await self.master(location)
        a, b = self.system.topology.shard(location).redis
        return (a, b) if master == a else (b, a)

    async def promoted(self, location: str, before: Node, limit: float = 30) -> bool:
        """Waits until another node than ``before`` says it is master; False when none did."""

        async def other() -> bool:
            node = await self.master(location)
            return node != before and await self.system.says_master(node.name)

        try:
            await until(other, limit, f"{location}: a replica is promoted")
        except (AssertionError, IotdError):
            return False
        return True

    async def whole(self) -> None:
        """Brings back what is not running, and returns when shards and archive hold the same everywhere.

        Raises:
            AssertionError: they do not.
        """
        await self.mend()

        async def alike() -> bool:
            with suppress(IotdError):
                await request(self.settings.state, "POST", "/archive/now")
                found = await request(self.settings.state, "POST", "/archive/verify", {"repair": "1"})
                return not any(one["gaps"] for one in found.values())
            return False

        await until(alike, _RESTORE_S, "shards and archive hold the same")

    async def mend(self) -> None:
        """Brings back whatever is not running, pays what is owed, and returns when all servers are healthy.

        Raises:
            AssertionError: they did not become healthy.
        """
        last = ""

        async def healthy() -> bool:
            nonlocal last
            well = True
            for step in (self._pay, self.system.stack.up):  # one may need what the other brings about
                try:
                    await step()
                except IotdError as e:
                    last, well = str(e), False
            return well

        try:
            await until(healthy, _MEND_S, "all servers are healthy")
        except AssertionError as e:
            raise AssertionError(f"{e}; {last}") from None
        await self.influx.mend()
        await self.mqtt.broker.mend()
        self.mended = True

    async def _pay(self) -> None:
        while self._debts:
            await self._debts[0]()
            del self._debts[0]

    @contextmanager
    def expecting(self, name: str, location: str | None, *, within: float, once: bool = False) -> Iterator[None]:
        """Meanwhile the daemon has to say this; for ``within`` and ``once`` see :class:`Expected`."""
        expected = Expected(name, location, monotonic(), within, once)
        self.expected.append(expected)
        try:
            yield
        finally:
            self.expected.remove(expected)

    async def until_it_answers(self, node: Node) -> None:
        """Returns when a node answers again.

        Raises:
            ShardUnavailable: it does not.
        """

        async def answers() -> bool:
            with suppress(IotdError):
                return bool(await self.system.ask(node.name, "PING"))
            return False

        try:
            await until(answers, _ANSWERS_S, f"{node.name} answers")
        except AssertionError as e:
            raise ShardUnavailable(str(e)) from None

    def owe(self, debt: Callable[[], Awaitable[None]]) -> None:
        """Something that a fault must put right, and could not, because another fault had taken a server."""
        self._debts.append(debt)

    def kill(self, *nodes: Node) -> str:
        """Kills servers; returns their names. :meth:`mend` brings them back."""
        for node in nodes:
            self.backend.kill(node)
        return ", ".join(node.name for node in nodes)

    @contextmanager
    def hanging(self, *nodes: Node) -> Iterator[str]:
        """Servers that hang meanwhile; their names."""
        for node in nodes:
            self.backend.pause(node)
        try:
            yield ", ".join(node.name for node in nodes)
        finally:
            for node in nodes:
                self.backend.resume(node)

    def restart(self, node: Node, master: Address | None, *, empty: bool = False) -> None:
        """Starts a killed Redis at once; as a master when ``master`` is None."""
        if empty:
            for path in (self.system.settings.state / "nodes" / node.name).glob("appendonlydir/*"):
                path.unlink()
        self.backend.start_redis(node, master)

    def logged(self, location: str) -> damage.Records:
        """What the log has of a location; the daemon must be down."""
        there = damage.records(self.losses.folder)
        return {place: readings for place, readings in there.items() if place[0] == location}

    # ── all ──

    async def up(self) -> None:
        await self.system.stack.up()
        await self.influx.up()
        await self.mqtt.up(self.locations)
        self.start_daemon()
        await self.daemon.running(_MEND_S)
        self.clients.start(self.settings.state, self.locations, (self.mqtt.broker.host, self.mqtt.broker.address))

    def save(self, folder: Path) -> None:
        """Copies what the daemon leaves behind: its log, its state, what was handed over."""
        folder.mkdir(parents=True, exist_ok=True)
        for path in (self.witness, self.daemon_log, *self.mqtt.files, *self.clients.books.values()):
            if path.exists():
                shutil.copy2(path, folder)
        for log in (self.system.settings.state / "nodes").glob("*/log"):
            shutil.copy2(log, folder / f"{log.parent.name}.log")
        without = shutil.ignore_patterns("*.sock")
        shutil.copytree(self.settings.state, folder / "state", dirs_exist_ok=True, ignore=without)

    async def down(self) -> None:
        """Ends clients and servers, and takes the daemon's disk away."""
        self.clients.kill()
        await self.mqtt.down()
        await asyncio.gather(*(asyncio.to_thread(self.backend.kill, node) for node in self.system.stack.nodes()))
        await self.influx.down()
        self.disk.unmount()
