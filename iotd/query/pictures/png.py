"""A picture for a report, as PNG (or what else the file's name says: PDF, SVG)."""

from __future__ import annotations

import textwrap
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from iotd.model.errors import UsageError
from iotd.model.instants import local_zone
from iotd.query.pictures.lines import Panel, Picture, picture, plain, thinned
from iotd.query.result import Readings
from iotd.query.times import show

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#882255",
    "#999933",
    "#332288",
    "#666666",
)
"""Wong's palette for people who see some colours alike (Nature Methods 8, 441), and a few more of its kind."""
_DASHES = ("-", "--", ":", "-.")
_GAP = "#e9e9e9"
_INCHES = (10.0, 4.6)
_DPI = 150


def draw(readings: Readings, to: Path | BytesIO, form: str | None = None) -> None:
    """Draws the readings, a panel for each type, and writes the picture.

    Args:
        form: ``png``, ``pdf`` or ``svg``; None: what the file's ending says.

    Raises:
        UsageError: matplotlib is not installed, or the file can't be written.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  # an extra
    except ImportError:
        raise UsageError("a picture needs matplotlib: pip install 'iotd[png]'") from None
    shown = picture(readings)
    rows = max(1, len(shown.panels))
    figure = Figure(figsize=(_INCHES[0], _INCHES[1] * (0.4 + 0.6 * rows)), dpi=_DPI, layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, 1, sharex=True)).tolist()
    for ax, panel in zip(axes, shown.panels, strict=False):
        _panel(ax, shown, panel)
    if not shown.panels:
        axes[0].text(0.5, 0.5, "no readings", ha="center", va="center", transform=axes[0].transAxes)
    figure.suptitle(_head(shown), x=0.01, ha="left", fontsize=13, fontweight="bold")
    # a second line, in the same place at every size of the picture
    axes[0].set_title("\n".join(_notes(shown, readings)), loc="left", fontsize=8, color="#555555")
    _time_axis(axes[-1], shown)
    try:
        figure.savefig(to, format=form)
    except (OSError, ValueError) as e:
        where = "" if isinstance(to, BytesIO) else f"{to}: "
        raise UsageError(f"{where}the picture can't be written: {e}") from None


def _head(shown: Picture) -> str:
    return "\n".join(textwrap.wrap(shown.title, 90))


def _notes(shown: Picture, readings: Readings) -> list[str]:
    second = (shown.start // 1000 * 1000, shown.stop // 1000 * 1000)
    span = f"{show(second[0], zone_name=False)} to {show(second[1], zone_name=False)}, {shown.zone}"
    return [span, *(line for problem in readings.problems for line in textwrap.wrap(f"! {problem}", 150))]


def _panel(ax: Axes, shown: Picture, panel: Panel) -> None:
    for gap in shown.gaps:
        if gap.last - gap.first > (shown.stop - shown.start) / 500:  # what is less wide than a pixel only greys
            ax.axvspan(_at(gap.first), _at(gap.last), color=_GAP, lw=0, label="_gap")
    many = len(panel.lines) > len(_COLOURS)
    for line in panel.lines:
        few = thinned(line, shown.start, shown.stop, round(_INCHES[0] * _DPI))
        alone = np.count_nonzero(~np.isnan(few.values)) <= 2
        ax.plot(
            _at(few.times),
            few.values,
            color=_COLOURS[line.hue % len(_COLOURS)] if len(panel.lines) > 1 else panel.colour,
            lw=1.1,
            ls=_DASHES[line.dash % len(_DASHES)],
            drawstyle="steps-post" if panel.steps else "default",
            marker="o" if alone else None,
            ms=3,
            label=line.label,
        )
    ax.set_ylabel(f"{plain(panel.what)} ({panel.unit})")
    low, high = ax.get_ylim()
    if (lacks := panel.span - (high - low)) > 0:
        ax.set_ylim(low - lacks / 2, high + lacks / 2)
    ax.grid(visible=True, color="#dddddd", lw=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    handles, labels = ax.get_legend_handles_labels()
    if any(label == "_gap" for label in labels) or shown.gaps:
        from matplotlib.patches import Patch  # noqa: PLC0415

        handles, labels = [*handles, Patch(color=_GAP)], [*labels, "no readings"]
    kept = [(h, text) for h, text in zip(handles, labels, strict=True) if not text.startswith("_")]
    ax.legend(
        [h for h, _ in kept],
        [text for _, text in kept],
        loc="center left",
        bbox_to_anchor=(1.005, 0.5),
        frameon=False,
        fontsize=8,
        ncols=2 if many else 1,
    )


def _time_axis(ax: Axes, shown: Picture) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415

    zone = local_zone()
    locator = AutoDateLocator(tz=zone, minticks=4, maxticks=11)  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=zone))  # type: ignore[no-untyped-call]
    ax.set_xlim(_at(shown.start), _at(shown.stop))
    ax.set_xlabel(f"time, {shown.zone}")


def _at(ms: Any) -> Any:
    return np.asarray(ms, "datetime64[ms]")  # UTC, as matplotlib takes it
