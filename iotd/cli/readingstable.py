"""Readings as a table for people."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import IO, Any

from iotd.cli.output import console
from iotd.model.series import Series
from iotd.query.pictures.lines import zone_name
from iotd.query.result import Readings
from iotd.query.times import show

_SHOWN = 40
"""Rows of a table, unless all are wanted: the first and the last ones."""

_ENDLESS = 100_000
"""Columns of a terminal that has room for everything."""

_Row = tuple[int, dict[Series, float]]
"""A time (ms), and the value of each sensor at it."""


class Table:
    """A column for each sensor where they fit, else a row for each reading; of a long one the first and last rows."""

    def __init__(self, out: IO[bytes], *, everything: bool, plain: bool) -> None:
        self.count = 0
        self._out = out
        self._plain = plain
        self._limit = None if everything else _SHOWN // 2
        self._decimals: dict[Series, int] = {}
        self._rows = 0
        self._head: list[_Row] = []
        self._tail: deque[_Row] = deque(maxlen=self._limit)
        self._row: _Row | None = None

    def chunk(self, readings: Readings) -> None:
        self.count += len(readings)
        self._decimals.update((sensor, readings.decimals_of(sensor)) for sensor in readings.sensors)
        columns = (readings.times.tolist(), readings.series.tolist(), readings.values.tolist())
        for time, series, value in zip(*columns, strict=True):
            if self._row is None or self._row[0] != time:
                self._row = (time, {})
                self._rows += 1
                (self._head if self._limit is None or self._rows <= self._limit else self._tail).append(self._row)
            self._row[1][readings.sensors[series]] = value

    def end(self, last: Readings) -> None:
        if not self.count:
            return
        sensors = sorted(self._decimals)
        screen = console()
        if self._plain:
            from rich.console import Console  # noqa: PLC0415

            screen = Console(file=StringIO(), width=200, soft_wrap=True)
        endless = screen.options.update(max_width=_ENDLESS)
        made = self._across(sensors)
        if screen.measure(made, options=endless).maximum > screen.width:
            made = self._down(last)
        # rather wider than the terminal than a number cut short
        screen.width = max(screen.width, screen.measure(made, options=endless).maximum)
        kind = "buckets" if last.aggregation else "readings"
        with screen.capture() as written:
            screen.print(last.title_of(sensors), markup=False)
            screen.print(made)
            screen.print(f"{self.count:,} {kind}, times in {zone_name(last.start, last.stop)}{self._left_out()}")
        self._out.write(written.get().encode())

    def _across(self, sensors: list[Series]) -> Any:
        many_types, many_places = len({s.type for s in sensors}) > 1, len({s.location for s in sensors}) > 1

        def name(s: Series) -> str:
            words = [*([s.type] if many_types else []), *([s.location] if many_places else []), s.sensor_id]
            return " ".join(words if len(words) > 1 else ["sensor", *words])

        def cells(rows: Iterable[_Row]) -> list[list[str]]:
            return [
                [show(time, zone_name=False), *(self._number(s, values.get(s)) for s in sensors)]
                for time, values in rows
            ]

        hidden = self._rows > len(self._head) + len(self._tail)
        return _table(["time", *map(name, sensors)], cells(self._head), cells(self._tail), 1, hidden=hidden)

    def _down(self, last: Readings) -> Any:
        first, rest = (
            [(time, s, value) for time, values in rows for s, value in sorted(values.items())]
            for rows in (self._head, self._tail)
        )
        if self._limit is not None and len(first) + len(rest) > 2 * self._limit:
            both = first + rest
            first, rest = both[: self._limit], both[-self._limit :]

        def cell(time: int, s: Series, value: float) -> list[str]:
            shown = (self._number(s, value), last.symbol_of(s))
            return [show(time, zone_name=False), s.location, s.type, s.sensor_id, *shown]

        def cells(rows: list[tuple[int, Series, float]]) -> list[list[str]]:
            return [cell(*row) for row in rows]

        names = ["time", "location", "type", "sensor", "value", "unit"]
        hidden = self.count > len(first) + len(rest)
        return _table(names, cells(first), cells(rest), 3, hidden=hidden)

    def _number(self, sensor: Series, value: float | None) -> str:
        return "" if value is None else f"{value:.{self._decimals[sensor]}f}"

    def _left_out(self) -> str:
        if self._limit is None or self._rows <= 2 * self._limit:
            return ""
        return "; the first and the last are shown (--all for all, --output csv for programs, --bucket for fewer)"


def _table(
    names: Sequence[str], rows: Sequence[Sequence[str]], rest: Sequence[Sequence[str]], left: int, *, hidden: bool
) -> Any:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.table import Table as RichTable  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    made = RichTable(box=SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(names):
        made.add_column(Text(name), justify="left" if i < left else "right", no_wrap=True)
    for row in rows:
        made.add_row(*map(Text, row))
    if hidden:
        made.add_row("…")
    for row in rest:
        made.add_row(*map(Text, row))
    return made
