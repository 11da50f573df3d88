"""`iotd rename`: a location gets another name, and keeps all that it has."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from iotd.config import load


@click.command()
@click.argument("old")
@click.argument("new")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.pass_obj
def rename(config: Path | None, old: str, new: str, yes: bool) -> None:
    """Rename the location OLD to NEW.

    First write NEW in place of OLD in `locations`, and don't reload. The daemon, which must run, then archives all that
    it has of OLD, renames its series, and goes by the configuration. The servers keep their names. In the archive,
    what was measured before stays under the old name; queries for either name find all of it.

    \b
    iotd rename salon sejour
    """
    from iotd.ops.control import request  # noqa: PLC0415  # brings aiohttp: not for --help

    settings = load(config)
    if not yes:
        click.confirm(f"This renames {old} to {new}, with all its series. Go on?", abort=True, err=True)
    asyncio.run(request(settings.state, "POST", "/rename", {"old": old, "new": new}))
    click.echo(f"{old} is {new} now; `iotd query location {old}` finds the same")
