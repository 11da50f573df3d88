"""The `iotd` command: which subcommands there are, and how errors and interrupts end it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import click

from iotd import __version__
from iotd.model.errors import IotdError

COMMANDS: dict[str, tuple[str, str]] = {
    # name: (module:attribute, one line of help) - the module is imported when the command is called
    "up": ("iotd.cli.run:up", "Start the servers, load history, run the daemon in the foreground."),
    "down": ("iotd.cli.run:down", "Stop the daemon and the servers that `up` started."),
    "run": ("iotd.cli.run:run", "Run the daemon; the servers must be there."),
    "stack": ("iotd.cli.stack:stack", "Start, stop and look at the servers."),
    "status": ("iotd.cli.status:status", "Show every shard, the daemon and the archive."),
    "distribution": ("iotd.cli.distribution:distribution", "Show how evenly the shards share the load."),
    "sensors": ("iotd.cli.sensors:sensors", "List, discover, name and place sensors; look at what is held."),
    "doctor": ("iotd.cli.doctor:doctor", "Find out by experiment what a broker loses, and what to set."),
    "import": ("iotd.cli.imports:import_files", "Import CSV, line protocol, Home Assistant's database."),
    "export": ("iotd.cli.query:export", "Write all readings for other programs: CSV, line protocol, Parquet."),
    "query": ("iotd.cli.query:query", "Ask for readings, hot and archived together."),
    "failover-test": ("iotd.cli.drill:failover_test", "Stop a master and watch the failover."),
    "archive": ("iotd.cli.archive:archive", "Archive now, look at the archive, verify and repair it."),
    "influx": ("iotd.cli.influx:influx", "Work on InfluxDB: make a new token."),
    "history": ("iotd.cli.history:history", "Load simulated history."),
    "adopt": ("iotd.cli.adopt:adopt", "Take over shards whose state directory is lost."),
    "rename": ("iotd.cli.rename:rename", "Rename a location, with all that it has."),
    "acknowledge": ("iotd.cli.conditions:acknowledge", "Say that you have read of a loss."),
    "clock": ("iotd.cli.conditions:clock", "Show the clock that readings go by, or confirm it."),
    "delete": ("iotd.cli.delete:delete", "Delete readings on purpose, from shard and archive."),
    "reload": ("iotd.cli.reload:reload", "Have the running daemon take over a changed configuration."),
    "completion": ("iotd.cli.completion:completion", "Complete commands and names in your shell."),
    "config": ("iotd.cli.config:config", "Check and show the configuration."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module only to run it or to show its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="iotd")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Configuration file (TOML).")
@click.pass_context
def root(ctx: click.Context, config: Path | None) -> None:
    """Carries the sensor readings of a building into sharded Redis and a verified archive.

    Start with `iotd up`; look with `iotd status`.
    """
    ctx.obj = config


def main(args: list[str] | None = None) -> None:
    """Runs the command line and exits; an :class:`IotdError` becomes its message and exit code."""
    try:
        code: Any = root.main(args=args, prog_name="iotd", standalone_mode=False)
    except click.ClickException as e:
        e.show()
        code = e.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = 130
    except IotdError as e:
        click.echo(f"iotd: {e}", err=True)
        code = e.exit_code
    except BrokenPipeError:  # the reader of our output has gone: `iotd status | head -1`
        sys.stderr.close()
        code = 141
    sys.exit(code if isinstance(code, int) else 0)
