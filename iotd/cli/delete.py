"""`iotd delete`: readings of a location, in a range of time, from the shard and the archive."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from iotd.cli import complete
from iotd.cli.output import output_option, print_json, print_table
from iotd.model.errors import UsageError
from iotd.model.wording import many

if TYPE_CHECKING:
    from iotd.config import Settings
    from iotd.model.selection import Selection
    from iotd.query.result import Readings

_WAIT_S = 60.0
"""So long the command looks on; what is recorded goes on without it."""
_LOOK_S = 0.2
_DONE = {
    "master": "deleted from the shard's master",
    "replica": "deleted from its replica too, on both disks",
    "archive": "deleted from the archive",
}
_EXIT_INCOMPLETE = 1


@click.command()
@click.argument("location", shell_complete=complete.locations)
@click.argument("sensor_type", metavar="TYPE", shell_complete=complete.types)
@click.argument("sensor_id", metavar="[SENSOR_ID]", required=False)
@click.option("--start", required=True, help="From when on.")
@click.option("--end", required=True, help="Until when; it is not part of the range.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@output_option
@click.pass_context
def delete(
    ctx: click.Context,
    /,
    *,
    location: str,
    sensor_type: str,
    sensor_id: str | None,
    start: str,
    end: str,
    yes: bool,
    output: str,
) -> None:
    """Delete the readings of a TYPE (or all) in a LOCATION, of one sensor or all, for good.

    It says what will be deleted, and asks. The daemon, which must run, records it in the log; shard and archive follow,
    also after a failure or a restart. What is handed over for the same time afterwards stays. Hourly summaries that
    were imported go too, those of every hour that the range touches. Names and times are written as for `iotd query`.

    Exits with 1 when there is nothing to be deleted, or when it is recorded and not done everywhere yet: it goes on by
    itself.

    \b
    iotd delete salon temperature north --start "2026-11-24 18:00" --end "2026-11-24 18:30"
    """
    from iotd.config import load  # noqa: PLC0415
    from iotd.intake.summaries import Summaries  # noqa: PLC0415
    from iotd.model.series import natural  # noqa: PLC0415
    from iotd.ops.control import request  # noqa: PLC0415  # brings aiohttp: not for --help
    from iotd.query.times import parse_range, show  # noqa: PLC0415

    settings = load(ctx.obj)
    first, stop = parse_range(start, end)
    what = _selected(settings, location, sensor_type, sensor_id)
    if first > time.time() * 1000:
        raise UsageError(f"the range is in the future: it starts at {show(first)}, and nothing was measured then")
    if not yes and not sys.stdin.isatty():
        raise UsageError("nobody can be asked here, because this is no terminal: add --yes to delete without asking")
    name = what.locations[0]
    asyncio.run(request(settings.state, "GET", "/delete", {"location": name, "sequence": "0"}))

    found = asyncio.run(_count(ctx.obj, what, first, stop))
    counts = {series.key: round(float(values.sum())) for series, (_, values) in found.by_sensor().items()}
    total = sum(counts.values())
    hours = Summaries(settings.state, settings.known_types).count(what, first, stop - 1)
    for problem in replace(found, notes=()).problems:
        click.echo(f"iotd: {problem}", err=True)
    if not total and not hours and found.complete:
        click.echo(f"iotd: {location} has no readings of {sensor_type} from {show(first)} to {show(stop)}", err=True)
        ctx.exit(_EXIT_INCOMPLETE)
    about = many(total, "reading") if found.complete else f"at least {many(total, 'reading')}"
    about += f" and {hours:,} imported hourly summaries" if hours else ""
    if output != "json":
        rows = [(key, f"{counts[key]:,}") for key in sorted(counts, key=natural)]
        print_table(("series", "readings"), rows)
    if not yes:
        click.confirm(
            f"This deletes {about} of {name} from {show(first)} to before {show(stop)}, for good. Go on?",
            abort=True,
            err=True,
        )
    asked = {
        "location": name,
        "types": ",".join(what.types),
        **({"sensor": sensor_id} if sensor_id is not None else {}),
        "first": str(first),
        "last": str(stop - 1),
        **({"readings": str(total)} if found.complete else {}),
    }
    recorded: dict[str, Any] = asyncio.run(request(settings.state, "POST", "/delete", asked))
    click.echo("recorded in the log", err=True)
    how = asyncio.run(_watched(settings.state, name, recorded["sequence"]))
    if output == "json":
        counted = {"readings": total, "summaries": hours, "complete": found.complete}
        print_json({"location": name, "start": first, "end": stop, **recorded, **counted, **how})
    if how["waits_for"] is not None:
        click.echo(f"iotd: not done everywhere yet; it waits for {how['waits_for']}, and goes on by itself", err=True)
        ctx.exit(_EXIT_INCOMPLETE)


def _selected(settings: Settings, location: str, sensor_type: str, sensor_id: str | None) -> Selection:
    from iotd.intake.catalogue import catalogued  # noqa: PLC0415
    from iotd.query.names import ALL, select  # noqa: PLC0415

    if location.strip().lower() in ALL:
        raise UsageError("name one location: readings of all of them are not deleted at once")
    seen = catalogued(settings.state / "catalogue.sqlite") or []  # a type that the table no longer has too
    what = select(settings, location=location, sensor_type=sensor_type, sensor_ids=sensor_id, seen=seen)
    (name,) = what.locations
    if name in settings.retired:
        raise UsageError(f"{name} is retired, and no daemon writes it: put it back into locations first")
    return what


async def _count(config: Path | None, what: Selection, first: int, stop: int) -> Readings:
    """How many readings there are, by series and day.

    Raises:
        UsageError: there is no such sensor.
    """
    from iotd.model.series import natural  # noqa: PLC0415
    from iotd.query.system import ShardingSystem  # noqa: PLC0415

    (name,) = what.locations
    kind = what.types[0] if len(what.types) == 1 else None
    async with ShardingSystem.connect(config) as system:
        found = await system.query_location_data(
            name, kind, first / 1000, stop / 1000, sensor_ids=what.ids, agg="count", bucket="1d"
        )
        if what.ids is not None and found.complete and not len(found):
            known = {series.sensor_id for series in await system.get_sensors(name, kind)}
            if not known & set(what.ids):
                there = f"; there are {', '.join(sorted(known, key=natural))}" if known else ""
                raise UsageError(f"no sensor {what.ids[0]!r} in {name}{f' {kind}' if kind else ''}{there}")
        return found


async def _watched(state: Path, location: str, sequence: int) -> dict[str, Any]:
    """Looks on until it is done everywhere, or for a while; how far it is then."""
    from iotd.ops.control import NoDaemon, SilentDaemon, request  # noqa: PLC0415

    how: dict[str, Any] = {"master": False, "replica": False, "archive": False, "waits_for": "the daemon"}
    until = time.monotonic() + _WAIT_S
    told: set[str] = set()
    while time.monotonic() < until:
        try:
            how = await request(state, "GET", "/delete", {"location": location, "sequence": str(sequence)})
        except (NoDaemon, SilentDaemon):
            how["waits_for"] = "the daemon, which has ended or does not answer"
        for step, text in _DONE.items():
            if how[step] and step not in told:
                told.add(step)
                click.echo(text, err=True)
        if how["waits_for"] is None:
            break
        await asyncio.sleep(_LOOK_S)
    return how
