"""What people see of readings: symbols, decimals, colours and the least height of an axis, from the table of types."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest

from iotd.cli.readingstable import Table
from iotd.model.aggregate import Aggregation
from iotd.model.series import Series
from iotd.model.types import BUILT_IN, SensorType
from iotd.query.pictures.lines import picture
from iotd.query.result import Answer, Readings

RADON = SensorType("radon", "bq_per_m3", symbol="Bq/m³", decimals=0, colour="#112233", span=20.0)
TYPES = BUILT_IN.extended({"radon": RADON})
START = 1_790_000_000_000


def of(*sensors: tuple[str, list[float]], aggregation: Aggregation | None = None, unit: str = "") -> Readings:
    """Readings of a sensor of each of these types, one a second."""
    count = len(sensors[0][1])
    return Readings(
        tuple(Series(kind, "salon", "north", unit or TYPES.unit(kind)) for kind, _ in sensors),
        np.tile(np.arange(len(sensors), dtype=np.int32), count),
        np.repeat(START + 1000 * np.arange(count, dtype=np.int64), len(sensors)),
        np.array([values for _, values in sensors], np.float64).T.ravel(),
        START,
        START + 1000 * count,
        (Answer("salon", "redis-salon-master", "master"),),
        aggregation,
        1000 if aggregation else None,
        TYPES,
    )


@pytest.mark.parametrize(
    ("kind", "aggregation", "symbol", "decimals"),
    [
        ("temperature", None, "°C", 1),
        ("temperature", "avg", "°C", 1),
        ("temperature", "std.p", "°C", 3),
        ("temperature", "count", "readings", 0),
        ("radon", "max", "Bq/m³", 0),
        ("contact", None, "open", 0),
        ("contact", "avg", "open", 2),
        ("water", None, "m³", 3),
    ],
)
def test_symbol_and_decimals_are_those_of_the_types_row(
    kind: str, aggregation: Aggregation | None, symbol: str, decimals: int
) -> None:
    readings = of((kind, [1.0, 2.0]), aggregation=aggregation)
    (sensor,) = readings.sensors
    assert (readings.symbol_of(sensor), readings.decimals_of(sensor)) == (symbol, decimals)
    assert symbol in readings.title


def test_a_type_that_is_not_in_the_table_any_more_and_another_unit_are_shown_by_their_unit() -> None:
    (gone,) = (old := of(("sonar", [1.0]), unit="metre")).sensors
    assert (old.symbol_of(gone), old.decimals_of(gone)) == ("metre", 2)
    (other,) = (foreign := of(("temperature", [70.0]), unit="fahrenheit")).sensors
    assert foreign.symbol_of(other) == "fahrenheit"


def test_slices_and_pictures_keep_the_table() -> None:
    readings = of(("radon", [20.0, 21.0, 22.0]), ("contact", [0.0, 1.0, 1.0]))
    assert readings[2:].types is TYPES
    radon, contact = picture(readings).panels
    assert (radon.unit, radon.colour, radon.span, radon.steps) == ("Bq/m³", "#112233", 20.0, False)
    assert (contact.unit, contact.steps) == ("open", True)
    spread = picture(of(("radon", [1.0, 2.0]), aggregation="range")).panels[0]
    assert spread.span == 0.0


def test_an_axis_is_as_high_as_the_type_asks_for() -> None:
    chart = of(("radon", [20.0, 20.5, 21.0])).chart(80, 20)
    assert "(Bq/m³)" in chart
    assert "15┤" in chart
    assert "25┤" in chart
    pytest.importorskip("matplotlib")
    drawn = BytesIO()
    of(("radon", [20.0, 20.5, 21.0]), ("contact", [0.0, 1.0, 1.0])).draw(drawn, "svg")
    assert b"#112233" in drawn.getvalue()


def test_a_table_shows_each_type_with_its_decimals() -> None:
    readings = of(("temperature", [21.04, 21.06]), ("radon", [20.6, 21.0]), ("water", [5.0, 5.25]))
    out = BytesIO()
    table = Table(out, everything=True, plain=True)
    table.chunk(readings)
    table.end(readings)
    first, second = [line.split()[2:] for line in out.getvalue().decode().splitlines() if line.strip()][3:5]
    assert (first, second) == (["21", "21.0", "5.000"], ["21", "21.1", "5.250"])  # by name of the type


def rhythms(*sensors: tuple[str, list[int]]) -> Readings:
    """Readings of a sensor of each of these types, at these seconds."""
    times = np.concatenate([START + 1000 * np.array(seconds, np.int64) for _, seconds in sensors])
    series = np.repeat(np.arange(len(sensors), dtype=np.int32), [len(seconds) for _, seconds in sensors])
    order = np.argsort(times, kind="stable")
    return Readings(
        tuple(Series(kind, "salon", str(n)) for n, (kind, _) in enumerate(sensors)),
        series[order],
        times[order],
        np.ones(len(times)),
        START,
        int(times.max()) + 1000,
        (Answer("salon", "redis-salon-master", "master"),),
        types=TYPES,
    )


def test_each_line_is_broken_by_its_own_rhythm() -> None:
    often, seldom = list(range(3600)), list(range(0, 3600, 600))
    shown = picture(rhythms(("temperature", often), ("temperature", seldom)))
    assert [np.isnan(line.values).sum() for line in shown.panels[0].lines] == [0, 0]
    late = [*range(0, 3600, 10), *range(4600, 7000, 10)]
    shown = picture(rhythms(("temperature", [*range(1000), *range(1600, 7000)]), ("temperature", late)))
    assert [np.isnan(line.values).sum() for line in shown.panels[0].lines] == [1, 1]


def test_a_state_holds_however_long_it_says_nothing() -> None:
    shown = picture(rhythms(("contact", [0, 1, 2, 3, 4, 5, 3000, 3001, 86_000])))
    assert not np.isnan(shown.panels[0].lines[0].values).any()
    assert shown.gaps == []
