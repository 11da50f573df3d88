"""`iotd history`: simulated history into a running system."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from iotd.cli.output import output_option, print_json, print_table
from iotd.config import load
from iotd.model.errors import UsageError
from iotd.ops.control import request


@click.command()
@click.option("--days", type=float, help="How far back; default: simulator.history_days.")
@output_option
@click.pass_obj
def history(config: Path | None, days: float | None, output: str) -> None:
    """Load simulated history, as far as it is not there yet; the daemon must run.

    Redis keeps what lies within redis.retention; the archive keeps all of it.
    """
    settings = load(config)
    if not settings.simulates:
        raise UsageError(
            'there are no simulated sensors while another source is configured; simulator.enabled = "on" adds them'
        )
    days = settings.simulator.history_days if days is None else days
    if days <= 0:
        raise UsageError(f"--days {days:g}: give a number of days above 0")
    kept = settings.redis.retention.total_seconds() / 86_400
    if days > kept:
        raise UsageError(
            f"--days {days:g}: Redis keeps {kept:g} days (redis.retention), older readings would expire at once; "
            "give less, or set a longer retention"
        )
    done = asyncio.run(request(settings.state, "POST", "/history", {"days": str(days)}))
    if output == "json":
        print_json(done)
    else:
        print_table(("location", "readings"), [(location, f"{count:,}") for location, count in done.items()])
