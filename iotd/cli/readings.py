"""Readings as a query's output: tables and charts for people; CSV, JSON, Parquet and PNG for what comes after."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, tzinfo
from io import BytesIO, StringIO
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from iotd.cli.output import console
from iotd.errors import UsageError
from iotd.query.pictures.lines import zone_name
from iotd.query.result import Readings, concatenate
from iotd.query.times import local_zone, show
from iotd.sensors import Sensor

_SHOWN = 40
"""Rows of a table, unless all are wanted: the first and the last ones."""


_ENDLESS = 100_000
"""Columns of a terminal that has room for everything."""

_Row = tuple[int, dict[Sensor, float]]
"""A time (ms), and the value of each sensor at it."""


class Writer(Protocol):
    """Takes the chunks of one query in order, and then its end."""

    count: int
    """Readings so far."""

    def chunk(self, readings: Readings) -> None: ...

    def end(self, last: Readings) -> None:
        """After the last chunk, whose answers are those of the whole."""


@contextmanager
def writer(output: str, to: Path | None, *, everything: bool) -> Iterator[Writer]:
    """The writer for an output, to a file or to standard output.

    A file appears under its name only when it is whole.

    Raises:
        UsageError: the file can't be written, or a terminal would get bytes.
    """
    if output in ("parquet", "png") and to is None and sys.stdout.isatty():
        raise UsageError(f"--output {output} is not for a terminal; name a file: --to readings.{output}")
    with ExitStack() as files:
        out: IO[bytes] = sys.stdout.buffer
        if to is not None:
            out = files.enter_context(_whole(to))
        if output == "csv":
            yield Csv(out)
        elif output == "json":
            yield Json(out)
        elif output == "parquet":
            yield Parquet(out)
        elif output == "png":
            yield Picture(out, to)
        elif output == "chart":
            yield Chart(out, plain=to is not None)
        else:
            yield Table(out, everything=everything, plain=to is not None)
        out.flush()


@contextmanager
def _whole(to: Path) -> Iterator[IO[bytes]]:
    fresh = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        with fresh.open("wb") as f:
            yield f
        fresh.replace(to)
    except OSError as e:
        raise UsageError(f"{to}: can't be written ({e.strerror or e})") from None
    finally:
        fresh.unlink(missing_ok=True)


class Csv:
    """A line for each reading, times in ISO 8601 with the local offset."""

    def __init__(self, out: IO[bytes]) -> None:
        self.count = 0
        self._out = out
        self._zone = local_zone()
        out.write(b"time,location,type,sensor_id,unit,value\n")

    def chunk(self, readings: Readings) -> None:
        self.count += len(readings)
        heads = [f",{s.location},{s.type},{s.sensor_id},{readings.unit_of(s)}," for s in readings.sensors]
        times = _iso(readings, self._zone)
        rows = [
            f"{time}{heads[series]}{value!r}\n"
            for time, series, value in zip(times, readings.series.tolist(), readings.values.tolist(), strict=True)
        ]
        self._out.write("".join(rows).encode())

    def end(self, last: Readings) -> None:
        pass


class Json:
    """One object; its readings come one a line, so that what reads it can stream too."""

    def __init__(self, out: IO[bytes]) -> None:
        self.count = 0
        self._out = out
        self._zone = local_zone()

    def chunk(self, readings: Readings) -> None:
        if not self.count and len(readings):
            self._head(readings)
        heads = [
            json.dumps(
                {"location": s.location, "type": s.type, "sensor_id": s.sensor_id, "unit": readings.unit_of(s)},
                ensure_ascii=False,
            )[1:-1]
            for s in readings.sensors
        ]
        rows = []
        columns = (_iso(readings, self._zone), readings.series.tolist(), readings.values.tolist())
        for time, series, value in zip(*columns, strict=True):
            rows.append(f'{"," if self.count else ""}\n{{"time": "{time}", {heads[series]}, "value": {value!r}}}')
            self.count += 1
        self._out.write("".join(rows).encode())

    def end(self, last: Readings) -> None:
        if not self.count:
            self._head(last)
        rest = {
            "count": self.count,
            "complete": last.complete,
            "problems": last.problems,
            "answers": [
                {
                    "location": a.location,
                    "node": a.node,
                    "role": a.role,
                    "missing": [{"first": show(r.first), "last": show(r.last)} for r in a.missing],
                }
                for a in last.answers
            ],
        }
        self._out.write(f"\n], {json.dumps(rest, ensure_ascii=False)[1:]}\n".encode())

    def _head(self, readings: Readings) -> None:
        head = {
            "start": _moment(readings.start, self._zone),
            "end": _moment(readings.stop, self._zone),
            "aggregation": readings.aggregation,
            "bucket_ms": readings.bucket,
        }
        self._out.write(f'{json.dumps(head)[:-1]}, "readings": ['.encode())


class Parquet:
    """A column file, a row group for each chunk."""

    def __init__(self, out: IO[bytes]) -> None:
        try:
            import pyarrow.parquet  # noqa: F401, PLC0415  # an extra
        except ImportError:
            raise UsageError("--output parquet needs pyarrow: pip install 'iotd[parquet]'") from None
        self.count = 0
        self._out = out
        self._file: Any = None

    def chunk(self, readings: Readings) -> None:
        if not len(readings):
            return
        import pyarrow.parquet as pq  # noqa: PLC0415

        table = readings.to_arrow()
        if self._file is None:
            self._file = pq.ParquetWriter(self._out, table.schema, compression="zstd")
        self._file.write_table(table)
        self.count += len(readings)

    def end(self, last: Readings) -> None:
        if self._file is not None:
            self._file.close()


class Picture:
    """A PNG, or what the file's ending says."""

    def __init__(self, out: IO[bytes], to: Path | None) -> None:
        self.count = 0
        self._out = out
        self._format = to.suffix.lower().removeprefix(".") if to else "png"
        self._chunks: list[Readings] = []

    def chunk(self, readings: Readings) -> None:
        self.count += len(readings)
        self._chunks.append(readings)

    def end(self, last: Readings) -> None:
        whole = BytesIO()  # matplotlib seeks in it
        concatenate(self._chunks).draw(whole, self._format or "png")
        self._out.write(whole.getbuffer())


