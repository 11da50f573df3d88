"""How long after a promoted replica's first readiness are writes accepted there? iotd beside redis-py's own client.

One failover is watched by three processes at once: an observer that asks the replica every millisecond to take a write
(its first yes is the readiness, the limit for both others), a daemon, and redis-py's ``Sentinel.master_for``, written
through a hundred times a second. ``python -m tests.benchmarks.failover``.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from tests.servers.daemon import Daemon, running_daemon
from tests.servers.ports import port_block
from tests.servers.system import System, make_settings, start_system, stop_system, until

_EVERY_S = 0.01


@dataclass(frozen=True)
class Round:
    """One failover; ms from the promoted replica's first readiness to the first write accepted there."""

    iotd: float
    redis_py: float


def observe_node(host: str, port: int) -> float:
    """When that node first takes a write, epoch seconds."""
    client = redis.Redis(host=host, port=port, retry=Retry(NoBackoff(), 0), socket_timeout=0.2)
    while True:
        try:
            client.set("iotd:observer", 1)
            return time.time()
        except redis.RedisError:
            time.sleep(0.001)


def write_by_redis_py(sentinels: list[tuple[str, int]], service: str) -> float:
    """Writes by redis-py's Sentinel client, and returns when another node than at first takes the first write."""
    sentinel: Any = Sentinel(sentinels, socket_timeout=0.5)  # type: ignore[no-untyped-call]
    master = sentinel.master_for(service, socket_timeout=0.5)
    before = sentinel.discover_master(service)
    said = False
    while True:
        try:
            master.set("iotd:peer", 1)
            now = time.time()
            address = master.connection_pool.master_address
        except redis.RedisError:
            pass
        else:
            if address != before:
                return now
            if not said:
                click.echo("writing")
                said = True
        time.sleep(_EVERY_S)


@asynccontextmanager
async def _process(*role: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.failover", *role), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _line(process: asyncio.subprocess.Process, limit: float = 60) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(limit):
        return (await process.stdout.readline()).decode().strip()


async def _calm(system: System) -> bool:
    # under load Sentinels may fail over once more of their own accord, and a second master stays for some seconds
    roles = [await system.ask(node.name, "ROLE") for node in system.topology.shard("salon").redis]
    return sorted(role[0] for role in roles) == [b"master", b"slave"] and any(
        role[0] == b"slave" and role[3] == b"connected" for role in roles
    )


async def one_round(system: System, daemon: Daemon) -> Round:
    """Kills the master, sees who writes when, and brings it back."""
    shard = system.topology.shard("salon")
    await until(lambda: _calm(system), 60, "one master, and a replica in sync")
    master = await system.master("salon")
    replica = next(node for node in shard.redis if node != master)
    sentinels = json.dumps([node.address for node in shard.sentinels])
    await daemon.writes("salon")
    async with (
        _process("--observe", *map(str, replica.address)) as observer,
        _process("--peer", sentinels, shard.service) as peer,
    ):
        assert await _line(peer) == "writing"
        resumed = len(daemon.events("writes_resumed"))
        system.stack.backend.kill(master)
        ready = float(await _line(observer))

        async def writes() -> bool:
            return len(daemon.events("writes_resumed")) > resumed

        await until(writes, 30, "the daemon writes again")
        by_peer = float(await _line(peer))
    event = daemon.events("writes_resumed")[resumed]
    by_iotd = datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp()
    await system.stack.start(master.name)
    await system.stack.up()
    return Round(iotd=1000 * (by_iotd - ready), redis_py=1000 * (by_peer - ready))


async def drill(rounds: int) -> list[Round]:
    """So many failovers, to and fro, of one shard with a daemon that writes a hundred times a second."""
    with tempfile.TemporaryDirectory(prefix="iotd-bench-") as folder, port_block() as first:
        settings = make_settings(
            Path(folder), first, ["salon"], sensors={"interval": "10ms"}, sentinel={"down_after": "1s"}
        )
        system = start_system(settings)
        try:
            with running_daemon(settings) as daemon:
                await daemon.running()
                done = []
                for n in range(rounds):
                    done.append(await one_round(system, daemon))
                    click.echo(
                        f"{n + 1}/{rounds}: iotd {done[-1].iotd:.0f} ms, redis-py {done[-1].redis_py:.0f} ms", err=True
                    )
                return done
        finally:
            stop_system(system)


@click.command()
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(min=1))
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--observe", nargs=2, type=(str, int), hidden=True)
@click.option("--peer", nargs=2, type=(str, str), hidden=True)
def bench(rounds: int, output: str, observe: tuple[str, int] | None, peer: tuple[str, str] | None) -> None:
    """Kills a master again and again; ms from the promoted replica's readiness to the first write accepted there."""
    if observe is not None:
        click.echo(repr(observe_node(*observe)))
        return
    if peer is not None:
        click.echo(repr(write_by_redis_py([tuple(address) for address in json.loads(peer[0])], peer[1])))
        return
    done = asyncio.run(drill(rounds))
    if output == "json":
        click.echo(json.dumps([{"iotd": r.iotd, "redis_py": r.redis_py} for r in done]))
        return
    for name, values in (("iotd", [r.iotd for r in done]), ("redis-py", [r.redis_py for r in done])):
        click.echo(f"{name:<10} median {statistics.median(values):7.0f} ms  ({min(values):.0f} to {max(values):.0f})")


if __name__ == "__main__":
    bench()
