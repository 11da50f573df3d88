"""`iotd stack`: the servers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from iotd.cli import complete
from iotd.cli.output import bad, good, output_option, print_json, print_table
from iotd.config import load
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
    iotd stack down --volumes              delete the data too
    """


@stack.command()
@click.option("--with", "extras", multiple=True, type=click.Choice(["redisinsight"]), help="Also start this one.")
@output_option
@click.pass_obj
def up(config: Path | None, extras: tuple[str, ...], output: str) -> None:
    """Start all servers and wait until they are healthy."""
    servers = Stack(load(config), _tell)
    reports = asyncio.run(servers.up(extras))
    if output == "json":
        print_json(reports)
        return
    click.echo(summary(reports))
    click.echo(f"their data: {servers.backend.place}")
    if servers.topology.redisinsight.name in [report.name for report in reports]:
        click.echo(f"RedisInsight: http://{servers.topology.redisinsight.address}")
    click.echo("next: `iotd run` for the daemon, `iotd stack status` to see them, `iotd stack down` to stop them")


def summary(reports: list[NodeReport]) -> str:
    """One line that says what was done to how many servers."""
    counts: dict[str, int] = {}
    for report in reports:
        counts[report.action] = counts.get(report.action, 0) + 1
    return f"{len(reports)} servers are healthy: " + ", ".join(f"{n} {what}" for what, n in counts.items())


@stack.command()
@click.option("--volumes", is_flag=True, help="Delete the data of all servers too.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@output_option
@click.pass_obj
def down(config: Path | None, volumes: bool, yes: bool, output: str) -> None:
    """Stop all servers that this stack started; all data stays, unless --volumes is given."""
    servers = Stack(load(config), _tell)
    if volumes and not yes:
        click.confirm(
            f"This deletes every reading in the servers, for good: {servers.backend.place}. Go on?",
            abort=True,
            err=True,
        )
    reports = asyncio.run(servers.down())
    deleted = asyncio.run(servers.forget()) if volumes else 0
    if output == "json":
        print_json(reports)
    elif volumes:
        click.echo(f"stopped {len(reports)} servers and deleted the data of {deleted}")
    else:
        click.echo(f"stopped {len(reports)} servers; their data stays in {servers.backend.place}")


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
@click.argument("node", shell_complete=complete.nodes)
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
@click.argument("node", shell_complete=complete.nodes)
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
@click.argument("node", shell_complete=complete.nodes)
@click.option("-n", "--lines", default=50, show_default=True, help="So many lines of the end.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.pass_obj
def logs(config: Path | None, node: str, lines: int, follow: bool) -> None:
    """Show the log of one server."""
    empty = True
    for line in Stack(load(config)).log(node, lines, follow=follow):
        click.echo(line, nl=False)
        empty = False
    if empty:
        click.echo(f"{node} has not logged anything", err=True)


def _tell(line: str) -> None:
    click.echo(line, err=True)
