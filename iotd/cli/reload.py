"""`iotd reload` and `iotd config diff`: what differs between the configuration and the running daemon."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from iotd.cli.output import output_option, print_json, print_table
from iotd.config import load


@click.command()
@output_option
@click.pass_obj
def reload(config: Path | None, output: str) -> None:
    """Have the running daemon read its configuration anew, as SIGHUP does, and say what was changed.

    The daemon reads the file and the environment that it was started with. A configuration that can't be used changes
    nothing, and the exit code is 78.
    """
    _show(_ask(config, "POST"), output, "the daemon goes by this now", "nothing differs")


@click.command()
@output_option
@click.pass_obj
def diff(path: Path | None, output: str) -> None:
    """Show what `iotd reload` (or SIGHUP) would change in the running daemon; change nothing."""
    _show(_ask(path, "GET"), output, "`iotd reload` does this", "nothing differs from what the daemon goes by")


def _ask(config: Path | None, method: str) -> list[dict[str, str]]:
    from iotd.ops.control import request  # noqa: PLC0415  # brings aiohttp: not for --help

    answer: Any = asyncio.run(request(load(config).state, method, "/reload"))
    changes: list[dict[str, str]] = answer["changes"]
    return changes


def _show(changes: list[dict[str, str]], output: str, done: str, same: str) -> None:
    if output == "json":
        print_json({"changes": changes})
    elif not changes:
        click.echo(same)
    else:
        rows = [(c["name"], c["before"], c["after"], c["effect"]) for c in changes]
        print_table(("setting", "daemon", "configuration", "effect"), rows)
        waits = sum(c["effect"] == "needs a restart" for c in changes)
        if waits < len(changes):
            click.echo(done + (", but for what needs a restart" if waits else ""))
        else:
            click.echo("only a restart takes this over")
