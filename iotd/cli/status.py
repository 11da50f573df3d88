"""`iotd status`: every shard, the daemon, the archive."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import click

from iotd.cli.output import Marked, bad, console, doubtful, good, output_option, plain, print_json, table
from iotd.config import Settings, load
from iotd.config.topology import topology
from iotd.ops.control import NoDaemon, SilentDaemon, request
from iotd.query.status import ShardsStatus, ShardStatus, shards_status

_EVERY_S = 1.0
_PAST = 3
"""Conditions that are over, as far as they are shown; --output json has more."""
_TABLE_COLUMNS = 124
"""What the table needs; on a narrower terminal each shard is a few lines."""


@click.command()
@output_option
@click.option("--watch", "-w", is_flag=True, help="Keep showing it, anew every second, until Ctrl-C.")
@click.pass_context
def status(ctx: click.Context, output: str, watch: bool) -> None:
    """Show every shard, the daemon and the archive.

    Exits with 1 while there is a condition of severity error (readings are lost, stuck or not taken), and when no
    daemon runs or answers; with 0 while there are warnings only, such as a replica that is missing.

    \b
    iotd status
    iotd status --watch
    iotd status --output json
    """
    settings = load(ctx.obj)
    if watch:
        try:
            _watch(settings, output)
        except KeyboardInterrupt:
            return
    shards, daemon = asyncio.run(_look(settings))
    if output == "json":
        print_json({"shards": shards.shards, "retired": settings.retired, "daemon": daemon})
    else:
        console().print(_view(settings, shards, daemon))
    if daemon is None or "error" in daemon or any(one["severity"] == "error" for one in daemon["conditions"]):
        ctx.exit(1)


def _watch(settings: Settings, output: str) -> None:
    out = console()
    if output == "json" or not out.is_terminal:
        while True:
            shards, daemon = asyncio.run(_look(settings))
            if output == "json":
                print_json({"shards": shards.shards, "retired": settings.retired, "daemon": daemon})
            else:
                out.print(_view(settings, shards, daemon))
            time.sleep(_EVERY_S)
    from rich.live import Live  # noqa: PLC0415

    with Live(console=out, screen=True, auto_refresh=False) as screen:
        while True:
            began = time.monotonic()
            screen.update(_view(settings, *asyncio.run(_look(settings))), refresh=True)
            time.sleep(max(0.0, _EVERY_S - (time.monotonic() - began)))


async def _look(settings: Settings) -> tuple[ShardsStatus, Any]:
    async def daemon() -> Any:
        try:
            return await request(settings.state, "GET", "/status")
        except NoDaemon:
            return None
        except SilentDaemon as e:
            return {"error": str(e)}

    return await asyncio.gather(shards_status(settings, topology(settings)), daemon())


def _view(settings: Settings, shards: ShardsStatus, daemon: Any) -> Any:
    from rich.console import Group  # noqa: PLC0415

    said = {s["location"]: s for s in daemon["shards"]} if daemon and "shards" in daemon else {}
    if console().width >= _TABLE_COLUMNS:
        rows = [_row(shard, said.get(shard.location)) for shard in shards]
        names = ("location", "master", "replica (lag)", "Sentinels", "readings", "writes/s", "memory", "waiting")
        parts = [table(names, rows, right=(4, 5, 6))]
    else:
        parts = [_lines(shard, said.get(shard.location)) for shard in shards]
    return Group(*parts, *_notes(settings, shards, daemon))


def _row(shard: ShardStatus, said: Any) -> tuple[object, ...]:
    return (
        shard.location,
        _master(shard),
        Marked(", ".join(_replicas(shard))),
        _sentinels(shard),
        *_figures(shard),
        _waiting(said) if said else "",
    )


def _lines(shard: ShardStatus, said: Any) -> str:
    readings, writes, memory = _figures(shard)
    held = f"\n  {readings} readings, {writes} a second, {memory}" if readings else ""
    waiting = f"; waiting: {_waiting(said)}" if said else ""
    nodes = "\n".join(f"  replica {replica}" for replica in _replicas(shard))
    head = f"[bold]{shard.location}[/bold]\n  master {_master(shard)}"
    return f"{head}\n{nodes}\n  Sentinels {_sentinels(shard)}{held}{waiting}"


def _notes(settings: Settings, shards: ShardsStatus, daemon: Any) -> list[str]:
    if daemon is None:
        return [bad("no daemon runs") + f" on {settings.state}; start it with `iotd up` or `iotd run`"]
    if "error" in daemon:
        return [bad(daemon["error"])]
    notes = [_condition(one) for one in daemon["conditions"]]
    if not notes and shards.healthy:
        notes = [good("all is well")]
    over = daemon["past"][:_PAST]
    notes += [f"over since {_clock(one['until'])}: {plain(_text(one))}" for one in over]
    for said in daemon["shards"]:
        if failover := said["last_failover"]:
            why = f": {failover['reason']}" if failover["reason"] else ""
            when = f"{failover['at'][:19].replace('T', ' ')} UTC, no write for {failover['gap_ms']} ms"
            notes.append(
                f"{said['location']}: failed over from {failover['source']} to {failover['target']}, {when}{why}"
            )
    notes += [_held(source, its, daemon["held_limit"]) for source, its in daemon["held"].items() if its["count"]]
    notes += [_messages(source) for source in daemon["sources"] if source["messages"]]
    if daemon["silent_sensors"]:
        silent = Counter(one["location"] for one in daemon["silent_sensors"])
        where = ", ".join(f"{count} in {location}" for location, count in silent.items())
        notes.append(f"silent sensors: {where}; `iotd sensors` shows when each last spoke")
    if settings.retired:
        names = ", ".join(settings.retired)
        notes.append(f"retired: {names}; no longer configured, and can be asked for with `iotd query location NAME`")
    archive = daemon["archive"] or {}
    store = f"archive {archive['store']}" if archive.get("store") else "archive off"
    return [*notes, f"daemon: {daemon['phase']} since {daemon['started']}, {store}"]


def _held(source: str, its: Any, limit: int) -> str:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(its["reasons"].items(), key=lambda r: -r[1]))
    share = f"{its['bytes'] / limit:.1%} of intake.held_limit"
    return plain(f"held of {source}: {its['count']:,} ({reasons}), {share}; `iotd sensors held` lists them")


_MESSAGES = {
    "qos0": "with readings at QoS 0, which promises nothing",
    "retained": "retained, of unknown age and not stored",
    "retained_refused": "retained that can't be read",
    "unknown_topic": "of topics that nothing reads",
    "repeats": "repeated after a restart, and stored once",
    "possible_doubles": "without a time that may be stored twice",
    "sessions_lost": "lost sessions",
}


def _messages(source: Any) -> str:
    counts = source["messages"]
    told = [f"{counts[what]:,} {words}" for what, words in _MESSAGES.items() if counts.get(what)]
    return plain(f"{source['name']}: {counts.get('received', 0):,} messages" + "".join(f"; {one}" for one in told))


def _condition(one: Any) -> str:
    tone = bad if one["severity"] == "error" else doubtful
    return f"{tone(one['name'])} since {_clock(one['since'])}: {plain(_text(one))}\n  {plain(one['remedy'])}"


def _text(one: Any) -> str:
    return f"{one['location']}: {one['detail']}" if one["location"] else str(one["detail"])


def _clock(seconds: float) -> str:
    """Today's time, or the date with it; local."""
    at, now = time.localtime(seconds), time.localtime()
    return time.strftime("%H:%M:%S" if at[:3] == now[:3] else "%Y-%m-%d %H:%M", at)


