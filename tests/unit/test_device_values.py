"""Values as devices write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.intake.values import Value, says_nothing, value_of
from iotd.model.errors import Refused
from iotd.model.types import BUILT_IN


@pytest.mark.parametrize(
    ("kind", "said", "unit", "wanted"),
    [
        ("temperature", 21.3, None, Value(21.3, None)),
        ("temperature", "21.5", None, Value(21.5, None)),
        ("temperature", " 21,5 °C ", None, Value(21.5, None)),
        ("temperature", "70.7 °F", None, Value(21.5, "°F")),
        ("temperature", 70.7, "°F", Value(21.5, "°F")),
        ("temperature", "21.5 °C", "°F", Value(21.5, None)),  # what stands behind the number counts
        ("temperature", "-1e1", None, Value(-10.0, None)),
        ("pressure", "100271.30", "Pa", Value(1002.713, "Pa")),
        ("contact", True, None, Value(1.0, None)),
        ("contact", "open", None, Value(1.0, None)),
        ("switch", "OFF", None, Value(0.0, None)),
        ("switch", 1, None, Value(1.0, None)),
        ("energy", 0, "kWh", Value(0.0, None)),
    ],
)
def test_what_devices_write(kind: str, said: object, unit: str | None, wanted: Value) -> None:
    assert value_of(said, BUILT_IN[kind], unit) == wanted


@pytest.mark.parametrize(
    ("kind", "said", "unit", "reason"),
    [
        ("temperature", "warm", None, "not a number"),
        ("temperature", "1,000", None, "not a number"),
        ("temperature", "21.5.3", None, "unit"),
        ("temperature", None, None, "not a number"),
        ("temperature", [21], None, "not a number"),
        ("temperature", math.nan, None, "not a finite number"),
        ("temperature", "1e999", None, "not a finite number"),
        ("temperature", 10**400, None, "not a finite number"),
        ("temperature", 21, "furlong", "unit"),
        ("temperature", 1013, "hPa", "unit"),
        ("temperature", 1e6, None, "not plausible"),
        ("humidity", -3, None, "not plausible"),
        ("contact", 0.5, None, "not a state"),
        ("contact", "ajar", None, "not a number"),
    ],
)
def test_what_is_not_sound_is_refused_with_its_reason(kind: str, said: object, unit: str | None, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        value_of(said, BUILT_IN[kind], unit)
    assert caught.value.reason.startswith(reason)


@pytest.mark.parametrize(("said", "nothing"), [(None, True), ("unknown", True), ("NaN", True), ("", True), (0, False)])
def test_some_words_say_that_there_is_no_value(said: object, nothing: bool) -> None:
    assert says_nothing(said) is nothing


@given(
    st.sampled_from(sorted(BUILT_IN)),
    st.one_of(st.text(), st.integers(), st.floats(), st.binary(), st.booleans(), st.none()),
    st.one_of(st.none(), st.text(), st.sampled_from(["°F", "kWh", "%"])),
)
def test_anything_is_a_plausible_number_or_refused(kind: str, said: object, unit: str | None) -> None:
    row = BUILT_IN[kind]
    try:
        value = value_of(said, row, unit)
    except Refused:
        return
    assert row.range[0] <= value.number <= row.range[1]


@given(st.floats(-60, 125))
def test_a_number_in_the_unit_of_its_type_stays_what_it_is_as_text_too(value: float) -> None:
    assert value_of(value, BUILT_IN["temperature"]).number == value
    assert value_of(repr(value), BUILT_IN["temperature"]).number == value
