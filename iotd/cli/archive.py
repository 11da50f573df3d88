"""`iotd archive`: archive now, look at the archive, verify and repair it."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from iotd.cli.output import bad, console, good, output_option, print_json, table
from iotd.ops.control import request
from iotd.settings import load


@click.group()
def archive() -> None:
    """Archive now, look at the archive, verify and repair it.

    \b
    iotd archive now               archive what came since the last time, and wait for it
    iotd archive status            which store, how far, what is in its way
    iotd archive verify            compare counts per series and hour, shards against archive
    iotd archive verify --deep     compare every value
    iotd archive repair            the same, and archive again what differs
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
    said = asyncio.run(request(load(ctx.obj).state, "GET", "/status"))["archive"]
    if output == "json":
        print_json(said)
    else:
        _show(said)
    if said["trouble"] or any(one["trouble"] or one["gaps"] for one in said["locations"].values()):
        ctx.exit(1)


@archive.command()
@click.option("--deep", is_flag=True, help="Compare every value, not only how many there are.")
@output_option
@click.pass_context
def verify(ctx: click.Context, deep: bool, output: str) -> None:
    """Compare shards and archive; exits with 1 when they differ."""
    _verify(ctx, deep=deep, repair=False, output=output)


@archive.command()
@click.option("--deep", is_flag=True, help="Compare every value, not only how many there are.")
@output_option
@click.pass_context
def repair(ctx: click.Context, deep: bool, output: str) -> None:
    """Compare shards and archive, and archive again what differs; exits with 1 when something differs still."""
    _verify(ctx, deep=deep, repair=True, output=output)


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
        for verdict in said.values():
            for gap in verdict["gaps"]:
                differ = f", {gap['differing']} with another value" if gap["differing"] else ""
                out.print(f"{gap['sensor']}, from {_local(gap['first'])}: {gap['archived']} of {gap['held']}{differ}")
        if not repair and any(verdict["gaps"] for verdict in said.values()):
            out.print("`iotd archive repair` archives these again")
    if any(verdict["gaps"] for verdict in said.values()):
        ctx.exit(1)


def _show(said: Any) -> None:
    out = console()
    if said["sink"] is None:
        out.print("there is no archive: archive.sink is none")
        return
    out.print(f"{said['sink']}: {said['archived']:,} readings since the daemon's start")
    if said["trouble"]:
        out.print(bad(said["trouble"]) + "; the shards hold the readings meanwhile, nothing is lost")
    if said["rejected"]:
        out.print(bad(f"{said['rejected']:,} were refused for good") + "; see dead-letters/archive.jsonl")
    rows = []
    for location, one in said["locations"].items():
        verdict = "not yet" if one["compared"] is None else f"{one['compared']:,}"
        gaps = bad(one["gaps"]) if one["gaps"] else "" if one["gaps"] is None else good("none")
        mark = "nothing" if one["watermark"] is None else _local(one["watermark"])
        rows.append((location, mark, verdict, gaps, bad(one["trouble"]) if one["trouble"] else ""))
    out.print(table(("location", "archived up to", "readings compared", "hours that differ", "trouble"), rows))


def _local(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