def _master(shard: ShardStatus) -> str:
    return good(shard.master) if shard.master else bad(f"none, {shard.state}")


def _replicas(shard: ShardStatus) -> list[str]:
    cells = []
    for node in shard.nodes:
        if node.name == shard.master:
            continue
        if node.problem or node.role is None:
            cells.append(f"{node.name} {bad('down' if node.role is None else node.problem)}")
        elif node.role == "master":
            cells.append(f"{node.name} {bad('believes it is master')}")
        else:
            cells.append(f"{node.name} ({'not connected' if node.lag is None else f'{node.lag} B'})")
    return cells


def _sentinels(shard: ShardStatus) -> str:
    up = sum(shard.sentinels.values())
    text = f"{up} of {len(shard.sentinels)}"
    return good(text) if up == len(shard.sentinels) else bad(text)


def _figures(shard: ShardStatus) -> tuple[str, str, str]:
    if shard.samples is None or shard.memory is None:
        return "", "", ""
    return f"{shard.samples:,}", f"{shard.writes_per_second or 0.0:.1f}", f"{shard.memory / 1_048_576:.1f} MiB"


def _waiting(said: Any) -> str:
    batches = said["waiting"]["batches"]
    if not batches:
        return "nothing"
    return f"{batches} batch{'' if batches == 1 else 'es'}, {said['age']:.1f} s"
