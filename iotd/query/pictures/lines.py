"""What a picture shows, whichever way it is drawn: a line for each sensor, broken where readings are missing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo

import numpy as np

from iotd.model.arrays import distinct
from iotd.model.batch import Times, Values
from iotd.model.instants import local_zone
from iotd.model.series import Series
from iotd.query.join import Range, joined
from iotd.query.result import Readings
from iotd.query.times import local

_BUCKETS_MS = [
    *(1000 * s for s in (1, 2, 5, 10, 15, 30)),
    *(60_000 * m for m in (1, 2, 5, 10, 15, 30)),
    *(3_600_000 * h for h in (1, 2, 3, 6, 12)),
    *(86_400_000 * d for d in (1, 2, 7, 14, 28)),
]
_GAP_STEPS = 3
"""So many of the usual steps without a reading are a gap; of buckets already one and a half, as a day may be longer."""


@dataclass(frozen=True, slots=True)
class Line:
    """One sensor's line: times (ms) and values; NaN where the line is broken.

    Attributes:
        hue, dash: numbers of its colour and its kind of line: with several locations, of location and sensor.
    """

    label: str
    hue: int
    dash: int
    times: Times
    values: Values


@dataclass(frozen=True, slots=True)
class Panel:
    """The lines that share an axis of one unit.

    Attributes:
        what: the type.
        unit: what stands behind its values: ``°C``.
        colour: of the type, ``#rrggbb``.
        span: the least height of the axis, so that noise does not fill it.
        steps: a value holds until the next one.
    """

    what: str
    unit: str
    colour: str
    span: float
    steps: bool
    lines: list[Line]


@dataclass(frozen=True, slots=True)
class Picture:
    """Panels above each other over one range of time.

    Attributes:
        start, stop: the range, ms.
        gaps: where no sensor of the picture has a reading, ms.
        zone: the zone of the times, by its name and offset: ``Europe/Paris (UTC+01:00)``.
    """

    title: str
    panels: list[Panel]
    start: int
    stop: int
    gaps: list[Range]
    zone: str


def picture(readings: Readings) -> Picture:
    """What there is to draw of these readings."""
    series = readings.by_sensor()
    longest = {sensor: _longest_step(readings, times) for sensor, (times, _) in series.items()}
    places = list(dict.fromkeys(sensor.location for sensor in series))
    panels: dict[str, Panel] = {}
    for sensor, (times, values) in series.items():
        panel = panels.setdefault(sensor.type, _panel(readings, sensor))
        ids = [s.sensor_id for s in series if (s.type, s.location) == (sensor.type, sensor.location)]
        place, number = places.index(sensor.location), ids.index(sensor.sensor_id)
        hue, dash = (place, number) if len(places) > 1 else (number, 0)
        # a state holds, however long it says nothing
        points = (times, values) if panel.steps else _broken(times, values, longest[sensor])
        panel.lines.append(Line(_label(sensor, places), hue, dash, *points))
    begins = int(readings.times[0]) if len(readings) else readings.start
    ends = int(readings.times[-1]) if len(readings) else readings.stop
    # readings begin later than asked for: that is no gap, and not worth an empty half of a picture
    start = readings.start if begins - readings.start < 0.5 * (readings.stop - readings.start) else begins
    most = max(longest.values(), default=0)
    stop = min(readings.stop, ends + most)
    return Picture(
        _title(readings, panels, places),
        list(panels.values()),
        start,
        max(stop, start + 1),
        [] if all(panel.steps for panel in panels.values()) else _gaps(readings.times, max(begins, start), most),
        zone_name(start, stop),
    )


def _panel(readings: Readings, sensor: Series) -> Panel:
    row = readings.types.row(sensor.type)
    # a count, a sum or a spread is no level of the type
    level = readings.aggregation in (None, "avg", "min", "max", "first", "last")
    steps = row.kind == "state" and readings.aggregation is None
    return Panel(sensor.type, readings.symbol_of(sensor), row.colour, row.span if level else 0.0, steps, [])


def _title(readings: Readings, panels: Collection[str], places: Sequence[str]) -> str:
    what = " and ".join(filter(None, (", ".join(list(panels)[:-1]), *list(panels)[-1:]))) or "readings"
    how = f", {readings.how}" if readings.how else ""
    where = ", ".join(places or [answer.location for answer in readings.answers])
    return plain(f"{what[:1].upper()}{what[1:]} in {where}{how}")


def bucket_for(start: int, stop: int, points: int) -> int:
    """The shortest bucket (ms) that people would choose with which a range has at most so many."""
    return next((b for b in _BUCKETS_MS if (stop - start) / b <= points), _BUCKETS_MS[-1])


def zone_name(start: int, stop: int, zone: tzinfo | None = None) -> str:
    """The zone with its offset, or both offsets where the clocks change within the range."""
    zone = zone or local_zone()
    offsets = list(dict.fromkeys(_offset(ms, zone) for ms in (start, stop)))
    name = str(zone)
    if offsets == ["UTC"] or name == offsets[0]:
        return name
    return f"{name} ({', then '.join(offsets)})"


def _offset(ms: int, zone: tzinfo) -> str:
    text = local(ms, zone).strftime("%z")
    return "UTC" if text in ("+0000", "") else f"UTC{text[:3]}:{text[3:5]}"


def _label(sensor: Series, places: Sequence[str]) -> str:
    return f"sensor {sensor.sensor_id}" if len(places) == 1 else f"{plain(sensor.location)} {sensor.sensor_id}"


def plain(name: str) -> str:
    """A name as one would write it in a report."""
    return name.replace("_", " ")


def _longest_step(readings: Readings, times: Times) -> int:
    """The longest time between two points of a line that is no gap, ms; of history at a coarser step, by that one."""
    every = np.diff(times) if len(times) > 1 else np.array([readings.bucket or 1000])
    if readings.bucket is not None:
        return round(1.5 * max(readings.bucket, float(np.median(every))))
    return max(1, round(_GAP_STEPS * float(np.quantile(every, 0.99))))


def _broken(times: Times, values: Values, longest: int) -> tuple[Times, Values]:
    after = np.flatnonzero(np.diff(times) > longest) + 1
    return np.insert(times, after, times[after - 1] + 1), np.insert(values, after, np.nan)


def _gaps(times: Times, start: int, longest: int) -> list[Range]:
    at = distinct(np.concatenate(([start], times)))
    return joined(Range(int(at[i]) + 1, int(at[i + 1]) - 1) for i in np.flatnonzero(np.diff(at) > longest))


def thinned(line: Line, start: int, stop: int, columns: int) -> Line:
    """The line with at most its first, lowest, highest and last point in each of so many columns: it looks the same."""
    if len(line.times) <= 4 * columns:
        return line
    column = ((line.times - start) * columns // max(1, stop - start)).astype(np.int64)
    broken = np.isnan(line.values)
    keep = broken.copy()
    cuts = np.concatenate(([0], np.flatnonzero(np.diff(column)) + 1, [len(column)]))
    low, high = np.where(broken, np.inf, line.values), np.where(broken, -np.inf, line.values)
    for first, after in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        keep[[first, after - 1, first + int(low[first:after].argmin()), first + int(high[first:after].argmax())]] = True
    return replace(line, times=line.times[keep], values=line.values[keep])
