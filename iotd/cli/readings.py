"""Readings as a query's output: tables and charts for people; files and PNG for what comes after."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, tzinfo
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from iotd.cli.output import console
from iotd.cli.readingstable import Table
from iotd.model.errors import UsageError
from iotd.model.instants import local_zone
from iotd.query.result import Readings, concatenate
from iotd.query.times import show


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
        elif output == "line-protocol":
            yield LineProtocol(out)
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
        heads = [
            "".join(f",{_cell(text)}" for text in (s.location, s.type, s.sensor_id, readings.unit_of(s))) + ","
            for s in readings.sensors
        ]
        times = _iso(readings, self._zone)
        rows = [
            f"{time}{heads[series]}{value!r}\n"
            for time, series, value in zip(times, readings.series.tolist(), readings.values.tolist(), strict=True)
        ]
        self._out.write("".join(rows).encode())

    def end(self, last: Readings) -> None:
        pass


class LineProtocol:
    """Lines as InfluxDB takes them, times in ms: ``influx write --precision ms``; `iotd import` reads them too."""

    def __init__(self, out: IO[bytes]) -> None:
        self.count = 0
        self._out = out

    def chunk(self, readings: Readings) -> None:
        from iotd.stores.influxdb.lines import lines  # noqa: PLC0415
        from iotd.stores.points import Points  # noqa: PLC0415

        self.count += len(readings)
        for number, sensor in enumerate(readings.sensors):
            which = readings.series == number
            if which.any():
                points = Points.from_arrays(sensor, readings.times[which], readings.values[which])
                self._out.write(lines([points]) + b"\n")

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
            "calibrated": last.calibrated,
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


def _cell(text: str) -> str:
    if not any(sign in text for sign in ',"\r\n'):
        return text
    return '"' + text.replace('"', '""') + '"'


def _iso(readings: Readings, zone: tzinfo) -> list[str]:
    times, places = np.unique(readings.times, return_inverse=True)
    texts = [_moment(ms, zone) for ms in times.tolist()]
    return [texts[place] for place in places.tolist()]


def _moment(ms: int, zone: tzinfo) -> str:
    moment = datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone)
    return moment.isoformat(timespec="milliseconds" if ms % 1000 else "seconds")