class Chart:
    """A chart as large as the terminal, in colour where that is wanted."""

    def __init__(self, out: IO[bytes], *, plain: bool) -> None:
        self.count = 0
        self._out = out
        self._plain = plain
        self._chunks: list[Readings] = []

    def chunk(self, readings: Readings) -> None:
        self.count += len(readings)
        self._chunks.append(readings)

    def end(self, last: Readings) -> None:
        if not self.count:
            return
        size = shutil.get_terminal_size((100, 28))
        screen = console()
        colour = screen.is_terminal and not screen.no_color and not self._plain
        drawn = concatenate(self._chunks).chart(size.columns, min(size.lines - 2, 40), colour=colour)
        self._out.write(f"{drawn}\n".encode())


class Table:
    """A column for each sensor where they fit, else a row for each reading; of a long one the first and last rows."""

    def __init__(self, out: IO[bytes], *, everything: bool, plain: bool) -> None:
        self.count = 0
        self._out = out
        self._plain = plain
        self._limit = None if everything else _SHOWN // 2
        self._sensors: set[Sensor] = set()
        self._rows = 0
        self._head: list[_Row] = []
        self._tail: deque[_Row] = deque(maxlen=self._limit)
        self._row: _Row | None = None

    def chunk(self, readings: Readings) -> None:
        self.count += len(readings)
        self._sensors.update(readings.sensors)
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
        sensors = sorted(self._sensors)
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

    def _across(self, sensors: list[Sensor]) -> Any:
        many_types, many_places = len({s.type for s in sensors}) > 1, len({s.location for s in sensors}) > 1

        def name(s: Sensor) -> str:
            words = [*([s.type] if many_types else []), *([s.location] if many_places else []), str(s.sensor_id)]
            return " ".join(words if len(words) > 1 else ["sensor", *words])

        number = _numbers([value for _, values in (*self._head, *self._tail) for value in values.values()])

        def cells(rows: Iterable[_Row]) -> list[list[str]]:
            return [[show(time, zone_name=False), *(number(values.get(s)) for s in sensors)] for time, values in rows]

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
        number = _numbers([value for _, _, value in first + rest])

        def cells(rows: list[tuple[int, Sensor, float]]) -> list[list[str]]:
            return [
                [show(time, zone_name=False), s.location, s.type, str(s.sensor_id), number(value), last.unit_of(s)]
                for time, s, value in rows
            ]

        names = ["time", "location", "type", "sensor", "value", "unit"]
        hidden = self.count > len(first) + len(rest)
        return _table(names, cells(first), cells(rest), 3, hidden=hidden)

    def _left_out(self) -> str:
        if self._limit is None or self._rows <= 2 * self._limit:
            return ""
        return "; the first and the last are shown (--all for all, --output csv for programs, --bucket for fewer)"


def _table(
    names: Sequence[str], rows: Sequence[Sequence[str]], rest: Sequence[Sequence[str]], left: int, *, hidden: bool
) -> Any:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.table import Table as RichTable  # noqa: PLC0415

    made = RichTable(box=SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(names):
        made.add_column(name, justify="left" if i < left else "right", no_wrap=True)
    for row in rows:
        made.add_row(*row)
    if hidden:
        made.add_row("…")
    for row in rest:
        made.add_row(*row)
    return made


def _numbers(values: Sequence[float]) -> Callable[[float | None], str]:
    """How these numbers are written: all with as many decimals as one of them needs, at most three."""
    decimals = max((len(f"{value:.3f}".rstrip("0").partition(".")[2]) for value in values), default=0)
    return lambda value: "" if value is None else f"{value:.{decimals}f}"


def _iso(readings: Readings, zone: tzinfo) -> list[str]:
    times, places = np.unique(readings.times, return_inverse=True)
    texts = [_moment(ms, zone) for ms in times.tolist()]
    return [texts[place] for place in places.tolist()]


def _moment(ms: int, zone: tzinfo) -> str:
    moment = datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone)
    return moment.isoformat(timespec="milliseconds" if ms % 1000 else "seconds")
