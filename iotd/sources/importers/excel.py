"""CSV as spreadsheets write it: its encodings, decimal commas, and dates that are not ISO 8601."""

from __future__ import annotations

import codecs
import io
import re
from datetime import datetime
from typing import BinaryIO, TextIO, cast

from iotd.model.errors import Refused

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HEAD = 1 << 16
_DOTTED = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?:[ T,]+(\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?))?")
_YEAR_FIRST = re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})(?:[ T,]+(\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?))?")
_SLASHED = re.compile(r"\d{1,2}[/-]\d{1,2}[/-]\d{2,4}\b.*")
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:[.\s'’]\d{3})+,\d+|[+-]?\d{1,3}(?:[\s'’]\d{3})+")


class AmbiguousDate(Refused):
    """A date of which it can't be told whether day or month comes first."""

    def __init__(self, text: str) -> None:
        super().__init__(
            "not a time", f"{text!r:.80}: day or month first? Say --time-format '%d/%m/%Y %H:%M', or '%m/%d/%Y %H:%M'"
        )


def decoded(file: BinaryIO) -> TextIO:
    """A file's text, line ends as they are: by its byte order mark, else UTF-8, else what Windows writes in the West.

    The file is not read beyond its first 64 KiB to tell them apart.
    """
    reader = io.BufferedReader(cast(io.RawIOBase, file), _HEAD)
    head = reader.peek(_HEAD)
    encoding = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    if encoding is None:
        try:
            # a character may be cut at the end of the head
            codecs.getincrementaldecoder("utf-8")().decode(head)
            encoding = "utf-8"
        except UnicodeDecodeError:
            encoding = "cp1252"
    return io.TextIOWrapper(reader, encoding, errors="replace", newline="")


def time_of(text: str, form: str | None) -> str:
    """The time in ISO 8601, or as it came where that is no date of a spreadsheet.

    Args:
        form: as :meth:`datetime.datetime.strptime` has it; None: dates with dots have the day first, those with
            slashes the year.

    Raises:
        AmbiguousDate: see there.
        Refused: it does not have the form.
    """
    bare = text.strip()
    if form is not None and bare:
        try:
            return datetime.strptime(bare, form).isoformat()  # its zone is the importer's
        except ValueError:
            raise Refused("not a time", f"{bare!r:.80} is not like {form!r}") from None
    if (match := _DOTTED.fullmatch(bare)) is not None:
        day, month, year, clock = match.groups()
    elif (match := _YEAR_FIRST.fullmatch(bare)) is not None:
        year, month, day, clock = match.groups()
    elif _SLASHED.fullmatch(bare) is not None:
        raise AmbiguousDate(bare)
    else:
        return text
    hour, _, rest = (clock or "0:00").partition(":")
    return f"{year}-{int(month):02d}-{int(day):02d}T{int(hour):02d}:{rest}"


def number_of(text: str) -> str:
    """A number with a decimal comma, as those have it whose cells are not parted by commas, with a point."""
    bare = text.strip()
    if _GROUPED.fullmatch(bare):
        bare = text = re.sub(r"[.\s'’]", "", bare)
    whole, comma, rest = bare.partition(",")
    return f"{whole}.{rest}" if comma and whole.lstrip("+-").isdigit() and rest[:1].isdigit() else text
