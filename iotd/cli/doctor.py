"""`iotd doctor`: finds by experiment what is lost before iotd has it."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from iotd.cli.brokers import broker_option, brokers_of, url_options
from iotd.cli.output import bad, console, doubtful, good, output_option, plain, print_json
from iotd.config import load
from iotd.model.errors import IotdError

if TYPE_CHECKING:
    from iotd.config.sections.mqtt import Broker
    from iotd.sources.mqtt.doctor.examination import Wanted
    from iotd.sources.mqtt.doctor.findings import Finding

_EXIT_LOSES = 1


@click.group()
def doctor() -> None:
    """Find out by experiment what is lost before iotd has it, and what to set."""


@doctor.command()
@broker_option
@url_options
@click.option(
    "--messages",
    type=click.IntRange(10, 1_000_000),
    default=3_000,
    show_default=True,
    help="Small messages that are queued for a subscriber that is away.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 86_400),
    default=15,
    show_default=True,
    help="How long publishers are listened to.",
)
@click.option("--restart-command", metavar="COMMAND", help="Restart the broker with this shell command, and count.")
@output_option
@click.pass_context
def mqtt(
    ctx: click.Context,
    /,
    *,
    broker: str | None,
    messages: int,
    seconds: float,
    restart_command: str | None,
    output: str,
    **given: Any,
) -> None:
    """Find out what the brokers and the publishers lose, and print the lines to set.

    It publishes some thousand small messages below iotd/doctor/ to subscribers of its own, and removes all of it
    afterwards. Whoever is subscribed to everything gets them too. The daemon's session is not touched. With
    --restart-command the broker is restarted while messages wait in it; all its clients lose their connection then.

    Exits with 0 when nothing is lost; with 1 when something is lost or repeated, or could not be tried for want of
    access; with 69 when the broker does not let us in.

    \b
    iotd doctor mqtt
    iotd doctor mqtt --url mqtt://localhost --messages 100000
    iotd doctor mqtt --restart-command "systemctl kill --signal=SIGKILL mosquitto"
    """
    from iotd.intake.assignments import read_assignments  # noqa: PLC0415  # what brings numpy is not for --help
    from iotd.intake.world import world_of  # noqa: PLC0415
    from iotd.sources.mqtt.doctor.examination import Wanted  # noqa: PLC0415

    settings = load(ctx.obj)
    brokers = brokers_of(settings, broker, **given)
    names = world_of(settings, read_assignments(settings.state)).resolver
    wanted = Wanted(messages, seconds, restart_command, names, lambda: time.time_ns() // 1_000_000)
    code, told = 0, []
    for name, its in brokers.items():
        found: list[Finding] = []
        error: IotdError | None = None
        try:
            asyncio.run(_examine(its, wanted, found, shown=output == "table"))
        except IotdError as e:
            click.echo(f"iotd: {its.url}: {e}", err=True)
            code, error = e.exit_code, e
        if any(one.bad for one in found):
            code = code or _EXIT_LOSES
        told.append({"broker": name, "url": its.url, "error": None if error is None else str(error), "findings": found})
    if output == "json":
        print_json(told)
    ctx.exit(code)


async def _examine(broker: Broker, wanted: Wanted, found: list[Finding], *, shown: bool) -> None:
    from iotd.sources.mqtt.doctor.examination import examine  # noqa: PLC0415

    out = console()
    if shown:
        out.print(f"[bold]{plain(broker.url)}[/bold]")
    async with aclosing(examine(broker, wanted)) as findings:
        async for one in findings:
            found.append(one)
            if shown:
                _show(out, one)


def _show(out: Any, one: Finding) -> None:
    tone = bad if one.bad else good if one.verdict == "OK" else doubtful
    out.print(f"{tone(f'{one.verdict:<9}')} {plain(one.what)}: {plain(one.text)}", soft_wrap=True)
    if one.advice:
        inline = len(one.advice) == 1 or not one.place
        head = f"{one.place}: " if one.place and inline else f"{one.place}:\n    " if one.place else ""
        text = head + ("\n    " if not inline else "\n").join(one.advice)
        out.print("          → " + plain(text).replace("\n", "\n            "), soft_wrap=True)
