"""`iotd archive`: archive now, look at the archive, verify and repair it."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from iotd.cli.output import bad, console, good, output_option, plain, print_json, table
from iotd.config import load
from iotd.config.values import format_duration
from iotd.model.wording import many
from iotd.ops.control import request


@click.group()
def archive() -> None:
    """Archive now, look at the archive, verify and repair it.

    \b
    iotd archive now               archive what came since the last time, and wait for it
    iotd archive status            which store, how far, what is in its way
    iotd archive verify            compare summaries of each series and hour, shards against archive
    iotd archive verify --deep     compare every value
    iotd archive repair            the same, and archive again what differs
    iotd archive retry-rejected    send what was refused for good once more
    """


@archive.command()
@output_option
@click.pass_obj
def now(config: Path | None, output: str) -> None:
    """Archive what came since the last time, and wait for it."""
    done = asyncio.run(request(load(config).state, "POST", "/archive/now"))
    if output == "json":
        print_json(done)
        return
    rows = [(location, f"{p['new']:,}", f"{p['again']:,}") for location, p in done.items()]
    console().print(table(("location", "readings", "archived again"), rows))


@archive.command()
@output_option
@click.pass_context
def status(ctx: click.Context, output: str) -> None:
    """Which store, how far, what is in its way; exits with 1 when something is."""
    state = load(ctx.obj).state
    said = asyncio.run(request(state, "GET", "/status"))["archive"]
    said["lacking"] = asyncio.run(request(state, "GET", "/archive/lacking"))
    if output == "json":
        print_json(said)
    else:
        _show(said)
    if said["trouble"] or said["lacking"] or any(one["trouble"] or one["gaps"] for one in said["locations"].values()):
        ctx.exit(1)


@archive.command()
@click.option("--deep", is_flag=True, help="Compare every value, not only summaries of each hour.")
@output_option
@click.pass_context
def verify(ctx: click.Context, deep: bool, output: str) -> None:
    """Compare shards and archive; exits with 1 when they differ."""
    _verify(ctx, deep=deep, repair=False, output=output)


@archive.command()
@click.option("--deep", is_flag=True, help="Compare every value, not only summaries of each hour.")
@output_option
@click.pass_context
def repair(ctx: click.Context, deep: bool, output: str) -> None:
    """Compare shards and archive, and archive again what differs; exits with 1 when something differs still."""
    _verify(ctx, deep=deep, repair=True, output=output)


@archive.command("retry-rejected")
@output_option
@click.pass_context
def retry_rejected(ctx: click.Context, output: str) -> None:
    """Send what the archive refused for good once more; exits with 1 when it refuses some still.

    What it takes leaves dead-letters/archive.jsonl in the state directory.
    """
    said = asyncio.run(request(load(ctx.obj).state, "POST", "/archive/retry-rejected"))
    if output == "json":
        print_json(said)
    elif not said["accepted"] + said["refused"] + said["foreign"]:
        click.echo("nothing was refused: there are no dead letters")
    else:
        click.echo(f"{said['accepted']:,} are in the archive now, {said['refused']:,} are refused still")
        if said["foreign"]:
            click.echo(f"{said['foreign']:,} lines of the file are another archive's, and were left alone")
    if said["refused"]:
        ctx.exit(1)


def _verify(ctx: click.Context, *, deep: bool, repair: bool, output: str) -> None:
    params = {"deep": str(int(deep)), "repair": str(int(repair))}
    said = asyncio.run(request(load(ctx.obj).state, "POST", "/archive/verify", params))
    if output == "json":
        print_json(said)
    else:
        out = console()
        rows = [
            (location, f"{v['compared']:,}", bad(len(v["gaps"])) if v["gaps"] else good("none"), v["repaired"])
            for location, v in said.items()
        ]
        out.print(table(("location", "readings compared", "hours that differ", "repaired"), rows))
        for comparison in said.values():
            for gap in comparison["gaps"]:
                differ = f", {gap['differing']} with another value" if gap["differing"] else ""
                what = f"{plain(gap['sensor'])}, from {_local(gap['first'])}"
                out.print(f"{what}: {gap['archived']} of {gap['held']}{differ}")
            for one in comparison["vanished"]:
                gone = bad(f"{many(one['count'], 'reading')} of {one['sensor']} vanished")
                out.print(f"{gone} from shard and archive, between {_local(one['first'])} and {_local(one['last'])}")
        if not repair and any(comparison["gaps"] for comparison in said.values()):
            out.print("`iotd archive repair` archives these again")
    if any(comparison["gaps"] or comparison["vanished"] for comparison in said.values()):
        ctx.exit(1)


def _show(said: Any) -> None:
    out = console()
    if said["store"] is None:
        out.print("there is no archive: archive.store is none")
        return
    out.print(f"{said['store']}: {many(said['archived'], 'reading')} since the daemon's start")
    if said["trouble"]:
        out.print(bad(said["trouble"]) + "; the log keeps the readings meanwhile, nothing is lost")
    if said["rejected"]:
        rejected = bad(f"{said['rejected']:,} were refused for good")
        out.print(f"{rejected}; see dead-letters/archive.jsonl, and `iotd archive retry-rejected`")
    rows = []
    for location, one in said["locations"].items():
        compared = "not yet" if one["compared"] is None else f"{one['compared']:,}"
        gaps = bad(one["gaps"]) if one["gaps"] else "" if one["gaps"] is None else good("none")
        mark = "nothing" if one["watermark"] is None else _local(one["watermark"])
        trouble = "waits for the archive" if one["trouble"] == said["trouble"] else one["trouble"]
        rows.append((location, mark, compared, gaps, bad(trouble) if one["trouble"] else ""))
    out.print(table(("location", "archived up to", "readings compared", "hours that differ", "trouble"), rows))
    for location, count in (said["lacking"] or {}).items():
        lost = bad(f"the archive lacks the newest readings of {count} series that it had acknowledged")
        out.print(f"{location}: {lost}: it was set back, or rows were deleted there; `iotd archive now` archives them")
    if said["lacking"] is None:
        out.print("whether it still has what it acknowledged can't be asked at present")
    locations = said["locations"].values()
    if unverified := next((one["unverified"] for one in locations if one["unverified"]), None):
        out.print(f"not verified at present: {plain(unverified)}")
    for location, one in said["locations"].items():
        if one["trouble"] and one["left_ms"] is not None:
            waiting, left = many(one["waiting"], "reading"), _duration(one["left_ms"])
            out.print(f"{location}: waiting: {waiting}; the shard drops the first of them in {left}")
        for loss in one["lost"]:
            gone = bad(f"lost: {many(loss['count'], 'reading')} of {loss['sensor']}")
            out.print(
                f"{gone}, from {_local(loss['first'])} until before {_local(loss['until'])}, dropped by retention"
            )


def _duration(ms: int) -> str:
    return format_duration(timedelta(seconds=max(0, ms) // 1000))


def _local(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
