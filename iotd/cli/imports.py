"""`iotd import`: what people already have, through the guards and the log of a running daemon."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from iotd.config import load
from iotd.model.errors import UsageError
from iotd.model.wording import many
from iotd.ops.systemerrors import said

if TYPE_CHECKING:
    from iotd.cli.importing import Outcome
    from iotd.model.observation import Names
    from iotd.model.types import Types
    from iotd.sources.importers.base import Importer, LiveImporter

_EXIT_INCOMPLETE = 1
_EXIT_INTERRUPTED = 130
_FIXED = ("type", "location", "sensor", "unit")
_LIVE = ("bucket", "org", "database", "retention_policy", "token_file", "user", "password_file", "measurements",
         "start", "stop")  # fmt: skip
"""Options of a server."""


@dataclass(frozen=True)
class _How:
    """What was asked for of all files and servers."""

    columns: dict[str, str]
    fixed: dict[str, str]
    types: Types
    options: Mapping[str, Any]

    @property
    def names(self) -> Names:
        from iotd.intake.resolve import Resolver  # noqa: PLC0415  # not for --help

        return Resolver(self.types, {}, {})


@click.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE|URL...")
@click.option("--format", "form", type=click.Choice(["csv", "annotated-csv", "line-protocol", "home-assistant"]))
@click.option("--column", "columns", multiple=True, metavar="NAME=PART", help="What a column, tag or field is: time, …")
@click.option("--set", "fixed", multiple=True, metavar="PART=TEXT", help="A part that all rows have: location=salon.")
@click.option("--precision", type=click.Choice(["ns", "us", "ms", "s"]), default="ns", help="Of line protocol's times.")
@click.option("--time-format", metavar="FORMAT", help="Of a CSV's times, where they are not ISO 8601: %m/%d/%Y %H:%M.")
@click.option("--bucket", help="Of InfluxDB 2.")
@click.option("--org", help="Of InfluxDB 2; needed only where several have such a bucket.")
@click.option("--token-file", type=click.Path(path_type=Path), help="Holds the token; or $INFLUX_TOKEN.")
@click.option("--database", help="Of InfluxDB 1.")
@click.option("--retention-policy", help="Of InfluxDB 1; default: the database's own.")
@click.option("--user", help="Of InfluxDB 1; or $INFLUX_USERNAME.")
@click.option("--password-file", type=click.Path(path_type=Path), help="Holds the password; or $INFLUX_PASSWORD.")
@click.option("--measurement", "measurements", multiple=True, help="Only this one of InfluxDB; may be given again.")
@click.option("--start", help="From when on a server's points are read.")
@click.option("--stop", help="Until when.")
@click.option("--again", is_flag=True, help="From the start, though some of it was imported before.")
@click.pass_obj
def import_files(
    config: Path | None,
    /,
    files: tuple[str, ...],
    *,
    columns: tuple[str, ...],
    fixed: tuple[str, ...],
    again: bool,
    **options: Any,
) -> None:
    """Import readings: CSV, line protocol, InfluxDB's annotated CSV, Home Assistant's database; also gzipped; or from
    a running InfluxDB 1 or 2.

    They go through the same guards and the same log as all others, and may be as old as they are. What can't be
    taken is held (`iotd sensors held`). An import that was interrupted goes on where it was; one that is done twice
    changes nothing. A column of a CSV file is a part of a reading (time, type, location, sensor, value, unit), or one
    sensor, TYPE:LOCATION:SENSOR. Home Assistant's long-term statistics are kept as summaries of hours, not as readings;
    `iotd query --agg avg --bucket 1h` shows them where there are no readings.

    \b
    iotd import home-assistant_v2.db
    iotd import cellar.csv --column "Date=time" --column "T=temperature:cave:1"
    iotd import export.lp.gz --precision ns --set location=salon
    iotd import http://nas:8086 --bucket house --token-file ~/.influx-token --start 2024-01-01
    iotd import http://nas:8086 --database home_assistant --user iotd --password-file ~/.influx-password
    """
    from iotd.cli.importing import Marks, import_rows  # noqa: PLC0415  # not for --help

    settings = load(config)
    how = _How(_pairs(columns, "--column"), _pairs(fixed, "--set"), settings.known_types, options)
    complete = True
    for name in files:
        live = name.startswith(("http://", "https://"))
        importer, what = _server(name, how) if live else _file(name, how)
        marks = Marks(settings.state / "imports.json", what, again=again)
        shown = name if live else Path(name).name
        try:
            outcome = asyncio.run(import_rows(settings.state, shown, importer, marks, settings.intake.zone))
        except KeyboardInterrupt:
            click.echo("iotd: interrupted; the same command goes on where it was", err=True)
            sys.exit(_EXIT_INTERRUPTED)
        complete &= _tell(name, outcome)
        if outcome.failed is not None:
            raise outcome.failed
    sys.exit(0 if complete else _EXIT_INCOMPLETE)


def _file(name: str, asked: _How) -> tuple[Importer | LiveImporter, Any]:
    """The importer of a file, and what tells it from all others."""
    from iotd.sources.importers.registry import importer_of  # noqa: PLC0415

    path, options = Path(name), asked.options
    if "://" in name:
        raise UsageError(f"{name.partition('://')[0]}://…: give a file, or the http(s) URL of an InfluxDB")
    if not path.is_file():
        raise UsageError(f"{name}: there is no such file")
    if given := [option for option in _LIVE if options[option]]:
        raise UsageError(f"--{given[0].replace('_', '-').removesuffix('s')} is of a server, and {name} is a file")
    how = {key: options[key] for key in ("precision", "time_format")}
    importer = importer_of(
        path, options["form"], columns=asked.columns, fixed=asked.fixed, names=asked.names, types=asked.types, **how
    )
    # a database may have news in a file beside it
    there = [file.stat() for file in (path, path.with_name(f"{path.name}-wal")) if file.exists()]
    states = [(one.st_size, one.st_mtime_ns) for one in there]
    return importer, [str(path.absolute()), states, options["form"], asked.columns, asked.fixed, list(how.values())]


def _server(url: str, asked: _How) -> tuple[Importer | LiveImporter, Any]:
    """The importer of a running InfluxDB, and what tells it from all others."""
    from iotd.query.times import parse_time  # noqa: PLC0415
    from iotd.sources.importers.influx import InfluxImporter  # noqa: PLC0415
    from iotd.sources.importers.influxserver import Where  # noqa: PLC0415

    options, fixed = asked.options, asked.fixed
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise UsageError("a URL must not hold a password, which other users of this machine see: --password-file")
    if options["bucket"] and options["database"]:
        raise UsageError("give either --bucket or --database")
    if unknown := [name for name in fixed if name not in _FIXED]:
        raise UsageError(f"--set {unknown[0]}=…: of a server, give one of {', '.join(_FIXED)}")
    names = {key: options[key] for key in ("bucket", "org", "database", "measurements")}
    where = Where(
        url,
        **names,
        policy=options["retention_policy"],
        token=_secret(options["token_file"], "INFLUX_TOKEN"),
        user=options["user"] or os.environ.get("INFLUX_USERNAME"),
        password=_secret(options["password_file"], "INFLUX_PASSWORD"),
    )
    span: dict[str, Any] = {
        "first": parse_time(options["start"], edge="start") if options["start"] else None,
        "stop": parse_time(options["stop"], edge="end") if options["stop"] else None,
    }
    what = [url, names, options["retention_policy"], asked.columns, fixed, options["start"], options["stop"]]
    return InfluxImporter(where, asked.columns, fixed, asked.names, **span), what


def _secret(path: Path | None, variable: str) -> str | None:
    if path is None:
        return os.environ.get(variable) or None
    try:
        text = path.expanduser().read_text(encoding="utf-8").strip()
    except OSError as e:
        raise UsageError(f"{path}: can't be read ({said(e)})") from None
    except UnicodeDecodeError:
        text = ""
    if not text or "\n" in text or not text.isprintable():
        raise UsageError(f"{path}: it has to hold one line, and nothing else")
    return text


def _pairs(said: tuple[str, ...], option: str) -> dict[str, str]:
    found = {}
    for text in said:
        name, equals, meaning = text.rpartition("=") if option == "--column" else text.partition("=")
        if not (name and equals and meaning):
            raise UsageError(f"{option} {text}: write it like {option} NAME=TEXT")
        found[name] = meaning
    return found


def _tell(name: str, outcome: Outcome) -> bool:
    more = f", {outcome.hours:,} summaries of hours" if outcome.hours else ""
    click.echo(f"{name}: {many(outcome.readings, 'reading')}{more}")
    for reason, count in outcome.held.most_common():
        click.echo(f"  held: {count:,}, {reason}")
    if outcome.unread:
        click.echo(f"  not taken: {outcome.unread:,}")
        for example in outcome.examples:
            click.echo(f"    {example}")
        click.echo("  once that is mended, give --again")
    return not (outcome.held or outcome.unread)
