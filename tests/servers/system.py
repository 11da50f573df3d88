"""A whole system of real servers for tests: settings on free ports, started and stopped by iotd's own stack."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from iotd.config import Settings, load
from iotd.config.topology import Node, Topology
from iotd.model.errors import ShardUnavailable
from iotd.shards.connection import Connection
from iotd.shards.sentinels import AddressMap
from iotd.stack import Stack

T = TypeVar("T")

_PLACES = 15
"""Locations for which a block has ports, those that come and go in a test among them."""


def make_settings(
    folder: Path,
    first_port: int,
    locations: Sequence[str] | Mapping[str, Any] = ("salon", "chambre1"),
    **overrides: Any,
) -> Settings:
    """Settings whose state is in ``folder``, with every port from ``first_port`` on (see :mod:`tests.servers.ports`).

    Args:
        locations: names, or a table each.
        overrides: tables of the configuration, merged over the ones made here: ``sentinel={"down_after": "2s"}``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    assert len(locations) <= _PLACES, "more than fit into a block of ports"
    made = {
        "locations": locations if isinstance(locations, Mapping) else list(locations),
        "state_dir": folder / "state",
        "topology": {"redis_port": first_port, "sentinel_port": first_port + 2 * _PLACES},
        "influxdb": {"port": first_port + 5 * _PLACES},
        "http": {"port": first_port + 5 * _PLACES + 1},
        "stack": {"backend": "process", "docker": {"redisinsight_port": first_port + 5 * _PLACES + 5}},
        "archive": {"store": "embedded:"},
        "sentinel": {"failover_timeout": "3s"},
    }
    config = folder / "iotd.toml"  # a file, so that commands can be given it too
    config.write_text("\n".join(_toml(_merged(made, overrides))))
    return load(config)


@dataclass(frozen=True)
class System:
    """Running servers."""

    settings: Settings
    stack: Stack

    @property
    def config(self) -> Path:
        """The configuration file that the settings were read from."""
        return self.settings.state.parent / "iotd.toml"

    @property
    def topology(self) -> Topology:
        return self.stack.topology

    @asynccontextmanager
    async def connection(self, name: str) -> AsyncIterator[Connection]:
        """A connection to a Redis or Sentinel node, by the node's name."""
        node = self.topology.node(name)
        credentials = self.settings.sentinel if node.role == "sentinel" else self.settings.redis
        connection = await Connection.open(node.address, credentials, connect_timeout=2, response_timeout=10)
        try:
            yield connection
        finally:
            await connection.close()

    async def ask(self, name: str, *command: str | int) -> Any:
        """One command to a node, and its reply."""
        async with self.connection(name) as connection:
            return await connection.call(*command)

    async def says_master(self, name: str) -> bool:
        """Whether the node itself says that it is a master."""
        try:
            role = await self.ask(name, "ROLE")
        except ShardUnavailable:
            role = await self.ask(name, "ROLE")  # a Sentinel that promotes it cuts all its connections
        return bool(role[0] == b"master")

    async def master(self, location: str) -> Node:
        """The node that the location's first Sentinel names as master."""
        shard = self.topology.shard(location)
        host, port = await self.ask(shard.sentinels[0].name, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", shard.service)
        address = AddressMap(shard, self.settings)(host.decode(), int(port))
        return next(node for node in shard.redis if node.address == address)


def start_system(settings: Settings) -> System:
    """Starts all servers and returns when they are healthy; callable with or without a running event loop."""
    stack = Stack(settings)
    try:
        blocking(stack.up())
    except BaseException:
        stop_system(System(settings, stack))
        raise
    return System(settings, stack)


def stop_system(system: System) -> None:
    """Stops all servers of a system, and makes sure that they are gone; containers with their data.

    Raises:
        AssertionError: a server survived.
    """
    pids = server_pids(system.settings.state)
    blocking(system.stack.down())
    if system.settings.stack.backend == "docker":
        blocking(system.stack.forget())
    system.stack.close()
    left = alive(pids)
    assert not left, f"servers that survived the test: {left}"


def server_pids(state: Path) -> list[int]:
    """The process ids of the servers that a stack with this state directory runs."""
    return [int(f.read_text().split()[0]) for f in (state / "nodes").glob("*/pid")]


def alive(pids: Sequence[int]) -> list[int]:
    """Those of the processes that run; one that has ended and waits for init to notice does not."""
    left = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                left.append(pid)
    return left


def blocking(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end in a thread and an event loop of its own.

    Session fixtures are set up outside of any test's loop, which must not be touched, nor waited in.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(asyncio.run(work))
        except BaseException as e:
            errors.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


async def until(condition: Callable[[], Awaitable[bool]], limit: float, what: str) -> None:
    """Waits until a condition holds.

    Raises:
        AssertionError: it did not within ``limit`` seconds; ``what`` says what was waited for.
    """
    try:
        async with asyncio.timeout(limit):
            while not await condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not within {limit} s: {what}") from None


def _toml(tree: Mapping[str, Any], name: str = "") -> Iterator[str]:
    tables = {key: value for key, value in tree.items() if isinstance(value, Mapping)}
    if name:
        yield f"[{name}]"
    for key, value in tree.items():
        if key not in tables:
            yield f"{json.dumps(key)} = {_toml_value(value)}"
    for key, table in tables.items():
        yield from _toml(table, f"{name}.{json.dumps(key)}" if name else json.dumps(key))


def _toml_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{json.dumps(key)} = {_toml_value(one)}' for key, one in value.items())}}}"
    return json.dumps(value, default=str)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if nested else value
    return merged
