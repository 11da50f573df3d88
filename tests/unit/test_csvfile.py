"""CSV files as people have them."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.model.errors import Refused, UsageError
from iotd.model.observation import Observation
from iotd.sources.importers.csvfile import rows
from iotd.sources.importers.excel import AmbiguousDate, number_of, time_of


def read(text: str, columns: dict[str, str] | None = None, fixed: dict[str, str] | None = None) -> list[Observation]:
    found = []
    for _, _, said in rows(io.StringIO(text), columns or {}, fixed or {}):
        assert not isinstance(said, Refused), said
        found += said
    return found


def test_columns_are_found_by_their_names_whatever_separates_them() -> None:
    wanted = [Observation("temperature", "north", "21.5", "salon", None, "2026-11-28T04:20:00", ("north",))]
    assert read("time,location,type,sensor,value\n2026-11-28T04:20:00,salon,temperature,north,21.5\n") == wanted
    assert (
        read("\ufeffValeur;Pièce;Timestamp;Sensor ID;Type\n21.5;salon;2026-11-28T04:20:00;north;temperature\n")
        == wanted
    )
    text = "entity_id,state,last_changed\nsensor.salon_temperature,21.5,2026-11-28T04:20:00Z\n"
    (one,) = read(text, fixed={"type": "temperature"})
    assert (one.sensor, one.value, one.hints) == ("sensor.salon_temperature", "21.5", ("sensor.salon_temperature",))


def test_a_column_may_be_a_sensor_by_its_name_or_mapped() -> None:
    text = "Datum;temperature:salon:1;außen\n1796000000;21,5;70,7\n1796000060;;71\n"
    assert read(text, {"außen": "temperature:jardin:north:°F"}) == [
        Observation("temperature", "north", "70.7", "jardin", "°F", "1796000000"),
        Observation("temperature", "1", "21.5", "salon", None, "1796000000"),
        Observation("temperature", "north", "71", "jardin", "°F", "1796000060"),
    ]


@pytest.mark.parametrize(
    ("text", "columns", "fixed", "says"),
    [
        ("", {}, {}, "its first line has to name the columns"),
        ("a,b\n1,2\n", {}, {}, "which column is the time? the columns are 'a', 'b'; say it with --column NAME=time"),
        ("time,b\n1,2\n", {}, {"type": "co2"}, "which column is the value?"),
        ("time,b\n1,2\n", {"c": "value"}, {}, "no column 'c'; the columns are 'time', 'b'"),
        ("time,b\n1,2\n", {"b": "valeu"}, {}, "b=valeu: give one of time, type"),
        ("time,b\n1,2\n", {"b": "value"}, {"typ": "co2"}, "'typ' is no part of a reading"),
    ],
)
def test_a_form_that_can_not_be_told_says_what_to_give(
    text: str, columns: dict[str, str], fixed: dict[str, str], says: str
) -> None:
    with pytest.raises(UsageError) as caught:
        list(rows(io.StringIO(text), columns, fixed))
    assert says in str(caught.value)


def test_a_short_row_is_refused_with_its_line_and_the_rest_is_read() -> None:
    found = list(rows(io.StringIO("time,type,value\n1,co2,400\n2,co2\n\n3,co2,402\n"), {}, {}))
    assert [(line, isinstance(said, Refused)) for line, _, said in found] == [(2, False), (3, True), (5, False)]


@given(st.text(alphabet='time,type;value\n\t"|1é', max_size=200))
def test_any_text_is_rows_or_a_clear_error(text: str) -> None:
    try:
        for _, _, said in rows(io.StringIO(text), {}, {}):
            assert isinstance(said, Refused | list)
    except UsageError:
        pass


@pytest.mark.parametrize(
    ("text", "form", "iso"),
    [
        ("28.11.2026 14:00", None, "2026-11-28T14:00"),
        ("1.2.2026", None, "2026-02-01T00:00"),
        ("28.11.2026, 9:05:07", None, "2026-11-28T09:05:07"),
        ("2026/11/28 14:00", None, "2026-11-28T14:00"),
        ("2026-11-28 14:00", None, "2026-11-28 14:00"),
        ("1796000000", None, "1796000000"),
        ("", "%d/%m/%Y", ""),
        ("28/11/2026", "%d/%m/%Y", "2026-11-28T00:00:00"),
        ("11-28-26 2 PM", "%m-%d-%y %I %p", "2026-11-28T14:00:00"),
    ],
)
def test_times_of_spreadsheets(text: str, form: str | None, iso: str) -> None:
    assert time_of(text, form) == iso


@pytest.mark.parametrize("text", ["28/11/2026 14:00", "1/2/26", "11-28-2026", "3/3/2026"])
def test_a_date_that_may_be_two_days_is_not_guessed(text: str) -> None:
    with pytest.raises(AmbiguousDate, match="--time-format"):
        time_of(text, None)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("21,5", "21.5"), ("-0,25", "-0.25"), ("1,234", "1.234"), ("1.234,5", "1234.5"), ("1 234,5", "1234.5"),
        ("1\u202f234", "1234"), ("1'000", "1000"), ("21.5", "21.5"), ("21,5 °C", "21.5 °C"), ("on", "on"), ("", ""),
        ("a,b", "a,b"), ("1,2,3", "1.2,3"),
    ],
)  # fmt: skip
def test_numbers_with_a_decimal_comma(text: str, number: str) -> None:
    assert number_of(text) == number
