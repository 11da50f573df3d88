"""Which importer reads a file."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from pathlib import Path

from iotd.model.errors import Refused, UsageError
from iotd.model.observation import Names
from iotd.model.types import Types
from iotd.sources.http.lines import lines
from iotd.sources.importers.base import Importer, opened
from iotd.sources.importers.csvimport import AnnotatedCsvImporter, CsvImporter
from iotd.sources.importers.homeassistant import HomeAssistantImporter
from iotd.sources.importers.lineprotocol import LineImporter

FORMS = ("csv", "annotated-csv", "line-protocol", "home-assistant")
_HEAD = 1 << 16


def importer_of(
    path: Path,
    form: str | None,
    *,
    columns: Mapping[str, str],
    fixed: Mapping[str, str],
    precision: str,
    time_format: str | None,
    names: Names,
    types: Types,
) -> Importer:
    """The importer of a file; its form is found by its content, where it is not said.

    Args:
        columns, fixed: see :func:`iotd.sources.importers.csvfile.form_of`.
        precision: of the times of line protocol.
        time_format: of the times of CSV, as :meth:`datetime.datetime.strptime` has it; None: see
            :mod:`iotd.sources.importers.excel`.
        types: that there are.

    Raises:
        UsageError: the file can't be read, or is of none of these forms.
    """
    form = form or _form(path, bool(columns), precision, names)
    if form == "home-assistant":
        return HomeAssistantImporter(path, fixed, types)
    if form == "annotated-csv":
        return AnnotatedCsvImporter(path, columns, fixed, names)
    if form == "line-protocol":
        return LineImporter(path, precision, fixed, names)
    return CsvImporter(path, columns, fixed, time_format)


def _form(path: Path, mapped: bool, precision: str, names: Names) -> str:
    file, _ = opened(path)
    try:
        with file:
            head = file.read(_HEAD)
    except OSError as e:
        raise UsageError(f"{path}: can't be read ({e})") from None
    if head.startswith(b"SQLite format 3\0"):
        return "home-assistant"
    if head.startswith((b"#datatype", b"#group", b"#default", b",result,table,")):
        return "annotated-csv"
    utf16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if mapped or utf16 or path.name.removesuffix(".gz").endswith((".csv", ".tsv")):
        return "csv"
    whole = head[: head.rfind(b"\n") + 1] if len(head) == _HEAD else head
    some = [one for one, _ in zip(lines(whole, precision, names), range(20), strict=False)]
    if any(not isinstance(one.refused, Refused) for one in some):
        return "line-protocol"
    if b"," in head.partition(b"\n")[0]:
        return "csv"
    raise UsageError(f"{path}: it is not seen what it is; say it with --format {'|'.join(FORMS)}")
