"""A chart in the terminal."""

from __future__ import annotations

import math
import textwrap
from datetime import datetime
from typing import Any

import numpy as np
import plotext

from iotd.model.wording import many
from iotd.query.buckets import runs
from iotd.query.pictures.lines import Line, Panel, Picture, picture, plain, thinned
from iotd.query.result import Readings
from iotd.query.times import local

# distinct on dark and on light ground, and for people who see red and green alike: of the 256 colours
_COLOURS = ((33, 39, 75), (208, 214, 180), (35, 71, 107), (170, 176, 219), (160, 203, 217), (141, 147, 183))
_MARKS = "●×+○*#◆◇△%"
"""Where there is no colour, each line is drawn with a sign of its own."""

_MINUTE, _HOUR, _DAY = 60_000, 3_600_000, 86_400_000
_TICKS_MS = [
    *(1000, 2000, 5000, 10_000, 15_000, 30_000),
    *(_MINUTE * m for m in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * h for h in (1, 2, 3, 6, 12)),
    *(_DAY * d for d in (1, 2, 7, 14, 28, 56, 112, 224)),
]
_LEAST = (30, 8)


def chart(readings: Readings, width: int, height: int, *, colour: bool = True) -> str:
    """A chart of the readings, a panel for each type; the legend names the sensors, the last line the time zone.

    Args:
        width, height: of the terminal, in columns and rows.
        colour: with the escape codes of colours; without, each sensor has its own sign.
    """
    shown = picture(readings)
    width = max(width, _LEAST[0])
    if not shown.panels:
        return f"{shown.title}: no readings"
    each = max(_LEAST[1], (height - 2) // len(shown.panels) - 2)
    head = [_wrapped(shown.title, width)] if len(shown.panels) > 1 else []
    parts = [*head, *(_panel(shown, panel, width, each, colour) for panel in shown.panels)]
    gaps = f"; {many(len(shown.gaps), 'gap')} without readings" if shown.gaps else ""
    return "\n".join([*parts, f"{_span(shown)}, {shown.zone}{gaps}"])


def _panel(shown: Picture, panel: Panel, width: int, height: int, colour: bool) -> str:
    figure: Any = plotext.figure
    plotext.terminal.limit(False, False)  # the size is the caller's to say
    figure.clear()
    figure.theme("simple" if colour else "colorless")
    figure.canvas("default")
    for i, line in enumerate(panel.lines):
        few = thinned(line, shown.start, shown.stop, 2 * width)
        _draw(figure, few, shown.start, _MARKS[i % len(_MARKS)] if not colour else None)
    low, high = _limits(panel)
    figure.ruler("y").lim(low, high)
    marks = _scale(low, high, max(3, height // 2))
    labels = [f"{mark:g}" for mark in marks]
    figure.ruler("y").ticks(marks, labels)
    figure.ruler("x").lim(0, (shown.stop - shown.start) / 1000)
    ticks = _times(shown.start, shown.stop, max(2, (width - max(map(len, labels))) // 14))
    figure.ruler("x").ticks([(ms - shown.start) / 1000 for ms, _ in ticks], [text for _, text in ticks])
    figure.plot_size(width, height)
    drawn = figure.build().string(not colour)
    head = f"{shown.title if len(shown.panels) == 1 else plain(panel.what)} ({panel.unit})"
    return f"{_wrapped(head, width)}\n{_trimmed(drawn)}\n{_legend(panel, width, colour)}"


def _draw(figure: Any, line: Line, start: int, sign: str | None) -> None:
    whole = ~np.isnan(line.values)
    pieces = np.split(np.arange(len(line.times)), np.flatnonzero(~whole))
    for piece in pieces:
        points = piece[whole[piece]]
        if not len(points):
            continue
        times = ((line.times[points] - start) / 1000).tolist()
        marker = plotext.marker(sign) if sign else plotext.marker("braille", plotext.pixel(_colour(line)))
        signal = figure.signal(times, line.values[points].tolist(), marker=marker)
        signal.lines()
        figure.draw(signal)


def _colour(line: Line) -> int:
    shades = _COLOURS[line.hue % len(_COLOURS)]
    return shades[line.dash % len(shades)]


def _limits(panel: Panel) -> tuple[float, float]:
    values = np.concatenate([line.values for line in panel.lines])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    room = 0.04 * (high - low) or max(0.5, 0.01 * abs(high))
    room = max(room, 0.5 * (panel.span - (high - low)))
    return low - room, high + room


def _scale(low: float, high: float, most: int) -> list[float]:
    """Round numbers between the limits, at most so many."""
    rough = (high - low) / most
    ten = 10.0 ** math.floor(math.log10(rough))
    step = next(ten * m for m in (1, 2, 2.5, 5, 10) if ten * m >= rough)
    first = math.ceil(low / step)
    return [round(k * step, 10) for k in range(first, math.floor(high / step) + 1)]


def _times(start: int, stop: int, most: int) -> list[tuple[int, str]]:
    """Round local times in the range, at most so many, with what to write there."""
    step = next((s for s in _TICKS_MS if (stop - start) / s <= most), _TICKS_MS[-1])
    at = [ms for run in runs(start, stop, step, 10_000) for ms in run.starts.tolist() if start <= ms < stop]
    ticks = []
    day = None
    for ms in at:
        moment = local(ms)
        ticks.append((ms, _tick(moment, step, new_day=moment.date() != day and (stop - start) > 12 * _HOUR)))
        day = moment.date()
    return ticks


def _tick(moment: datetime, step: int, *, new_day: bool) -> str:
    if step >= _DAY:
        return moment.strftime("%d %b" if step < 28 * _DAY else "%d %b %Y")
    clock = moment.strftime("%H:%M" if step >= _MINUTE else "%H:%M:%S")
    return moment.strftime("%d %b ") + clock if new_day else clock


def _span(shown: Picture) -> str:
    begins, ends = local(shown.start), local(shown.stop)
    same = begins.date() == ends.date()
    return f"{begins:%Y-%m-%d %H:%M:%S} to {ends.strftime('%H:%M:%S' if same else '%Y-%m-%d %H:%M:%S')}"


def _legend(panel: Panel, width: int, colour: bool) -> str:
    rows, used = [""], 0
    for i, line in enumerate(panel.lines):
        sign = "━━" if colour else _MARKS[i % len(_MARKS)]
        size = len(sign) + len(line.label) + 4
        if used and used + size > width:
            rows.append("")
            used = 0
        painted = f"\x1b[38;5;{_colour(line)}m{sign}\x1b[0m" if colour else sign
        rows[-1] += f"   {painted} {line.label}"
        used += size
    return "\n".join(rows)


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width))


def _trimmed(drawn: str) -> str:
    return "\n".join(row.rstrip() for row in drawn.rstrip("\n").split("\n"))
