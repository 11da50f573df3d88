"""Rows of plain values as what a notebook shows: text, HTML, a DataFrame."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from iotd.model.errors import UsageError

if TYPE_CHECKING:
    import pandas

Rows = Sequence[dict[str, object]]


def frame(rows: Rows) -> pandas.DataFrame:
    """A DataFrame, indexed by location.

    Raises:
        UsageError: pandas is not installed.
    """
    try:
        import pandas  # noqa: PLC0415  # an extra
    except ImportError:
        raise UsageError("to_pandas() needs pandas: pip install 'iotd[pandas]'") from None
    return pandas.DataFrame(rows).set_index("location")


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def as_text(rows: Rows) -> str:
    """The rows as a table of plain text."""
    table = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 3 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    )


def as_html(rows: Rows) -> str:
    """The rows as an HTML table."""
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{escape(_cell(v))}</td>" for v in row.values()) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
