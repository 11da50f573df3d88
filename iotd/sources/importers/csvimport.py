"""CSV files, and the annotated ones that InfluxDB 2 exports."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from iotd.model.errors import Refused, UsageError
from iotd.model.observation import Names
from iotd.sources.importers.annotated import Tables
from iotd.sources.importers.base import Row, opened, told, with_fixed
from iotd.sources.importers.csvfile import rows
from iotd.sources.importers.excel import decoded


class CsvImporter:
    """A reading a row, or a time and a column for each sensor; see :mod:`iotd.sources.importers.csvfile`."""

    def __init__(
        self, path: Path, columns: Mapping[str, str], fixed: Mapping[str, str], time_format: str | None
    ) -> None:
        self.size = path.stat().st_size
        self._time_format = time_format
        self._path = path
        self._columns = columns
        self._fixed = fixed

    def rows(self, after: int = 0) -> Iterator[Row]:
        """See :class:`iotd.sources.importers.base.Importer`."""
        return told(self._path, self._rows(after))

    def _rows(self, after: int) -> Iterator[Row]:
        file, counted = opened(self._path)
        with file, decoded(file) as text:
            for number, _, its in rows(text, self._columns, self._fixed, self._time_format):
                if number > after:
                    yield Row(f"line {number}", number, counted.count, its)


class AnnotatedCsvImporter:
    """What Flux answers and `influx query --raw` writes; see :mod:`iotd.sources.importers.annotated`."""

    def __init__(self, path: Path, columns: Mapping[str, str], fixed: Mapping[str, str], names: Names) -> None:
        self.size = path.stat().st_size
        self._path = path
        self._tables = Tables(names, columns)
        self._fixed = fixed

    def rows(self, after: int = 0) -> Iterator[Row]:
        """See :class:`iotd.sources.importers.base.Importer`."""
        return told(self._path, self._rows(after))

    def _rows(self, after: int) -> Iterator[Row]:
        file, counted = opened(self._path)
        with file, io.TextIOWrapper(file, "utf-8", errors="replace", newline="") as text:
            reader = csv.reader(text)
            for cells in reader:
                try:
                    its = self._tables.row(cells)
                except UsageError as e:
                    raise UsageError(f"{self._path}, line {reader.line_num}: {e}") from None
                if its is None or reader.line_num <= after:
                    continue
                said = its if isinstance(its, Refused) else with_fixed(its, self._fixed)
                yield Row(f"line {reader.line_num}", reader.line_num, counted.count, said)
