"""Series, their keys and the table of sensor types."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.config import Settings
from iotd.model.series import Series
from iotd.model.types import BUILT_IN

names = st.from_regex(r"[\w-]+", fullmatch=True)
ids = st.text(min_size=1, max_size=40).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text))


@given(st.sampled_from(sorted(BUILT_IN)), names, ids)
def test_a_key_leads_back_to_its_series_whatever_the_id_is(kind: str, location: str, sensor_id: str) -> None:
    series = Series(kind, location, sensor_id)
    assert Series.from_key(series.key) == series
    assert series.key.count(":") == 3
    assert not re.search(r"[\x00-\x1f]", series.key)
    assert series.labels == {
        "type": kind,
        "location": location,
        "sensor_id": sensor_id,
        "unit": BUILT_IN[kind].unit,
    }


def test_keys_are_as_the_design_says() -> None:
    assert Series("temperature", "salon", "1").key == "sensor:temperature:salon:1"
    assert Series("co2", "salon", "a:b%\n").key == "sensor:co2:salon:a%3Ab%25%0A"


@pytest.mark.parametrize(
    "key", ["", "iotd:checkpoint:x", "sensor:temperature:salon", "sensor:a:b:", "x:a:b:c", "sensor:a:b:c:d"]
)
def test_what_is_no_series_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="not a series' key"):
        Series.from_key(key)


def test_numbers_in_ids_sort_as_numbers() -> None:
    some = [Series("temperature", "salon", i) for i in ("10", "2", "north", "1", "²")]
    assert [s.sensor_id for s in sorted(some)] == ["1", "2", "10", "north", "²"]


def test_a_type_of_ones_own_is_a_row_of_the_configuration() -> None:
    settings = Settings.model_validate(
        {"types": {"radon": {"unit": "bq_per_m3", "symbol": "Bq/m³", "decimals": 0}}, "sensors": {"types": ["radon"]}}
    )
    assert settings.known_types["radon"].symbol == "Bq/m³"
    assert settings.known_types["co2"].unit == "ppm"
    assert Series.from_key("sensor:radon:salon:1", settings.known_types).unit == "bq_per_m3"
