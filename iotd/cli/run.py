"""`iotd up`, `iotd run`, `iotd down`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import click
import psutil

from iotd.config import Settings, load
from iotd.model.errors import StackError
from iotd.ops.statedir import daemon_process


@click.command()
@click.option("--locations", help="Serve only these locations, with commas between them.")
@click.pass_obj
def run(config: Path | None, locations: str | None) -> None:
    """Run the daemon; the servers must be there.

    It ends on SIGTERM or Ctrl-C, once what is under way is durable and archived; a second one leaves at once.
    """
    from iotd.daemon.process import run_daemon  # noqa: PLC0415
    from iotd.ops.logging import logging_to  # noqa: PLC0415

    settings = _load(config, locations)
    with logging_to(settings) as relog:
        run_daemon(settings, reread=lambda: _load(config, locations), relog=relog)


@click.command()
@click.option("--locations", help="Serve only these locations, with commas between them.")
@click.option("--no-history", is_flag=True, help="Begin now, without simulated history.")
@click.pass_obj
def up(config: Path | None, locations: str | None, no_history: bool) -> None:
    """Start the servers, load history, run the daemon in the foreground.

    Running it again goes on where it stopped. Ctrl-C stops the daemon, `iotd down` the servers.
    """
    from iotd.cli.upscreen import UpScreen  # noqa: PLC0415
    from iotd.daemon.process import run_daemon  # noqa: PLC0415
    from iotd.ops.logging import logging_to  # noqa: PLC0415
    from iotd.stack import Stack  # noqa: PLC0415

    settings = _load(config, locations)
    screen = UpScreen(settings)
    screen.servers(asyncio.run(Stack(settings, screen.tell).up()))
    with logging_to(settings) as relog, screen:
        run_daemon(
            settings,
            reread=lambda: _load(config, locations),
            relog=relog,
            history=not no_history,
            progress=screen.progress,
            ready=screen.ready,
        )
    screen.goodbye()


@click.command()
@click.pass_obj
def down(config: Path | None) -> None:
    """Stop the daemon and the servers that `up` started, and only these; all data stays."""
    from iotd.stack import Stack  # noqa: PLC0415

    settings = load(config)
    if (daemon := daemon_process(settings.state)) is not None:
        click.echo(f"stopping the daemon (process {daemon.pid})")
        with suppress(psutil.NoSuchProcess):
            daemon.terminate()
            limit = settings.shutdown.drain.total_seconds() + 5
            try:
                daemon.wait(limit)
            except psutil.TimeoutExpired:
                raise StackError(
                    f"the daemon (process {daemon.pid}) did not end within {limit:g} s; the servers still run; "
                    "run `iotd down` again"
                ) from None
    servers = Stack(settings)
    stopped = asyncio.run(servers.down())
    click.echo(f"stopped {len(stopped)} servers; their data stays in {servers.backend.place}")


def _load(config: Path | None, locations: str | None) -> Settings:
    if locations is None:
        return load(config)
    return load(config, serve=tuple(name.strip() for name in locations.split(",")))
