"""`iotd adopt`: shards whose state directory is lost become this system's."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from iotd.cli.output import output_option, print_json, print_table
from iotd.config import load
from iotd.model.errors import UsageError


@click.command()
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@output_option
@click.pass_obj
def adopt(config: Path | None, yes: bool, output: str) -> None:
    """Take over shards of another system, whose state directory is lost.

    A daemon that begins with an empty state directory is another system, and writes nothing into shards that belong to
    the one before. This shows what they hold, asks, and makes them this system's: their readings stay, can be asked
    for and are archived, and new ones go on behind them. The daemon must run.
    """
    from iotd.ops.control import request  # noqa: PLC0415  # brings aiohttp: not for --help

    state = load(config).state
    found: list[dict[str, Any]] = asyncio.run(request(state, "GET", "/adopt"))
    if not found:
        raise UsageError("there is nothing to adopt: every shard is this system's, or holds nothing")
    if output != "json":
        columns = ("location", "master", "series", "first reading", "last reading", "of the system", "made")
        rows = [
            (h["location"], h["node"], h["series"], _time(h["first"]), _time(h["last"]), h["system"], h["created"])
            for h in found
        ]
        print_table(columns, rows)
    if not yes:
        click.confirm(
            "No other daemon may write into these shards. Take them over, with all that they hold?",
            abort=True,
            err=True,
        )
    adopted = asyncio.run(request(state, "POST", "/adopt"))
    if output == "json":
        print_json(adopted)
    else:
        click.echo(f"adopted: {', '.join(h['location'] for h in adopted)}")


def _time(ms: int | None) -> str:
    return "" if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
