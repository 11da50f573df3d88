"""`iotd influx`: what is done to InfluxDB itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from iotd.cli.output import output_option, print_json
from iotd.config import load


@click.group()
def influx() -> None:
    """Work on InfluxDB.

    \b
    iotd influx token rotate    make a new token, store it, revoke the old one
    """


@influx.group()
def token() -> None:
    """The token with which iotd writes and reads InfluxDB."""


@token.command()
@click.option("--keep-old", is_flag=True, help="Do not revoke the old token.")
@output_option
@click.pass_obj
def rotate(config: Path | None, keep_old: bool, output: str) -> None:
    """Make a new token with influxdb.username and influxdb.password, store it, and revoke the old one.

    It is stored where the old one was, for its owner alone (0600). A running daemon takes it over by itself, without a
    restart and without a reading refused.
    """
    from iotd.stores.influxdb.store import influx_url  # noqa: PLC0415  # brings aiohttp: not for --help
    from iotd.stores.influxdb.token import rotate as rotated  # noqa: PLC0415

    settings = load(config)
    done = asyncio.run(rotated(settings, influx_url(settings), keep_old=keep_old))
    if output == "json":
        print_json(done)
        return
    click.echo(f"a new token is in {done.stored}; a running daemon takes it over by itself")
    click.echo("the old one is revoked" if done.revoked else f"the old one was not revoked: {done.note}")
