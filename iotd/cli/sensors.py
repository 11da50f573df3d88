"""`iotd sensors`: which sensors were seen, what people say of them, and what of theirs is held."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from iotd.cli import complete
from iotd.cli.discovering import discover
from iotd.cli.output import console, output_option, print_json, print_table, table
from iotd.cli.trying import try_
from iotd.config import load
from iotd.model.errors import UsageError
from iotd.model.instants import duration

_SHOWN = 60
"""Characters of a payload that are shown."""


@click.group(invoke_without_command=True)
@click.option("--location", shell_complete=complete.locations, help="Only those of this location.")
@click.option("--all", "every", is_flag=True, help="Those too that were forgotten.")
@output_option
@click.pass_context
def sensors(ctx: click.Context, location: str | None, every: bool, output: str) -> None:
    """List the sensors that were seen: last value (calibrated), its age, where they are, and who first named them.

    The subcommands say what a broker has and what would become of a message, where a sensor is, what it is called, what
    corrects it, and what becomes of readings that are held.

    \b
    iotd sensors
    iotd sensors discover
    iotd sensors assign 0x00158d0001a2b3c4 salon --name "north window"
    iotd sensors held
    """
    if ctx.invoked_subcommand is not None:
        return
    params = {"location": location} if location else {}
    found = [one for one in _ask(ctx, "GET", "/sensors", params) if every or not one["forgotten"]]
    if output == "json":
        print_json(found)
        return
    now = time.time() * 1000
    types = load(ctx.obj).known_types
    rows = []
    for one in found:
        row = types.row(one["type"], one["unit"])
        value = "–" if one["value"] is None else f"{one['value']:.{row.decimals}f} {row.shown_unit}"
        age = "never" if one["time"] is None else duration(now - one["time"])
        corrected = _corrected(one["calibration"])
        rows.append((one["location"], one["type"], one["sensor"], one["name"], value, age, corrected, one["source"]))
    columns = ("location", "type", "sensor", "name", "last value", "age", "calibration", "source")
    console().print(table(columns, rows, right={4, 5}))


sensors.add_command(discover)
sensors.add_command(try_)


@sensors.command()
@click.argument("sensor", shell_complete=complete.sensors)
@click.argument("location", shell_complete=complete.locations)
@click.option("--name", help="What people call it.")
@click.pass_context
def assign(ctx: click.Context, sensor: str, location: str, name: str | None) -> None:
    """Say in which LOCATION a SENSOR is, by the id that its source gives it.

    It counts from now on, whatever the source says; what was held of it for want of a location is taken.
    """
    params = {"sensor": sensor, "location": location} | ({"name": name} if name is not None else {})
    _tell(_ask(ctx, "POST", "/sensors", params), f"{sensor} is in {location}")


@sensors.command()
@click.argument("sensor", shell_complete=complete.sensors)
@click.argument("name")
@click.pass_context
def rename(ctx: click.Context, sensor: str, name: str) -> None:
    """Give a SENSOR a NAME for people; "" takes it away."""
    _tell(_ask(ctx, "POST", "/sensors", {"sensor": sensor, "name": name}), f"{sensor} is called {name!r}")


@sensors.command()
@click.argument("old", shell_complete=complete.sensors)
@click.argument("new", shell_complete=complete.sensors)
@click.pass_context
def replace(ctx: click.Context, old: str, new: str) -> None:
    """Let the sensor NEW continue the series of OLD, which it replaces.

    What NEW has handed over before stays in series of its own. A calibration is a sensor's own: that of OLD goes on for
    the readings that are there by now, and what comes is raw until `iotd sensors calibrate NEW`.
    """
    _tell(_ask(ctx, "POST", "/sensors", {"sensor": new, "continues": old}), f"{new} continues {old}")


@sensors.command()
@click.argument("sensor", shell_complete=complete.sensors)
@click.option("--type", "kind", shell_complete=complete.measured_types, help="Of this type, where it has several.")
@click.option("--location", shell_complete=complete.locations, help="Where several have the id: of this one, or all.")
@click.option("--factor", type=float, help="What values are multiplied by; default: 1.")
@click.option("--offset", type=float, help="What is added then; default: 0.")
@click.option("--since", help="For readings from this time on; default: for all that the sensor has.")
@click.option("--none", is_flag=True, help="Values are right as they are stored.")
@click.pass_context
def calibrate(
    ctx: click.Context,
    /,
    *,
    sensor: str,
    kind: str | None,
    location: str | None,
    factor: float | None,
    offset: float | None,
    since: str | None,
    none: bool,
) -> None:
    """Correct what a SENSOR says: its values × FACTOR + OFFSET are what queries show.

    What is stored stays as it is (`iotd query --raw`, `iotd export`), so that this may be changed or taken back at any
    time. SENSOR is an id, or a name that was given by `iotd sensors rename`. It holds for the sensor, not for one that
    continues its series. With --since, what was said before holds up to that time.

    \b
    iotd sensors calibrate 0x00158d0001a2b3c4 --type temperature --offset -0.4
    iotd sensors calibrate "water meter" --factor 0.01 --since 2026-11-24
    iotd sensors calibrate "water meter" --none
    """
    from iotd.model.calibration import EVER, RAW, Line  # noqa: PLC0415  # brings numpy: not for --help
    from iotd.query.names import ALL, select  # noqa: PLC0415
    from iotd.query.times import parse_time, show  # noqa: PLC0415

    if none is (factor is not None or offset is not None):
        raise UsageError("give --factor or --offset or both, or else --none")
    line = RAW if none else Line(1.0 if factor is None else factor, 0.0 if offset is None else offset)
    begins = EVER if since is None else parse_time(since)
    settings = load(ctx.obj)
    if kind is not None:
        (kind,) = select(settings, sensor_type=kind).types
    if location is not None:
        location = "all" if location.strip().lower() in ALL else select(settings, location=location).locations[0]
    params = {"sensor": sensor, "factor": repr(line.factor), "offset": repr(line.offset), "since": str(begins)}
    done = _ask(ctx, "POST", "/sensors/calibrate", params | _given(type=kind, location=location))
    where = f" in {done['location']}" if done["location"] else ""
    when = "" if since is None else f" from {show(begins)} on"
    how = "as it is stored" if line == RAW else f"× factor + offset: {line}"
    click.echo(f"{done['type']} of {done['sensor']}{where}: {how}{when}")


@sensors.command()
@click.argument("sensor", shell_complete=complete.sensors)
@click.pass_context
def forget(ctx: click.Context, sensor: str) -> None:
    """Do not expect a SENSOR any more: its silence is no condition. Its readings stay, and what it says is taken."""
    count = _ask(ctx, "POST", "/sensors/forget", {"sensor": sensor})
    click.echo(f"{sensor} is not expected any more ({count} series)")


@sensors.command()
@click.option("--source", help="Only of this source.")
@click.option("--count", type=click.IntRange(1), default=20, show_default=True, help="How many are listed.")
@output_option
@click.pass_obj
def held(config: Path | None, source: str | None, count: int, output: str) -> None:
    """List what can't be taken as it came, with the reason, latest first; and how much of each source there is."""
    from iotd.intake.held import HeldStore  # noqa: PLC0415  # only where it is read

    settings = load(config)
    path = settings.state / "held.sqlite"
    if not path.exists():
        print_json({"holdings": {}, "latest": []}) if output == "json" else click.echo("nothing is held")
        return
    store = HeldStore(path, lambda: settings.intake.held_limit)

    async def read() -> Any:
        return await store.holdings(), await store.latest(source, count=count)

    try:
        holdings, latest = asyncio.run(read())
    finally:
        store.close()
    if output == "json":
        print_json({"holdings": holdings, "latest": latest})
        return
    if not holdings:
        click.echo("nothing is held")
        return
    now = time.time() * 1000
    print_table(
        ("source", "held", "of its limit", "oldest", "let go"),
        [
            (
                name,
                f"{its.count:,}",
                f"{its.bytes / settings.intake.held_limit:.1%}",
                duration(now - its.oldest) if its.oldest is not None else "–",
                its.let_go or "–",
            )
            for name, its in holdings.items()
        ],
    )
    print_table(
        ("age", "source", "topic", "payload", "reason"),
        [
            (
                duration(now - one.arrived),
                one.source,
                one.topic + (f" ({one.sensor})" if one.sensor else ""),
                _short(one.payload),
                f"{one.reason}: {one.detail}" if one.detail else one.reason,
            )
            for one in latest
        ],
    )
    click.echo("`iotd sensors replay` takes what can be taken by now; `iotd sensors drop` throws away")


