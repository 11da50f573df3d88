"""`iotd acknowledge` and `iotd clock`: what only a person can say."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from iotd.cli.output import bad, console, good, output_option, print_json
from iotd.config import load


@click.command()
@click.argument("name")
@click.argument("location", required=False)
@click.pass_obj
def acknowledge(config: Path | None, name: str, location: str | None) -> None:
    """Say that you have read of a loss, so that the status is green again.

    Readings that are lost stay lost, and `iotd status` names them until somebody has acknowledged that. NAME is the
    condition's, as `iotd status` shows it; without LOCATION, those of all locations are meant.

    \b
    iotd acknowledge readings_lost salon
    """
    from iotd.ops.control import request  # noqa: PLC0415  # brings aiohttp: not for --help

    params = {"name": name} | ({"location": location} if location else {})
    count = asyncio.run(request(load(config).state, "POST", "/acknowledge", params))
    click.echo(f"acknowledged: {count} of {name}" + (f" in {location}" if location else ""))


@click.command()
@click.argument("what", required=False, type=click.Choice(["accept"]))
@output_option
@click.pass_obj
def clock(config: Path | None, what: str | None, output: str) -> None:
    """Show the time that readings go by; with `accept`, say that the machine's clock is right.

    A clock that was stepped is not believed until something confirms it: the kernel, other machines, or you.

    \b
    iotd clock
    iotd clock accept
    """
    from iotd.ops.control import request  # noqa: PLC0415  # brings aiohttp: not for --help

    method = "GET" if what is None else "POST"
    state: dict[str, Any] = asyncio.run(request(load(config).state, method, "/clock"))
    if output == "json":
        print_json(state)
        return
    out = console()
    out.print(f"readings go by   {_time(state['time_ms'])}")
    out.print(f"the machine says {_time(state['wall_ms'])}")
    out.print({True: good("synchronised"), False: "not synchronised, says the kernel"}.get(state["synchronised"], ""))
    if state["doubt"]:
        out.print(
            bad(state["doubt"]) + ("; sources wait" if state["waits"] else "") + "; `iotd clock accept` confirms it"
        )
    elif state["stepped"]:
        out.print(state["stepped"])


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")
