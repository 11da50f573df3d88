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
    """A rich table; cells may hold markup made by :func:`good` and :func:`bad`, columns ``right`` are numbers."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(columns):
        made.add_column(name, justify="right" if i in right else "left")
    for row in rows:
        made.add_row(*("" if cell is None else str(cell) for cell in row))
    return made


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table, see :func:`table`."""
    console().print(table(columns, rows))


def console(err: bool = False) -> Any:
    """A rich console; into a pipe it writes as wide as the content, not as an imagined terminal."""
    from rich.console import Console  # noqa: PLC0415

    terminal = (sys.stderr if err else sys.stdout).isatty()
    return Console(stderr=err, highlight=False, width=None if terminal else 200, soft_wrap=not terminal)


def good(text: object) -> str:
    """The text in the colour of what is well."""
    return f"[green]{_escaped(text)}[/green]"


def bad(text: object) -> str:
    """The text in the colour of what is wrong."""
    return f"[red]{_escaped(text)}[/red]"


def doubtful(text: object) -> str:
    """The text in the colour of what somebody should look at."""
    return f"[yellow]{_escaped(text)}[/yellow]"


def _escaped(text: object) -> str:
    from rich.markup import escape  # noqa: PLC0415

    return escape(str(text))
