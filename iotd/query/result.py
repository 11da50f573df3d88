"""What a query returns: readings as arrays, who answered for each location, and what may be missing.

The package's one import in a circle is here: pictures are made of readings and import this module, and for the sake of
``readings.chart()`` in a notebook :meth:`Readings.chart` and :meth:`Readings.draw` import them when they are called.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from iotd.config.values import format_duration
from iotd.model.aggregate import Asked
from iotd.model.batch import Times, Values
from iotd.model.errors import UsageError
from iotd.model.instants import local_zone
from iotd.model.series import Series
from iotd.model.types import BUILT_IN, Types
from iotd.model.wording import many
from iotd.query.join import Range
from iotd.query.times import local, show

if TYPE_CHECKING:
    import pandas
    import pyarrow


@dataclass(frozen=True, slots=True)
class Answer:
    """Who answered for a location.

    Attributes:
        node: the Redis node that was read, None when none answers.
        role: ``replica`` while the master is away: its last moments may not be there yet.
        missing: ranges (ms, both ends included) in which readings may be missing.
        why: what is wrong, None when nothing is.
    """

    location: str
    node: str | None
    role: Literal["master", "replica"] | None
    missing: tuple[Range, ...] = ()
    why: str | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing may be missing."""
        return not self.missing

    def __str__(self) -> str:
        if self.missing:
            where = "; ".join(f"{show(r.first)} to {show(r.last)}" for r in self.missing[:3])
            more = f" and {len(self.missing) - 3} more ranges" if len(self.missing) > 3 else ""
            return f"{self.location}: readings may be missing from {where}{more}: {self.why}"
        if self.role == "replica":
            return f"{self.location}: its master is away, {self.node} stood in for it; the last moment may be missing"
        return f"{self.location}: {self.node or 'the archive'} answered" + (f" ({self.why})" if self.why else "")


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading, or one bucket of an aggregation, which begins at ``time`` (local)."""

    time: datetime
    sensor: Series
    value: float

    def __str__(self) -> str:
        return f"{self.time:%Y-%m-%d %H:%M:%S %Z}  {self.sensor.key}  {self.value:.10g}"


@dataclass(frozen=True, eq=False, repr=False)
class Readings(Sequence[Reading]):
    """Readings of some sensors in time order, as three arrays of one length.

    Attributes:
        sensors: whose places ``series`` names.
        series: int32, place in ``sensors``, one per reading.
        times: int64, ms since the epoch, never falling; the start of the bucket when aggregated.
        values: float64, in the sensor's unit (a count is a number).
        start, stop: the range that was asked for, ms: ``start`` included, ``stop`` not.
        answers: who answered, by location.
        aggregation: what the values are; None: readings as they came.
        bucket: its length, ms; None without aggregation.
        types: how values of each type are shown.
        calibrated: whether values are others than those that are stored (`iotd sensors calibrate`).
        imported: how many of the buckets hold imported summaries; ``notes``: what else one should know.
    """

    sensors: tuple[Series, ...]
    series: NDArray[np.int32]
    times: Times
    values: Values
    start: int
    stop: int
    answers: tuple[Answer, ...]
    aggregation: Asked | None = None
    bucket: int | None = None
    types: Types = BUILT_IN
    calibrated: bool = False
    imported: int = 0
    notes: tuple[str, ...] = ()

    # ── as a sequence ──

    def __len__(self) -> int:
        return len(self.times)

    def __iter__(self) -> Iterator[Reading]:
        for series, time, value in zip(self.series.tolist(), self.times.tolist(), self.values.tolist(), strict=True):
            yield Reading(local(time), self.sensors[series], value)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return self._like(self.series[index], self.times[index], self.values[index])
        return Reading(local(int(self.times[index])), self.sensors[self.series[index]], float(self.values[index]))

    # ── what it is worth ──

    @property
    def complete(self) -> bool:
        """Whether everything that was asked for could be asked: no shard or archive was missed."""
        return all(answer.complete for answer in self.answers)

    @property
    def problems(self) -> list[str]:
        """What one should know of it: dead shards, replicas that stood in, summaries. Empty when all is well."""
        return [*(str(a) for a in self.answers if a.missing or a.role == "replica" or a.why), *self.notes]

    @cached_property
    def units(self) -> tuple[str, ...]:
        """The units of the values."""
        if self.aggregation == "count":
            return ("readings",)
        return tuple(dict.fromkeys(map(self.unit_of, self.sensors)))

    # ── as other things ──

    def by_sensor(self) -> dict[Series, tuple[Times, Values]]:
        """Times (int64 ms) and values of each sensor."""
        return {
            sensor: (self.times[mine], self.values[mine])
            for place, sensor in enumerate(self.sensors)
            if (mine := self.series == place).any()
        }

    def to_pandas(self) -> pandas.DataFrame:
        """A DataFrame: time (local zone), location, type, sensor_id, unit, value.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            import pandas  # noqa: PLC0415  # an extra
        except ImportError:
            raise UsageError("to_pandas() needs pandas: pip install 'iotd[pandas]'") from None
        place = self.series
        return pandas.DataFrame(
            {
                "time": pandas.to_datetime(self.times, unit="ms", utc=True).tz_convert(local_zone()),
                "location": pandas.Categorical([s.location for s in self.sensors]).take(place),
                "type": pandas.Categorical([s.type for s in self.sensors]).take(place),
                "sensor_id": pandas.Categorical([s.sensor_id for s in self.sensors]).take(place),
                "unit": pandas.Categorical([self.unit_of(s) for s in self.sensors]).take(place),
                "value": self.values,
            }
        )

    def to_arrow(self) -> pyarrow.Table:
        """An Arrow table with the same columns; times in ms, UTC.

        Raises:
            UsageError: pyarrow is not installed.
        """
        try:
            import pyarrow as pa  # noqa: PLC0415  # an extra
        except ImportError:
            raise UsageError("Arrow and Parquet need pyarrow: pip install 'iotd[parquet]'") from None

        def names(column: list[str]) -> Any:
            return pa.DictionaryArray.from_arrays(pa.array(self.series), pa.array(column, pa.string()))

        return pa.table(
            {
                "time": pa.array(self.times, pa.timestamp("ms", tz="UTC")),
                "location": names([s.location for s in self.sensors]),
                "type": names([s.type for s in self.sensors]),
                "sensor_id": names([s.sensor_id for s in self.sensors]),
                "unit": names([self.unit_of(s) for s in self.sensors]),
                "value": pa.array(self.values),
            }
        )

    def chart(self, width: int = 100, height: int = 24, *, colour: bool = False) -> str:
        """A chart for the terminal, so many columns wide and rows high."""
        from iotd.query.pictures.terminal import chart  # noqa: PLC0415  # see above

        return chart(self, width, height, colour=colour)

    def draw(self, to: str | Path | BytesIO, form: str | None = None) -> None:
        """A picture for a report, to a file (.png, .pdf, .svg) or buffer.

        Raises:
            UsageError: matplotlib is not installed, or the file can't be written.
        """
        from iotd.query.pictures.png import draw  # noqa: PLC0415  # see above

        draw(self, Path(to) if isinstance(to, str) else to, form)

    def __repr__(self) -> str:
        lines = [f"<{self.title}: {self.summary}>"]
        return "\n".join([*lines, *(f"  ! {problem}" for problem in self.problems)])

    def _repr_html_(self) -> str:
        head = f"<p><b>{escape(self.title)}</b>: {escape(self.summary)}</p>"
        warnings = "".join(f"<p>⚠ {escape(problem)}</p>" for problem in self.problems)
        shown = [*self[:5], None, *self[-5:]] if len(self) > 11 else list(self)
        rows = "".join(
            "<tr><td colspan=3>…</td></tr>"
            if one is None
            else f"<tr><td>{one.time:%F %T %Z}</td><td>{escape(one.sensor.key)}</td><td>{one.value:.10g}</td></tr>"
            for one in shown
        )
        columns = f"<tr><th>time</th><th>sensor</th><th>{escape(', '.join(self.units))}</th></tr>"
        return f"{head}{warnings}<table>{columns}{rows}</table>"

    @property
    def title(self) -> str:
        """What this is, for people: ``temperature in salon, avg of 1m (°C)``."""
        return self.title_of(self.sensors)

    def title_of(self, sensors: Sequence[Series]) -> str:
        """The title of these and other readings of the same query, of all of these sensors."""
        types = ", ".join(dict.fromkeys(s.type for s in sensors)) or "readings"
        places = list(dict.fromkeys(s.location for s in sensors)) or [a.location for a in self.answers]
        where = ", ".join(places)
        how = f", {self.how}" if self.how else ""
        symbols = ", ".join(dict.fromkeys(filter(None, map(self.symbol_of, sensors))))
        return f"{types} in {where}{how}" + (f" ({symbols})" if symbols else "")

    @property
    def how(self) -> str:
        """What the values are: ``avg of 1m, calibrated``; nothing for readings as they came."""
        note = ["calibrated"] if self.calibrated else []
        if self.aggregation is not None and self.bucket is not None:
            note.insert(0, f"{self.aggregation} of {format_duration(timedelta(milliseconds=self.bucket))}")
        return ", ".join(note)

    @property
    def summary(self) -> str:
        """How much this is, and of when."""
        what = "reading" if self.aggregation is None else "bucket"
        sensors = "" if not self.sensors else f" of {many(len(self.sensors), 'sensor')}"
        partial = "" if self.complete else ", PARTIAL"
        span = f"{show(self.start, zone_name=False)} to {show(self.stop)}"
        return f"{many(len(self), what)}{sensors}, {span}{partial}"

    def unit_of(self, sensor: Series) -> str:
        """The unit of a sensor's values here."""
        return "readings" if self.aggregation == "count" else sensor.unit or self.types.unit(sensor.type)

    def symbol_of(self, sensor: Series) -> str:
        """What people see behind a sensor's values here: ``°C``; the unit where the type has no symbol for it."""
        unit, row = self.unit_of(sensor), self.types.row(sensor.type)
        return row.symbol or unit if unit == row.unit else unit

    def decimals_of(self, sensor: Series) -> int:
        """The decimals that people are shown of a sensor's values here."""
        if self.aggregation == "count":
            return 0
        row = self.types.row(sensor.type)
        # a spread is small beside the values, and a mean of 0s and 1s a share
        finer = self.aggregation == "std.p" or (self.aggregation == "avg" and row.kind == "state")
        return row.decimals + (2 if finer else 0)

    def _like(self, series: NDArray[np.int32], times: Times, values: Values) -> Readings:
        return replace(self, series=series, times=times, values=values)


def concatenate(chunks: Sequence[Readings]) -> Readings:
    """Chunks of one query as one; the last one's answers are those of the whole."""
    last = chunks[-1]
    sensors = tuple(sorted({sensor for chunk in chunks for sensor in chunk.sensors}))
    place = {sensor: i for i, sensor in enumerate(sensors)}
    series = [np.array([place[s] for s in chunk.sensors], np.int32)[chunk.series] for chunk in chunks if len(chunk)]
    return replace(
        last,
        sensors=sensors,
        series=np.concatenate(series) if series else np.empty(0, np.int32),
        times=np.concatenate([chunk.times for chunk in chunks]),
        values=np.concatenate([chunk.values for chunk in chunks]),
        imported=sum(chunk.imported for chunk in chunks),
    )
