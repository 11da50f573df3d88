"""Finding the series of an observation by the names that people and devices use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.intake.resolve import Assignment, Resolver
from iotd.model.errors import Refused
from iotd.model.observation import Observation, Subject
from iotd.model.series import Series
from iotd.model.types import BUILT_IN

ROOMS = {
    "salon": ("Grand salon", "living room", "0x00158d0001a2b3c4"),
    "salle_de_bain": ("bathroom",),
    "bain": (),
    "cuisine": ("kitchen",),
}
ASSIGNED = {"aa:bb": Assignment("cuisine"), "Nexus-90": Assignment("salon", "Nexus-12")}
RESOLVER = Resolver(BUILT_IN, ROOMS, ASSIGNED)


@pytest.mark.parametrize(
    ("said", "series", "unit"),
    [
        (Observation("temperature", "1", 21, "salon"), Series("temperature", "salon", "1"), None),
        (Observation("Temp", "1", 21, "Living Room"), Series("temperature", "salon", "1"), None),
        (Observation("temperature_F", "1", 70, "KITCHEN"), Series("temperature", "cuisine", "1"), "F"),
        (Observation("température", "1", 70, "salon", "°F"), Series("temperature", "salon", "1"), "°F"),
        (Observation("power_kW", "plug", 1, "salon"), Series("power", "salon", "plug"), "kW"),
        (Observation("air_quality", "1", 1, "salon"), Series("air_quality", "salon", "1"), None),
        (
            Observation("humidity", "0x00158d0001a2b3c4", 45),
            Series("humidity", "salon", "0x00158d0001a2b3c4"),
            None,
        ),
        (
            Observation("humidity", "sensor.salle_de_bain_humidity", 45),
            Series("humidity", "salle_de_bain", "sensor.salle_de_bain_humidity"),
            None,
        ),
        (
            Observation("humidity", "th1", 45, hints=("zigbee2mqtt/grand salon/th1",)),
            Series("humidity", "salon", "th1"),
            None,
        ),
        (Observation("co2", "aa:bb", 600), Series("co2", "cuisine", "aa:bb"), None),
        (Observation("temperature", "Nexus-90", 600), Series("temperature", "salon", "Nexus-12"), None),
    ],
)
def test_what_it_is_called_does_not_matter(said: Observation, series: Series, unit: str | None) -> None:
    found, its = RESOLVER.resolve(said.subject)
    assert found == series
    assert found.unit == series.unit
    assert its == unit


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (Observation("radiation", "1", 21, "salon"), "unknown type"),
        (Observation("temperature_W", "1", 21, "salon"), "unknown type"),
        (Observation("temperature", "1", 21, "attic"), "unknown location"),
        (Observation("temperature", "1", 21), "unknown location"),
        (Observation("temperature", "1", 21, hints=("kitchen", "cuisine and salon")), "unknown location"),
        (Observation("temperature", "bathrooms", 21), "unknown location"),
        (Observation("temperature", "", 21, "salon"), "no sensor's id"),
        (Observation("temperature", "x" * 201, 21, "salon"), "no sensor's id"),
    ],
)
def test_what_nobody_knows_is_refused_with_its_reason(said: Observation, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        RESOLVER.resolve(said.subject)
    assert caught.value.reason == reason


@given(st.text(), st.text(), st.text(), st.lists(st.text(), max_size=3))
def test_anything_is_a_series_or_refused(kind: str, sensor: str, location: str, hints: list[str]) -> None:
    try:
        series, _ = RESOLVER.resolve(Subject(kind, sensor, location, hints=tuple(hints)))
    except Refused:
        return
    assert series.location in ROOMS
    assert series.type in BUILT_IN
