"""Units: what devices write becomes the unit that a type is stored in, rounded once."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.model.types import BUILT_IN
from iotd.model.units import conversion, unit_named


@pytest.mark.parametrize(
    ("value", "unit", "stored", "wanted"),
    [
        (70.5, "°F", "celsius", 21.38888888888889),  # exactly 21.3888… = 385/18
        (64.6, "degF", "celsius", 18.11111111111111),
        (32, "F", "celsius", 0.0),
        (-40, "fahrenheit", "celsius", -40.0),
        (293.15, "K", "celsius", 20.0),
        (28.993, "inHg", "hectopascal", 981.815762770000),
        (100271.30, "Pa", "hectopascal", 1002.713),
        (101.3, "kPa", "hectopascal", 1013.0),
        (10, "mph", "metre_per_second", 4.4704),
        (36, "km/h", "metre_per_second", 10.0),
        (1, "kn", "metre_per_second", 0.5144444444444445),
        (0.1, "in", "millimetre", 2.54),
        (1500, "Wh", "kilowatt_hour", 1.5),
        (3.6, "MJ", "kilowatt_hour", 1.0),
        (2.5, "kW", "watt", 2500.0),
        (250, "mW", "watt", 0.25),
        (3, "MW", "watt", 3_000_000.0),
        (2950, "mV", "volt", 2.95),
        (17, "L", "cubic_metre", 0.017),
        (0.45, "ratio", "percent", 45.0),
        (450, "ppb", "ppm", 0.45),
        (12, "µg/m³", "microgram_per_m3", 12.0),
        (12, "ug/m3", "microgram_per_m3", 12.0),
        (60, "dBA", "decibel", 60.0),
    ],
)
def test_what_devices_send_is_converted(value: float, unit: str, stored: str, wanted: float) -> None:
    how = conversion(unit, stored)
    assert how is not None
    assert how(value) == pytest.approx(wanted, rel=1e-15, abs=1e-15)


@given(st.floats(-1e6, 1e6), st.sampled_from(["°F", "K", "inHg", "psi", "mph", "kWh", "gal"]))
def test_it_is_rounded_once(value: float, unit: str) -> None:
    known = unit_named(unit)
    assert known is not None
    stored = {
        "temperature": "celsius",
        "pressure": "hectopascal",
        "speed": "metre_per_second",
        "energy": "kilowatt_hour",
        "volume": "cubic_metre",
    }[known.dimension]
    target, how = unit_named(stored), conversion(unit, stored)
    assert target is not None
    assert how is not None
    exact = (Fraction(repr(value)) * known.factor + known.offset - target.offset) / target.factor
    got = how(value)
    assert abs(Fraction(got) - exact) <= Fraction(math.ulp(got)) / 2


@given(st.floats())
def test_a_type_s_own_unit_alters_nothing(value: float) -> None:
    for row in BUILT_IN.values():
        same = conversion(row.unit, row.unit)
        assert same is not None
        assert math.isnan(same(value)) if math.isnan(value) else same(value) == value


def test_case_counts_only_where_it_must() -> None:
    assert conversion("KPA", "hectopascal") == conversion("kPa", "hectopascal")
    assert unit_named("mW") != unit_named("MW")
    assert unit_named("Mw") is None
    assert unit_named(" deg   F ") == unit_named("°F")


@pytest.mark.parametrize(
    ("unit", "stored"), [("furlong", "celsius"), ("hPa", "celsius"), ("", "celsius"), ("C", "aqi")]
)
def test_what_nobody_knows_or_measures_something_else_is_refused(unit: str, stored: str) -> None:
    assert conversion(unit, stored) is None


def test_what_is_past_a_float_is_infinite_and_what_is_no_number_stays_so() -> None:
    how = conversion("kW", "watt")
    assert how is not None
    assert how(1e308) == math.inf
    assert math.isnan(how(math.nan))


def test_every_built_in_unit_that_measures_something_is_in_the_table() -> None:
    counted = {"aqi", "voc_index", "open", "motion", "leak", "smoke", "on"}
    assert {row.unit for row in BUILT_IN.values() if unit_named(row.unit) is None} == counted