@sensors.command()
@click.option("--source", help="Only of this source.")
@click.option("--reason", help="Only what is held for this reason.")
@click.pass_context
def replay(ctx: click.Context, source: str | None, reason: str | None) -> None:
    """Try again what is held: what can be taken by now is, once, with the time at which it arrived."""
    done = _ask(ctx, "POST", "/held/replay", _given(source=source, reason=reason))
    words = {"taken": "taken", "held": "held still", "unreadable": "held in a form that can't be read again"}
    click.echo(", ".join(f"{done[key]} {said}" for key, said in words.items() if done[key]) or "nothing to try again")


@sensors.command()
@click.option("--source", help="Only of this source.")
@click.option("--reason", help="Only what is held for this reason.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.pass_context
def drop(ctx: click.Context, source: str | None, reason: str | None, yes: bool) -> None:
    """Throw away what is held, for good."""
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("nobody can be asked here, because this is no terminal: add --yes to throw away unasked")
        what = " ".join(f"{name} {text!r}" for name, text in _given(source=source, reason=reason).items())
        click.confirm(f"Throw away what is held{' of ' + what if what else ''}?", abort=True)
    count = _ask(ctx, "POST", "/held/drop", _given(source=source, reason=reason))
    click.echo(f"thrown away: {count}")


def _ask(ctx: click.Context, method: str, path: str, params: Mapping[str, str]) -> Any:
    from iotd.ops.control import request  # noqa: PLC0415  # brings aiohttp: not for --help

    return asyncio.run(request(load(ctx.obj).state, method, path, params))


def _tell(done: Mapping[str, int], what: str) -> None:
    """What was said is done, what of what was held could be taken by that, and whether the id may be mistyped."""
    click.echo(f"{what}; {done['taken']} of what was held taken" if done["taken"] else what)
    if not done["spoke"]:
        click.echo("no sensor of that id has spoken yet; `iotd sensors` lists those that have", err=True)


def _corrected(spans: list[dict[str, float]]) -> str:
    """What holds now; that it was another one before is told by JSON."""
    from iotd.model.calibration import RAW, Line  # noqa: PLC0415  # brings numpy

    now = time.time() * 1000
    last = next((one for one in reversed(spans) if one["since"] <= now), None)
    return "" if last is None or (line := Line(last["factor"], last["offset"])) == RAW else str(line)


def _given(**params: str | None) -> dict[str, str]:
    return {name: text for name, text in params.items() if text is not None}


def _short(payload: bytes) -> str:
    text = "".join(c if c.isprintable() else "·" for c in payload.decode(errors="replace"))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
