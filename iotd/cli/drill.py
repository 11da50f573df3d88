"""`iotd failover-test`: the failover drill."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import click

from iotd.cli import complete
from iotd.cli.output import output_option, print_json
from iotd.config import Settings, load
from iotd.config.sections.operation import Logging
from iotd.config.topology import Shard, topology
from iotd.model.errors import IotdError, StackError
from iotd.ops.control import NoDaemon, request
from iotd.ops.logging import logging_to
from iotd.shards.drill import Drill, Moment, failover_drill, hand_over
from iotd.shards.probe import ShardView, probe
from iotd.stack import Stack

Strike = Callable[[str], Awaitable[str]]

_EXIT_NO_FAILOVER = 1
_EXIT_LOST = 2
_RESTORE_LIMIT_S = 120
_FOLLOWS_S = 30.0
"""So long a replica that answers may take to be in sync: Sentinels turn a node that was master into a replica once they
have seen it up for 8 s (redis/src/sentinel.c, SENTINEL_PUBLISH_PERIOD * 4), and then it copies its new master."""
_ANSWERS_S = 5.0
"""So long a node that answers is looked for."""
_LOOK_EVERY_S = 0.2


@click.command()
@click.option("--location", required=True, shell_complete=complete.locations, help="Whose master is stopped.")
@click.option("--restore", is_flag=True, help="Bring the old master back afterwards, and wait until it is in sync.")
@click.option("--hang", is_flag=True, help="Make the master hang (SIGSTOP) instead of killing it.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@output_option
@click.pass_context
def failover_test(ctx: click.Context, /, *, location: str, restore: bool, hang: bool, yes: bool, output: str) -> None:
    """Stop a master and watch the failover.

    Shows what the Sentinels do as it happens, for how long no write was accepted, and, when the daemon runs, that every
    reading taken meanwhile is there. A master that `iotd stack` did not start is not stopped: its Sentinels are
    asked to promote the replica. Exits with 1 when no other node took over, with 2 when a reading is missing.

    \b
    iotd failover-test --location salon --restore
    iotd failover-test --location cuisine --hang --yes --output json
    """
    settings = load(ctx.obj)
    shard = topology(settings).shard(location)
    stack = Stack(settings)
    people = output == "table"
    ours = False

    def tell(moment: Moment) -> None:
        if people:
            click.echo(f"{moment.after:+8.3f} s  {moment.who:<24} {moment.what}")

    async def strike(name: str) -> str:
        nonlocal ours
        ours = stack.backend.state(stack.topology.node(name)) == "running"
        if hang and not ours:
            raise StackError(
                f"{name} was not started by `iotd stack` on this machine, so it can't be made to hang here"
            )
        if not yes:
            does = (
                f"This stops {name}"
                if ours
                else f"{name} was not started by `iotd stack` here. This has its Sentinels promote the replica"
            )
            click.confirm(f"{does}; readings wait in the log meanwhile. Go on?", abort=True, err=True)
        await _begin_check(settings, shard)  # from here on the log keeps what the check compares the shard with
        if not ours:
            return await hand_over(shard, settings)
        if hang:
            await asyncio.to_thread(stack.backend.pause, stack.topology.node(name))
            return f"made {name} hang"
        await asyncio.to_thread(stack.backend.kill, stack.topology.node(name))
        return f"killed {name}"

    with logging_to(settings.model_copy(update={"logging": Logging(level="error", format="console")})):
        drill = asyncio.run(_drill(shard, settings, strike, tell))
    restored = None
    if restore:
        if people:
            click.echo(f"bringing {drill.source} back")
        restored = asyncio.run(_restore(stack, settings, shard, drill.source, ours=ours))
    check = asyncio.run(_check(settings, shard)) if drill.target else None
    if output == "json":
        print_json({"drill": drill, "check": check, "restored": restored})
    elif drill.target is None:
        click.echo(f"no other node accepted writes: see `iotd status`, `iotd stack logs sentinel-{location}-1`")
    else:
        _report(drill, check, restored)
    if drill.target is None:
        ctx.exit(_EXIT_NO_FAILOVER)
    if check and check["missing"]:
        ctx.exit(_EXIT_LOST)


async def _drill(shard: Shard, settings: Settings, strike: Strike, tell: Callable[[Moment], None]) -> Drill:
    view = await _in_sync(shard, settings)
    if view.master and not any(node.follows for node in view.nodes):
        said = "; ".join(f"{n.name}: {n.problem or 'a second master'}" for n in view.nodes if n.name != view.master)
        raise StackError(
            f"{shard.location} has no replica in sync, so nobody could take over from {view.master} ({said}): "
            "repair it with `iotd stack up`, and try again"
        )
    return await failover_drill(shard, settings, strike, tell)


async def _in_sync(shard: Shard, settings: Settings) -> ShardView:
    """The shard as soon as a replica is in sync; as it is when none answers, or none gets there."""
    began = answered = time.monotonic()
    while True:
        view = await probe(settings, shard)
        now = time.monotonic()
        if any(node.role is not None for node in view.nodes if node.name != view.master):
            answered = now
        if any(node.follows for node in view.nodes) or now - began > _FOLLOWS_S or now - answered > _ANSWERS_S:
            return view
        await asyncio.sleep(_LOOK_EVERY_S)


@dataclass(frozen=True, slots=True)
class _Restored:
    """The struck node is back, and the shard whole.

    Attributes:
        seconds: from when it was started until one node was master and all others followed it in sync.
        role: ``replica``; or ``master``, when the Sentinels lost sight of the new master meanwhile and went back.
    """

    seconds: float
    role: str


async def _restore(stack: Stack, settings: Settings, shard: Shard, source: str, *, ours: bool) -> _Restored:
    """Brings the node that was master back, and returns once the shard is whole with it."""
    began = time.monotonic()
    if ours:
        await stack.start(source)
    try:
        async with asyncio.timeout(_RESTORE_LIMIT_S):
            while True:
                if (view := await probe(settings, shard)).whole:
                    break
                await asyncio.sleep(_LOOK_EVERY_S)
    except TimeoutError:
        raise StackError(
            f"{source} is not back in a shard with a master and replicas in sync after {_RESTORE_LIMIT_S:g} s; "
            "see `iotd status`"
        ) from None
    return _Restored(round(time.monotonic() - began, 3), "master" if view.master == source else "replica")


async def _begin_check(settings: Settings, shard: Shard) -> None:
    # a daemon that can't be asked must keep nobody from a drill: the check at the end says it
    with contextlib.suppress(IotdError):
        await request(settings.state, "POST", "/check/begin", {"location": shard.location})


async def _check(settings: Settings, shard: Shard) -> Any:
    """What the daemon found in the shard, of what was taken since the strike; None when none runs."""
    try:
        return await request(settings.state, "POST", "/check", {"location": shard.location})
    except NoDaemon:
        return None
    except IotdError as e:
        return {"error": str(e), "missing": None}


def _report(drill: Drill, check: Any, restored: _Restored | None) -> None:
    click.echo(f"{drill.target} is master now; for {drill.outage_ms} ms no write was accepted")
    if check is None:
        click.echo("no daemon runs, so no readings were under way")
    elif "error" in check:
        click.echo(f"the readings could not be checked: {check['error']}")
    elif check["missing"]:
        click.echo(f"{check['missing']:,} of {check['due']:,} readings are MISSING, first {check['first']}", err=True)
    else:
        click.echo(f"all {check['due']:,} readings of the last {check['seconds']:g} s are there, with their values")
    if restored is None:
        click.echo(f"bring it back as a replica: iotd stack start {drill.source}")
    elif restored.role == "replica":
        click.echo(f"{drill.source} is back as a replica, in sync, after {restored.seconds:g} s")
    else:
        click.echo(
            f"{drill.source} is back after {restored.seconds:g} s, and master again: its Sentinels lost sight of "
            f"{drill.target} for longer than sentinel.down_after, which follows it now, in sync"
        )
