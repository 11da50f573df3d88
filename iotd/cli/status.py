"""`iotd status`: every shard, the daemon, the archive."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import click

from iotd.cli.output import bad, console, good, output_option, print_json, table
from iotd.ops.control import NoDaemon, request
from iotd.settings import Settings, load
from iotd.shards.look import ShardView, look_at
from iotd.topology import topology


@click.command()
@output_option
@click.option("--watch", "-w", is_flag=True, help="Show it again every second, until Ctrl-C.")
@click.pass_context
def status(ctx: click.Context, output: str, watch: bool) -> None:
    """Show every shard, the daemon and the archive.

    Exits with 1 when a shard has no master or a node is missing, or when no daemon runs.
    """
    settings = load(ctx.obj)
    while True:
        shards, daemon = asyncio.run(_look(settings))
        if output == "json":
            print_json({"shards": shards, "daemon": daemon})
        else:
            if watch:
                click.clear()
            _show(settings, shards, daemon)
        if not watch:
            break
        time.sleep(1)
    if daemon is None or not all(_healthy(view) for view in shards):
        ctx.exit(1)


async def _look(settings: Settings) -> tuple[list[ShardView], Any]:
    async def daemon() -> Any:
        try:
            return await request(settings.state, "GET", "/status")
        except NoDaemon:
            return None

    *shards, answer = await asyncio.gather(*(look_at(settings, s) for s in topology(settings).shards), daemon())
    return shards, answer


def _healthy(view: ShardView) -> bool:
    return view.master is not None and all(n.problem is None for n in view.nodes) and all(view.sentinels.values())


def _show(settings: Settings, shards: list[ShardView], daemon: Any) -> None:
    by_location = {s["location"]: s for s in daemon["shards"]} if daemon else {}
    rows = []
    for view in shards:
        said = by_location.get(view.location)
        rows.append(
            (
                view.location,
                good(view.master) if view.master else bad("none"),
                _replicas(view),
                _sentinels(view),
                *(_of_daemon(said) if said else ("", "", "")),
            )
        )
    out = console()
    out.print(table(("location", "master", "replica (lag)", "Sentinels", "written", "waiting", "last failover"), rows))
    if daemon is None:
        out.print(bad("no daemon runs") + f" on {settings.state}; start it with `iotd up` or `iotd run`")
        return
    for said in daemon["shards"]:
        if said["trouble"]:
            out.print(f"{said['location']}: {bad(said['trouble'])}")
        elif move := said["last_move"]:
            why = f": {move['reason']}" if move["reason"] else ""
            out.print(f"{said['location']}: writes went over from {move['source']} to {move['target']}{why}")
    if daemon["spool_failing"]:
        out.print(bad(f"the spool can't be written: {daemon['spool_failing']}") + "; sources wait")
    out.print(f"daemon: {daemon['phase']} since {daemon['started']}, " + _archive(daemon["archive"]))


def _replicas(view: ShardView) -> str:
    cells = []
    for node in view.nodes:
        if node.name == view.master:
            continue
        if node.problem or node.role is None:
            cells.append(f"{node.name} {bad('down' if node.role is None else node.problem)}")
        elif node.role == "master":
            cells.append(f"{node.name} {bad('believes it is master')}")
        else:
            cells.append(f"{node.name} ({'not connected' if node.lag is None else f'{node.lag} B'})")
    return ", ".join(cells)


def _sentinels(view: ShardView) -> str:
    up = sum(view.sentinels.values())
    text = f"{up} of {len(view.sentinels)}"
    return good(text) if up == len(view.sentinels) else bad(text)


def _of_daemon(said: Any) -> tuple[str, str, str]:
    depth, move = said["depth"], said["last_move"]
    waiting = (
        "nothing"
        if not depth["batches"]
        else f"{depth['batches']} batch{'' if depth['batches'] == 1 else 'es'}, {depth['age']:.1f} s"
    )
    last = f"{move['at'][:19].replace('T', ' ')} to {move['target']}, {move['gap_ms']} ms" if move else "never"
    return f"{said['written']:,}", waiting, last


def _archive(said: Any) -> str:
    if not said or not said.get("sink"):
        return "archive off"
    return f"archive {said['sink']}"
