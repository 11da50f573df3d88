"""What every command that prints shares: the --output option, tables for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any

import click


def output_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option ``--output table|json``."""
    return click.option(
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="For people or programs.",
    )(command)


def print_json(value: Any) -> None:
    """Prints plain values and dataclasses as JSON."""
    from iotd.ops.control import to_json  # noqa: PLC0415  # brings aiohttp: not for --help

    click.echo(to_json(value))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], right: Collection[int] = ()) -> Any:
    """A rich table; cells are shown as they are, but for :class:`Marked` ones; columns ``right`` are numbers."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(columns):
        made.add_column(name, justify="right" if i in right else "left")
    for row in rows:
        made.add_row(*map(_cell, row))
    return made


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table, see :func:`table`."""
    console().print(table(columns, rows))


def console(err: bool = False) -> Any:
    """A rich console; into a pipe it writes as wide as the content, not as an imagined terminal."""
    from rich.console import Console  # noqa: PLC0415

    terminal = (sys.stderr if err else sys.stdout).isatty()
    return Console(stderr=err, highlight=False, width=None if terminal else 200, soft_wrap=not terminal)


class Marked(str):
    """Text with rich's markup in it; what else is in it has gone through :func:`plain`."""

    __slots__ = ()


def good(text: object) -> Marked:
    """The text in the colour of what is well."""
    return Marked(f"[green]{plain(text)}[/green]")


def bad(text: object) -> Marked:
    """The text in the colour of what is wrong."""
    return Marked(f"[red]{plain(text)}[/red]")


def doubtful(text: object) -> Marked:
    """The text in the colour of what somebody should look at."""
    return Marked(f"[yellow]{plain(text)}[/yellow]")


def plain(text: object) -> str:
    """The text as it is, whatever is in it: ids and payloads are anybody's."""
    from rich.markup import escape  # noqa: PLC0415

    return escape(str(text))


def _cell(value: object) -> Any:
    from rich.text import Text  # noqa: PLC0415

    if isinstance(value, Marked):
        return Text.from_markup(value)
    return Text("" if value is None else str(value))
