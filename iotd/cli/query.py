"""`iotd query`: readings, hot and archived together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from iotd.cli import complete
from iotd.model.errors import UsageError
from iotd.model.series import natural

if TYPE_CHECKING:
    from iotd.query.result import Readings
    from iotd.query.system import ShardingSystem

OUTPUTS = ("table", "csv", "json", "line-protocol", "parquet", "png", "chart")
_BY_ENDING = {
    ".csv": "csv",
    ".lp": "line-protocol",
    ".json": "json",
    ".parquet": "parquet",
    ".png": "png",
    ".pdf": "png",
    ".svg": "png",
}
_POINTS = {"chart": (2_000, 250), "png": (20_000, 1_500)}
"""Of a line with more points than the first, a picture shows averages, at most the second many, and says so."""

_EXIT_INCOMPLETE = 1


@click.group()
def query() -> None:
    """Ask for readings, hot and archived together, by location or by unit.

    \b
    iotd query location salon temperature --start -1h --agg avg --bucket 1m
    iotd query location salon temperature --start yesterday --end yesterday --output chart
    iotd query location "salle de bain" all --start -15m --output csv > bain.csv
    iotd query unit celsius --start -15m
    iotd query unit percent --start 2026-11-01 --agg max --bucket 1d --to humidity.png

    Times: -1h, -7d, 18:30, yesterday 18:00, 2026-11-24, 2026-11-24T18:00, seconds since the epoch; in the local zone
    unless they name another. The start is part of the range, the end is not; a day as the end is the whole day.

    Values are calibrated, as `iotd sensors calibrate` said, and the output's head says so; --raw gives what is stored.

    Exits with 1 when nothing was found, or when a shard or the archive did not answer, so that readings may be missing.
    """


def _range_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option("--start", default="-1h", show_default=True, help="From when on."),
        click.option("--end", help="Until when; default: now."),
        click.option("--sensor", "sensors", multiple=True, help="Only this sensor; may be given again."),
        click.option(
            "--agg",
            shell_complete=complete.aggregations,
            help="avg, min, max, sum, count, first, last, range, std.p or (of a counter) increase of each bucket.",
        ),
        click.option("--bucket", help="How long a bucket is: 30s, 1m, 1h, 1d (from midnight)."),
        click.option(
            "--output",
            type=click.Choice(OUTPUTS),
            help="Default: table, or what the ending of --to says.",
        ),
        click.option("--to", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file."),
        click.option("--raw", is_flag=True, help="What is stored, not calibrated."),
        click.option("--all", "everything", is_flag=True, help="Every row of a long table."),
    )
    for option in reversed(options):
        command = option(command)
    return command


class _Listing(click.Command):
    """A command whose help ends with the names that the configuration has for its argument."""

    def __init__(self, *args: Any, title: str, names: Callable[[click.Context], list[str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._title = title
        self._names = names

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if names := self._names(ctx):
            with formatter.section(self._title):
                formatter.write_text(", ".join(names))


@query.command(cls=_Listing, title="Types", names=complete.known_types)
@click.argument("location", shell_complete=complete.locations)
@click.argument("sensor_type", metavar="[TYPE]", default="all", shell_complete=complete.types)
@_range_options
@click.pass_context
def location(ctx: click.Context, /, *, location: str, sensor_type: str, **options: Any) -> None:
    """The readings of a TYPE (or all) in a LOCATION (or all).

    \b
    iotd query location salon temperature --start -1h --agg avg --bucket 1m
    iotd query location all humidity --start today --output chart
    """
    _run(ctx, {"location": location, "sensor_type": sensor_type}, **options)


@query.command(cls=_Listing, title="Units", names=complete.known_units)
@click.argument("unit", shell_complete=complete.units)
@_range_options
@click.pass_context
def unit(ctx: click.Context, /, *, unit: str, **options: Any) -> None:
    """The readings of every sensor with a UNIT, from all shards at once.

    \b
    iotd query unit celsius --start -15m
    iotd query unit aqi --start -7d --agg max --bucket 1d --output csv
    """
    _run(ctx, {"unit": unit}, **options)


@click.command()
@click.argument("location", default="all", shell_complete=complete.locations)
@click.argument("sensor_type", metavar="[TYPE]", default="all", shell_complete=complete.types)
@click.option("--start", default="1970-01-01", help="From when on; default: the first reading.")
@click.option("--end", help="Until when; default: now.")
@click.option(
    "--format", "form", type=click.Choice(["csv", "line-protocol", "parquet"]), help="Default: by the ending."
)
@click.option("--to", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
@click.pass_context
def export(
    ctx: click.Context,
    /,
    *,
    location: str,
    sensor_type: str,
    start: str,
    end: str | None,
    form: str | None,
    to: Path | None,
) -> None:
    """All readings, hot and archived together, for other programs: CSV, line protocol (times in ms), Parquet.

    The values are those that are stored: calibrations are not applied, so that `iotd import` gives the same again.
    `iotd query --to FILE` writes calibrated values.
    Hourly summaries that were imported are no readings, and are left out.

    \b
    iotd export --to house.parquet
    iotd export salon temperature --start 2026-01-01 --to salon.lp
    iotd export --format csv | gzip > house.csv.gz
    """
    form = form or (_BY_ENDING.get(to.suffix.lower(), "csv") if to else "csv")
    asked = {"location": location, "sensor_type": sensor_type}
    how: dict[str, Any] = {"sensors": (), "agg": None, "bucket": None, "raw": True, "everything": True}
    _run(ctx, asked, start=start, end=end, output=form, to=to, **how)


def _run(
    ctx: click.Context,
    asked: dict[str, str],
    *,
    start: str,
    end: str | None,
    sensors: tuple[str, ...],
    agg: str | None,
    bucket: str | None,
    output: str | None,
    to: Path | None,
    raw: bool,
    everything: bool,
) -> None:
    from iotd.cli.readings import writer  # noqa: PLC0415
    from iotd.query.system import ShardingSystem  # noqa: PLC0415
    from iotd.query.times import parse_range  # noqa: PLC0415

    output = output or (_BY_ENDING.get(to.suffix.lower(), "table") if to else "table")
    first, stop = parse_range(start, end)

    async def run() -> Readings:
        async with ShardingSystem.connect(ctx.obj) as system:
            how: dict[str, Any] = {"agg": agg, "bucket": bucket, "sensor_ids": sensors or None, "raw": raw}
            if agg is None and bucket is None:
                how |= await _for_a_picture(system, output, first, stop, {**asked, "sensor_ids": how["sensor_ids"]})
            ask: Any = system.stream_by_unit_measure if "unit" in asked else system.stream_location_data
            with writer(output, to, everything=everything) as write:
                chunk: Readings
                async for chunk in ask(**asked, start=first / 1000, end=stop / 1000, **how):
                    write.chunk(chunk)
                write.end(chunk)
            if not write.count and chunk.complete:
                raise NothingFound("; ".join(chunk.notes) or await _nothing(system, asked, sensors, chunk))
            return chunk

    last = asyncio.run(run())
    for problem in last.problems:
        click.echo(f"iotd: {problem}", err=True)
    if not last.complete:
        ctx.exit(_EXIT_INCOMPLETE)


class NothingFound(UsageError):
    """The query was right, and nothing is there."""

    exit_code = _EXIT_INCOMPLETE


async def _for_a_picture(
    system: ShardingSystem, output: str, first: int, stop: int, asked: dict[str, Any]
) -> dict[str, Any]:
    """More points than a picture can show are averaged by the servers, or the last one shown; its title says so."""
    from iotd.model.aggregate import fits  # noqa: PLC0415
    from iotd.query.pictures.lines import bucket_for  # noqa: PLC0415

    if output not in _POINTS:
        return {}
    ask = system.query_by_unit_measure if "unit" in asked else system.query_location_data
    counted = await ask(**asked, start=first / 1000, end=stop / 1000, agg="count", bucket=(stop - first) / 1000)
    points = {sensor: values.sum() for sensor, (_, values) in counted.by_sensor().items()}
    if max(points.values(), default=0) <= _POINTS[output][0]:
        return {}
    types = system.settings.known_types
    averaged = any(fits("avg", types.row(sensor.type).kind) for sensor in points)
    return {"agg": "avg" if averaged else "last", "bucket": bucket_for(first, stop, _POINTS[output][1]) / 1000}


async def _nothing(system: ShardingSystem, asked: dict[str, str], sensors: tuple[str, ...], last: Readings) -> str:
    """Why nothing was found, as far as that can be told."""
    from iotd.query.times import show  # noqa: PLC0415

    known = await system.get_sensors(**asked)
    what = " ".join(asked.values())
    if not known:
        return f"there are no readings of {what} yet; `iotd status` shows whether any are written"
    ids = sorted({sensor.sensor_id for sensor in known}, key=natural)
    if sensors and not set(sensors) & set(ids):
        return f"no sensor {', '.join(sensors)} in {what}; there are {', '.join(ids)}"
    begins = round(min(known.values()).timestamp() * 1000)
    return f"no readings of {what} from {show(last.start)} to {show(last.stop)}; they begin at {show(begins)}"
