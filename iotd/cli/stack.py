"""`iotd stack`: the servers."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import click

from iotd.cli.output import bad, good, output_option, print_json, print_table
from iotd.settings import load
from iotd.stack import NodeReport, Stack


@click.group()
def stack() -> None:
    """Start, stop and look at the servers.

    \b
    iotd stack up                          start what does not run, repair what is broken
    iotd stack status                      how each server is
    iotd stack stop redis-salon-master     stop one, and see the failover
    iotd stack start redis-salon-master    start it again: it comes back as a replica
    iotd stack logs sentinel-salon-1 -f    follow a server's log
    iotd stack down                        stop all of them; the data stays
    """


@stack.command()
@output_option
@click.pass_obj
def up(config: Path | None, output: str) -> None:
    """Start all servers and wait until they are healthy."""
    settings = load(config)
    reports = asyncio.run(Stack(settings, _tell).up())
    if output == "json":
        print_json(reports)
        return
    click.echo(summary(reports))
    click.echo(f"data and logs: {settings.state / 'nodes'}")
    click.echo("next: `iotd run` for the daemon, `iotd stack status` for a look, `iotd stack down` to stop them")


def summary(reports: list[NodeReport]) -> str:
    """One line that says what was done to how many servers."""
    counts: dict[str, int] = {}
    for report in reports:
        counts[report.action] = counts.get(report.action, 0) + 1
    return f"{len(reports)} servers are healthy: " + ", ".join(f"{n} {what}" for what, n in counts.items())


@stack.command()
@output_option
@click.pass_obj
def down(config: Path | None, output: str) -> None:
    """Stop all servers that this stack started; all data stays."""
    settings = load(config)
    reports = asyncio.run(Stack(settings, _tell).down())
    if output == "json":
        print_json(reports)
    else:
        click.echo(f"stopped {len(reports)} servers; their data stays in {settings.state / 'nodes'}")


@stack.command()
@output_option
@click.pass_context
def status(ctx: click.Context, output: str) -> None:
    """How each server is; exits with 1 when one is not healthy."""
    nodes = asyncio.run(Stack(load(ctx.obj)).status())
    if output == "json":
        print_json(nodes)
    else:
        print_table(
            ("node", "address", "state"),
            [(n.name, n.address, good("healthy") if n.problem is None else bad(n.problem)) for n in nodes],
        )
    if any(n.problem for n in nodes):
        ctx.exit(1)


@stack.command()
@click.argument("node")
@output_option
@click.pass_obj
def start(config: Path | None, node: str, output: str) -> None:
    """Start one server; a former master comes back as a replica, and is in sync when this returns."""
    report = asyncio.run(Stack(load(config), _tell).start(node))
    if output == "json":
        print_json(report)
    else:
        click.echo(f"{report.name}: {report.action}")


@stack.command()
@click.argument("node")
@output_option
@click.pass_obj
def stop(config: Path | None, node: str, output: str) -> None:
    """Stop one server in good order."""
    did = asyncio.run(Stack(load(config), _tell).stop(node))
    if output == "json":
        print_json({"name": node, "stopped": did})
    else:
        click.echo(f"{node}: {'stopped' if did else 'did not run'}")


@stack.command()
@click.argument("node")
@click.option("-n", "--lines", default=50, show_default=True, help="So many lines of the end.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.pass_obj
def logs(config: Path | None, node: str, lines: int, follow: bool) -> None:
    """Show the log of one server."""
    path = Stack(load(config)).log_file(node)
    if path is None:
        click.echo(f"{node} has not logged anything", err=True)
        return
    with path.open(errors="replace") as log:
        for line in log.readlines()[-lines:]:
            click.echo(line, nl=False)
        while follow:
            if line := log.readline():
                click.echo(line, nl=False)
            else:
                time.sleep(0.2)


def _tell(line: str) -> None:
    click.echo(line, err=True)
